# SPDX-License-Identifier: Apache-2.0
"""The one safe reader of WFDB records (`.hea` with its `.dat` or `.mat`): what a header leaves open is not guessed.

The `wfdb` library fills gaps in silence (a rate of -500 becomes 250, an absent gain 200 units per mV, an absent unit
mV) and believes sizes and checksums without looking. So the header's text is validated here first, line by line, and
the samples are checked against it. Format 16, in which practically all ECG corpora come, is then read as it lies;
samples in the other formats are decoded by `wfdb` itself, from a clean header that is written for it. (`wfdb` needs
8 ms for the header of a twelve-lead record, and refuses headers such as those of the Georgia corpus, whose record
name ends in ".mat"; this reader takes less than 1 ms.)
"""

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .ecg_record import ECGRecord
from .errors import RecordFileError

LOWEST_RATE, HIGHEST_RATE = 50.0, 10_000.0  # Hz

# How many of a header's units make one millivolt. "MV" is missing on purpose: it would be a megavolt.
_UNITS_PER_MILLIVOLT = {"mV": 1.0, "mv": 1.0, "uV": 1e3, "uv": 1e3, "\u00b5V": 1e3, "\u03bcV": 1e3, "V": 1e-3}

# A gain beyond these bounds (units per mV) makes values that float32 cannot hold.
_LOWEST_GAIN, _HIGHEST_GAIN = 1e-9, 1e12
# float32 holds integers up to 2**24: a sample minus its baseline must stay well below for the way back to be exact.
_LARGEST_EXACT_BASELINE = 2**22

_MOST_HEADER_BYTES = 2**20
_MOST_SIGNAL_BYTES = 2**30  # a day of twelve leads at 500 Hz; 6 GB of memory while it is read


@dataclass(frozen=True)
class _Format:
    """How a WFDB storage format packs samples: `block_samples` samples in `block_bytes` bytes."""

    block_bytes: int
    block_samples: int
    bits: int
    invalid: int  # the integer that stands for "no sample"


_FORMATS = {
    "16": _Format(2, 1, 16, -(2**15)),
    "61": _Format(2, 1, 16, -(2**15)),
    "160": _Format(2, 1, 16, -(2**15)),
    "80": _Format(1, 1, 8, -(2**7)),
    "212": _Format(3, 2, 12, -(2**11)),
    "310": _Format(4, 3, 10, -(2**9)),
    "311": _Format(4, 3, 10, -(2**9)),
    "24": _Format(3, 1, 24, -(2**23)),
    "32": _Format(4, 1, 32, -(2**31)),
}

# Lengths are bounded so that no number is beyond what Python converts; [0-9] because \d takes other scripts' digits.
_NUMBER = r"[+-]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,3})?"
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_RATE_FIELD = re.compile(rf"(?P<rate>{_NUMBER})(?:/.*)?")
_FORMAT_FIELD = re.compile(
    r"(?P<format>[0-9]{1,9})(?:x(?P<per_frame>[0-9]{1,9}))?(?::(?P<skew>[0-9]{1,9}))?(?:\+(?P<offset>[0-9]{1,15}))?"
)
_GAIN_FIELD = re.compile(rf"(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?[0-9]{{1,10}})\))?(?:/(?P<unit>\S+))?")


@dataclass(frozen=True)
class WFDBHeader:
    """A single-segment WFDB header whose text has been validated. One entry a lead where a field is a tuple.

    Attributes:
        record_id: the record's name, which is that of its header file.
        sampling_rate: samples a second (Hz), 50 to 10,000.
        num_samples: samples in each lead.
        lead_names: as the header spells them.
        gains: analogue-to-digital units per millivolt, whatever the header's unit.
        baselines: the integer that stands for 0 mV.
        units: as the header spells them.
        formats: WFDB storage formats ("16", "212", ...).
        file_names: the signal files, plain names inside the header's folder.
        byte_offsets: where in its file a lead's first block begins.
        checksums: the 16-bit sum of a lead's samples, 0 to 65,535; None where the header has none.
        comments: the `#` lines in order, without `#` and outer blanks (age, sex, diagnoses in many corpora).
    """

    record_id: str
    sampling_rate: float
    num_samples: int
    lead_names: tuple[str, ...]
    gains: tuple[float, ...]
    baselines: tuple[int, ...]
    units: tuple[str, ...]
    formats: tuple[str, ...]
    file_names: tuple[str, ...]
    byte_offsets: tuple[int, ...]
    checksums: tuple[int | None, ...]
    comments: tuple[str, ...]


@dataclass(frozen=True)
class _SignalLine:
    """One lead's line of a header; fields as in `WFDBHeader`."""

    file_name: str
    format: str
    byte_offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    lead_name: str


def read_wfdb(path: str | os.PathLike[str], *, verify_checksums: bool = True) -> ECGRecord:
    """Read one WFDB record.

    Args:
        path: the record, with or without `.hea`.
        verify_checksums: compare each lead's samples with the header's checksum, where it gives one.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), NaN where the file marks a sample as invalid.
        `gain` and `baseline` are filled in when every lead is stored in 16 bits or less, so that the integers can be
        recovered exactly. For the wider formats 24 and 32 they are None: the signal can be used, but an int16
        dataset cannot hold it without loss.

    Raises:
        RecordFileError: a file is absent, unreadable or outside the record's folder; the header is damaged or leaves
            rate, number of samples, gain, unit or lead name open; sizes or checksums do not fit; the record is of a
            kind that is not read (several segments or rates, skewed leads, compressed formats).
    """
    header_path = _header_path(path)
    header = read_wfdb_header(header_path)
    try:
        counts = _read_counts(header_path, header)
        if verify_checksums:
            _verify_checksums(header_path, header, counts)
        invalid = [_FORMATS[storage_format].invalid for storage_format in header.formats]
        signal = counts_to_millivolts(counts, header.gains, header.baselines, invalid)
    except MemoryError as error:
        raise RecordFileError(f"{header_path}: the recording does not fit into memory. Cut it in parts.") from error
    exact = all(_FORMATS[storage_format].bits <= 16 for storage_format in header.formats) and all(
        abs(baseline) <= _LARGEST_EXACT_BASELINE for baseline in header.baselines
    )
    return ECGRecord(
        signal=signal,
        sampling_rate=header.sampling_rate,
        lead_names=header.lead_names,
        record_id=header.record_id,
        gain=header.gains if exact else None,
        baseline=header.baselines if exact else None,
    )


def read_wfdb_header(path: str | os.PathLike[str]) -> WFDBHeader:
    """Read and validate the header of a WFDB record; its signal files are not looked at.

    Args:
        path: the record, with or without `.hea`.

    Raises:
        RecordFileError: the header is absent, unreadable, damaged, or leaves open what must not be guessed.
    """
    header_path = _header_path(path)
    text = _decode(_read_file(header_path, header_path.parent, _MOST_HEADER_BYTES))
    # Not str.splitlines, which also breaks lines at form feeds and Unicode separators.
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordFileError(f"{header_path}: the header is empty. Fetch the file again.")
    sampling_rate, num_samples, num_leads = _parse_record_line(header_path, lines[0])
    if len(lines) - 1 != num_leads:
        raise RecordFileError(
            f"{header_path}: the number of signals is given as {num_leads}, but {len(lines) - 1} signal lines follow. "
            "Correct the first line, or fetch the file again."
        )
    leads = [_parse_signal_line(f"{header_path}, signal line {row}", line) for row, line in enumerate(lines[1:], 1)]
    return WFDBHeader(
        record_id=header_path.name.removesuffix(".hea"),
        sampling_rate=sampling_rate,
        num_samples=num_samples,
        lead_names=tuple(lead.lead_name for lead in leads),
        gains=tuple(lead.gain for lead in leads),
        baselines=tuple(lead.baseline for lead in leads),
        units=tuple(lead.unit for lead in leads),
        formats=tuple(lead.format for lead in leads),
        file_names=tuple(lead.file_name for lead in leads),
        byte_offsets=tuple(lead.byte_offset for lead in leads),
        checksums=tuple(lead.checksum for lead in leads),
        comments=comments,
    )


def counts_to_millivolts(
    counts: np.ndarray, gain: Sequence[float], baseline: Sequence[int], invalid: Sequence[int]
) -> np.ndarray:
    """Integers of the analogue-to-digital converter as millivolts: (count - baseline) / gain.

    Args:
        counts: integers, shape (leads, time).
        gain: units per millivolt, one a lead.
        baseline: the integer that stands for 0 mV, one a lead.
        invalid: the integer that stands for "no sample", one a lead; it becomes NaN.

    Returns:
        float32 millivolts, shape (leads, time).
    """
    millivolts = counts - np.asarray(baseline, dtype=np.float64)[:, None]
    millivolts /= np.asarray(gain, dtype=np.float64)[:, None]
    signal = millivolts.astype(np.float32)
    signal[counts == np.asarray(invalid, dtype=counts.dtype)[:, None]] = np.nan
    return signal


def _header_path(path: str | os.PathLike[str]) -> Path:
    try:
        text = os.fspath(path)
    except TypeError as error:
        raise RecordFileError(f"a WFDB record is named by a path, not by {type(path).__name__}.") from error
    if not isinstance(text, str) or not text or "\0" in text:
        raise RecordFileError(f"{text!r} is not a path to a WFDB record.")
    return Path(text if text.endswith(".hea") else f"{text}.hea")


def _read_file(path: Path, folder: Path, most_bytes: int, named_in: str = "") -> bytes:
    """The bytes of a regular file that lies inside `folder`, symbolic links followed."""
    what = f"{path} (named in {named_in})" if named_in else str(path)
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True)):
            raise RecordFileError(
                f"{what} is a symbolic link that leads outside the record's folder, which is not followed. "
                "Copy the file into the folder."
            )
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would block for ever
            raise RecordFileError(f"{what} is not a regular file.")
        if status.st_size > most_bytes:
            raise RecordFileError(
                f"{what} holds {status.st_size} bytes; at most {most_bytes} are read. Cut it in parts."
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "Check the path, or fetch the file again."
        if path.name.endswith((".dat.hea", ".mat.hea")):
            hint = "A record is named by its header, so leave .dat or .mat off."
        raise RecordFileError(f"{what} does not exist. {hint}") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symbolic links in older Pythons
        raise RecordFileError(f"{what} cannot be read: {error}") from error


def _decode(header: bytes) -> str:
    """Header text. Latin-1, which takes any byte, is what older writers used for the micro sign and for names."""
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
            f"{header_path}: the record {name!r} has several segments, which are not read here. Read its segments "
            "one by one, by their own headers."
        )
    # Headers of the PhysioNet challenges name some records after their .mat file.
    if stem not in (name, name.removesuffix(".mat")):
        raise RecordFileError(
            f"{header_path}: the record name is given as {name!r}, so this header belongs to another file. "
            f"Rename the file, or correct the name to {stem!r} once you know that rate and gain are right."
        )
    names = ("number of signals", "sampling rate", "number of samples")
    for position, field_name in enumerate(names, 1):
        if len(fields) <= position:
            raise RecordFileError(
                f"{header_path}: the {field_name} is missing from the first line, which should read "
                f"'name signals rate samples'. It is not guessed: write it in."
            )
    num_leads = _whole_number(fields[1], f"{header_path}: the number of signals")
    num_samples = _whole_number(fields[3], f"{header_path}: the number of samples")
    if num_leads < 1 or num_samples < 1:
        which, value = ("signals", num_leads) if num_leads < 1 else ("samples", num_samples)
        raise RecordFileError(
            f"{header_path}: the number of {which} is given as {value}; it must be 1 or more. Without it a truncated "
            "signal file could not be told from a whole one: write it in."
        )
    match = _RATE_FIELD.fullmatch(fields[2])
    if not match or not LOWEST_RATE <= float(match["rate"]) <= HIGHEST_RATE:
        raise RecordFileError(
            f"{header_path}: the sampling rate is given as {fields[2]!r}; it must be a number from {LOWEST_RATE:g} to "
            f"{HIGHEST_RATE:g} Hz. Correct it in the header."
        )
    return float(match["rate"]), num_samples, num_leads


def _parse_signal_line(where: str, line: str) -> _SignalLine:
    """One lead's line: `file format gain(baseline)/unit resolution zero first checksum block name`."""
    fields = line.split(maxsplit=2)
    if len(fields) < 3:
        raise RecordFileError(
            f"{where}: gain and unit are missing from {line!r}. They are not guessed: write them in."
        )
    file_name, format_field, rest = fields
    _check_file_name(where, file_name)
    storage_format, byte_offset = _parse_format(where, format_field)
    gain_field, rest = _split_first(rest)
    gain, baseline, unit = _parse_gain(where, gain_field)

    # Resolution, zero level, first sample, checksum and block size: as many of the five as there are, then the name.
    numbers: list[int] = []
    for field_name in ("ADC resolution", "ADC zero", "first sample", "checksum", "block size"):
        field, after = _split_first(rest)
        if not field or field[0] not in "0123456789+-.":  # the name stands early (any other start: a damaged number)
            break
        numbers.append(_whole_number(field, f"{where}: the {field_name}"))
        rest = after
    if not rest:
        raise RecordFileError(
            f"{where}: the lead name is missing at the end of {line!r}. Write it in (I, II, V1, ...)."
        )
    if baseline is None:  # the format's own rule: without a baseline, 0 mV is where the converter's zero is
        baseline = numbers[1] if len(numbers) > 1 else 0
    return _SignalLine(
        file_name=file_name,
        format=storage_format,
        byte_offset=byte_offset,
        gain=gain,
        baseline=baseline,
        unit=unit,
        checksum=numbers[3] % 65536 if len(numbers) > 3 else None,
        lead_name=rest,
    )


def _split_first(text: str) -> tuple[str, str]:
    """A line's first field and the rest of it; either may be empty."""
    first, *rest = text.split(maxsplit=1) or [""]
    return first, rest[0] if rest else ""


def _check_file_name(where: str, file_name: str) -> None:
    outside = any(character in file_name for character in "/\\:") or file_name in (".", "..")
    if outside or not file_name.isprintable():
        raise RecordFileError(
            f"{where}: the signal file {file_name!r} is not a plain name in the header's own folder, and other places "
            "are not read. Put the file beside the header and name it there."
        )
    if file_name in ("~", "-"):
        raise RecordFileError(f"{where}: the signal file is given as {file_name!r}, so there are no samples to read.")


def _parse_format(where: str, field: str) -> tuple[str, int]:
    """(storage format, byte offset) from the second field of a signal line."""
    match = _FORMAT_FIELD.fullmatch(field)
    if not match:
        raise RecordFileError(f"{where}: the storage format {field!r} is not one of WFDB's. Fetch the file again.")
    if match["format"] not in _FORMATS:
        raise RecordFileError(
            f"{where}: storage format {match['format']} is not read here; {', '.join(_FORMATS)} are. Convert the "
            "record, for example with the WFDB tool xform."
        )
    if match["per_frame"] is not None and int(match["per_frame"]) != 1:
        raise RecordFileError(
            f"{where}: the format {field!r} has {match['per_frame']} samples a frame, so leads differ in rate, which "
            "is not read here. Resample the leads to one rate."
        )
    if match["skew"] is not None and int(match["skew"]) != 0:
        raise RecordFileError(
            f"{where}: the format {field!r} shifts the lead in time, which is not read here. Align it."
        )
    return match["format"], int(match["offset"] or 0)


def _parse_gain(where: str, field: str) -> tuple[float, int | None, str]:
    """(units per millivolt, baseline if given, unit as spelt) from the third field of a signal line."""
    match = _GAIN_FIELD.fullmatch(field)
    if not match:
        raise RecordFileError(
            f"{where}: the gain is missing or damaged: {field!r} is not 'gain/unit' or 'gain(baseline)/unit', such as "
            "'1000(0)/mV'. It is not guessed: write it in."
        )
    unit = match["unit"]
    if unit is None:
        raise RecordFileError(f"{where}: the unit of the gain {field!r} is missing. It is not guessed: write it in.")
    if unit not in _UNITS_PER_MILLIVOLT:
        raise RecordFileError(
            f"{where}: the unit {unit!r} is not one of mV, uV, \u00b5V and V. Correct it, or convert."
        )
    gain = float(match["gain"]) * _UNITS_PER_MILLIVOLT[unit]
    if not _LOWEST_GAIN <= gain <= _HIGHEST_GAIN:  # zero means "not known" to WFDB; below zero is upside down
        raise RecordFileError(
            f"{where}: the gain {field!r} must be above zero and within {_LOWEST_GAIN:g} to {_HIGHEST_GAIN:g} units "
            "per mV. Correct it."
        )
    return gain, None if match["baseline"] is None else int(match["baseline"]), unit


def _whole_number(field: str, what: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(field):
        raise RecordFileError(f"{what} is given as {field!r}, which is not a whole number. Correct it in the header.")
    return int(field)


def _read_counts(header_path: Path, header: WFDBHeader) -> np.ndarray:
    """The integers of all leads, shape (leads, time), from one or several signal files."""
    rows_of: dict[str, list[int]] = {}
    for row, file_name in enumerate(header.file_names):
        rows_of.setdefault(file_name, []).append(row)
    parts = []
    for file_name, rows in rows_of.items():
        layouts = {(header.formats[row], header.byte_offsets[row]) for row in rows}
        if len(layouts) > 1 or rows != list(range(rows[0], rows[0] + len(rows))):
            raise RecordFileError(
                f"{header_path}: the leads in {file_name} must follow each other and share one storage format and "
                "byte offset. Fetch the header again."
            )
        storage_format, byte_offset = layouts.pop()
        parts.append(_read_signal_file(header_path, header, file_name, storage_format, byte_offset, len(rows)))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_signal_file(
    header_path: Path, header: WFDBHeader, file_name: str, storage_format: str, byte_offset: int, num_leads: int
) -> np.ndarray:
    """The integers of the leads in one signal file, shape (leads, time)."""
    path = header_path.parent / file_name
    layout = _FORMATS[storage_format]
    num_values = num_leads * header.num_samples
    # A last block that is not full may or may not be padded.
    least = byte_offset + -(-num_values * layout.block_bytes // layout.block_samples)
    most = byte_offset + -(-num_values // layout.block_samples) * layout.block_bytes
    if storage_format == "310" and num_values % 3 == 2:  # its second sample reaches into the block's last byte
        least = most
    content = _read_file(path, header_path.parent, _MOST_SIGNAL_BYTES, header_path.name)
    if not least <= len(content) <= most:
        raise RecordFileError(
            f"{path} holds {len(content)} bytes, but {header_path.name} announces {header.num_samples} samples of "
            f"{num_leads} leads in format {storage_format} from byte {byte_offset} on, which are {least} bytes. The "
            "file is truncated, or the number of samples or signals is wrong: fetch both files again."
        )
    content = content[byte_offset:]
    if storage_format == "16":
        return np.frombuffer(content, dtype="<i2").reshape(header.num_samples, num_leads).T
    return _decode_with_wfdb(
        path, content.ljust(most - byte_offset, b"\0"), storage_format, header.num_samples, num_leads
    )


def _decode_with_wfdb(path: Path, content: bytes, storage_format: str, num_samples: int, num_leads: int) -> np.ndarray:
    """Have `wfdb` unpack samples, shape (leads, time), from a header in which nothing is left for it to guess."""
    try:
        import wfdb
    except ImportError as error:
        raise RecordFileError(
            f"{path}: storage format {storage_format} is decoded by the wfdb library, which is not installed. "
            "Run: pip install wfdb"
        ) from error
    with tempfile.TemporaryDirectory(prefix="cgdmer-wfdb-") as folder:
        lines = [f"record {num_leads} {LOWEST_RATE:g} {num_samples}"]
        lines += [f"record.dat {storage_format} 1(0)/mV 16 0 0 0 0 lead{row}" for row in range(num_leads)]
        Path(folder, "record.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
        Path(folder, "record.dat").write_bytes(content)
        try:
            counts = wfdb.rdrecord(os.path.join(folder, "record"), physical=False, return_res=32).d_signal
        except Exception as error:  # the library raises whatever occurs to it
            raise RecordFileError(f"{path}: wfdb cannot decode it in format {storage_format}: {error}") from error
    if counts is None or counts.shape != (num_samples, num_leads):
        raise RecordFileError(f"{path}: wfdb returned another number of samples than the header announces.")
    return np.asarray(counts).T


def _verify_checksums(header_path: Path, header: WFDBHeader, counts: np.ndarray) -> None:
    """Compare each lead's 16-bit sum with the header's; writers differ in its sign, so both count modulo 65,536."""
    for row, expected in enumerate(header.checksums):
        found = int(counts[row].sum(dtype=np.int64)) % 65536
        if expected is not None and found != expected:
            raise RecordFileError(
                f"{header_path.parent / header.file_names[row]}: the checksum of lead {header.lead_names[row]} is "
                f"{found}, but {header_path.name} states {expected}. The samples or the header are damaged: fetch "
                "both files again, or read with verify_checksums=False if the header is known to be wrong."
            )


__all__ = ["HIGHEST_RATE", "LOWEST_RATE", "WFDBHeader", "counts_to_millivolts", "read_wfdb", "read_wfdb_header"]
