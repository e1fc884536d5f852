# SPDX-License-Identifier: Apache-2.0
"""Values in any unit as millivolts."""

from typing import Any

import numpy as np

from .errors import ECGInputError, shown
from .missing_samples import erase_marks
from .signal_checks import check_values
from .units import millivolts_per


def in_millivolts(array: np.ndarray, unit: str, gain: Any = None) -> np.ndarray:
    """(leads, time) float64 millivolts, NaN where a sample is missing.

    Args:
        array: (leads, time) integers or floats, see `numbers_of`.
        unit: a known unit of voltage, or "adu".
        gain: converter units per millivolt, one number or one per lead, for "adu".

    Raises:
        ECGInputError: a value is infinite or far beyond any recorder, or the gain is missing or not positive.
    """
    if unit != "adu" and gain is not None:
        raise ECGInputError(f'gain is only for unit="adu", not for unit={unit!r}.')
    if np.isinf(array).any():
        raise ECGInputError("ecg contains infinite values. Mark missing samples with NaN.")
    with np.errstate(over="ignore"):  # checked right below
        signal_mv = array.astype(np.float64)
        if unit == "adu":
            signal_mv /= _gains(gain, len(array))
        else:
            signal_mv *= millivolts_per(unit) or np.nan
    erase_marks(signal_mv, array, unit)
    check_values(signal_mv)
    return signal_mv


def _gains(gain, num_leads: int) -> np.ndarray:
    """(1, 1) or (leads, 1) converter units per millivolt."""
    if gain is None:
        raise ECGInputError('unit="adu" needs gain, the converter units per millivolt (often 200 or 1000).')
    try:
        gains = np.asarray(gain, dtype=np.float64).reshape(-1, 1)
    except (TypeError, ValueError, OverflowError) as error:
        raise ECGInputError(f"gain is {shown(gain)}; expected positive numbers.") from error
    if len(gains) not in (1, num_leads):
        raise ECGInputError(f"gain has {len(gains)} entries; expected one, or one for each of {num_leads} leads.")
    if not (np.isfinite(gains) & (gains > 0)).all():
        raise ECGInputError(f"gain is {shown(gain)}; expected positive numbers.")
    return gains
