# SPDX-License-Identifier: Apache-2.0
"""What the readers of clinical formats share: limits, numbers, units, lead names, and building the record."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .advice import CHOOSE_LEADS, NAME_ALL_CHANNELS
from .ecg_record import ECGRecord
from .errors import ECGInputError, RecordFileError, shown
from .leads import inverted, known_spelling, refuse_scalp_electrodes
from .units import (
    EXPECTED_UNITS,
    HIGHEST_RATE,
    LONGEST_FILE_SECONDS,
    LOWEST_RATE,
    MOST_LEADS,
    MOST_VALUES,
    millivolts_per,
)
from .wfdb_header import open_record_file

# A scale or an offset beyond these bounds (millivolts) makes values that float32 cannot hold.
_SMALLEST_SCALE, _LARGEST_SCALE, _LARGEST_OFFSET = 1e-12, 1e9, 1e9
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A whole file, if it has at most `most_bytes`."""
    with open_record_file(path, path.parent) as (file, size):
        if size > most_bytes:
            raise RecordFileError(
                f"{path} has {size} bytes; at most {most_bytes} are read in its format. Split the recording, or "
                "convert it to WFDB, which can be read in parts."
            )
        return file.read(size)


def number(where: str, what: str, text: str | None) -> float:
    """A number from a file's text, which must be there."""
    if text is None or not text.strip():
        raise RecordFileError(f"{where}: the {what} is missing. It is not guessed: export the recording with it.")
    if not _NUMBER.fullmatch(text.strip()):
        raise RecordFileError(
            f"{where}: the {what} is {shown(text)}, which is not a number. Export the recording again."
        )
    return float(text.strip())


def whole_number(where: str, what: str, text: str | None) -> int:
    """A whole number from a file's text, which must be there."""
    value = number(where, what, text)
    assert text is not None
    if _WHOLE_NUMBER.fullmatch(text.strip()):
        return int(text.strip())
    if not value.is_integer() or abs(value) > 2**53:  # "-32768.0" is whole
        raise RecordFileError(
            f"{where}: the {what} is {shown(text.strip())}, which is not a whole number. Export the recording again."
        )
    return int(value)


def wrong_size(what: str, found: int, expected: int, stated: str) -> RecordFileError:
    """An error for data that are shorter or longer than a header says.

    Args:
        what: where the data are, such as "file.edf".
        stated: what the header says, such as "10 data records".
    """
    if found < expected:
        advice = f"{expected - found} are missing. It is truncated, or was not closed."
    else:
        advice = f"{found - expected} are too many: the header is wrong, or something was added."
    return RecordFileError(
        f"{what} has {found} bytes, but {stated} take {expected}: {advice} Export the recording again."
    )


def in_millivolts(where: str, what: str, value: float, unit: str | None) -> float:
    """A scale or an offset in millivolts, from the unit that the file states.

    Raises:
        RecordFileError: the unit is missing, or is not a unit of voltage.
    """
    if unit is None or not unit.strip():
        raise RecordFileError(
            f"{where}: the unit of the {what} is missing. It is not guessed: export the recording with it."
        )
    if (scale := millivolts_per(unit)) is None:
        raise RecordFileError(
            f"{where}: the unit of the {what} is {shown(unit)}; expected {EXPECTED_UNITS}. If it is no ECG channel, "
            f"{CHOOSE_LEADS}."
        )
    return value * scale


def scaled(where: str, counts: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """counts * scale + offset as float32 millivolts; scale and offset are in millivolts too."""
    if not _SMALLEST_SCALE <= abs(scale) <= _LARGEST_SCALE or not abs(offset) <= _LARGEST_OFFSET:
        raise RecordFileError(
            f"{where}: steps of {scale:g} mV with an offset of {offset:g} mV are not those of an ECG. Export the "
            "recording again."
        )
    return (counts * np.float64(scale) + offset).astype(np.float32)


def check_size(where: str, num_leads: int, num_samples: int, sampling_rate: float) -> None:
    """Refuse rates and lengths out of bounds, before memory is taken."""
    if not LOWEST_RATE <= sampling_rate <= HIGHEST_RATE:
        raise RecordFileError(
            f"{where}: the sampling rate is {sampling_rate:g} Hz; expected {LOWEST_RATE:g} to {HIGHEST_RATE:g}. Is it "
            "a recording of ECG leads?"
        )
    for what, value, most in (
        ("leads", num_leads, MOST_LEADS),
        ("samples per lead", num_samples, LONGEST_FILE_SECONDS * sampling_rate),
        ("samples over all leads", num_leads * num_samples, MOST_VALUES),
    ):
        if not 1 <= value <= most:
            raise RecordFileError(
                f"{where}: it has {value} {what}; expected 1 to {most:.0f}. Export the recording again, or split it."
            )


def stack_leads(path: Path, rows: Sequence[np.ndarray]) -> np.ndarray:
    """(leads, time) from one array per lead, which must all have the same length."""
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise RecordFileError(
            f"{path}: its leads have {', '.join(map(str, lengths))} samples; all must have the same number. If the "
            f"file is not truncated, {CHOOSE_LEADS}; otherwise export the recording again."
        )
    return np.stack(rows)


def make_record(path: Path, signal: np.ndarray, sampling_rate: float, names: Sequence[str | None]) -> ECGRecord:
    """The record of a file.

    Args:
        path: its name without the suffix becomes the record's id. Nothing about the patient is taken from the file.
        signal: float32 millivolts, (leads, time).
        names: the channels as the file names them. Leads get their names in `STANDARD_LEADS`; others keep theirs.

    Raises:
        RecordFileError: a channel has no name, has the same name as another, or is an inverted lead.
    """
    check_size(str(path), len(signal), signal.shape[1], sampling_rate)
    for row, name in enumerate(names, 1):
        if name is None or not name.strip():
            raise RecordFileError(
                f"{path}: channel {row} has no name, which is not guessed. If you know them, {NAME_ALL_CHANNELS}."
            )
        if inverted(name):
            raise RecordFileError(
                f"{path}: channel {row} is {shown(name)}, an inverted lead, which is not supported. Invert its signal "
                "and rename it."
            )
    given = [str(name) for name in names]
    try:
        refuse_scalp_electrodes(given)
    except ECGInputError as error:
        raise RecordFileError(f"{path}: {error}") from error
    lead_names = tuple(known_spelling(name) or name for name in given)
    for name in lead_names:
        if lead_names.count(name) > 1:
            raise RecordFileError(f"{path}: channel {shown(name)} comes more than once. Keep one of them.")
    return ECGRecord(signal, sampling_rate, lead_names, record_id=path.stem)
