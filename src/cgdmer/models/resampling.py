# SPDX-License-Identifier: Apache-2.0
"""The one resampler: a polyphase filter."""

import math
from fractions import Fraction

import numpy as np


def resampling_ratio(rate: float, new_rate: float) -> Fraction:
    """New samples per old sample, from the decimal digits of both rates (Hz)."""
    return (Fraction(str(float(new_rate))) / Fraction(str(float(rate)))).limit_denominator(1000)


def resampled_length(length: int, rate: float, new_rate: float) -> int:
    """The number of samples that `resample` returns for `length` samples."""
    return math.ceil(length * resampling_ratio(rate, new_rate))


def resample(signal: np.ndarray, rate: float, new_rate: float, padding: str = "edge") -> np.ndarray:
    """Resample a signal.

    Args:
        signal: (leads, time) floats without NaN.
        rate, new_rate: in Hz. If they are equal, the signal itself is returned.
        padding: what the filter sees beyond the ends. `"edge"` repeats the first and last values; zeros would ring
            wherever the baseline is not at zero. `"constant"` is zeros.

    Returns:
        (leads, new time), of the same type.
    """
    ratio = resampling_ratio(rate, new_rate)
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly  # takes half a second to import

    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype=padding)
