# SPDX-License-Identifier: Apache-2.0
"""Disturbances of test records: fewer leads, lower sampling rates, and added noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cgdmer.files.hashing import seed_of
from cgdmer.models.ecg_record import ECGRecord, keep_leads, without_filled_ends
from cgdmer.models.resampling import resample

LEAD_SUBSETS = {
    "6 limb leads": ("I", "II", "III", "aVR", "aVL", "aVF"),
    "3 leads": ("I", "II", "V2"),
    "2 leads": ("I", "II"),
    "lead I": ("I",),
}
LOWER_RATES = (250, 125, 62.5)  # Hz
NOISE_LEVELS = (20, 10, 5, 0)  # dB: power of the signal over power of the noise


@dataclass(frozen=True)
class Disturbance:
    """One change to all test records.

    Attributes:
        family: "leads", "rate", or "noise".
        name: for tables and figures.
        apply: makes the changed record.
        rate: records at this rate (Hz) or below do not change; None: all records change.
    """

    family: str
    name: str
    apply: Callable[[ECGRecord], ECGRecord]
    rate: float | None = None


def lower_rate(record: ECGRecord, sampling_rate: float) -> ECGRecord:
    """The record as a device of that sampling rate would have stored it; unchanged if its own rate is not higher.

    A missing sample (NaN) spreads over its neighbors, as far as the anti-aliasing filter reaches.
    """
    if record.sampling_rate <= sampling_rate:
        return record
    signal = resample(record.signal, record.sampling_rate, sampling_rate, padding="constant")
    return replace(record, signal=signal.astype(np.float32), sampling_rate=sampling_rate, gain=None, baseline=None)


def add_noise(record: ECGRecord, decibels: float) -> ECGRecord:
    """Add white noise to each lead, `decibels` below the power of the lead without its mean.

    The same record always gets the same noise. A flat lead stays flat, and filled ends of the record are cut off.
    """
    record = without_filled_ends(record)
    random = np.random.default_rng(seed_of(record.record_id.encode()))
    deviation = np.nanstd(record.signal, axis=1, keepdims=True)
    noise = random.standard_normal(record.signal.shape) * deviation * 10 ** (-decibels / 20)
    return replace(record, signal=(record.signal + noise).astype(np.float32), gain=None, baseline=None)


DISTURBANCES = (
    *(Disturbance("leads", name, partial(keep_leads, leads=leads)) for name, leads in LEAD_SUBSETS.items()),
    *(Disturbance("rate", f"{rate:g} Hz", partial(lower_rate, sampling_rate=rate), rate) for rate in LOWER_RATES),
    *(Disturbance("noise", f"{level} dB", partial(add_noise, decibels=level)) for level in NOISE_LEVELS),
)
