# SPDX-License-Identifier: Apache-2.0
"""What the atria of the simulated cohort do: P waves, fibrillation and flutter."""

import numpy as np

from cgdmer.data.simulated_waveforms import NUM_INDEPENDENT_LEADS, PRECORDIAL, Anatomy, Waves, waves_of


def p_waves(anatomy: Anatomy, pr_interval: float, rng: np.random.Generator) -> Waves:
    """Right then left atrium; the P wave begins `pr_interval` seconds before the QRS complex."""
    duration = rng.uniform(0.09, 0.108)
    size = anatomy.p_size * rng.uniform(0.9, 1.1)
    tilt = rng.uniform(-0.015, 0.015)
    right = size * np.array([0.05 + tilt, 0.085 - tilt, 0.05]) @ anatomy.lead_vectors
    left = size * np.array([0.075 + tilt, 0.06 - tilt, -0.05]) @ anatomy.lead_vectors
    # The precordial gains are those of the ventricles, which lie nearer; the atria are seen smaller.
    right[PRECORDIAL] *= 0.7
    left[PRECORDIAL] *= 0.7
    half = 0.33 * duration
    return waves_of(
        [
            ((-pr_interval + half, half, 0.0, half), right),
            ((-pr_interval + 0.62 * duration, 0.38 * duration, 0.0, 0.38 * duration), left),
        ]
    )


def _slow_curve(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(time,) a smooth random curve of about unit size, slower than 1.5 Hz."""
    frequency, phase = rng.uniform(0.15, 1.5, 3), rng.uniform(0, 2 * np.pi, 3)
    return np.sin(2 * np.pi * frequency[:, None] * time + phase[:, None]).sum(axis=0) / 1.7


def fibrillatory_waves(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(8, time) mV: several wavefronts of wandering frequency (within 4-9 Hz) and size; largest in V1 and II."""
    frequency = rng.uniform(5.0, 7.7)
    size = rng.uniform(0.045, 0.12)
    weight = np.array([0.35, 0.75, 1.0, 0.6, 0.35, 0.25, 0.25, 0.25])
    total = np.zeros((NUM_INDEPENDENT_LEADS, len(time)))
    for share in (1.0, 0.45):
        modulation = _slow_curve(time, rng)
        step = np.gradient(time) * frequency * rng.uniform(0.9, 1.1) * (1.0 + 0.11 * modulation)
        phase = 2 * np.pi * (np.cumsum(step) + rng.random())
        wave = (np.sin(phase) + 0.25 * np.sin(2 * phase)) * (1.0 + 0.35 * _slow_curve(time, rng))
        total += (
            share * size * (weight * rng.uniform(0.6, 1.3, 8) * rng.choice([-1, 1], 8, p=[0.25, 0.75]))[:, None] * wave
        )
    return total


def flutter_waves(time: np.ndarray, frequency: float, phase: float, rng: np.random.Generator) -> np.ndarray:
    """(8, time) mV: a sawtooth, negative in the inferior leads and positive in V1, never at rest."""
    turn = 2 * np.pi * (frequency * time + phase)
    tooth = sum(np.sin(number * turn) * 0.65 ** (number - 1) / number for number in range(1, 5))
    round_wave = np.sin(turn + 0.6)
    size = rng.uniform(0.11, 0.18)
    weight = np.array([0.12, 1.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1]) * rng.uniform(0.8, 1.2, 8)
    front = np.array([0.0, 0.0, -0.6, -0.35, -0.1, 0.0, 0.0, 0.0]) * rng.uniform(0.8, 1.2, 8)
    return size * (weight[:, None] * tooth + front[:, None] * round_wave)


__all__ = ["fibrillatory_waves", "flutter_waves", "p_waves"]
