# SPDX-License-Identifier: Apache-2.0
"""What the readers of the clinic's formats share: bounds, numbers, units, lead names, and the record they make."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .ecg_record import ECGRecord
from .errors import ECGInputError, RecordFileError
from .leads import known_spelling, refuse_places_on_the_scalp
from .units import (
    HIGHEST_RATE,
    LONGEST_FILE_SECONDS,
    LOWEST_RATE,
    MILLIVOLTS_PER_UNIT,
    MOST_LEADS,
    MOST_VALUES,
    UNITS_OF_CLINIC_FILES,
)
from .wfdb_header import open_record_file

# A scale or an offset beyond these bounds (millivolts) makes values that float32 cannot hold.
_SMALLEST_SCALE, _LARGEST_SCALE, _LARGEST_OFFSET = 1e-12, 1e9, 1e9
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A whole file, if it has at most so many bytes."""
    with open_record_file(path, path.parent) as (file, size):
        if size > most_bytes:
            raise RecordFileError(
                f"{path} holds {size} bytes; at most {most_bytes} are read in its format. Divide the recording, or "
                "convert it to WFDB, of which parts can be read."
            )
        return file.read(size)


def number(where: str, what: str, text: str | None) -> float:
    """A number from a file's text, which must be there."""
    if text is None or not text.strip():
        raise RecordFileError(f"{where}: the {what} is missing. It is not guessed: export the recording with it.")
    if not _NUMBER.fullmatch(text.strip()):
        raise RecordFileError(f"{where}: the {what} is given as {shown(text)}, which is no number. Export it again.")
    return float(text.strip())


def whole_number(where: str, what: str, text: str | None) -> int:
    """A whole number from a file's text, which must be there."""
    value = number(where, what, text)
    assert text is not None
    if not _WHOLE_NUMBER.fullmatch(text.strip()):
        raise RecordFileError(
            f"{where}: the {what} is given as {value:g}, which is not a whole number. Export the recording again."
        )
    return int(text.strip())


def in_millivolts(where: str, what: str, value: float, unit: str | None) -> float:
    """A scale or an offset, in the unit that the file states, in millivolts.

    Raises:
        RecordFileError: the unit is missing or no unit of voltage.
    """
    if unit is None or not unit.strip():
        raise RecordFileError(
            f"{where}: the unit of the {what} is missing. It is not guessed: export the recording with it."
        )
    if unit.strip() not in UNITS_OF_CLINIC_FILES:
        raise RecordFileError(
            f"{where}: the unit of the {what} is {shown(unit)}, which is not one of V, mV, uV and nV. Name the leads "
            "to use where other channels are no ECG (read_record(path, leads=[...]), --leads)."
        )
    return value * MILLIVOLTS_PER_UNIT[unit.strip()]


def scaled(where: str, counts: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """counts * scale + offset in float32 millivolts; scale and offset are millivolts too."""
    if not _SMALLEST_SCALE <= abs(scale) <= _LARGEST_SCALE or not abs(offset) <= _LARGEST_OFFSET:
        raise RecordFileError(
            f"{where}: a step of {scale:g} mV from {offset:g} mV on is not one of an ECG. Export the recording again."
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
        ("samples a lead", num_samples, LONGEST_FILE_SECONDS * sampling_rate),
        ("samples of all leads together", num_leads * num_samples, MOST_VALUES),
    ):
        if not 1 <= value <= most:
            raise RecordFileError(
                f"{where}: it has {value} {what}; expected 1 to {most:.0f}. Export the recording again, or divide it."
            )


def make_record(path: Path, signal: np.ndarray, sampling_rate: float, names: Sequence[str | None]) -> ECGRecord:
    """The record of a file.

    Args:
        path: names the record, without its suffix. Nothing that the file says of the patient goes in.
        signal: float32 millivolts, (leads, time).
        names: the leads as the file has them; they become those of `STANDARD_LEADS`. Other channels keep their names.

    Raises:
        RecordFileError: a channel has no name, or that of another one, or is a lead upside down.
    """
    check_size(str(path), len(signal), signal.shape[1], sampling_rate)
    for row, name in enumerate(names, 1):
        if name is None or not name.strip():
            raise RecordFileError(
                f"{path}: channel {row} has no name. It is not guessed: write it in (I, II, V1, ...)."
            )
        if re.search(r"(^|\s)-(?=\S)", name):  # EDF+ writes "-aVR" for what is upside down
            raise RecordFileError(
                f"{path}: channel {row} is {shown(name)}, a lead upside down, which is not read here. Turn it over."
            )
    try:
        refuse_places_on_the_scalp([str(name) for name in names])
    except ECGInputError as error:
        raise RecordFileError(f"{path}: {error}") from error
    spelt = [known_spelling(str(name)) or str(name) for name in names]
    if twice := [name for name in spelt if spelt.count(name) > 1]:
        raise RecordFileError(f"{path}: channel {shown(twice[0])} is there more than once. Keep one of them.")
    return ECGRecord(signal, sampling_rate, tuple(spelt), record_id=path.stem)


def shown(text: str) -> str:
    """A text of a file for a message."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
