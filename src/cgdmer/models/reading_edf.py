# SPDX-License-Identifier: Apache-2.0
"""EDF and EDF+ (Kemp et al. 1992, Kemp and Olivan 2003; edfplus.info): a header of text in columns, 16-bit samples.

Both are read as they lie. Libraries for them mend what is wrong in silence: they correct the number of data records to
what is there and drop the broken last one, so that a truncated file could not be told from a whole one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clinic_files import check_size, in_millivolts, make_record, number, read_bytes, scaled, whole_number
from .ecg_record import ECGRecord, rows_of_leads
from .errors import RecordFileError

_FIXED_BYTES = 256  # of the header, and again for each signal
_MOST_BYTES = 2**30 + 2**20  # 2**29 samples and the header
# Of each signal, in this order, each field for all signals together. The rest is not needed.
_SIGNAL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical minimum": 8,
    "physical maximum": 8,
    "digital minimum": 8,
    "digital maximum": 8,
    "prefiltering": 80,
    "samples a data record": 8,
}


@dataclass(frozen=True)
class _EDFHeader:
    """Of the file, and a dictionary of `_SIGNAL_FIELDS` for each signal, annotations among them."""

    num_bytes: int
    num_records: int
    record_seconds: float
    signals: tuple[dict[str, str], ...]
    samples_a_record: tuple[int, ...]


def read_edf(path: Path, leads: Sequence[str] | None = None) -> ECGRecord:
    """Read an EDF or EDF+ file without gaps; its annotations are left out.

    Args:
        leads: those to read, whatever rate and unit other signals have; None: all signals.

    Raises:
        ECGInputError: it has not each of `leads` once.
        RecordFileError: the file is damaged, truncated or unfinished; it leaves unit, scale or name of a lead open;
            signals differ in rate, or are not ECG leads; it has gaps (EDF+D).
    """
    content = read_bytes(path, _MOST_BYTES)
    header = _read_header(path, content)
    rows = [row for row, signal in enumerate(header.signals) if signal["label"] != "EDF Annotations"]
    if leads is not None:
        labels = [header.signals[row]["label"] for row in rows]
        rows = [rows[number] for number in rows_of_leads(labels, leads, str(path))]
    rates = {header.samples_a_record[row] for row in rows}
    if len(rates) != 1:
        raise RecordFileError(
            f"{path}: its {len(rows)} signals have {', '.join(map(str, sorted(rates))) or 'no'} samples a data "
            "record; all leads must have the same rate. Name the leads to use (read_record(path, leads=[...]), "
            "--leads), or resample them."
        )
    samples, frame = rates.pop(), sum(header.samples_a_record)
    check_size(str(path), len(rows), samples * header.num_records, samples / header.record_seconds)
    announced = header.num_bytes + 2 * frame * header.num_records
    if len(content) != announced:
        raise RecordFileError(
            f"{path} holds {len(content)} bytes, but its header announces {header.num_records} data records, which "
            f"end at {announced}. The file is truncated, or was not closed: fetch it again."
        )
    frames = np.frombuffer(content, dtype="<i2", offset=header.num_bytes).reshape(header.num_records, frame)
    starts = np.cumsum((0, *header.samples_a_record))
    signal = np.stack(
        [
            _millivolts(f"{path}, signal {row + 1}", header.signals[row], frames[:, starts[row] : starts[row + 1]])
            for row in rows
        ]
    )
    names = [header.signals[row]["label"] for row in rows]
    return make_record(path, signal, samples / header.record_seconds, names)


def _read_header(path: Path, content: bytes) -> _EDFHeader:
    if content[192:197] == b"EDF+D":
        raise RecordFileError(f"{path}: the recording has gaps (EDF+D), which is not read here. Export parts of it.")
    num_bytes = whole_number(str(path), "number of header bytes", _text(content[184:192]))
    num_records = whole_number(str(path), "number of data records", _text(content[236:244]))
    record_seconds = number(str(path), "duration of a data record", _text(content[244:252]))
    num_signals = whole_number(str(path), "number of signals", _text(content[252:256]))
    if num_records < 1 or record_seconds <= 0 or num_signals < 1:
        raise RecordFileError(
            f"{path}: its header announces {num_records} data records of {record_seconds:g} s with {num_signals} "
            "signals; at least one of each is needed. Was the file closed when it was written?"
        )
    if num_bytes != _FIXED_BYTES * (1 + num_signals) or len(content) < num_bytes:
        raise RecordFileError(
            f"{path}: a header of {num_signals} signals has {_FIXED_BYTES * (1 + num_signals)} bytes, but the file "
            f"says {num_bytes} and holds {len(content)} in all. It is damaged: fetch it again."
        )
    signals: list[dict[str, str]] = [{} for _ in range(num_signals)]
    position = _FIXED_BYTES
    for name, width in _SIGNAL_FIELDS.items():
        for signal in signals:
            signal[name] = _text(content[position : position + width])
            position += width
    counts = []
    for row, signal in enumerate(signals, 1):
        counts.append(
            whole_number(f"{path}, signal {row}", "number of samples a data record", signal["samples a data record"])
        )
        if counts[-1] < 1:
            raise RecordFileError(f"{path}, signal {row}: it has {counts[-1]} samples a data record. Fetch it again.")
    return _EDFHeader(num_bytes, num_records, record_seconds, tuple(signals), tuple(counts))


def _text(field: bytes) -> str:
    """Latin-1, which takes any byte, is what writers use for the micro sign."""
    return field.decode("latin-1").strip(" \0")


def _millivolts(where: str, signal: dict[str, str], counts: np.ndarray) -> np.ndarray:
    """(time,): the digital extremes stand for the physical ones, and what lies between is linear."""
    lowest, highest = (
        whole_number(where, f"digital {end}", signal[f"digital {end}"]) for end in ("minimum", "maximum")
    )
    if not lowest < highest:
        raise RecordFileError(
            f"{where}: the digital minimum {lowest} is not below the maximum {highest}, so its scale is not known. "
            "Export the recording again."
        )
    bottom, top = (
        in_millivolts(
            where, f"physical {end}", number(where, f"physical {end}", signal[f"physical {end}"]), signal["unit"]
        )
        for end in ("minimum", "maximum")
    )
    scale = (top - bottom) / (highest - lowest)  # below zero where the file says that the signal is upside down
    return scaled(where, counts.ravel(), scale, bottom - lowest * scale)
