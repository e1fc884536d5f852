# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers as text: CSV and its relatives, as spreadsheets, scripts, and watches write them.

Read line by line, so memory stays in proportion to the numbers. Every line is used, or the file is refused: a library
such as numpy.loadtxt drops empty lines and what follows a comment sign.
"""

import io
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .csv_header import TableHeader, cells_of, is_row, number_in, read_table_header, seconds_in
from .errors import RecordFileError, shown
from .units import MOST_VALUES
from .wfdb_header import open_record_file

_MOST_BYTES = 2**30
_LONGEST_LINE = 2**22  # characters; four minutes of one lead per line at 1,000 Hz have fewer
_MOST_LINES_BEFORE = 64  # before the numbers
_VALUES_AT_ONCE = 2**16

# The cells of such a line need no closer look. Python's float takes more: words, "1_0", digits of other scripts.
_PLAIN_LINE = re.compile(r"[0-9eE+\-., ;\t]*")
_LEADING_ZERO = re.compile(r"(?:^|,)[ +-]*0[0-9]")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are read: those of values (None: all), and those that count times or rows."""

    values: Sequence[int] | None
    counters: Sequence[int] = ()


@dataclass(frozen=True)
class Table:
    """The numbers of a table.

    Attributes:
        values: float32, (rows, columns); NaN where one is missing.
        counters: float64, (rows, columns); times written as a clock are in seconds.
    """

    header: TableHeader
    values: np.ndarray
    counters: np.ndarray


def read_table(path: Path, choose: Callable[[TableHeader], Columns]) -> Table:
    """Read a table.

    Args:
        choose: says, after a look at the header, which columns to read. Only these must hold numbers.

    Raises:
        RecordFileError: a line is empty, a comment, or too long, or has another number of cells; a cell that is needed
            is not a number; commas and points are both used for decimals; there is no row.
        ECGInputError: the first row counts the columns.
    """
    with open_record_file(path, path.parent) as (file, size):
        if size > _MOST_BYTES:
            raise RecordFileError(f"{path} has {size} bytes; at most {_MOST_BYTES} are read. Split the recording.")
        with closing(_lines(path, file)) as lines:
            header, first = _begin(path, lines)
            return _Reader(path, header, choose(header)).read(chain([first], lines))


def read_header(path: Path) -> TableHeader:
    """What stands above the numbers. Errors as in `read_table`."""
    with open_record_file(path, path.parent) as (file, _), closing(_lines(path, file)) as lines:
        return _begin(path, lines)[0]


def _begin(path: Path, lines: Iterator[tuple[int, str]]) -> tuple[TableHeader, tuple[int, str]]:
    """What stands above the numbers, and the numbered line of the first row."""
    above: list[tuple[int, str]] = []
    for number, line in lines:
        above.append((number, line))
        if is_row(line):
            break
        if len(above) > _MOST_LINES_BEFORE or sum(len(line) for _, line in above) > _LONGEST_LINE:
            raise RecordFileError(
                f"{path}: its first {len(above)} lines hold no row of numbers. Is it a recording? Expected a table "
                "with one column per lead."
            )
    return read_table_header(path, above), above[-1]


def _lines(path: Path, file: BinaryIO) -> Generator[tuple[int, str], None, None]:
    """The numbered lines of a text, of which none is longer than `_LONGEST_LINE`."""
    start = file.read(2)
    file.seek(0)
    wide = start in (b"\xff\xfe", b"\xfe\xff")  # as spreadsheets write "Unicode text"
    text = io.TextIOWrapper(file, "utf-16" if wide else "utf-8-sig", "strict" if wide else "surrogateescape")
    try:
        number = 0
        while True:
            number += 1
            try:
                line = text.readline(_LONGEST_LINE + 1)
                if not line.isascii():
                    line.encode("utf-8")
            except UnicodeEncodeError:  # not UTF-8, so Latin-1, in which older programs write the micro sign
                line = line.encode("utf-8", "surrogateescape").decode("latin-1")
            except UnicodeError as error:
                raise RecordFileError(f"{path} is not a text: {error}. Export the recording again.") from error
            if not line:
                return
            if len(line) > _LONGEST_LINE:
                raise RecordFileError(
                    f"{path}: line {number} has more than {_LONGEST_LINE} characters. Write one column per lead and "
                    "one line per sample, or an NPY file."
                )
            yield number, line.rstrip("\n")
    finally:
        text.detach()  # who opened the file closes it


class _Reader:
    """Turns lines into arrays, so that a number takes four bytes and not those of a Python object."""

    def __init__(self, path: Path, header: TableHeader, columns: Columns):
        self.path, self.header = path, header
        self.num_values = header.width if columns.values is None else len(columns.values)
        values = range(header.width) if columns.values is None else columns.values
        self.needed = [*values, *columns.counters]
        self.marks: set[str] = set()  # what stands before decimals
        self.rows: list[list[float]] = []
        self.blocks: list[np.ndarray] = []
        self.counters: list[np.ndarray] = []

    def read(self, lines: Iterator[tuple[int, str]]) -> Table:
        empty, count, most_rows = None, 0, max(1, _VALUES_AT_ONCE // len(self.needed))
        for number, line in lines:
            if not line.strip():
                empty = empty or number
                continue
            if empty is not None:
                raise RecordFileError(
                    f"{self.path}: line {empty} is empty, and more rows follow. Is a sample missing there? Remove the "
                    "line, or write nan for each lead."
                )
            self.rows.append(self._row(number, line))
            count += 1
            if len(self.rows) >= most_rows:
                self._flush()
            if count * len(self.needed) > MOST_VALUES:
                raise RecordFileError(f"{self.path} holds more than {MOST_VALUES} values. Split the recording.")
        self._flush()
        if len(self.marks) > 1:
            raise RecordFileError(
                f"{self.path}: points and commas are both used for decimals, so numbers are uncertain. Use one."
            )
        return Table(self.header, np.concatenate(self.blocks), np.concatenate(self.counters))

    def _flush(self) -> None:
        if self.rows:
            block = np.array(self.rows, dtype=np.float64)
            with np.errstate(over="ignore"):  # infinite values are refused by who called
                self.blocks.append(block[:, : self.num_values].astype(np.float32))
            self.counters.append(block[:, self.num_values :])
            self.rows = []

    def _row(self, number: int, line: str) -> list[float]:
        delimiter = self.header.delimiter
        cells = cells_of(line, delimiter)
        if self.header.trailing and len(cells) > 1 and not cells[-1]:
            cells.pop()
        if len(cells) != self.header.width:
            what = "is a comment" if line.lstrip().startswith("#") else f"has {len(cells)} cells"
            raise RecordFileError(
                f"{self.path}: line {number} {what}; expected {self.header.width} as in line "
                f"{self.header.first_line}. It is not left out in silence: correct or remove it."
            )
        wanted = [cells[column] for column in self.needed]
        if _PLAIN_LINE.fullmatch(line) and (delimiter == "," or "," not in line):
            if delimiter == "," and _LEADING_ZERO.search(line):
                raise RecordFileError(
                    f"{self.path}: line {number} has a whole number that begins with 0. If commas mark decimals, "
                    "separate the cells by semicolons."
                )
            try:
                values = [float(cell) for cell in wanted]
            except ValueError:  # a cell is empty, or damaged
                return [self._number(number, column, cell) for column, cell in zip(self.needed, wanted, strict=True)]
            if "." in line:
                self.marks.add(".")
            return values
        return [self._number(number, column, cell) for column, cell in zip(self.needed, wanted, strict=True)]

    def _number(self, number: int, column: int, cell: str) -> float:
        value = number_in(cell)
        if value is None:
            value = seconds_in(cell)
        elif "." in cell or "," in cell:
            self.marks.add("." if "." in cell else ",")
        if value is None:
            names = self.header.names
            which = f"column {column + 1}" if names is None else f"column {shown(names[column])}"
            hint = "It is a comment, and rows are not left out in silence." if "#" in cell else "Correct it."
            raise RecordFileError(
                f"{self.path}: line {number}, {which}: {shown(cell)} is not a number. A missing sample is nan or an "
                f"empty cell. {hint}"
            )
        return value
