# SPDX-License-Identifier: Apache-2.0
"""Random changes to a training record that leave its findings true (ours)."""

from dataclasses import dataclass, replace

import numpy as np

from cgdmer.models.ecg_record import ECGRecord

# The most common recordings with fewer than twelve leads: from watches, and from limb electrodes alone.
_COMMON_SUBSETS = (("I",), ("I", "II"))
_SLOWEST_WANDER, _FASTEST_WANDER = 0.05, 0.5  # Hz, as from breathing and movement


@dataclass(frozen=True)
class Augmentation:
    """Each change is drawn afresh for every record and epoch.

    Attributes:
        lead_dropout: probability that a record keeps only some of its leads: I, I and II, or a random subset.
        noise: largest standard deviation, in mV, of the white noise in each lead and of the baseline wander.
        gain: amplitudes of the whole record are multiplied or divided by up to 1 + gain.
    """

    lead_dropout: float = 0.0
    noise: float = 0.0
    gain: float = 0.0

    def __call__(self, record: ECGRecord, random: np.random.Generator) -> ECGRecord:
        signal, lead_names = record.signal, record.lead_names
        if self.gain:
            signal = signal * np.float32((1 + self.gain) ** random.uniform(-1, 1))
        if self.noise:
            signal = signal + self._disturbance(signal.shape, record.sampling_rate, random)
        if self.lead_dropout and random.random() < self.lead_dropout:
            rows = _kept_rows(lead_names, random)
            signal, lead_names = signal[rows], tuple(lead_names[row] for row in rows)
        if signal is record.signal:
            return record
        return replace(record, signal=signal, lead_names=lead_names, gain=None, baseline=None)

    def _disturbance(self, shape: tuple[int, ...], sampling_rate: float, random: np.random.Generator) -> np.ndarray:
        """(leads, time) mV."""
        leads, length = shape
        white_LT = random.uniform(0, self.noise) * random.standard_normal((leads, length), dtype=np.float32)
        frequency = random.uniform(_SLOWEST_WANDER, _FASTEST_WANDER)
        angles_T = 2 * np.pi * frequency * np.arange(length) / sampling_rate
        # Each lead sees the movement at its own amplitude and phase. A sine's standard deviation is its amplitude
        # over the square root of two.
        heights_L1 = random.uniform(0, self.noise) * np.sqrt(2) * random.uniform(-1, 1, (leads, 1))
        wander_LT = heights_L1 * np.sin(angles_T + random.uniform(0, 2 * np.pi, (leads, 1)))
        return white_LT + wander_LT.astype(np.float32)


def _kept_rows(lead_names: tuple[str, ...], random: np.random.Generator) -> list[int]:
    choice = int(random.integers(len(_COMMON_SUBSETS) + 1))
    if choice < len(_COMMON_SUBSETS) and set(_COMMON_SUBSETS[choice]) <= set(lead_names):
        return [lead_names.index(name) for name in _COMMON_SUBSETS[choice]]
    count = int(random.integers(1, len(lead_names) + 1))
    return sorted(random.choice(len(lead_names), count, replace=False).tolist())
