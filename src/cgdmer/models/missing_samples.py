# SPDX-License-Identifier: Apache-2.0
"""Arrays in any form that people have them, with NaN wherever a sample is marked as missing."""

from numbers import Real
from typing import Any

import numpy as np

from .errors import ECGInputError

# The lowest integer of a WFDB format means "no sample". That of a wide format is no voltage of a heart in any unit.
# That of a narrow one may be, in converter units, so it counts only if nothing is closer than an eighth of the range.
_WIDE_BITS, _NARROW_BITS = (16, 24, 32), (8, 10, 12)


def numbers_of(values: Any, name: str = "ecg") -> np.ndarray:
    """Integers or floats in one array, with NaN for samples that are masked, None, or `pandas.NA`.

    Takes whatever NumPy takes, and masked arrays (of NumPy and of torch), nullable columns, tensors in bfloat16 or on
    a GPU, and lists of any of them. A plain array of numbers is not copied.

    Args:
        name: of the argument, for messages.

    Raises:
        ECGInputError: the values are not numbers, or rows differ in length.
    """
    try:
        array = _array_of(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: a tensor with a gradient
        raise ECGInputError(f"{name} is not numeric, or its rows differ in length: {error}") from error
    if array.dtype.kind not in "iuf":
        raise ECGInputError(f"{name} is not numeric: it holds {array.dtype}; expected integers or floats.")
    return array


def _array_of(values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        data, mask = values.data, np.ma.getmaskarray(values)
        return _with_gaps(_array_of(np.asarray(data)), mask)
    if isinstance(values, (list, tuple)) and any(hasattr(one, "__len__") for one in values):
        return np.stack([_array_of(one) for one in values])
    if hasattr(values, "get_mask") and hasattr(values, "get_data"):  # torch.masked; its mask says what is there
        return _with_gaps(_array_of(values.get_data()), ~np.asarray(values.get_mask().cpu()))
    if hasattr(values, "is_floating_point") and hasattr(values, "cpu"):
        values = values.cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type
            values = values.float()
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return _from_objects(array)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array  # that of JAX


def _with_gaps(array: np.ndarray, missing: np.ndarray) -> np.ndarray:
    if not missing.any():
        return array
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    return np.where(missing, np.array(np.nan, array.dtype), array) if array.dtype.kind == "f" else array


def _from_objects(array: np.ndarray) -> np.ndarray:
    """Numbers in an array of Python objects, as lists with None and nullable columns of pandas give it."""
    numbers = np.empty(array.size)
    for place, value in enumerate(array.ravel()):
        if value is None or value is np.ma.masked or type(value).__name__ == "NAType":
            numbers[place] = np.nan
        elif isinstance(value, Real) and not isinstance(value, (bool, np.bool_)):
            numbers[place] = value
        else:
            raise TypeError(f"it holds {type(value).__name__}; expected integers or floats")
    return numbers.reshape(array.shape)


def erase_marks(signal: np.ndarray, counts: np.ndarray, unit: str) -> None:
    """Put NaN where an integer stands for "no sample".

    That is the lowest value of a signed integer type, and the lowest value of a WFDB format if no value is beyond its
    range: -32768 of 16 bits, as `wfdb.rdrecord(physical=False)` returns it, and those of 8 to 12 bits in converter
    units.

    Args:
        signal: (leads, time) floats, changed in place.
        counts: the same values as given, before any conversion, of any type.
        unit: "adu" for converter units.
    """
    # As Python numbers, since a narrow type cannot be compared with what it cannot hold.
    for row, given, lowest in zip(signal, counts, np.fmin.reduce(counts, axis=1, initial=0).tolist(), strict=True):
        if lowest < 0 and _is_mark(given, lowest, np.fmax.reduce(given, initial=0).item(), unit):
            row[given == lowest] = np.nan


def _is_mark(given: np.ndarray, lowest: float, highest: float, unit: str) -> bool:
    if given.dtype.kind == "i" and lowest == np.iinfo(given.dtype).min:
        return True
    if any(lowest == -(2 ** (bits - 1)) and highest < 2 ** (bits - 1) for bits in _WIDE_BITS):
        return True
    for bits in _NARROW_BITS if unit == "adu" else ():
        if lowest == -(2 ** (bits - 1)) and highest < 2 ** (bits - 1):
            return not ((given > lowest) & (given <= lowest + 2**bits // 8)).any()
    return False
