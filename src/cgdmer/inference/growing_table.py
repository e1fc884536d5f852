# SPDX-License-Identifier: Apache-2.0
"""A Parquet file that is made bit by bit and can be taken up again after a kill.

Until it is whole, its rows lie in `NAME.partial` beside it: files named after their first row, each of which takes
its name when it is whole, and `job.json`, which says what is being made. What the files hold from row 0 on without a
gap is finished.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from cgdmer.models.errors import CorpusError

ROWS_A_PART = 256  # about as many are lost by a kill
_ROWS_A_GROUP = 16_384  # of the finished file


class GrowingTable:
    """The rows that are there, and room for more.

    Args:
        target: the file. Absent, unless a run was killed right after it had made it.
        schema: of the rows.
        job: JSON of everything that the rows depend on; an unfinished table of another job is refused.

    Raises:
        CorpusError: the file exists, or the folder beside it belongs to another job or to nobody.
    """

    def __init__(self, target: Path, schema: pa.Schema, job: Mapping[str, Any]):
        self.target, self.schema = target, schema
        self.folder = target.with_name(f"{target.name}.partial")
        if target.exists() and not self.folder.exists():
            raise CorpusError(f"{target} exists already. Remove it, or name another file.")
        self._open(dict(job))
        self._waiting: list[pa.Table] = []
        self._num_written = sum(pa.parquet.read_metadata(path).num_rows for path in self._parts())

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
            path = self._part(self._num_written)
            temporary = path.with_suffix(f".{os.getpid()}.tmp")
            pa.parquet.write_table(pa.concat_tables(self._waiting), temporary)
            temporary.replace(path)
            self._num_written, self._waiting = self.num_rows, []

    def finish(self) -> pa.Table:
        """Make the file of all rows and remove the folder.

        Returns:
            Its columns `record_id` and `error`.
        """
        self.flush()
        temporary = self.folder / "whole.tmp"
        with pa.parquet.ParquetWriter(temporary, self.schema) as writer:
            for rows in self._groups():
                writer.write_table(rows)
        temporary.replace(self.target)
        # The first rows last: whatever a kill leaves of the folder can be gone on with.
        for path in sorted(self.folder.glob("*.parquet"), reverse=True):
            path.unlink()
        for path in (*self.folder.glob("*.tmp"), self.folder / "job.json"):
            path.unlink()
        self.folder.rmdir()
        return pa.parquet.read_table(self.target, columns=["record_id", "error"])

    def _open(self, job: dict[str, Any]) -> None:
        """Make the folder, or check that the one that is there belongs to the same job."""
        path = self.folder / "job.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if all(other.suffix == ".tmp" for other in self.folder.iterdir()):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(job), encoding="utf-8")
            temporary.replace(path)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            different = [name for name in job if found[name] != job[name]]
        except (OSError, ValueError, LookupError, TypeError) as error:
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

    def _parts(self) -> Iterator[Path]:
        """The files from row 0 on without a gap."""
        first_row = 0
        while (path := self._part(first_row)).exists():
            try:
                first_row += pa.parquet.read_metadata(path).num_rows
            except pa.ArrowInvalid:  # cut off, as a power failure may leave it: to be made again
                return
            yield path

    def _groups(self) -> Iterator[pa.Table]:
        """The rows of all parts, cut anew, so that the file does not tell where a run was interrupted."""
        rows = self.schema.empty_table()
        for path in self._parts():
            rows = pa.concat_tables([rows, pa.parquet.read_table(path, schema=self.schema)])
            while len(rows) >= _ROWS_A_GROUP:
                yield rows.slice(0, _ROWS_A_GROUP).combine_chunks()
                rows = rows.slice(_ROWS_A_GROUP)
        yield rows.combine_chunks()


__all__ = ["ROWS_A_PART", "GrowingTable"]
