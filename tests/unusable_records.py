# SPDX-License-Identifier: Apache-2.0
"""Records that a dataset can hold and no feature extractor takes, one of each kind."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from cgdmer.models.ecg_record import ECGRecord


def spoiled(record: ECGRecord, kind: str) -> ECGRecord:
    """A record with a gap in all leads, too short, of another gain, or without most of its samples."""
    signal, rate = record.signal.copy(), round(record.sampling_rate)
    if kind == "gap":
        signal[:, 2 * rate : 4 * rate + rate // 2] = np.nan
    elif kind == "short":
        signal = signal[:, : 3 * rate // 2]
    elif kind == "sparse":
        signal[:, np.arange(signal.shape[1]) % 4 != 0] = np.nan
    elif kind == "tiny":
        return replace(record, signal=signal / 1e4, gain=tuple(1e4 * gain for gain in record.gain or ()))
    elif kind == "huge":
        return replace(record, signal=signal * 100, gain=tuple(gain / 100 for gain in record.gain or ()))
    return replace(record, signal=signal)


REASONS = {
    "gap": "every lead is flat or has long gaps",
    "short": "lasts 1.50 s",
    "sparse": "every lead is flat or has long gaps",
    "tiny": "which is noise, not a heart",
    "huge": "which no heart does",
}


def with_unusable(records: Iterable[ECGRecord], split: str, splits) -> Iterator[ECGRecord]:
    """The records, with one of each kind among those of a split, named "spoiled KIND"."""
    kinds = list(REASONS)
    for record in records:
        if kinds and splits(record) == split:
            kind = kinds.pop(0)
            yield replace(spoiled(record, kind), record_id=f"spoiled {kind}")
        yield record
