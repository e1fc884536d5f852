# SPDX-License-Identifier: Apache-2.0
"""Reads the CSV tables and lists that come with a corpus, within bounds: the size is checked before anything is read.

Tables are read row by row, so reading one takes the memory of its longest row, which is bounded too.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from cgdmer.files.reading import check_size, failing_as, read_text
from cgdmer.models.errors import CorpusError

_LARGEST_TABLE = 2**30  # bytes; the largest one known, MIMIC-IV-ECG's machine_measurements.csv, has less than 2**28
_LONGEST_ROW = 2**20  # characters; a row with a whole report has a few thousand
_MOST_COLUMNS = 4096


def read_table(
    path: Path,
    columns: Sequence[str],
    hint: str,
    *,
    optional: Collection[str] = (),
    filled: Collection[str] = (),
    largest: int = _LARGEST_TABLE,
    delimiters: str = ",",
) -> Iterator[dict[str, str]]:
    """Read a CSV table row by row. Fields are stripped; the header is checked at once. Blank rows are not rows.

    Args:
        columns: the columns to read.
        hint: what the user should do about a missing or damaged table.
        optional: columns to read if the table has them.
        filled: columns that must not be blank in any row.
        largest: bytes. Set it lower for a table whose rows are all held in memory.
        delimiters: see `csv_lines`.

    Raises:
        CorpusError: at once or while reading: the table is missing, unreadable, or too large, lacks a column, has no
            rows, or has a row with a blank field in `filled` or with more or fewer fields than the header.
    """
    lines = csv_lines(path, hint, largest, delimiters)
    names = _column_names(path, hint, next(lines, (0, []))[1])
    missing = [column for column in columns if column not in names]
    if missing:
        raise CorpusError(f"{path} lacks the column(s) {', '.join(missing)}. {hint}")
    places = [(name, place) for place, name in enumerate(names) if name in columns or name in optional]
    first = next(lines, None)
    if first is None:
        raise CorpusError(f"{path} has no rows. {hint}")

    def rows() -> Iterator[dict[str, str]]:
        for number, (line, fields) in enumerate(chain([first], lines), 1):
            if len(fields) != len(names):
                raise CorpusError(
                    f"{path} cannot be read as a CSV table: line {line} has {len(fields)} fields, the header has "
                    f"{len(names)}. {hint}"
                )
            row = {name: fields[place].strip() for name, place in places}
            for column in filled:
                if not row[column]:
                    raise CorpusError(f"{path}: column {column} is blank in row {number}. {hint}")
            yield row

    return rows()


def number_field(
    row: Mapping[str, str], column: str, where: str, lowest: float, highest: float, *, whole: bool = False
) -> float:
    """The number in a field of a row.

    Args:
        where: the table and the record, for the message.
        whole: accept whole numbers only.

    Raises:
        CorpusError: the field holds something else.
    """
    try:
        number = float(row[column])
    except ValueError:
        number = float("nan")
    if lowest <= number <= highest and (number.is_integer() or not whole):
        return number
    raise CorpusError(
        f"{where}: column {column} holds {row[column]!r}; a {'whole ' if whole else ''}number from {lowest:g} to "
        f"{highest:g} is expected. Correct the table or fetch it again."
    )


def table_columns(path: Path, hint: str, delimiters: str = ",") -> list[str]:
    """The column names of a CSV table. Raises a CorpusError if it cannot be read or repeats a name."""
    return _column_names(path, hint, next(csv_lines(path, hint, delimiters=delimiters), (0, []))[1])


def _column_names(path: Path, hint: str, fields: list[str]) -> list[str]:
    if not fields:
        raise CorpusError(f"{path} cannot be read as a CSV table: it is empty. {hint}")
    names = [name.strip() for name in fields]
    repeated = [name for name, number in Counter(names).items() if number > 1 and name]
    if repeated:
        raise CorpusError(f"{path} has the column {repeated[0]!r} more than once. {hint}")
    return names


def csv_lines(
    path: Path, hint: str, largest: int = _LARGEST_TABLE, delimiters: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of each line that is not blank, including the header.

    Args:
        delimiters: characters that may separate fields. The one that the header has most often does, or the one that a
            first line such as `sep=;` states, as Excel writes it.

    Raises:
        CorpusError: while reading: the table is missing, unreadable, or too large.
    """
    with failing_as(CorpusError, path, hint):
        check_size(path, largest)
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = _Lines(file)
            table = csv.reader(lines, delimiter=_delimiter(file, delimiters), strict=True)
            try:
                for fields in table:
                    if len(fields) > _MOST_COLUMNS:
                        raise csv.Error(f"line {table.line_num} has {len(fields)} fields, more than {_MOST_COLUMNS}")
                    if any(field.strip() for field in fields):
                        yield table.line_num, fields
                    lines.length = 0
            except csv.Error as error:
                raise CorpusError(f"{path} cannot be read as a CSV table: {error}. {hint}") from error


def _delimiter(file: TextIO, delimiters: str) -> str:
    """What separates the fields of a table; the file is then at its header."""
    if len(delimiters) == 1:
        return delimiters
    first = file.readline(_LONGEST_ROW)
    if stated := re.fullmatch(r'"?sep=(.)"?\s*', first):
        return stated[1]
    file.seek(0)
    outside_quotes = re.sub(r'"[^"]*"', "", first)
    return max(delimiters, key=outside_quotes.count)


def read_list(path: Path) -> list[str]:
    """The words in a text file such as `RECORDS`. Bytes that are not UTF-8 become U+FFFD, which no file name contains.

    Raises:
        CorpusError: the file is missing, unreadable, or too large.
    """
    with failing_as(CorpusError, path, "Fetch the file again."):
        return read_text(path, errors="replace").split()


class _Lines:
    """The lines of a file. The total for one row is bounded, because a quoted field may contain line breaks.

    Attributes:
        length: characters read since the row began; the reader of rows sets it to 0 after each.
    """

    def __init__(self, file: TextIO):
        self.length = 0
        self._file = file

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST_ROW + 1):
            self.length += len(line)
            if self.length > _LONGEST_ROW:
                raise csv.Error(f"a row has more than {_LONGEST_ROW} characters, which no table of records needs")
            yield line
