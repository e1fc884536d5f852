# SPDX-License-Identifier: Apache-2.0
"""The heart and chest of a simulated patient, and how waves are added up to beats and traces.

A beat is a sum of short waves. Each wave has a shape in time (a cosine rise, an optional plateau, a cosine fall, zero
outside) and an amplitude in each of the eight independent leads I, II, and V1-V6. The amplitude is the projection of a
heart vector (x to the patient's left, y to the feet, z to the chest wall) on the leads. The precordial leads, which
are close enough to the heart to see more than one vector, have an additional local term. Leads III, aVR, aVL, and aVF
follow from I and II and are not simulated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_INDEPENDENT_LEADS = 8
LEAD_I, LEAD_II, V1, V2, V3, V4, V5, V6 = range(NUM_INDEPENDENT_LEADS)
PRECORDIAL = slice(V1, V6 + 1)

# The position of each precordial electrode: degrees in the horizontal plane, 0 = left side, 90 = front of the chest.
_PRECORDIAL_AZIMUTH = np.array([118.0, 97.0, 75.0, 55.0, 28.0, 2.0])
# Electrodes near the apex see larger voltages than the one in the axilla.
_PRECORDIAL_GAIN = np.array([1.0, 1.3, 1.4, 1.4, 1.3, 1.0])


@dataclass(frozen=True)
class Anatomy:
    """What a patient's records share. A quantile, in [0, 1], places a quantity within the range that a condition
    gives it, so that a heart keeps its rank among others under any condition.

    Attributes:
        lead_vectors: (3, 8) projection of the heart vector on I, II, and V1-V6.
        local_gain: (6,) local gain of V1-V6, about 1.
        local_qrs: (6, 6) mV, local deflection k in precordial lead j, before voltages are scaled.
        axis: quantile of the frontal QRS axis.
        limb_voltage, precordial_voltage: quantiles of the QRS voltages.
        qrs_duration, pr_interval: quantiles of the intervals.
        septal, posterior, basal: relative size of the first, a later, and the last activation.
        rotation: forward (positive) or backward tilt of the main vector.
        p_size, t_size: relative size of the P and the T wave.
        t_axis: degrees between the T and the QRS axis.
        corrected_qt: seconds at 60 beats per minute.
        infarct_anterior: whether an old infarction is anterior if both walls are possible.
    """

    lead_vectors: np.ndarray
    local_gain: np.ndarray
    local_qrs: np.ndarray
    axis: float
    limb_voltage: float
    precordial_voltage: float
    qrs_duration: float
    pr_interval: float
    septal: float
    posterior: float
    basal: float
    rotation: float
    p_size: float
    t_size: float
    t_axis: float
    corrected_qt: float
    infarct_anterior: bool


@dataclass(frozen=True)
class Waves:
    """The waves of one beat. Times are in seconds from the onset of the QRS complex.

    Attributes:
        timing: (waves, 4) start of the plateau, rise before it, length of the plateau, fall after it.
        amplitude: (waves, 8) mV in I, II, and V1-V6.
    """

    timing: np.ndarray
    amplitude: np.ndarray

    def shape(self, time: np.ndarray) -> np.ndarray:
        """(waves, time) values in [0, 1] at the given times."""
        start, rise, plateau, fall = self.timing.T[:, :, None]
        distance = np.maximum((start - time) / rise, (time - (start + plateau)) / fall)
        np.minimum(np.maximum(distance, 0.0, out=distance), 1.0, out=distance)
        distance *= np.pi
        return 0.5 + 0.5 * np.cos(distance, out=distance)

    @property
    def extent(self) -> tuple[float, float]:
        """When the first wave begins and the last one ends."""
        start, rise, plateau, fall = self.timing.T
        return float((start - rise).min()), float((start + plateau + fall).max())

    def __add__(self, other: "Waves") -> "Waves":
        return Waves(
            np.concatenate([self.timing, other.timing]),
            np.concatenate([self.amplitude, other.amplitude]),
        )


Beats = list[tuple[Waves, np.ndarray]]  # waves, and the seconds at which they begin


def waves_of(rows: Sequence[tuple[tuple[float, float, float, float], np.ndarray]]) -> Waves:
    """Waves from (timing, amplitude) of each."""
    return Waves(np.array([timing for timing, _ in rows]), np.array([amplitude for _, amplitude in rows]))


def hump(peak: float, half: float) -> tuple[float, float, float, float]:
    """The timing of a symmetric wave without a plateau, as long before its peak as after it."""
    return peak, half, 0.0, half


def between(quantile: float, low: float, high: float) -> float:
    return low + quantile * (high - low)


def direction(degrees: float) -> np.ndarray:
    """Unit vector (x, y) in the frontal plane; 0 degrees points left, 90 to the feet."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def limb_amplitudes(frontal: np.ndarray) -> tuple[float, float]:
    """The projections of a vector (x, y) in the frontal plane on leads I and II."""
    return frontal[0], 0.5 * frontal[0] + np.sqrt(0.75) * frontal[1]


def regular_times(interval: float, duration: float, rng: np.random.Generator, spread: float = 0.004) -> np.ndarray:
    """(beats,) seconds of a regular rhythm, from before the start to after the end."""
    count = int(duration / interval) + 4
    times = np.cumsum(interval * (1 + rng.normal(0, spread, count)))
    return times - times[0] - interval * (1 + rng.random())


def draw_anatomy(rng: np.random.Generator, sex: str) -> Anatomy:
    """Draw what a patient's records share."""
    azimuth = np.radians(_PRECORDIAL_AZIMUTH + rng.normal(0, 4) + rng.normal(0, 3, 6))
    gain = _PRECORDIAL_GAIN * np.exp(rng.normal(0, 0.06, 6))
    lead_vectors = np.zeros((3, NUM_INDEPENDENT_LEADS))
    lead_vectors[:, LEAD_I] = [1.0, 0.0, 0.0]
    lead_vectors[:, LEAD_II] = [0.5, np.sqrt(0.75), 0.0]
    lead_vectors[:, PRECORDIAL] = [gain * np.cos(azimuth), np.full(6, 0.12), gain * np.sin(azimuth)]
    # From V1 to V6, the wall under each electrode is activated a little later. Its neighbors see part of it.
    spread = np.eye(6) + 0.4 * (np.eye(6, k=1) + np.eye(6, k=-1))
    strength = np.array([0.0, 0.14, 0.34, 0.4, 0.2, 0.1]) + rng.normal(0, 0.06, 6)
    # Women have somewhat lower voltages and narrower complexes; the two sexes overlap widely.
    shift = -0.1 if sex == "female" else 0.1
    quantile = np.clip(rng.beta(1.6, 1.6, 5) + shift * np.array([0.0, 1.0, 1.0, 1.0, 0.0]), 0.0, 1.0)
    return Anatomy(
        lead_vectors=lead_vectors,
        local_gain=np.exp(rng.normal(0, 0.08, 6)),
        local_qrs=spread * strength[:, None],
        axis=float(quantile[0]),
        limb_voltage=float(quantile[1]),
        precordial_voltage=float(quantile[2]),
        qrs_duration=float(quantile[3]),
        pr_interval=float(quantile[4]),
        septal=float(rng.uniform(0.6, 1.2)),
        posterior=float(rng.uniform(0.75, 1.25)),
        basal=float(rng.uniform(0.2, 1.5)),
        rotation=float(rng.uniform(-0.25, 0.1)),
        p_size=float(rng.uniform(0.75, 1.35)),
        t_size=float(np.exp(rng.normal(0, 0.25))),
        t_axis=float(rng.uniform(-20, 20)),
        corrected_qt=float(rng.uniform(0.37, 0.43)),
        infarct_anterior=bool(rng.random() < 0.5),
    )


def add_beats(signal: np.ndarray, waves: Waves, onsets: np.ndarray, scale: np.ndarray, sampling_rate: float) -> None:
    """Add the waves at each onset, in place.

    Args:
        signal: (8, time) mV.
        onsets: (beats,) seconds, not rounded to samples.
        scale: (beats, 8) factors per beat and lead.
    """
    first, last = waves.extent
    length = round((last - first) * sampling_rate) + 2
    begins = np.ceil((onsets + first) * sampling_rate).astype(int)
    inside = (begins + length > 0) & (begins < signal.shape[1])
    begins, onsets, scale = begins[inside], onsets[inside], scale[inside]
    times = (begins[:, None] + np.arange(length)) / sampling_rate - onsets[:, None]
    shapes = waves.shape(times.reshape(-1)).reshape(len(waves.timing), len(begins), length)
    for number, begin in enumerate(begins):
        beat = (waves.amplitude * scale[number]).T @ shapes[:, number]
        left, right = max(0, -begin), min(length, signal.shape[1] - begin)
        signal[:, begin + left : begin + right] += beat[:, left:right]
