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
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .ecg_record import ECGRecord
from .errors import ECGInputError, RecordFileError
from .units import LOWEST_RATE, MOST_VALUES
from .wfdb_header import FORMATS, WFDBHeader, header_path_of, open_record_file, read_wfdb_header

# float32 holds integers up to 2**24: a sample minus its baseline must stay well below for the way back to be exact.
_LARGEST_EXACT_BASELINE = 2**22


def read_wfdb(
    path: str | os.PathLike[str], *, verify_checksums: bool = True, seconds: tuple[float, float] | None = None
) -> ECGRecord:
    """Read one WFDB record.

    Args:
        path: the record, with or without `.hea`.
        verify_checksums: compare each lead's samples with the header's checksum, where it gives one. Those of a part
            of a record cannot be compared.
        seconds: where to begin and to end, in seconds from the start of the record; None reads all of it. Only the
            bytes of that part are read, so records of many days can be read one part after the other.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), NaN where the file marks a sample as invalid.
        `gain` and `baseline` are filled in when every lead is stored in 16 bits or less, so that the integers can be
        recovered exactly. For the wider formats 24 and 32 they are None: the signal can be used, but an int16
        dataset cannot hold it without loss.

    Raises:
        RecordFileError: a file is absent, unreadable or outside the record's folder; the header is damaged or leaves
            rate, number of samples, gain, unit or lead name open; sizes or checksums do not fit; the record is of a
            kind that is not read (several segments or rates, skewed leads, compressed formats) or too long to be read
            as a whole: more than 31 days, 256 leads, or 2**29 samples of all leads together.
        ECGInputError: the record has no such `seconds`.
    """
    header_path = header_path_of(path)
    header = read_wfdb_header(header_path)
    first, last = _part(header, seconds)
    if (last - first) * len(header.lead_names) > MOST_VALUES:
        longest = MOST_VALUES / len(header.lead_names) / header.sampling_rate
        raise RecordFileError(
            f"{header_path}: {len(header.lead_names)} leads of {last - first} samples are more than the "
            f"{MOST_VALUES} values that are read at once. Read parts of at most {longest:.0f} s: "
            "read_wfdb(path, seconds=(0, 3600))."
        )
    try:
        counts = _read_counts(header_path, header, first, last)
        if verify_checksums and last - first == header.num_samples:
            _verify_checksums(header_path, header, counts)
        invalid = [FORMATS[storage_format].invalid for storage_format in header.formats]
        signal = counts_to_millivolts(counts, header.gains, header.baselines, invalid)
    except MemoryError as error:
        raise RecordFileError(
            f"{header_path}: the recording does not fit into memory. Read it in parts: read_wfdb(path, seconds=...)."
        ) from error
    exact = all(FORMATS[storage_format].bits <= 16 for storage_format in header.formats) and all(
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


def _part(header: WFDBHeader, seconds: tuple[float, float] | None) -> tuple[int, int]:
    """The first sample to read, and the one after the last."""
    if seconds is None:
        return 0, header.num_samples
    try:
        begin, end = (float(value) for value in seconds)
        first, last = round(begin * header.sampling_rate), round(end * header.sampling_rate)
    except (TypeError, ValueError, OverflowError) as error:
        raise ECGInputError(f"seconds is {seconds!r}; expected where to begin and to end, such as (0, 10).") from error
    if not 0 <= first < last <= header.num_samples:
        raise ECGInputError(
            f"seconds is {seconds!r}; record {header.record_id!r} lasts from 0 to "
            f"{header.num_samples / header.sampling_rate:g} s, and a part of it has at least one sample."
        )
    return first, last


def _read_counts(header_path: Path, header: WFDBHeader, first: int, last: int) -> np.ndarray:
    """The integers of all leads from sample `first` to before `last`, shape (leads, time), from all signal files."""
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
        values = _read_values(header_path, header, rows[0], len(rows), first * len(rows), last * len(rows))
        parts.append(values.reshape(last - first, len(rows)).T)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_values(header_path: Path, header: WFDBHeader, row: int, num_leads: int, first: int, last: int) -> np.ndarray:
    """The values `first` to before `last` of a signal file, in which leads take turns; `row` is its first lead."""
    storage_format, byte_offset = header.formats[row], header.byte_offsets[row]
    path, layout = header_path.parent / header.file_names[row], FORMATS[storage_format]
    num_values = num_leads * header.num_samples
    # A last block that is not full may or may not be padded.
    least = byte_offset + -(-num_values * layout.block_bytes // layout.block_samples)
    most = byte_offset + -(-num_values // layout.block_samples) * layout.block_bytes
    if storage_format == "310" and num_values % 3 == 2:  # its second sample reaches into the block's last byte
        least = most
    first_block, last_block = first // layout.block_samples, -(-last // layout.block_samples)
    with open_record_file(path, header_path.parent, header_path.name) as (file, size):
        if not least <= size <= most:
            raise RecordFileError(
                f"{path} holds {size} bytes, but {header_path.name} announces {header.num_samples} samples of "
                f"{num_leads} leads in format {storage_format} from byte {byte_offset} on, which are {least} bytes. "
                "The file is truncated, or the number of samples or signals is wrong: fetch both files again."
            )
        file.seek(byte_offset + first_block * layout.block_bytes)
        content = file.read((last_block - first_block) * layout.block_bytes)
    content = content.ljust((last_block - first_block) * layout.block_bytes, b"\0")
    if storage_format == "16":
        return np.frombuffer(content, dtype="<i2")
    decoded = _decode_with_wfdb(path, content, storage_format, (last_block - first_block) * layout.block_samples)
    start = first - first_block * layout.block_samples
    return decoded[start : start + last - first]


def _decode_with_wfdb(path: Path, content: bytes, storage_format: str, num_values: int) -> np.ndarray:
    """Have `wfdb` unpack whole blocks, shape (values,), by a header in which nothing is left for it to guess."""
    try:
        import wfdb
    except ImportError as error:
        raise RecordFileError(
            f"{path}: storage format {storage_format} is decoded by the wfdb library, which is not installed. "
            "Run: pip install wfdb"
        ) from error
    with tempfile.TemporaryDirectory(prefix="cgdmer-wfdb-") as folder:
        lines = [f"record 1 {LOWEST_RATE:g} {num_values}", f"record.dat {storage_format} 1(0)/mV 16 0 0 0 0 lead"]
        Path(folder, "record.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
        Path(folder, "record.dat").write_bytes(content)
        try:
            counts = wfdb.rdrecord(os.path.join(folder, "record"), physical=False, return_res=32).d_signal
        except Exception as error:  # the library raises whatever occurs to it
            raise RecordFileError(f"{path}: wfdb cannot decode it in format {storage_format}: {error}") from error
    if counts is None or counts.shape != (num_values, 1):
        raise RecordFileError(f"{path}: wfdb returned another number of samples than the header announces.")
    return np.asarray(counts)[:, 0]


def _verify_checksums(header_path: Path, header: WFDBHeader, counts: np.ndarray) -> None:
    """Compare each lead's 16-bit sum with the header's; writers differ in its sign, so both count modulo 65,536."""
    for row, expected in enumerate(header.checksums):
        found = int(counts[row].sum(dtype=np.int64)) % 65536
        if expected is not None and found != expected:
            raise RecordFileError(
                f"{header_path.parent / header.file_names[row]}: the checksum of lead {header.lead_names[row]} is "
                f"{found}, but {header_path.name} states {expected}. The samples or the header are damaged: fetch "
                "both files again. Where the header is known to be wrong: "
                "cgdmer.read_wfdb(path, verify_checksums=False)."
            )
