# SPDX-License-Identifier: Apache-2.0
"""The one resampler: a polyphase filter."""

import math
from fractions import Fraction

import numpy as np


def resampling_ratio(rate: float, new_rate: float) -> Fraction:
    """New samples per sample, by the decimal digits of both rates (Hz)."""
    return (Fraction(str(float(new_rate))) / Fraction(str(float(rate)))).limit_denominator(1000)


def resampled_length(length: int, rate: float, new_rate: float) -> int:
    """How many samples `resample` makes of so many."""
    return math.ceil(length * resampling_ratio(rate, new_rate))


def resample(signal: np.ndarray, rate: float, new_rate: float, padding: str = "edge") -> np.ndarray:
    """A signal at another rate.

    Args:
        signal: (leads, time) floats without NaN.
        rate, new_rate: Hz. Where they are equal the signal itself comes back.
        padding: what the filter takes for the time before and after: `"edge"`, the first and last values, because
            zeros would ring wherever the baseline is not at zero; or `"constant"`, zeros.

    Returns:
        (leads, new time), of the same type.
    """
    ratio = resampling_ratio(rate, new_rate)
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly  # takes half a second to import

    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype=padding)
