# SPDX-License-Identifier: Apache-2.0
"""The one safe reader of WFDB records (`.hea` with `.dat` or `.mat`). It guesses nothing that a header leaves open.

The `wfdb` library fills gaps silently (a rate of -500 becomes 250, a missing gain 200 units per mV, a missing unit mV)
and trusts sizes and checksums. So here the header's text is validated first, line by line, and the samples are checked
against it. Format 16, which nearly all ECG corpora use, is then read directly; the other formats are decoded by
`wfdb`, with a clean header written for that purpose. (`wfdb` takes 8 ms for the header of a twelve-lead record, and
refuses headers such as those of the Georgia corpus, whose record names end in ".mat". This reader takes less than
1 ms.)
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .channels import LeadNames
from .ecg_record import ECGRecord, keep_leads
from .errors import ECGInputError, RecordFileError
from .units import LOWEST_RATE, MOST_VALUES
from .wfdb_header import FORMATS, StoredLead, WFDBHeader, header_path_of, open_record_file, read_wfdb_header

# float32 holds integers up to 2**24. For an exact way back, a sample minus its baseline must stay well below that.
_LARGEST_EXACT_BASELINE = 2**22


def read_wfdb(
    path: str | os.PathLike[str],
    *,
    verify_checksums: bool = True,
    seconds: tuple[float, float] | None = None,
    leads: Sequence[str] | None = None,
    lead_names: LeadNames | None = None,
) -> ECGRecord:
    """Read one WFDB record.

    Args:
        path: the record, with or without `.hea`.
        verify_checksums: compare each lead's samples with the header's checksum, if it has one. For a part of a
            record this is not possible.
        seconds: start and end of the part to read, in seconds from the start of the record; None reads all of it. Only
            the bytes of that part are read, so a record of many days can be read in parts.
        leads: which of the twelve leads to use, whatever is in other channels; None: all channels.
        lead_names: which leads channels are, as `{"MLII": "II"}`, or one name per channel; None: as the header says.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), NaN where the file marks a sample as invalid.
        `gain` and `baseline` are set if every lead is stored in 16 bits or fewer, so that the exact integers can be
        recovered. For the wider formats 24 and 32 they are None: the signal can be used, but an int16 dataset cannot
        hold it without loss.

    Raises:
        RecordFileError: a file is missing, unreadable, or outside the record's folder; the header is damaged or does
            not state rate, number of samples, gain, unit, or lead name; sizes or checksums do not match; the record is
            of an unsupported kind (several segments or rates, skewed leads, compressed formats) or too long: more than
            31 days, 256 leads, or 2**29 samples over all leads.
        ECGInputError: the record has no such `seconds`, `leads`, or channels.
    """
    header_path = header_path_of(path)
    header = read_wfdb_header(header_path, leads, lead_names)
    first, last = _part(header, seconds)
    num_channels = sum(channel is not None for channel in header.channels)
    if (last - first) * num_channels > MOST_VALUES:
        longest = MOST_VALUES / num_channels / header.sampling_rate
        raise RecordFileError(
            f"{header_path}: {num_channels} leads of {last - first} samples are more than the {MOST_VALUES} "
            f"values that are read at once. Read parts of at most {longest:.0f} s: read_wfdb(path, seconds=(0, 3600))."
        )
    gain, baseline = tuple(lead.gain for lead in header.leads), tuple(lead.baseline for lead in header.leads)
    try:
        counts = _read_counts(header_path, header, first, last)
        if verify_checksums and last - first == header.num_samples:
            _verify_checksums(header_path, header, counts)
        invalid = [FORMATS[lead.format].invalid for lead in header.leads]
        signal = counts_to_millivolts(counts, gain, baseline, invalid)
    except MemoryError as error:
        raise RecordFileError(
            f"{header_path}: the recording does not fit into memory. Read it in parts: read_wfdb(path, seconds=...)."
        ) from error
    exact = all(
        FORMATS[lead.format].bits <= 16 and abs(lead.baseline) <= _LARGEST_EXACT_BASELINE for lead in header.leads
    )
    record = ECGRecord(
        signal=signal,
        sampling_rate=header.sampling_rate,
        lead_names=tuple(lead.name for lead in header.leads),
        record_id=header.record_id,
        gain=gain if exact else None,
        baseline=baseline if exact else None,
    )
    return record if leads is None else keep_leads(record, leads)


def counts_to_millivolts(
    counts: np.ndarray, gain: Sequence[float], baseline: Sequence[int], invalid: Sequence[int]
) -> np.ndarray:
    """Integers of the analog-to-digital converter as millivolts: (count - baseline) / gain.

    Args:
        counts: integers, shape (leads, time).
        gain: units per millivolt, one per lead.
        baseline: the integer that stands for 0 mV, one per lead.
        invalid: the integer that stands for "no sample", one per lead; it becomes NaN.

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
        start, end = (float(value) for value in seconds)
        first, last = round(start * header.sampling_rate), round(end * header.sampling_rate)
    except (TypeError, ValueError, OverflowError) as error:
        raise ECGInputError(f"seconds is {seconds!r}; expected start and end, such as (0, 10).") from error
    if not 0 <= first < last <= header.num_samples:
        raise ECGInputError(
            f"seconds is {seconds!r}; expected at least one sample of record {header.record_id!r}, from 0 to "
            f"{header.num_samples / header.sampling_rate:g} s."
        )
    return first, last


def _read_counts(header_path: Path, header: WFDBHeader, first: int, last: int) -> np.ndarray:
    """The integers of all leads from sample `first` up to `last`, shape (leads, time), from all signal files."""
    rows_of: dict[str, list[int]] = {}
    for row, channel in enumerate(header.channels):
        if channel is not None:
            rows_of.setdefault(channel[0], []).append(row)
    parts = []
    for file_name, rows in rows_of.items():
        leads = [lead for row, lead in zip(header.rows, header.leads, strict=True) if row in rows]
        if len({header.channels[row] for row in rows}) > 1 or rows != list(range(rows[0], rows[0] + len(rows))):
            raise RecordFileError(
                f"{header_path}: the leads in {file_name} must follow each other and share one storage format and "
                "byte offset. Download the header again."
            )
        values = _read_values(header_path, header, leads[0], len(rows), first * len(rows), last * len(rows))
        used = [row - rows[0] for row in header.rows if row in rows]
        parts.append(values.reshape(last - first, len(rows)).T[used])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_values(
    header_path: Path, header: WFDBHeader, lead: StoredLead, num_leads: int, first: int, last: int
) -> np.ndarray:
    """The values `first` up to `last` of the signal file of `lead`, in which `num_leads` leads take turns."""
    path, layout = header_path.parent / lead.file_name, FORMATS[lead.format]
    num_values = num_leads * header.num_samples
    # The last block may be incomplete, or padded.
    least = lead.byte_offset + -(-num_values * layout.block_bytes // layout.block_samples)
    most = lead.byte_offset + -(-num_values // layout.block_samples) * layout.block_bytes
    if lead.format == "310" and num_values % 3 == 2:  # its second sample reaches into the block's last byte
        least = most
    first_block, last_block = first // layout.block_samples, -(-last // layout.block_samples)
    num_bytes = (last_block - first_block) * layout.block_bytes
    with open_record_file(path, header_path.parent, header_path.name) as (file, size):
        if not least <= size <= most:
            wrong = f"{size - most} are too many, so the header is wrong, or something was added"
            if size < least:
                wrong = f"{least - size} are missing, so the file is truncated, or the header is wrong"
            raise RecordFileError(
                f"{path} has {size} bytes; {header_path.name} states {header.num_samples} samples of {num_leads} "
                f"leads in format {lead.format} after byte {lead.byte_offset}, which take {least} bytes: "
                f"{wrong}. Download both files again."
            )
        file.seek(lead.byte_offset + first_block * layout.block_bytes)
        content = file.read(num_bytes).ljust(num_bytes, b"\0")
    if lead.format == "16":
        return np.frombuffer(content, dtype="<i2")
    decoded = _decode_with_wfdb(path, content, lead.format, (last_block - first_block) * layout.block_samples)
    start = first - first_block * layout.block_samples
    return decoded[start : start + last - first]


def _decode_with_wfdb(path: Path, content: bytes, storage_format: str, num_values: int) -> np.ndarray:
    """Have `wfdb` unpack whole blocks, shape (values,), with a header that leaves it nothing to guess."""
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
        except Exception as error:  # the library can raise anything
            raise RecordFileError(f"{path}: wfdb cannot decode it in format {storage_format}: {error}") from error
    if counts is None or counts.shape != (num_values, 1):
        raise RecordFileError(f"{path}: wfdb returned another number of samples than the header states.")
    return np.asarray(counts)[:, 0]


def _verify_checksums(header_path: Path, header: WFDBHeader, counts: np.ndarray) -> None:
    """Compare each lead's 16-bit sum with the header's; writers differ in its sign, so both are modulo 65,536."""
    for lead, lead_counts in zip(header.leads, counts, strict=True):
        found = int(lead_counts.sum(dtype=np.int64)) % 65536
        if lead.checksum is not None and found != lead.checksum:
            raise RecordFileError(
                f"{header_path.parent / lead.file_name}: the checksum of lead {lead.name} is {found}, but "
                f"{header_path.name} states {lead.checksum}. The samples or the header are damaged: download both "
                "files again. If you know that the header is wrong: cgdmer.read_wfdb(path, verify_checksums=False)."
            )
