# SPDX-License-Identifier: Apache-2.0
"""The atria of simulated patients: P waves, fibrillation, and flutter."""

import numpy as np

from cgdmer.simulation.waveforms import NUM_INDEPENDENT_LEADS, PRECORDIAL, Anatomy, Waves, direction, hump, waves_of

_SEEN_FROM_THE_FRONT = np.array([0.0, 0.0, 1.0, 0.55, 0.1, 0.0, 0.0, 0.0])  # in I, II, and V1 to V6


def p_waves(anatomy: Anatomy, pr_interval: float, rng: np.random.Generator, enlarged: bool = False) -> Waves:
    """The right atrium, then the left one. The P wave begins `pr_interval` seconds before the QRS complex.

    Args:
        enlarged: the left atrium is enlarged, so its part is later, larger, and directed further backward: two humps
            in lead II and a deep negative end in V1.
    """
    duration = rng.uniform(0.09, 0.108)
    size = anatomy.p_size * rng.uniform(0.9, 1.1)
    tilt = rng.uniform(-0.015, 0.015)
    right = size * np.array([0.05 + tilt, 0.085 - tilt, 0.05]) @ anatomy.lead_vectors
    left = size * np.array([0.075 + tilt, 0.06 - tilt, -0.05]) @ anatomy.lead_vectors
    center_of_left, half_of_left = 0.62, 0.38
    if enlarged:
        duration += rng.uniform(0.034, 0.05)
        left = max(size, 0.9) * np.array([0.1 + tilt, 0.085 - tilt, -rng.uniform(0.17, 0.24)])
        # The atrium lies behind V1, to a lesser degree behind V2. From V3 on, its P wave is upright.
        left = left[:2] @ anatomy.lead_vectors[:2] + left[2] * anatomy.lead_vectors[2] * _SEEN_FROM_THE_FRONT
        center_of_left, half_of_left = 0.7, 0.3
    # The precordial gains are for the ventricles, which are nearer. The atria look smaller.
    right[PRECORDIAL] *= 0.7
    left[PRECORDIAL] *= 0.7
    half = (0.27 if enlarged else 0.33) * duration
    timing_of_left = hump(-pr_interval + center_of_left * duration, half_of_left * duration)
    return waves_of([(hump(-pr_interval + half, half), right), (timing_of_left, left)])


def tall_p_waves(anatomy: Anatomy, pr_interval: float, rng: np.random.Generator) -> Waves:
    """The right atrium is enlarged: its part is tall and pointed in the inferior leads and V1, and not longer."""
    duration, size = rng.uniform(0.095, 0.112), rng.uniform(1.0, 1.4)
    right = size * np.array([0.03, 0.3, 0.2 * rng.uniform(0.6, 1.3)]) @ anatomy.lead_vectors
    left = np.array([0.06, 0.05, -0.04]) @ anatomy.lead_vectors
    right[PRECORDIAL] *= np.array([0.9, 0.7, 0.35, 0.25, 0.25, 0.25])
    left[PRECORDIAL] *= 0.7
    begin = -pr_interval
    return waves_of(
        [
            (hump(begin + 0.45 * duration, 0.45 * duration), right),
            (hump(begin + 0.65 * duration, 0.35 * duration), left),
        ]
    )


def ectopic_p_waves(anatomy: Anatomy, pr_interval: float, rng: np.random.Generator) -> Waves:
    """The P wave of a premature atrial beat: it starts elsewhere in the atria, so it has another shape and is small
    or negative in the inferior leads."""
    duration, size = rng.uniform(0.075, 0.105), anatomy.p_size * rng.uniform(0.1, 0.16)
    frontal = direction(rng.uniform(-140, -30))
    wave = size * np.array([frontal[0], frontal[1], rng.uniform(-0.5, 0.7)]) @ anatomy.lead_vectors
    wave[PRECORDIAL] *= 0.7
    return waves_of([(hump(-pr_interval + 0.5 * duration, 0.5 * duration), wave)])


def retrograde_p_waves(anatomy: Anatomy, rng: np.random.Generator) -> Waves:
    """The atria are activated from below: negative in the inferior leads, positive in aVR. It begins at 0."""
    duration, size = rng.uniform(0.07, 0.09), anatomy.p_size * rng.uniform(0.09, 0.14)
    frontal = direction(rng.uniform(-100, -75))
    wave = size * np.array([frontal[0], frontal[1], rng.uniform(0.0, 0.5)]) @ anatomy.lead_vectors
    wave[PRECORDIAL] *= 0.7
    return waves_of([(hump(0.5 * duration, 0.5 * duration), wave)])


def _slow_curve(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(time,) A smooth random curve of about unit size, slower than 1.5 Hz."""
    frequency, phase = rng.uniform(0.15, 1.5, 3), rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * frequency[:, None] * time + phase[:, None]).sum(axis=0) / 1.7


def fibrillatory_waves(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(8, time) mV. Several wavefronts whose frequency (within 4-9 Hz) and size wander; largest in V1 and II."""
    frequency = rng.uniform(5.0, 7.7)
    size = rng.uniform(0.045, 0.12)
    weight = np.array([0.35, 0.75, 1.0, 0.6, 0.35, 0.25, 0.25, 0.25])
    total = np.zeros((NUM_INDEPENDENT_LEADS, len(time)))
    for share in (1.0, 0.45):
        modulation = _slow_curve(time, rng)
        step = np.gradient(time) * frequency * rng.uniform(0.9, 1.1) * (1.0 + 0.11 * modulation)
        phase = 2 * np.pi * (np.cumsum(step) + rng.random())
        wave = (np.sin(phase) + 0.25 * np.sin(2 * phase)) * (1.0 + 0.35 * _slow_curve(time, rng))
        signed = weight * rng.uniform(0.6, 1.3, 8) * rng.choice([-1, 1], 8, p=[0.25, 0.75])
        total += share * size * signed[:, None] * wave
    return total


def flutter_waves(time: np.ndarray, frequency: float, phase: float, rng: np.random.Generator) -> np.ndarray:
    """(8, time) mV. A sawtooth, negative in the inferior leads and positive in V1, that never rests."""
    turn = 2 * np.pi * (frequency * time + phase)
    tooth = sum(np.sin(number * turn) * 0.65 ** (number - 1) / number for number in range(1, 5))
    round_wave = np.sin(turn + 0.6)
    size = rng.uniform(0.11, 0.18)
    weight = np.array([0.12, 1.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1]) * rng.uniform(0.8, 1.2, 8)
    front = np.array([0.0, 0.0, -0.6, -0.35, -0.1, 0.0, 0.0, 0.0]) * rng.uniform(0.8, 1.2, 8)
    return size * (weight[:, None] * tooth + front[:, None] * round_wave)
