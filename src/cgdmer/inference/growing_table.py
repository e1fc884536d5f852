# SPDX-License-Identifier: Apache-2.0
"""A Parquet file that is written in parts, and can be continued after a kill.

Until it is complete, its rows are in the folder `NAME.partial` beside it: part files named by their first row, each
renamed into place once it is complete, and `job.json`, which describes the job. The rows from row 0 up to the first
gap are finished. A run holds the lock on the file `lock`; the system releases it however the run ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from filelock import FileLock, Timeout

from cgdmer.files.reading import check_size, read_json_object
from cgdmer.files.writing import LOCK_PATIENCE, TEMPORARY_SUFFIX, replacing, write_json
from cgdmer.models.errors import CorpusError

ROWS_PER_PART = 256  # about the most that a kill loses
_LARGEST_PART, _MOST_ROWS_OF_PART = 2**31, 100_000  # bytes, and rows: a part has those of one batch or two
_ROWS_PER_GROUP = 16_384  # in the finished file


class GrowingTable:
    """A table that rows are appended to. Use it in a `with` block, which releases the lock.

    Args:
        target: the file. It must not exist, unless a run was killed right after writing it.
        schema: of the rows.
        job: everything the rows depend on, as JSON; an unfinished table of another job is refused.

    Raises:
        CorpusError: the file exists, another run is writing it, or the folder beside it is another job's or not ours.
    """

    def __init__(self, target: Path, schema: pa.Schema, job: Mapping[str, Any]):
        self.target, self.schema = target, schema
        self.folder = target.with_name(f"{target.name}.partial")
        self._job_path, self._lock_path = self.folder / "job.json", self.folder / "lock"
        self._lock = self._take_lock()
        try:
            self._open(dict(job))
        except BaseException:
            self._remove_folder()
            self._lock.release()
            raise
        self._waiting: list[pa.Table] = []
        self._num_written = sum(len(rows) for rows in self._parts())

    def __enter__(self) -> "GrowingTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def num_rows(self) -> int:
        """Rows that are written or waiting to be."""
        return self._num_written + sum(len(rows) for rows in self._waiting)

    def append(self, rows: pa.Table) -> None:
        """Add rows; they are written once there are enough."""
        self._waiting.append(rows)
        if self.num_rows - self._num_written >= ROWS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows."""
        if self._waiting:
            with replacing(self._part(self._num_written)) as temporary:
                pa.parquet.write_table(pa.concat_tables(self._waiting), temporary, write_page_checksum=True)
            self._num_written, self._waiting = self.num_rows, []

    def finish(self, expected_rows: int) -> pa.Table:
        """Write the file and remove the folder.

        Returns:
            The columns `record_id` and `error`.

        Raises:
            CorpusError: there are fewer or more rows than expected; the file is not written.
        """
        self.flush()
        with replacing(self.target, self.folder) as temporary:
            num_rows = 0
            with pa.parquet.ParquetWriter(temporary, self.schema) as writer:
                for rows in self._groups():
                    writer.write_table(rows)
                    num_rows += len(rows)
            if num_rows != expected_rows:
                raise CorpusError(
                    f"{self.folder} holds {num_rows} readable rows; expected {expected_rows}. Something else changed "
                    "it, or the disk is damaged. Start the same command again to compute the missing rows, or remove "
                    "the folder."
                )
        # The first rows last: a run can continue from whatever a kill leaves.
        for path in sorted(self.folder.glob("*.parquet"), reverse=True):
            path.unlink()
        for path in (*self.folder.glob(f"*{TEMPORARY_SUFFIX}"), self._job_path):
            path.unlink()
        self._remove_folder()
        return pa.parquet.read_table(self.target, columns=["record_id", "error"])

    def _take_lock(self) -> FileLock:
        """Create the folder if needed, and take its lock."""
        lock = FileLock(self._lock_path)
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.1)
            except FileNotFoundError:  # another run has just removed the folder
                continue
            except Timeout:
                raise CorpusError(
                    f"another run is writing {self.target}. Wait until it ends, or name another file."
                ) from None
            return lock

    def _remove_folder(self) -> None:
        """Does nothing if the folder holds rows, or the lock of a run that has just started."""
        with suppress(OSError):
            self._lock_path.unlink()
            self.folder.rmdir()

    def _open(self, job: dict[str, Any]) -> None:
        """Write the job, or check that an unfinished table is of the same job."""
        path = self._job_path
        if self.target.exists() and not path.exists():
            raise CorpusError(f"{self.target} exists already. Remove it, or name another file.")
        if all(other.suffix == TEMPORARY_SUFFIX or other == self._lock_path for other in self.folder.iterdir()):
            write_json(path, job)
        try:
            found = read_json_object(path)
            different = [name for name in job if found[name] != job[name]]
        except (OSError, ValueError, LookupError) as error:
            raise CorpusError(
                f"{self.folder} is for unfinished rows, but it holds something else ({error!r}). Remove it, or name "
                "another file."
            ) from error
        if different:
            raise CorpusError(
                f"{self.folder} holds unfinished rows of another job, which differs in: {', '.join(different)}. Run "
                "that command again to finish it, remove the folder to start over, or name another file."
            )

    def _part(self, first_row: int) -> Path:
        return self.folder / f"{first_row:012d}.parquet"

    def _parts(self) -> Iterator[pa.Table]:
        """The parts from row 0 up to the first gap; read completely, because any page may be damaged."""
        first_row = 0
        while (path := self._part(first_row)).exists():
            try:
                check_size(path, _LARGEST_PART)
                if pa.parquet.read_metadata(path).num_rows > _MOST_ROWS_OF_PART:
                    return
                rows = pa.parquet.read_table(path, schema=self.schema, page_checksum_verification=True)
                rows.validate(full=True)
            except (pa.ArrowException, OSError, ValueError, MemoryError):  # as a power failure may leave it: again
                return
            if not len(rows):
                return
            yield rows
            first_row += len(rows)

    def _groups(self) -> Iterator[pa.Table]:
        """The rows regrouped, so that the file does not depend on where a run was interrupted."""
        rows = self.schema.empty_table()
        for part in self._parts():
            rows = pa.concat_tables([rows, part])
            while len(rows) >= _ROWS_PER_GROUP:
                yield rows.slice(0, _ROWS_PER_GROUP).combine_chunks()
                rows = rows.slice(_ROWS_PER_GROUP)
        yield rows.combine_chunks()
