# SPDX-License-Identifier: Apache-2.0
"""Random changes to a training record that leave its findings true (ours)."""

from dataclasses import dataclass, replace

import numpy as np

from cgdmer.models.ecg_record import ECGRecord

# What is most often recorded with fewer than twelve leads: watches, and limb electrodes alone.
_COMMON_SUBSETS = (("I",), ("I", "II"))
_SLOWEST_WANDER, _FASTEST_WANDER = 0.05, 0.5  # Hz, as breathing and movement make it


@dataclass(frozen=True)
class Augmentation:
    """Each change is drawn afresh for every record and epoch.

    Attributes:
        lead_dropout: probability that a record keeps some of its leads only: lead I, I and II, or any.
        noise: mV; white noise in each lead and a wandering baseline have standard deviations of up to so much.
        gain: amplitudes of the whole record are multiplied by up to 1 + gain, or divided.
    """

    lead_dropout: float = 0.0
    noise: float = 0.0
    gain: float = 0.0

    def __call__(self, record: ECGRecord, random: np.random.Generator) -> ECGRecord:
        if self.gain:
            factor = (1 + self.gain) ** random.uniform(-1, 1)
            record = replace(record, signal=record.signal * np.float32(factor), gain=None, baseline=None)
        if self.noise:
            record = replace(
                record, signal=record.signal + self._disturbance(record, random), gain=None, baseline=None
            )
        if self.lead_dropout and random.random() < self.lead_dropout:
            rows = _kept_rows(record.lead_names, random)
            record = replace(
                record,
                signal=record.signal[rows],
                lead_names=tuple(record.lead_names[row] for row in rows),
                gain=None,
                baseline=None,
            )
        return record

    def _disturbance(self, record: ECGRecord, random: np.random.Generator) -> np.ndarray:
        """(leads, time) mV."""
        leads, length = record.signal.shape
        white_LT = random.uniform(0, self.noise) * random.standard_normal((leads, length), dtype=np.float32)
        frequency = random.uniform(_SLOWEST_WANDER, _FASTEST_WANDER)
        angles_T = 2 * np.pi * frequency * np.arange(length) / record.sampling_rate
        # Each lead sees the movement in its own size and moment; a sine's deviation is its height over root two.
        heights_L1 = random.uniform(0, self.noise) * np.sqrt(2) * random.uniform(-1, 1, (leads, 1))
        wander_LT = heights_L1 * np.sin(angles_T + random.uniform(0, 2 * np.pi, (leads, 1)))
        return white_LT + wander_LT.astype(np.float32)


def _kept_rows(lead_names: tuple[str, ...], random: np.random.Generator) -> list[int]:
    choice = int(random.integers(len(_COMMON_SUBSETS) + 1))
    if choice < len(_COMMON_SUBSETS) and set(_COMMON_SUBSETS[choice]) <= set(lead_names):
        return [lead_names.index(name) for name in _COMMON_SUBSETS[choice]]
    count = int(random.integers(1, len(lead_names) + 1))
    return sorted(random.choice(len(lead_names), count, replace=False).tolist())
