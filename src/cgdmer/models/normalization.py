# SPDX-License-Identifier: Apache-2.0
"""The scales that a model's preprocessing can ask for, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_SMALLEST = 1e-6  # of what is divided by: a flat signal stays flat


@dataclass(frozen=True)
class Normalization:
    """One way to scale a signal.

    Args:
        words: for a model's card; `{fixed_millivolts}` is the option of the feature extractor.
        apply: takes a signal (leads, time) in millivolts, which leads are present (leads,), and `fixed_millivolts`,
            and returns a signal of the same shape. Absent leads may become anything.
        keeps_amplitude: whether a difference of 1.0 stands for `fixed_millivolts`.
    """

    words: str
    apply: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    keeps_amplitude: bool = False


def _fixed(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    return signal_LT / millivolts


def _centered(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    return (signal_LT - signal_LT.mean(axis=-1, keepdims=True)) / millivolts


def _minmax_record(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    recorded = signal_LT[present_L]
    lowest, highest = recorded.min(), recorded.max()
    return (signal_LT - lowest) / max(highest - lowest, _SMALLEST)


def _minmax_lead(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    lowest, highest = signal_LT.min(axis=-1, keepdims=True), signal_LT.max(axis=-1, keepdims=True)
    return 2 * (signal_LT - lowest) / np.maximum(highest - lowest, _SMALLEST) - 1


def _zscore_lead(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    deviation = np.maximum(signal_LT.std(axis=-1, keepdims=True), _SMALLEST)
    return (signal_LT - signal_LT.mean(axis=-1, keepdims=True)) / deviation


def _zscore_record(signal_LT: np.ndarray, present_L: np.ndarray, millivolts: float) -> np.ndarray:
    recorded = signal_LT[present_L]
    return (signal_LT - recorded.mean()) / max(recorded.std(), _SMALLEST)


NORMALIZATIONS = {
    "fixed": Normalization("divided by {fixed_millivolts:g} mV", _fixed, keeps_amplitude=True),
    "centered": Normalization(
        "each lead's mean subtracted, divided by {fixed_millivolts:g} mV", _centered, keeps_amplitude=True
    ),
    "minmax_record": Normalization("all leads together scaled to 0..1", _minmax_record),
    "minmax_lead": Normalization("each lead scaled to -1..1", _minmax_lead),
    "zscore_lead": Normalization("each lead with mean 0 and standard deviation 1", _zscore_lead),
    "zscore_record": Normalization("all leads together with mean 0 and standard deviation 1", _zscore_record),
}
