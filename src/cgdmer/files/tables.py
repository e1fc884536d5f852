# SPDX-License-Identifier: Apache-2.0
"""CSV tables and lists that come with a corpus, read within bounds: their size is looked at first.

Rows are taken one after the other, so a table needs the memory of its longest row, and that is bounded too.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from cgdmer.files.reading import check_size, failing_as, read_text
from cgdmer.models.errors import CorpusError

_LARGEST_TABLE = 2**30  # bytes; the largest known, MIMIC-IV-ECG's machine_measurements.csv, has fewer than 2**28
_LONGEST_ROW = 2**20  # characters; with a whole report in it a row has a few thousand
_MOST_COLUMNS = 4096


def read_table(
    path: Path,
    columns: Sequence[str],
    hint: str = "Fetch the file again.",
    optional: Sequence[str] = (),
    largest: int = _LARGEST_TABLE,
) -> Iterator[dict[str, str]]:
    """The rows of a CSV table one after the other, fields without outer blanks; the header is checked at once.

    Args:
        path: the table.
        columns: the columns that must be there.
        hint: what to do about a table that is absent or damaged.
        optional: further columns that are read where they are there.
        largest: bytes. A table of which all rows are held needs less than one that streams.

    Raises:
        CorpusError: at once or while rows are taken: the table is absent, unreadable or too large, lacks a column,
            holds no rows, or a row has more or fewer fields than the header.
    """
    lines = csv_lines(path, hint, largest)
    names = _column_names(path, hint, next(lines, (0, []))[1])
    missing = [column for column in columns if column not in names]
    if missing:
        raise CorpusError(f"{path} lacks the column(s) {', '.join(missing)}. {hint}")
    places = [(name, place) for place, name in enumerate(names) if name in columns or name in optional]
    first = next(lines, None)
    if first is None:
        raise CorpusError(f"{path} holds no rows. {hint}")

    def rows() -> Iterator[dict[str, str]]:
        for line, fields in chain([first], lines):
            if len(fields) != len(names):
                raise CorpusError(
                    f"{path} cannot be read as a CSV table: line {line} has {len(fields)} fields, the header has "
                    f"{len(names)}. {hint}"
                )
            yield {name: fields[place].strip() for name, place in places}

    return rows()


def table_columns(path: Path, hint: str) -> list[str]:
    """The names of a CSV table's columns. Raises a CorpusError when it cannot be read or one comes twice."""
    return _column_names(path, hint, next(csv_lines(path, hint), (0, []))[1])


def _column_names(path: Path, hint: str, fields: list[str]) -> list[str]:
    if not fields:
        raise CorpusError(f"{path} cannot be read as a CSV table: it is empty. {hint}")
    names = [name.strip() for name in fields]
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise CorpusError(f"{path} has the column {repeated[0]!r} more than once. {hint}")
    return names


def csv_lines(path: Path, hint: str, largest: int = _LARGEST_TABLE) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of each line that is not blank, the header among them.

    Raises:
        CorpusError: while lines are taken: the table is absent, unreadable or too large.
    """
    with failing_as(CorpusError, path, hint):
        check_size(path, largest)
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = _Lines(file)
            table = csv.reader(lines, strict=True)
            try:
                for fields in table:
                    if len(fields) > _MOST_COLUMNS:
                        raise csv.Error(f"line {table.line_num} has {len(fields)} fields, more than {_MOST_COLUMNS}")
                    if fields:
                        yield table.line_num, fields
                    lines.length = 0
            except csv.Error as error:
                raise CorpusError(f"{path} cannot be read as a CSV table: {error}. {hint}") from error


def read_list(path: Path) -> list[str]:
    """The words of a text file, such as `RECORDS`; what is not UTF-8 in it becomes a mark that no name has.

    Raises:
        CorpusError: it is absent, unreadable, or too large.
    """
    with failing_as(CorpusError, path, "Fetch the file again."):
        return read_text(path, errors="replace").split()


class _Lines:
    """The lines of a file, as long as those of one row (a quoted field may hold line ends) stay within the bound."""

    def __init__(self, file: TextIO):
        self.length = 0
        self._file = file

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_ROW + 1)
        self.length += len(line)
        if self.length > _LONGEST_ROW:
            raise csv.Error(f"a row has more than {_LONGEST_ROW} characters, which no table of records needs")
        if not line:
            raise StopIteration
        return line
