# SPDX-License-Identifier: Apache-2.0
"""Tables and arrays of numbers: CSV and NPY. Who reads them states what they do not: rate, unit, leads."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .advice import CHOOSE_LEADS, STATE_ARRAY
from .channels import LeadNames, channels_to_read
from .clinic_files import check_size
from .csv_header import SECONDS_PER_UNIT, TableHeader, counter_of
from .ecg_record import ECGRecord, keep_leads
from .errors import ECGInputError, RecordFileError, shown
from .leads import standard_lead_names
from .missing_samples import erase_marks
from .reading_csv import Columns, read_header, read_table
from .reading_npy import NPY_START, read_npy
from .units import EXPECTED_UNITS, millivolts_per

ARRAY_SUFFIXES = (".csv", ".tsv", ".txt", ".npy")
# Printed times are rounded, and a clock may be a little off.
_RATE_TOLERANCE = 0.02


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is read by `read_array_file`: by its suffix, or as an NPY file by its first bytes."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES or _starts_as_npy(Path(path))


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the columns that a CSV file states, without times and row numbers; none for an NPY file.

    Raises:
        RecordFileError, ECGInputError: as in `read_array_file`.
    """
    path = Path(path)
    names = () if _is_npy(path) else read_header(path).names or ()
    return [name for name in names if counter_of(name) is None]


def read_array_file(
    path: str | os.PathLike[str],
    sampling_rate: float | None = None,
    unit: str | None = None,
    lead_names: LeadNames | None = None,
    leads: Sequence[str] | None = None,
) -> ECGRecord:
    """Read a CSV file (or one with tabs, semicolons, or blanks) or an NPY file of numbers.

    In a CSV file, the columns are leads; without a line of names, the rows may be leads instead. An NPY file holds an
    array of shape (leads, time) or (time, leads), or (time,) of one lead. A CSV file may state names ("I (mV)"),
    units, and rate, as the export of a watch does. A column of times or row numbers is checked for gaps, and says the
    rate if its own unit is known. All samples of all leads that are used must be numbers, or be marked as missing.

    Args:
        sampling_rate: in Hz.
        unit: of voltage, such as "mV" or "microvolt".
        lead_names: one name per column in the file's order ("time" and "index" among them), or `{"MLII": "II"}` for a
            file that names its columns.
        leads: which of the twelve leads to use; None: all channels, each of which must be one.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), NaN where a sample is missing.

    Raises:
        RecordFileError: the file is missing, damaged, too large, or no table or array of numbers; a row is missing.
        ECGInputError: rate, unit, or leads are neither in the file nor given, or contradict it.
    """
    path = Path(path)
    rate = _checked_rate(sampling_rate)
    if unit is not None and (not isinstance(unit, str) or millivolts_per(unit) is None):
        raise ECGInputError(f"unit is {shown(unit)}; expected {EXPECTED_UNITS}.")
    if _is_npy(path):
        signal, units = _npy(path, lead_names), None
        names = _checked_names(path, list(lead_names or ()), leads)
    else:
        signal, names, units, rate = _csv(path, rate, lead_names, leads)
    missing = [
        what
        for what, there in (
            ("rate", rate is not None),
            ("unit", unit is not None or (units is not None and all(units))),
        )
        if not there
    ]
    if missing:
        raise ECGInputError(f"{path} does not state its {' and '.join(missing)}, which is not guessed. {STATE_ARRAY}")
    assert rate is not None
    check_size(str(path), len(signal), signal.shape[1], rate)
    scales = [_scale(path, name, own, unit) for name, own in zip(names, units or [None] * len(names), strict=True)]
    with np.errstate(over="ignore"):
        signal_mv = signal * np.array(scales, dtype=np.float64)[:, None]
        erase_marks(signal_mv, signal, "")
        signal = signal_mv.astype(np.float32)
    if np.isinf(signal).any():  # of the file, or of its unit
        raise RecordFileError(
            f"{path} holds values that are infinite, or too large for any ECG. Mark missing ones nan."
        )
    record = ECGRecord(signal, rate, tuple(names), record_id=path.stem)
    return record if leads is None else keep_leads(record, leads)


def _checked_names(path: Path, names: Sequence[str], leads: Sequence[str] | None) -> list[str]:
    """Standard spellings, unless only some `leads` are used."""
    if leads is not None:
        return list(names)
    try:
        return standard_lead_names(names)
    except ECGInputError as error:
        raise ECGInputError(f"{path}: {error}") from error


def _checked_rate(sampling_rate: float | None) -> float | None:
    if sampling_rate is None:
        return None
    try:
        return float(sampling_rate)
    except (TypeError, ValueError, OverflowError) as error:
        raise ECGInputError(f"sampling_rate is {shown(sampling_rate)}; expected a number in Hz.") from error


def _is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy" or _starts_as_npy(path)


def _starts_as_npy(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(NPY_START)) == NPY_START
    except OSError:
        return False  # the reader says what is wrong


def _names_needed(path: Path, what: str) -> ECGInputError:
    return ECGInputError(f"{path} does not state its leads, which are not guessed. Name each {what}. {STATE_ARRAY}")


def _npy(path: Path, lead_names: LeadNames | None) -> np.ndarray:
    """(leads, time), as stored."""
    values = read_npy(path)
    if not lead_names or isinstance(lead_names, (str, Mapping)):
        raise _names_needed(path, "row")
    count = len(lead_names)
    if values.ndim == 1 and count == 1:
        return values[None]
    if values.ndim == 1 or count not in values.shape:
        raise ECGInputError(f"{path} holds an array of shape {values.shape}, but {count} leads are named.")
    if values.shape[0] == values.shape[1] > 1:
        raise ECGInputError(f"{path} is square, {values.shape}: which way round is uncertain. Store (leads, time).")
    return values if values.shape[0] == count else values.T


@dataclass(frozen=True)
class _Layout:
    """Names of all columns (or of all rows, if the columns are samples), and which columns are what."""

    names: list[str]
    channels: list[int]
    counters: list[int]


def _csv(
    path: Path, rate: float | None, lead_names: LeadNames | None, leads: Sequence[str] | None
) -> tuple[np.ndarray, list[str], list[str | None], float | None]:
    """(leads, time) float32 as written, with the name and the unit (None: not stated) of each lead; and the rate."""
    found: list[_Layout] = []

    def choose(header: TableHeader) -> Columns:
        found.append(_layout(path, header, lead_names, leads))
        if len(found[0].names) != header.width:
            return Columns(None)
        return Columns(found[0].channels, found[0].counters)

    table = read_table(path, choose)
    header, (layout,) = table.header, found
    rate = _agreed(path, rate, header.sampling_rate)
    rows, names = len(table.values), layout.names
    if len(names) != header.width:
        if rows != len(names):
            raise ECGInputError(
                f"{path} has {rows} rows and {header.width} columns, but {len(names)} leads are named. A column of "
                'times or row numbers is named too: "time", "index".'
            )
        return table.values, names, [header.units[0]] * rows, rate
    if header.names is None and rows == header.width > 1:
        raise ECGInputError(
            f"{path} has {rows} rows and as many columns, so which are leads is uncertain. Write names above columns."
        )
    for place, column in enumerate(layout.counters):
        counted = _Counter(path, names[column], header.units[column], table.counters[:, place], header.first_line)
        rate = counted.rate(rate)
    channels = layout.channels
    return table.values.T, [names[column] for column in channels], [header.units[column] for column in channels], rate


def _layout(path: Path, header: TableHeader, lead_names: LeadNames | None, leads: Sequence[str] | None) -> _Layout:
    if header.names is None:
        if not lead_names or isinstance(lead_names, (str, Mapping)):
            raise _names_needed(path, "column")
        names = list(lead_names)
        if len(names) != header.width:  # the rows may be leads
            return _Layout(_checked_names(path, names, leads), [], [])
    else:
        names = list(header.names)
        if lead_names and not isinstance(lead_names, (str, Mapping)):
            lead_names = [name for name in lead_names if counter_of(name) is None]
    counters = [column for column, name in enumerate(names) if counter_of(name)]
    channels = [column for column in range(header.width) if column not in counters]
    if not channels:
        raise ECGInputError(f"{path} has no column of a lead; it has {shown(', '.join(names))}.")
    stated = None if header.names is None or not lead_names else lead_names
    rows, chosen = channels_to_read([names[column] for column in channels], leads, stated, str(path))
    channels = [channels[row] for row in rows]
    for column, name in zip(channels, _checked_names(path, chosen, leads), strict=True):
        names[column] = name
    return _Layout(names, channels, counters)


def _agreed(path: Path, given: float | None, stated: float | None) -> float | None:
    """The rate, which must be the same wherever it is stated."""
    if given is not None and stated is not None and abs(stated / given - 1) > _RATE_TOLERANCE:
        raise ECGInputError(
            f"{path} states a rate of {stated:g} Hz, not {given:g}. Leave the rate out, or correct it."
        )
    return stated if stated is not None else given


@dataclass(frozen=True)
class _Counter:
    """A column of times or row numbers."""

    path: Path
    name: str
    unit: str | None
    values: np.ndarray  # (rows,)
    first_line: int

    def rate(self, given: float | None) -> float | None:
        """The rate that is known after this column, which must agree with the one that was known before.

        Raises:
            RecordFileError: rows are missing, or times are not evenly spaced.
            ECGInputError: the column has another rate, or the unit of its times is unknown.
        """
        if len(self.values) < 2:
            return given
        steps = np.diff(self.values)
        self._check_steps(steps)
        if counter_of(self.name) == "row":
            return given
        step = (self.values[-1] - self.values[0]) / len(steps)
        unit = self.unit if self.unit is not None else self.name
        known = SECONDS_PER_UNIT.get(unit.strip().lower(), None if ":" not in unit else 1.0)
        if known is not None:
            return _agreed(self.path, given, _whole(1 / (known * step), np.ptp(steps) / (len(steps) * step)))
        if given is None:
            raise ECGInputError(
                f"{self.path}: its column {shown(self.name)} grows by {step:g} per row, in a unit that is not stated. "
                f"State the rate in Hz, or the unit in the name: time (s), time (ms). {STATE_ARRAY}"
            )
        # Seconds, milliseconds, microseconds, or samples.
        if not any(abs(step * scale * given - 1) <= _RATE_TOLERANCE for scale in (1.0, 1e-3, 1e-6, 1 / given)):
            raise ECGInputError(
                f"{self.path}: its column {shown(self.name)} grows by {step:g} per row, which is not {given:g} Hz. "
                "Correct the rate, or remove the column."
            )
        return given

    def _check_steps(self, steps: np.ndarray) -> None:
        smallest, largest = float(steps.min()), float(steps.max())
        positive = steps[steps > 0]
        if counter_of(self.name) == "row":
            even = smallest == largest == 1
        elif smallest == 0 and len(positive):  # printed with few decimals, so some repeat
            even = largest <= 1.01 * positive.min()
        else:
            even = smallest > 0 and largest - smallest <= 0.5 * float(steps.mean())
        if not even:
            row = int(np.argmax(np.abs(np.nan_to_num(steps, nan=np.inf) - np.nanmedian(steps))))
            raise RecordFileError(
                f"{self.path}: its column {shown(self.name)} goes from {self.values[row]:.12g} to "
                f"{self.values[row + 1]:.12g} at line {self.first_line + row + 1}, so rows are missing or not evenly "
                "spaced. Fill them with nan; if only the column is wrong, remove it."
            )


def _whole(rate: float, tolerance: float) -> float:
    """The nearest whole number if it is as near as rounded times allow."""
    return float(round(rate)) if abs(round(rate) / rate - 1) <= tolerance + 1e-9 else rate


def _scale(path: Path, name: str, own: str | None, given: str | None) -> float:
    """Millivolts per unit of a lead."""
    scales = {text: millivolts_per(text) for text in (own, given) if text is not None}
    for text, scale in scales.items():
        if scale is None:
            raise RecordFileError(
                f"{path}: the unit of {name} is {shown(text)}; expected {EXPECTED_UNITS}. If it is not a lead, "
                f"{CHOOSE_LEADS}."
            )
    if len(set(scales.values())) > 1:
        raise ECGInputError(
            f"{path} states the unit {own} for {name}, not {given}. Leave the unit out, or correct it."
        )
    (scale,) = set(scales.values())
    assert scale is not None
    return scale
