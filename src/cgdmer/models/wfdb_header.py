# SPDX-License-Identifier: Apache-2.0
"""Headers of WFDB records: the text is validated line by line, and nothing that it leaves open is guessed."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .advice import CHOOSE_LEADS, NAME_ALL_CHANNELS
from .channels import LeadNames, channels_to_read
from .errors import CGDMERError, RecordFileError
from .units import (
    EXPECTED_UNITS,
    HIGHEST_RATE,
    LONGEST_FILE_SECONDS,
    LOWEST_RATE,
    MOST_LEADS,
    millivolts_per,
)

# A gain beyond these bounds (units per mV) makes values that float32 cannot hold.
_LOWEST_GAIN, _HIGHEST_GAIN = 1e-9, 1e12
_MOST_HEADER_BYTES = 2**20  # headers of real corpora have 200 to 3,000


@dataclass(frozen=True)
class Format:
    """A WFDB storage format, which packs `block_samples` samples into `block_bytes` bytes."""

    block_bytes: int
    block_samples: int
    bits: int
    invalid: int  # the integer that stands for "no sample"


FORMATS = {
    "16": Format(2, 1, 16, -(2**15)),
    "61": Format(2, 1, 16, -(2**15)),
    "160": Format(2, 1, 16, -(2**15)),
    "80": Format(1, 1, 8, -(2**7)),
    "212": Format(3, 2, 12, -(2**11)),
    "310": Format(4, 3, 10, -(2**9)),
    "311": Format(4, 3, 10, -(2**9)),
    "24": Format(3, 1, 24, -(2**23)),
    "32": Format(4, 1, 32, -(2**31)),
}

# Lengths are bounded so that Python can convert every number; [0-9] because \d also matches digits of other scripts.
_NUMBER = r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,3})?"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_RATE_FIELD = re.compile(rf"(?P<rate>{_NUMBER})(?:/.*)?")
# After the gain: up to five numbers, then the lead name. What starts like a number is one, or a damaged one.
_SIGNAL_LINE = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\S+)\s+(?P<gain>\S+)(?P<numbers>(?:\s+[0-9+.-]\S*+){0,5}+)(?:\s+(?P<name>.+))?"
)
_NUMBERS_OF_SIGNAL_LINE = ("ADC resolution", "ADC zero", "first sample", "checksum", "block size")
_FORMAT_FIELD = re.compile(
    r"(?P<format>[0-9]{1,9})(?:x(?P<per_frame>[0-9]{1,9}))?(?::(?P<skew>[0-9]{1,9}))?(?:\+(?P<offset>[0-9]{1,15}))?"
)
_GAIN_FIELD = re.compile(rf"(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?[0-9]{{1,10}})\))?(?:/(?P<unit>\S+))?")


@dataclass(frozen=True)
class StoredLead:
    """What a header says about one lead.

    Attributes:
        name: as the header spells it.
        file_name: the signal file, a plain name in the header's folder.
        format: WFDB storage format ("16", "212", ...).
        byte_offset: where the first block starts in the file.
        gain: analog-to-digital units per millivolt, whatever the header's unit.
        baseline: the integer that stands for 0 mV.
        unit: as the header spells it.
        checksum: the 16-bit sum of the samples, 0 to 65,535; None if the header has none.
    """

    name: str
    file_name: str
    format: str
    byte_offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None


@dataclass(frozen=True)
class WFDBHeader:
    """A valid single-segment WFDB header.

    Attributes:
        record_id: the record's name, which is also that of its header file.
        sampling_rate: samples per second (Hz), 50 to 10,000.
        num_samples: samples per lead.
        leads: those that were asked for, in the header's order.
        rows: which channel of the header each of them is, from 0.
        channels: how each channel is stored; None for one in a file that holds no lead that was asked for.
        comments: the `#` lines in order, without `#` and outer blanks (age, sex, diagnoses in many corpora).
    """

    record_id: str
    sampling_rate: float
    num_samples: int
    leads: tuple[StoredLead, ...]
    rows: tuple[int, ...]
    channels: tuple[tuple[str, str, int] | None, ...]  # file name, storage format, byte offset
    comments: tuple[str, ...]


def read_wfdb_header(
    path: str | os.PathLike[str], leads: Sequence[str] | None = None, lead_names: LeadNames | None = None
) -> WFDBHeader:
    """Read and validate the header of a WFDB record, without its signal files.

    Args:
        path: the record, with or without `.hea`.
        leads: which of the twelve leads are needed, whatever the header says about other channels; None: all.
        lead_names: see `renamed_channels`.

    Raises:
        RecordFileError: the header is missing, unreadable, damaged, or leaves open what must not be guessed.
        ECGInputError: one of `leads` or `lead_names` is not there exactly once.
    """
    header_path = header_path_of(path)
    with open_record_file(header_path, header_path.parent) as (file, size):
        if size > _MOST_HEADER_BYTES:
            raise RecordFileError(
                f"{header_path} has {size} bytes; a header has at most {_MOST_HEADER_BYTES}. Is it a signal file?"
            )
        text = _decode(file.read(size))
    # Not str.splitlines, which also breaks lines at form feeds and Unicode separators.
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordFileError(f"{header_path}: the header is empty. Download the file again.")
    sampling_rate, num_samples, num_leads = _parse_record_line(header_path, lines[0])
    if len(lines) - 1 != num_leads:
        raise RecordFileError(
            f"{header_path}: the number of signals is {num_leads}, but {len(lines) - 1} signal lines follow. Correct "
            "the first line, or download the file again."
        )
    where = [f"{header_path}, signal line {row}" for row in range(1, num_leads + 1)]
    fields = [_split_signal_line(*both) for both in zip(where, lines[1:], strict=True)]
    rows, names = channels_to_read([match["name"] for match in fields], leads, lead_names, str(header_path))
    files = {fields[row]["file"] for row in rows}
    channels = [
        (match["file"], *_parse_format(line, match["format"])) if match["file"] in files else None
        for line, match in zip(where, fields, strict=True)
    ]
    return WFDBHeader(
        record_id=header_path.name.removesuffix(".hea"),
        sampling_rate=sampling_rate,
        num_samples=num_samples,
        leads=tuple(
            _parse_lead(where[row], fields[row], name, channels[row]) for row, name in zip(rows, names, strict=True)
        ),
        rows=tuple(rows),
        channels=tuple(channels),
        comments=comments,
    )


def header_path_of(path: str | os.PathLike[str]) -> Path:
    try:
        text = os.fspath(path)
    except TypeError as error:
        raise RecordFileError(f"a WFDB record is named by a path, not by {type(path).__name__}.") from error
    if not isinstance(text, str) or not text or "\0" in text:
        raise RecordFileError(f"{text!r} is not a path to a WFDB record.")
    return Path(text if text.endswith(".hea") else f"{text}.hea")


@contextmanager
def open_record_file(path: Path, folder: Path, named_in: str = "") -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file inside `folder`, following symbolic links; yields the file and its size in bytes.

    System errors while it is open become a RecordFileError.
    """
    what = f"{path} (named in {named_in})" if named_in else str(path)
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True)):
            raise RecordFileError(
                f"{what} is a symbolic link that leads outside the record's folder, which is not followed. "
                "Copy the file into the folder."
            )
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would block forever
            raise RecordFileError(f"{what} is not a regular file.")
        with open(path, "rb") as file:
            yield file, status.st_size
    except CGDMERError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "Check the path, or download the file again."
        if path.name.endswith((".dat.hea", ".mat.hea")):
            hint = "A record is named by its header, so leave .dat or .mat off."
        raise RecordFileError(f"{what} does not exist. {hint}") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symbolic links in older Pythons
        raise RecordFileError(f"{what} cannot be read: {error}") from error


def _decode(header: bytes) -> str:
    """Header text. Older writers used Latin-1, which accepts any byte, for the micro sign and for names."""
    try:
        return header.decode("utf-8-sig")
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _parse_record_line(header_path: Path, line: str) -> tuple[float, int, int]:
    """(sampling rate, number of samples, number of leads) from a header's first line."""
    fields = line.split()
    name, stem = fields[0], header_path.name.removesuffix(".hea")
    if "/" in name:
        raise RecordFileError(
            f"{header_path}: the record {name!r} has several segments, which are not supported. Read the segments one "
            "by one, by their own headers."
        )
    # Headers of the PhysioNet challenges name some records after their .mat file.
    if stem not in (name, name.removesuffix(".mat")):
        raise RecordFileError(
            f"{header_path}: the record name is {name!r}, so this header belongs to another file. Rename the file, or "
            f"correct the name to {stem!r} once you know that rate and gain are right."
        )
    for position, field_name in enumerate(("number of signals", "sampling rate", "number of samples"), 1):
        if len(fields) <= position:
            raise RecordFileError(
                f"{header_path}: the {field_name} is missing from the first line, which should read "
                "'name signals rate samples'. It is not guessed: add it."
            )
    num_leads = _whole_number(fields[1], f"{header_path}: the number of signals")
    num_samples = _whole_number(fields[3], f"{header_path}: the number of samples")
    for which, value in (("signals", num_leads), ("samples", num_samples)):
        if value < 1:
            raise RecordFileError(
                f"{header_path}: the number of {which} is {value}; expected 1 or more. Without it a truncated signal "
                "file would look complete: add it."
            )
    match = _RATE_FIELD.fullmatch(fields[2])
    if not match or not LOWEST_RATE <= float(match["rate"]) <= HIGHEST_RATE:
        raise RecordFileError(
            f"{header_path}: the sampling rate is {fields[2]!r}; expected a number from {LOWEST_RATE:g} to "
            f"{HIGHEST_RATE:g} Hz. Correct it in the header."
        )
    rate = float(match["rate"])
    if num_leads > MOST_LEADS:
        raise RecordFileError(
            f"{header_path}: the number of signals is {num_leads}; expected at most {MOST_LEADS}. Correct the header, "
            "or split the record."
        )
    if num_samples > LONGEST_FILE_SECONDS * rate:
        raise RecordFileError(
            f"{header_path}: the number of samples is {num_samples}, {num_samples / rate / 86400:.4g} days at "
            f"{rate:g} Hz; expected at most {LONGEST_FILE_SECONDS / 86400:g} days. Correct the header, or split the "
            "record."
        )
    return rate, num_samples, num_leads


def _split_signal_line(where: str, line: str) -> re.Match[str]:
    """A channel's line: `file format gain(baseline)/unit resolution zero first checksum block name`."""
    match = _SIGNAL_LINE.fullmatch(line)
    if not match:
        raise RecordFileError(f"{where}: gain and unit are missing from {line!r}. They are not guessed: add them.")
    return match


def _parse_lead(where: str, match: re.Match[str], name: str, channel: tuple[str, str, int] | None) -> StoredLead:
    """What a line says about a lead, and the name that it has by now."""
    assert channel is not None
    file_name, storage_format, byte_offset = channel
    _check_file_name(where, file_name)
    gain, baseline, unit = _parse_gain(where, match["gain"])
    numbers = [
        _whole_number(field, f"{where}: the {name}")
        for name, field in zip(_NUMBERS_OF_SIGNAL_LINE, match["numbers"].split(), strict=False)
    ]
    if not name:
        raise RecordFileError(
            f"{where}: the lead name is missing at the end of {match.group()!r}. Add it there, or {NAME_ALL_CHANNELS}."
        )
    if baseline is None:  # by the format's own rule, 0 mV is then at the converter's zero
        baseline = numbers[1] if len(numbers) > 1 else 0
    return StoredLead(
        name=name,
        file_name=file_name,
        format=storage_format,
        byte_offset=byte_offset,
        gain=gain,
        baseline=baseline,
        unit=unit,
        checksum=numbers[3] % 65536 if len(numbers) > 3 else None,
    )


def _check_file_name(where: str, file_name: str) -> None:
    outside = any(character in file_name for character in "/\\:") or file_name in (".", "..")
    if outside or not file_name.isprintable():
        raise RecordFileError(
            f"{where}: the signal file {file_name!r} is not a plain name in the header's own folder, and no other "
            "place is read. Put the file next to the header and correct the name."
        )
    if file_name in ("~", "-"):
        raise RecordFileError(f"{where}: the signal file is {file_name!r}, so there are no samples to read.")


def _parse_format(where: str, field: str) -> tuple[str, int]:
    """(storage format, byte offset) from the second field of a signal line."""
    match = _FORMAT_FIELD.fullmatch(field)
    if not match:
        raise RecordFileError(f"{where}: the storage format {field!r} is not a WFDB format. Download the file again.")
    if match["format"] not in FORMATS:
        raise RecordFileError(
            f"{where}: storage format {match['format']} is not supported; {', '.join(FORMATS)} are. Convert the "
            "record, for example with the WFDB tool xform."
        )
    if match["per_frame"] is not None and int(match["per_frame"]) != 1:
        raise RecordFileError(
            f"{where}: the format {field!r} has {match['per_frame']} samples per frame, so the leads differ in rate, "
            "which is not supported. Resample them to one rate."
        )
    if match["skew"] is not None and int(match["skew"]) != 0:
        raise RecordFileError(
            f"{where}: the format {field!r} shifts the lead in time, which is not supported. Align it."
        )
    return match["format"], int(match["offset"] or 0)


def _parse_gain(where: str, field: str) -> tuple[float, int | None, str]:
    """(units per millivolt, baseline if given, unit as spelled) from the third field of a signal line."""
    match = _GAIN_FIELD.fullmatch(field)
    if not match:
        raise RecordFileError(
            f"{where}: the gain is missing or damaged: {field!r} is not 'gain/unit' or 'gain(baseline)/unit', such as "
            "'1000(0)/mV'. It is not guessed: add it."
        )
    unit = match["unit"]
    if unit is None:
        unit = "mV"  # by the format's own rule (WFDB Applications Guide, header(5))
    if (scale := millivolts_per(unit)) is None:
        raise RecordFileError(
            f"{where}: the unit is {unit!r}; expected {EXPECTED_UNITS}. If it is no ECG channel, {CHOOSE_LEADS}; "
            "otherwise correct it."
        )
    gain = float(match["gain"]) * (1 / scale)
    if not _LOWEST_GAIN <= gain <= _HIGHEST_GAIN:  # in WFDB, zero means "unknown" and a negative gain "inverted"
        raise RecordFileError(
            f"{where}: the gain is {field!r}; it must be above zero, from {_LOWEST_GAIN:g} to {_HIGHEST_GAIN:g} units "
            "per mV. Correct it."
        )
    return gain, None if match["baseline"] is None else int(match["baseline"]), unit


def _whole_number(field: str, what: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(field):
        raise RecordFileError(f"{what} is {field!r}, which is not a whole number. Correct it in the header.")
    return int(field)
