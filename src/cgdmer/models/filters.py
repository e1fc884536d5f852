# SPDX-License-Identifier: Apache-2.0
"""The filters that a model's preprocessing can ask for, by name. None of them shifts a signal in time.

An edge that a rate cannot hold (at or above half of it) is left out: there is nothing to cut off.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# SciPy's filters take half a second to import, so they are imported where they run.


@dataclass(frozen=True)
class Filter:
    """One step.

    Args:
        words: for a model's card.
        apply: takes a signal (leads, time) and its rate in Hz, and returns a signal of the same shape.
    """

    words: str
    apply: Callable[[np.ndarray, float], np.ndarray]


def _butterworth(order: int, lowest: float | None, highest: float | None) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(signal_LT: np.ndarray, rate: float) -> np.ndarray:
        from scipy.signal import butter, sosfiltfilt

        kind, edges = _band(lowest, highest, rate)
        if kind is None:
            return signal_LT
        sections = butter(order, edges, btype=kind, fs=rate, output="sos")
        taps = 2 * len(sections) + 1 - min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum())
        return sosfiltfilt(sections, signal_LT, axis=-1, padlen=_padding(3 * taps, signal_LT))

    return apply


def _finite_band(lowest: float, highest: float, seconds: float) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(signal_LT: np.ndarray, rate: float) -> np.ndarray:
        from scipy.signal import filtfilt, firwin

        kind, edges = _band(lowest, highest, rate)
        taps = int(seconds * rate) // 2 * 2 + 1  # odd, or a high-pass would let nothing through at half the rate
        response = firwin(taps, edges, pass_zero=kind, fs=rate)
        return filtfilt(response, [1.0], signal_LT, axis=-1, padlen=_padding(3 * taps, signal_LT))

    return apply


def _notch(frequency: float, quality: float) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(signal_LT: np.ndarray, rate: float) -> np.ndarray:
        from scipy.signal import filtfilt, iirnotch

        if rate <= 2 * frequency:
            return signal_LT
        numerator, denominator = iirnotch(frequency, quality, fs=rate)
        padding = _padding(3 * len(numerator), signal_LT)
        return filtfilt(numerator, denominator, signal_LT, axis=-1, padlen=padding)

    return apply


def _without_running_median(seconds: float) -> Callable[[np.ndarray, float], np.ndarray]:
    def apply(signal_LT: np.ndarray, rate: float) -> np.ndarray:
        from scipy.ndimage import median_filter

        samples = (int(seconds * rate) + 1) // 2 * 2 + 1  # odd; zeros stand beyond the ends
        return signal_LT - median_filter(signal_LT, size=(1, samples), mode="constant")

    return apply


def _band(lowest: float | None, highest: float | None, rate: float) -> tuple[str | None, list[float] | float]:
    """The kind of filter that is left at a rate, and its edges in Hz."""
    highest = highest if highest is not None and rate > 2 * highest else None
    if lowest is not None and highest is not None:
        return "bandpass", [lowest, highest]
    if lowest is not None:
        return "highpass", lowest
    return ("lowpass", highest) if highest is not None else (None, [])


def _padding(wanted: int, signal_LT: np.ndarray) -> int:
    return min(int(wanted), signal_LT.shape[1] - 1)


FILTERS = {
    "lowpass_40hz": Filter("a Butterworth low-pass at 40 Hz (order 5)", _butterworth(5, None, 40.0)),
    "highpass_0.67hz": Filter("a Butterworth high-pass at 0.67 Hz (order 5)", _butterworth(5, 0.67, None)),
    "bandpass_0.67_40hz": Filter("a Butterworth band-pass from 0.67 to 40 Hz (order 5)", _butterworth(5, 0.67, 40.0)),
    "bandpass_0.67_40hz_order4": Filter(
        "a Butterworth band-pass from 0.67 to 40 Hz (order 4)", _butterworth(4, 0.67, 40.0)
    ),
    "fir_0.05_47hz": Filter(
        "a band-pass from 0.05 to 47 Hz with a finite response of 0.3 s", _finite_band(0.05, 47.0, 0.3)
    ),
    "notch_50hz": Filter("a notch at 50 Hz (quality 30)", _notch(50.0, 30.0)),
    "median_baseline": Filter("the running median over 0.4 s taken off each lead", _without_running_median(0.4)),
}
