# SPDX-License-Identifier: Apache-2.0
"""EDF and EDF+ (Kemp et al. 1992, Kemp and Olivan 2003; edfplus.info): a header of text columns, 16-bit samples.

Files are read without a library, because libraries repair them silently: they correct the number of data records and
drop an incomplete last one, so a truncated file would look complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .advice import CHOOSE_LEADS
from .channels import LeadNames, channels_to_read
from .clinic_files import (
    check_size,
    in_millivolts,
    make_record,
    number,
    read_bytes,
    scaled,
    whole_number,
    wrong_size,
)
from .ecg_record import ECGRecord
from .errors import RecordFileError

_FIXED_BYTES = 256  # of the header, and again for each signal
_MOST_BYTES = 2**30 + 2**20  # 2**29 samples and the header
# Names and widths, in the file's order. Each field holds the values of all signals; later fields are not used.
_SIGNAL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical minimum": 8,
    "physical maximum": 8,
    "digital minimum": 8,
    "digital maximum": 8,
    "prefiltering": 80,
    "samples per data record": 8,
}


@dataclass(frozen=True)
class _EDFHeader:
    """One entry of `signals` (the `_SIGNAL_FIELDS`) and `samples_per_record` per signal, annotations included."""

    num_bytes: int
    num_records: int
    record_seconds: float
    signals: tuple[dict[str, str], ...]
    samples_per_record: tuple[int, ...]


def read_edf(path: Path, leads: Sequence[str] | None = None, lead_names: LeadNames | None = None) -> ECGRecord:
    """Read an EDF or EDF+ file without gaps. Its annotations are ignored.

    Args:
        leads: the ones to read, whatever the rate and unit of other signals; None: all signals.
        lead_names: see `renamed_channels`.

    Raises:
        ECGInputError: one of `leads` or `lead_names` is not there exactly once.
        RecordFileError: the file is damaged, truncated, or unfinished; it does not state unit, scale, or name of a
            lead; signals differ in rate, or are not ECG leads; it has gaps (EDF+D).
    """
    content = read_bytes(path, _MOST_BYTES)
    header = _read_header(path, content)
    rows = [row for row, signal in enumerate(header.signals) if signal["label"] != "EDF Annotations"]
    places, names = channels_to_read([header.signals[row]["label"] for row in rows], leads, lead_names, str(path))
    rows = [rows[place] for place in places]
    counts_per_record = {header.samples_per_record[row] for row in rows}
    if len(counts_per_record) != 1:
        raise RecordFileError(
            f"{path}: its {len(rows)} signals have {', '.join(map(str, sorted(counts_per_record))) or 'no'} samples "
            f"per data record; all leads must have the same rate. Resample them, or {CHOOSE_LEADS}."
        )
    samples, frame = counts_per_record.pop(), sum(header.samples_per_record)
    rate = samples / header.record_seconds
    check_size(str(path), len(rows), samples * header.num_records, rate)
    expected = header.num_bytes + 2 * frame * header.num_records
    if len(content) != expected:
        raise wrong_size(str(path), len(content), expected, f"the {header.num_records} data records of its header")
    frames = np.frombuffer(content, dtype="<i2", offset=header.num_bytes).reshape(header.num_records, frame)
    starts = np.cumsum((0, *header.samples_per_record))
    signal = np.stack(
        [
            _millivolts(f"{path}, signal {row + 1}", header.signals[row], frames[:, starts[row] : starts[row + 1]])
            for row in rows
        ]
    )
    return make_record(path, signal, rate, names)


def _read_header(path: Path, content: bytes) -> _EDFHeader:
    if content[192:197] == b"EDF+D":
        raise RecordFileError(f"{path}: the recording has gaps (EDF+D), which is not supported. Export parts of it.")
    num_bytes = whole_number(str(path), "number of header bytes", _text(content[184:192]))
    num_records = whole_number(str(path), "number of data records", _text(content[236:244]))
    record_seconds = number(str(path), "duration of a data record", _text(content[244:252]))
    num_signals = whole_number(str(path), "number of signals", _text(content[252:256]))
    if num_records < 1 or record_seconds <= 0 or num_signals < 1:
        raise RecordFileError(
            f"{path}: its header states {num_records} data records of {record_seconds:g} s with {num_signals} "
            "signals; expected at least one of each. Was the file closed after writing?"
        )
    expected = _FIXED_BYTES * (1 + num_signals)
    if num_bytes != expected or len(content) < num_bytes:
        raise RecordFileError(
            f"{path}: a header of {num_signals} signals has {expected} bytes, but the file states {num_bytes} and has "
            f"{len(content)} in all. It is damaged: export the recording again."
        )
    signals: list[dict[str, str]] = [{} for _ in range(num_signals)]
    position = _FIXED_BYTES
    for name, width in _SIGNAL_FIELDS.items():
        for signal in signals:
            signal[name] = _text(content[position : position + width])
            position += width
    counts = []
    for row, signal in enumerate(signals, 1):
        where, what = f"{path}, signal {row}", "samples per data record"
        counts.append(whole_number(where, f"number of {what}", signal[what]))
        if counts[-1] < 1:
            raise RecordFileError(f"{where}: it has {counts[-1]} {what}. Export the recording again.")
    return _EDFHeader(num_bytes, num_records, record_seconds, tuple(signals), tuple(counts))


def _text(field: bytes) -> str:
    """Writers use Latin-1, which accepts any byte, for the micro sign."""
    return field.decode("latin-1").strip(" \0")


def _millivolts(where: str, signal: dict[str, str], counts: np.ndarray) -> np.ndarray:
    """(time,): linear between the two extremes, which the header gives in digital and in physical values."""
    lowest, highest = (whole_number(where, name, signal[name]) for name in ("digital minimum", "digital maximum"))
    if not lowest < highest:
        raise RecordFileError(
            f"{where}: the digital minimum {lowest} is not below the maximum {highest}, so its scale is unknown. "
            "Export the recording again."
        )
    bottom, top = (
        in_millivolts(where, name, number(where, name, signal[name]), signal["unit"])
        for name in ("physical minimum", "physical maximum")
    )
    scale = (top - bottom) / (highest - lowest)  # negative if the file says that the signal is inverted
    return scaled(where, counts.ravel(), scale, bottom - lowest * scale)
