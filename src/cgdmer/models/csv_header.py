# SPDX-License-Identifier: Apache-2.0
"""What stands above the numbers of a table: names of columns, units, and facts such as "Sample Rate,512 hertz"."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .errors import ECGInputError, RecordFileError, shown
from .units import MOST_LEADS, millivolts_per

SECONDS_PER_UNIT = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "microsecond", "microseconds"), 1e-6),
}
_TIMES = {"time", "t", "times", "timestamp", "elapsed time", "elapsed", "time stamp", "datetime", *SECONDS_PER_UNIT}
_ROW_NUMBERS = {"", "index", "idx", "sample", "samples", "sample number", "sample #", "sample index", "row", "n", "no"}
_ROW_NUMBERS |= {"#", "unnamed: 0", "rownames"}

# Facts that a file may state above its table, by the words before the comma.
_RATES = {"sample rate", "sampling rate", "samplerate", "sampling frequency", "sample frequency", "fs"}
_UNITS, _LEADS = {"unit", "units"}, {"lead"}
_RATE = re.compile(r"([0-9]{1,6}(?:[.,][0-9]{1,9})?)\s*(?:hz|hertz)?", re.IGNORECASE)

# Only digits of ASCII, and no words: Python's float takes more.
_POINT = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_COMMA = re.compile(r"[+-]?(?:[0-9]{1,40}(?:,[0-9]{0,40})?|,[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_MISSING = {"", "nan", "na", "n/a", "null", "none"}
_CLOCK = re.compile(r"\[?(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,2}(?:[.,][0-9]{1,9})?)(?: [0-9/.-]{8,10})?\]?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3}(?:[0-9]{3})?)?")
_CLOCK_UNIT = re.compile(r"h{1,2}:m{1,2}:s{1,2}(?:[.,][sm]{1,3})?", re.IGNORECASE)
_WITH_UNIT = re.compile(r"(?P<name>[^()\[\]]*?)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]\s*")
_WITH_UNIT_BEHIND = re.compile(r"(?P<name>.*[^\s_/,])[\s_/,]+(?P<unit>[^\s_/,]+)")
_COLUMNS_AT_MOST = MOST_LEADS + 16


@dataclass(frozen=True)
class TableHeader:
    """What is known about a table before its numbers are read.

    Attributes:
        delimiter: between cells; "" for blanks, or for a single column.
        width: cells per row.
        trailing: whether each row ends with a delimiter, behind which there is nothing.
        names: of the columns, without units; None if the file has none.
        units: as written, one per column; None where the file has none.
        sampling_rate: in Hz; None if the file does not state it.
        first_line, first_row: the number and the text of the first line with numbers.
    """

    delimiter: str
    width: int
    trailing: bool
    names: tuple[str, ...] | None
    units: tuple[str | None, ...]
    sampling_rate: float | None
    first_line: int
    first_row: str


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line, without blanks and quotes around them."""
    if '"' in line:
        try:
            (cells,) = csv.reader([line], delimiter=delimiter or " ", skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            cells = line.split(delimiter or None)  # so a cell has a quotation mark, and is not a number
    else:
        cells = line.split(delimiter or None)
    return [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == "'" else cell


def is_row(line: str) -> bool:
    """Whether a line has numbers, so that the table has begun."""
    if line.lstrip().startswith("#") or _fact(line) is not None:
        return False
    cells = cells_of(line, _delimiter(line))
    if len(cells) == 2 and number_in(cells[0]) is None and seconds_in(cells[0]) is None:
        return False  # "Software Version,1.9"
    return any(cell.lower() not in _MISSING and number_in(cell) is not None for cell in cells)


def number_in(cell: str) -> float | None:
    """A number with a decimal point or comma; NaN if it is missing; None for anything else."""
    if cell.lower() in _MISSING:
        return float("nan")
    if _POINT.fullmatch(cell):
        return float(cell)
    return float(cell.replace(",", ".")) if _COMMA.fullmatch(cell) else None


def seconds_in(cell: str) -> float | None:
    """The time of a clock or a date in seconds; None for anything else."""
    if match := _CLOCK.fullmatch(cell):
        hours, minutes, seconds = match.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds.replace(",", "."))
    if not _DATE.fullmatch(cell):
        return None
    try:
        return (datetime.fromisoformat(cell) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None


def counter_of(name: str) -> str | None:
    """ "time" for a column of times, "row" for one of row numbers; None for a channel."""
    squeezed = " ".join(re.split(r"[\s_]+", name.strip().lower()))
    return "time" if squeezed in _TIMES else "row" if squeezed in _ROW_NUMBERS else None


def read_table_header(path: Path, lines: Sequence[tuple[int, str]]) -> TableHeader:
    """What the numbered lines up to the first row say.

    Raises:
        RecordFileError: the last line is no row; or a line above it is neither names, units, nor a known fact.
        ECGInputError: the first row counts the columns.
    """
    if not lines or not is_row(lines[-1][1]):
        raise RecordFileError(f"{path} holds no numbers: it is empty, or is not a table with one column per lead.")
    first_line, first_row = lines[-1]
    _refuse_hidden_rows(path, lines)
    facts: dict[str, str] = {}
    begin = 0
    for position, (_, line) in enumerate(lines[:-1]):
        if (fact := _fact(line)) is not None:
            facts[fact[0]] = fact[1]
            begin = position + 1
    delimiter = _delimiter(first_row)
    cells = cells_of(first_row, delimiter)
    names, units = _names_and_units(path, lines[begin:-1], delimiter, len(cells))
    if names is None:
        _refuse_counted_columns(path, first_row, cells)
    if names is None and "lead" in facts:
        names = [facts["lead"]]
    if names is not None and len(names) == 1 and delimiter == "," and len(cells) == 2:
        delimiter, cells = "", [first_row]  # one column, whose decimals are behind a comma
    trailing = bool(delimiter) and len(cells) > 1 and not cells[-1] and names is not None
    if names is not None and trailing:
        names = names[:-1] if len(names) == len(cells) and not names[-1] else names
        trailing = len(names) == len(cells) - 1
    width = len(cells) - trailing
    if names is not None and len(names) == width - 1 and len(names) > 1:
        names = ["", *names]  # R leaves the name of the column of row numbers out
        units = ["", *units] if units else units
    if names is not None and len(names) != width:
        raise RecordFileError(
            f"{path}: {len(names)} columns are named ({shown(', '.join(names))}), but line {first_line} has {width} "
            "cells. If commas mark decimals, separate the cells by semicolons."
        )
    return TableHeader(
        delimiter,
        width,
        trailing,
        *_with_units(path, names, units, facts.get("unit"), width),
        _stated_rate(path, facts.get("rate")),
        first_line,
        first_row,
    )


def _delimiter(line: str) -> str:
    return next((mark for mark in ("\t", ";", ",") if mark in line), "")


def _fact(line: str) -> tuple[str, str] | None:
    """What a line such as "Sample Rate,512 hertz" or "# fs = 500" is about, and the value."""
    for mark in (";", "\t", ":", "=", ","):
        key, found, value = line.strip().lstrip("#").replace('"', "").partition(mark)
        key = " ".join(re.split(r"[\s_]+", re.sub(r"\(hz\)", "", key.strip().lower()).strip()))
        value = value.strip(" ,;\t")
        if found and value and len(value) <= 100:
            if key in _RATES:
                return "rate", value
            if key in _UNITS | _LEADS and not re.search(r"[,;\t]", value):
                return ("unit" if key in _UNITS else "lead"), value
    return None


def _refuse_hidden_rows(path: Path, lines: Sequence[tuple[int, str]]) -> None:
    for number, line in lines:
        text = line.strip()
        if text.startswith("#"):
            cells = cells_of(text.lstrip("#"), _delimiter(text))
            if cells and any(cells) and all(number_in(cell) is not None for cell in cells):
                raise RecordFileError(
                    f"{path}: line {number} begins with #, but holds numbers. Rows are not left out in silence: "
                    "remove the sign, or the line."
                )


def _refuse_counted_columns(path: Path, line: str, cells: list[str]) -> None:
    """0, 1, 2, ... or 1, 2, 3, ..., which pandas writes above a table without column names."""
    counted = cells[1:] if cells and not cells[0] else cells
    for start in (0, 1):
        if len(counted) > 1 and counted == [str(number + start) for number in range(len(counted))]:
            raise ECGInputError(
                f"{path} begins with the line {shown(line.strip()[:60])}, which counts the columns and is not a "
                "sample. Write the lead names there, or leave it out (pandas: to_csv(header=False, index=False))."
            )


def _names_and_units(
    path: Path, lines: Sequence[tuple[int, str]], delimiter: str, width: int
) -> tuple[list[str] | None, list[str]]:
    """The names of columns, and the line of units below them; nothing where there is no such line."""
    lines = [(number, line.strip()) for number, line in lines if line.strip()]
    while lines and lines[0][1].startswith("#"):
        # numpy.savetxt writes names behind the sign. Other comments are not about columns.
        cells = cells_of(lines[0][1].lstrip("# "), delimiter)
        if len(lines) == 1 and len(cells) == width:
            return cells, []
        lines = lines[1:]
    if not lines:
        return None, []
    # The name of a single column may have blanks in it.
    rows = [[line.strip('"')] if width == 1 and not delimiter else cells_of(line, delimiter) for _, line in lines]
    if len(rows) == 2 and all(_is_unit(cell) for cell in rows[1]) and len(rows[1]) == len(rows[0]):
        return rows[0], rows[1]
    if len(rows) > 1:
        raise RecordFileError(
            f"{path}: lines {lines[0][0]} to {lines[-1][0]} are above the numbers and are not understood, so they are "
            "not left out in silence. Keep only one line there, with the names of the columns."
        )
    if len(rows[0]) > _COLUMNS_AT_MOST:
        raise RecordFileError(f"{path} names {len(rows[0])} columns; at most {_COLUMNS_AT_MOST} are read.")
    return rows[0], []


def _is_unit(text: str) -> bool:
    return not text or is_time_unit(text) or millivolts_per(text) is not None or bool(_CLOCK_UNIT.fullmatch(text))


def is_time_unit(text: str) -> bool:
    return text.strip().lower() in SECONDS_PER_UNIT


def _with_units(
    path: Path, names: list[str] | None, units: list[str], stated: str | None, width: int
) -> tuple[tuple[str, ...] | None, tuple[str | None, ...]]:
    """Names without their units, and the units: "I (mV)" is I in mV."""
    if names is None:
        return None, (stated,) * width
    found: list[tuple[str, str | None]] = []
    for position, name in enumerate(names):
        match = _WITH_UNIT.fullmatch(name)
        if match is None and (behind := _WITH_UNIT_BEHIND.fullmatch(name)) and _is_unit(behind["unit"]):
            match = behind
        bare, unit = (match["name"], match["unit"].strip()) if match else (name, None)
        below = (units[position] or None) if units else None
        if unit and below and unit != below:
            raise RecordFileError(
                f"{path}: the column {shown(name)} has the unit {shown(below)} below it. Correct it."
            )
        found.append((bare.strip(), unit or below or (None if counter_of(bare) else stated)))
    return tuple(bare for bare, _ in found), tuple(unit for _, unit in found)


def _stated_rate(path: Path, text: str | None) -> float | None:
    if text is None:
        return None
    if not (match := _RATE.fullmatch(text)):
        raise RecordFileError(f"{path} states the rate {shown(text)}, which is not a number of samples per second.")
    return float(match[1].replace(",", "."))
