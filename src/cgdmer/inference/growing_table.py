# SPDX-License-Identifier: Apache-2.0
"""A Parquet file that is made bit by bit and can be taken up again after a kill.

Until it is whole, its rows lie in `NAME.partial` beside it: files named after their first row, each of which takes
its name when it is whole, and `job.json`, which says what is being made. What the files hold from row 0 on without a
gap is finished. The run that is at work on it holds the file `lock`, which the system takes from it when it ends,
however it ends.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from filelock import FileLock, Timeout

from cgdmer.files.reading import read_json_object
from cgdmer.files.writing import TEMPORARY_SUFFIX, replacing, write_json
from cgdmer.models.errors import CorpusError

ROWS_A_PART = 256  # about as many are lost by a kill
PATIENCE = 15.0  # seconds; processes that read for a run that was killed hold its lock until they notice
_ROWS_A_GROUP = 16_384  # of the finished file


class GrowingTable:
    """The rows that are there, and room for more. To be used in a `with` block, which gives the lock back.

    Args:
        target: the file. Absent, unless a run was killed right after it had made it.
        schema: of the rows.
        job: JSON of everything that the rows depend on; an unfinished table of another job is refused.

    Raises:
        CorpusError: the file exists, another run is at work on it, or the folder beside it belongs to another job or
            to nobody.
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
        """Rows that are finished or wait to be written."""
        return self._num_written + sum(len(rows) for rows in self._waiting)

    def append(self, rows: pa.Table) -> None:
        """Add rows; they are written once there are enough of them."""
        self._waiting.append(rows)
        if self.num_rows - self._num_written >= ROWS_A_PART:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._waiting:
            with replacing(self._part(self._num_written)) as temporary:
                pa.parquet.write_table(pa.concat_tables(self._waiting), temporary, write_page_checksum=True)
            self._num_written, self._waiting = self.num_rows, []

    def finish(self, expected_rows: int) -> pa.Table:
        """Make the file of all rows and remove the folder.

        Returns:
            Its columns `record_id` and `error`.

        Raises:
            CorpusError: there are fewer or more rows than expected; the file is not made.
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
                    f"{self.folder} holds {num_rows} rows that can be read; expected {expected_rows}. Somebody else "
                    "changed it, or the disk is damaged. Start the same command again to make what is missing, or "
                    "remove the folder."
                )
        # The first rows last: whatever a kill leaves of the folder can be gone on with.
        for path in sorted(self.folder.glob("*.parquet"), reverse=True):
            path.unlink()
        for path in (*self.folder.glob(f"*{TEMPORARY_SUFFIX}"), self._job_path):
            path.unlink()
        self._remove_folder()
        return pa.parquet.read_table(self.target, columns=["record_id", "error"])

    def _take_lock(self) -> FileLock:
        """Make the folder if it is not there, and hold the lock in it."""
        lock = FileLock(self._lock_path)
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=PATIENCE, poll_interval=0.1)
            except FileNotFoundError:  # another run has just finished and removed the folder
                continue
            except Timeout:
                raise CorpusError(
                    f"another run is at work on {self.target}. Wait until it has ended, or name another file."
                ) from None
            return lock

    def _remove_folder(self) -> None:
        """Unless it holds something: rows, or the lock of a run that has just begun and will find the target there."""
        with suppress(OSError):
            self._lock_path.unlink()
            self.folder.rmdir()

    def _open(self, job: dict[str, Any]) -> None:
        """Begin, or check that what is there belongs to the same job."""
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
                f"{self.folder} is where unfinished rows would be kept, but it holds something else ({error!r}). "
                "Remove it, or name another file."
            ) from error
        if different:
            raise CorpusError(
                f"{self.folder} holds unfinished rows of another job, which differs in: {', '.join(different)}. Start "
                "that one again to finish it, remove the folder to start anew, or name another file."
            )

    def _part(self, first_row: int) -> Path:
        return self.folder / f"{first_row:012d}.parquet"

    def _parts(self) -> Iterator[pa.Table]:
        """The rows of the files from row 0 on without a gap; all is read, because a page may be damaged as well."""
        first_row = 0
        while (path := self._part(first_row)).exists():
            try:
                rows = pa.parquet.read_table(path, schema=self.schema, page_checksum_verification=True)
            except (pa.ArrowException, OSError):  # as a power failure may leave it: to be made again
                return
            if not len(rows):
                return
            yield rows
            first_row += len(rows)

    def _groups(self) -> Iterator[pa.Table]:
        """The rows of all parts, cut anew, so that the file does not tell where a run was interrupted."""
        rows = self.schema.empty_table()
        for part in self._parts():
            rows = pa.concat_tables([rows, part])
            while len(rows) >= _ROWS_A_GROUP:
                yield rows.slice(0, _ROWS_A_GROUP).combine_chunks()
                rows = rows.slice(_ROWS_A_GROUP)
        yield rows.combine_chunks()
