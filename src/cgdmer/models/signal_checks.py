# SPDX-License-Identifier: Apache-2.0
"""What a recording must be like for the feature extractor to use it.

Datasets are prepared with the same checks, so this file needs only numpy. Signals are (leads, time) float64 millivolts
with NaN where a sample is missing.
"""

import statistics
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import ECGInputError, shown
from .leads import STANDARD_LEADS, standard_lead_names
from .recorded_span import recording_ends
from .units import HIGHEST_RATE, LONGEST_SECONDS, LOWEST_RATE, MOST_SAMPLES

# Median over leads of the peak-to-peak amplitude: 0.17 to 11.3 mV in 4,700 real recordings from six corpora.
LOWEST_PEAK_TO_PEAK_MV, HIGHEST_PEAK_TO_PEAK_MV = 0.005, 50.0
# A single broken lead may have any value that 32 bits at a low gain can hold; beyond that, float32 would overflow.
HIGHEST_VALUE_MV = 1e9
# What the feature extractor allows by default.
LONGEST_GAP_SECONDS, SHORTEST_SECONDS = 1.0, 2.0

FLAT, MAINS_HUM = "flat", "nothing but mains hum"  # reasons for not using a lead
FILLED_END, CALIBRATION = "filled end", "calibration pulse"  # what is cut off


MAINS_HZ, _SHARE_OF_HUM = (50.0, 60.0), 0.99  # of a lead's power


@dataclass(frozen=True, eq=False)
class UsableLeads:
    """The leads that can be used, without filled ends and calibration pulses, and with short gaps interpolated.

    Attributes:
        signal: (12, time) in standard order, zero where a lead is absent.
        present: (12,) bool, which leads are present.
        interpolated: (time,) bool, where a sample of a lead was interpolated.
        faults: why a given lead is not used, by lead.
        seconds_filled: how much of a lead is interpolated, by lead.
        seconds_cut: how much was cut off at the ends, by reason.
    """

    signal: np.ndarray
    present: np.ndarray
    interpolated: np.ndarray
    faults: dict[str, str]
    seconds_filled: dict[str, float]
    seconds_cut: dict[str, float]


def check_usable(record: Any) -> None:
    """Check that a feature extractor with the default settings can use a record.

    Args:
        record: an `ECGRecord`.

    Raises:
        ECGInputError: it cannot; the message says why.
    """
    names, rate = standard_lead_names(list(record.lead_names)), checked_rate(record.sampling_rate)
    check_shape(record.signal, names)
    check_duration(record.signal.shape[1], rate, SHORTEST_SECONDS)
    with np.errstate(over="ignore"):
        signal_mv = record.signal.astype(np.float64)
    check_values(signal_mv)
    check_amplitude(signal_mv)
    usable_leads(signal_mv, rate, names, LONGEST_GAP_SECONDS, SHORTEST_SECONDS)


def checked_rate(rate: Any) -> float:
    """The sampling rate as a float. Raises an ECGInputError if it is no rate of an ECG."""
    try:
        rate = float(rate)
    except (TypeError, ValueError, OverflowError) as error:
        raise ECGInputError(f"sampling_rate is {shown(rate)}; expected a number in Hz.") from error
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # refuses NaN too
        raise ECGInputError(
            f"sampling_rate is {rate} Hz; expected {LOWEST_RATE:.0f} to {HIGHEST_RATE:.0f}. "
            "It is the number of samples per second in each lead."
        )
    return rate


def check_shape(array: np.ndarray, names: list[str]) -> None:
    """Raise an ECGInputError unless there is a row per name."""
    if array.ndim != 2:
        raise ECGInputError(f"ecg has shape {array.shape}; expected (leads, time), or (time,) of a single lead.")
    if array.shape[0] != len(names):
        turned = " It looks like (time, leads): pass ecg.T." if array.shape[1] == len(names) else ""
        raise ECGInputError(f"ecg has {array.shape[0]} rows but {len(names)} lead names were given.{turned}")


def check_duration(num_samples: int, rate: float, shortest_seconds: float) -> None:
    """Raise an ECGInputError if a recording is too short, or too long to be taken at once."""
    if num_samples < max(shortest_seconds * rate, 1):
        raise ECGInputError(
            f"the recording lasts {num_samples / rate:.2f} s ({num_samples} samples at {rate:g} Hz); "
            f"at least {shortest_seconds:g} s are needed."
        )
    if num_samples > min(LONGEST_SECONDS * rate, MOST_SAMPLES):
        raise ECGInputError(
            f"the recording lasts {num_samples / rate / 3600:.4g} h ({num_samples} samples per lead); at "
            f"most {LONGEST_SECONDS / 3600:g} h and {MOST_SAMPLES} samples are taken at once. Pass it in parts, "
            "such as one hour each: read_wfdb(path, seconds=(0, 3600))."
        )


def check_values(signal_mv: np.ndarray) -> None:
    """Raise an ECGInputError if a value is beyond what any recorder writes."""
    highest = float(np.fmax.reduce(np.abs(signal_mv), axis=None, initial=0.0))
    if highest > HIGHEST_VALUE_MV:
        raise ECGInputError(
            f"ecg contains values of {highest:.4g} mV, above {HIGHEST_VALUE_MV:g}, which no recorder writes. "
            "Mark missing samples with NaN."
        )


def check_amplitude(signal_mv: np.ndarray, unit: str | None = None) -> None:
    """Raise an ECGInputError if nothing moves, or not as a heart does.

    Args:
        unit: in which the values were given, for the message; None: a file states it.
    """
    # fmax and fmin skip NaN. A lead that is all NaN has a height of NaN, which is not above 0.
    heights = np.fmax.reduce(signal_mv, axis=1, initial=np.nan) - np.fmin.reduce(signal_mv, axis=1, initial=np.nan)
    moving = heights[heights > 0].tolist()
    if not moving:
        raise ECGInputError("every lead is flat or missing, so nothing is left of the recording.")
    median = statistics.median(moving)
    if median > HIGHEST_PEAK_TO_PEAK_MV:
        swing, smaller = f"more than {median:.4g} mV, which no heart does", True
    elif median < LOWEST_PEAK_TO_PEAK_MV:
        swing, smaller = f"less than {median:.4g} mV, which is noise, not a heart", False
    else:
        return
    advice = "Is the gain in its file right, and the unit?"
    if unit is not None:
        advice = f'Are the values, given as "{unit}", in a ' + (
            'smaller unit (microvolts, or converter units: unit="adu" with a gain)?'
            if smaller
            else "larger unit (volts or millivolts)?"
        )
    raise ECGInputError(f"half of the leads swing by {swing}. {advice}")


def usable_leads(
    signal_mv: np.ndarray, rate: float, names: list[str], longest_gap_seconds: float, shortest_seconds: float
) -> UsableLeads:
    """The leads that can be used, and why the others cannot.

    Args:
        names: standard names, one per row.

    Raises:
        ECGInputError: nothing is left.
    """
    ends = recording_ends(signal_mv, rate)
    length = ends.last - ends.first
    if length < shortest_seconds * rate:
        raise ECGInputError(
            f"only {length / rate:.2f} s of the recording are not missing; at least {shortest_seconds:g} s are "
            "needed. Ends where every lead is NaN or constant count as missing."
        )
    signal_LT = np.zeros((len(STANDARD_LEADS), length))
    present_L = np.zeros(len(STANDARD_LEADS), dtype=bool)
    interpolated_T = np.zeros(length, dtype=bool)
    faults: dict[str, str] = {}
    filled: dict[str, float] = {}
    for name, lead_T in sorted(
        zip(names, signal_mv[:, ends.first : ends.last], strict=True), key=lambda pair: STANDARD_LEADS.index(pair[0])
    ):
        missing_T = np.isnan(lead_T)
        fault = _too_much_missing(missing_T, longest_gap_seconds, rate)
        whole_T = lead_T if fault else _without_gaps(lead_T, missing_T)
        if not fault and np.ptp(whole_T) < LOWEST_PEAK_TO_PEAK_MV:
            fault = FLAT
        if not fault and _is_mains_hum(whole_T, rate):
            fault = MAINS_HUM
        if fault:
            faults[name] = fault
            continue
        row = STANDARD_LEADS.index(name)
        signal_LT[row], present_L[row] = whole_T, True
        if missing_T.any():
            interpolated_T |= missing_T
            filled[name] = float(missing_T.sum()) / rate
    if not present_L.any():
        raise ECGInputError(
            "every lead is flat or has long gaps, so nothing is left of the recording: "
            + ", ".join(f"{name} ({fault})" for name, fault in faults.items())
            + "."
        )
    cut = {FILLED_END: ends.filled / rate, CALIBRATION: ends.calibration / rate}
    return UsableLeads(signal_LT, present_L, interpolated_T, faults, filled, cut)


def _too_much_missing(missing_T: np.ndarray, longest_gap_seconds: float, rate: float) -> str:
    """Why a lead has too little signal; empty if it has enough."""
    if not missing_T.any():
        return ""
    if missing_T.mean() > 0.5:
        return f"{100 * missing_T.mean():.0f} % missing"
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing_T.astype(np.int8), [0]])))
    longest = int((edges[1::2] - edges[::2]).max())
    return f"gap of {longest / rate:.3g} s" if longest > round(longest_gap_seconds * rate) else ""


def _is_mains_hum(lead_T: np.ndarray, rate: float) -> bool:
    """Whether next to nothing but mains hum is in a lead, as in a cable without an electrode.

    Second by second, since the frequency of mains drifts, and the phase with it.
    """
    second = round(rate)
    if rate <= 2 * max(MAINS_HZ) or len(lead_T) < second:
        return False
    seconds_ST = lead_T[: len(lead_T) // second * second].reshape(-1, second)
    seconds_ST = seconds_ST - seconds_ST.mean(axis=1, keepdims=True)
    power = float(np.square(seconds_ST).sum())
    # Over whole periods, the waves are orthogonal.
    of_waves = np.square(seconds_ST @ mains_waves(second, rate)).sum(axis=0)
    return bool(max(of_waves[:2].sum(), of_waves[2:].sum()) > _SHARE_OF_HUM * power)


@lru_cache
def mains_waves(samples: int, rate: float) -> np.ndarray:
    """(samples, 4): cosine and sine at 50 Hz and at 60 Hz, of unit length."""
    times_T = np.arange(samples) / rate
    waves = [wave(2 * np.pi * frequency * times_T) for frequency in MAINS_HZ for wave in (np.cos, np.sin)]
    return np.stack(waves, axis=1) * np.sqrt(2 / samples)


def _without_gaps(lead_T: np.ndarray, missing_T: np.ndarray) -> np.ndarray:
    """The lead with gaps interpolated."""
    if not missing_T.any():
        return lead_T
    times = np.arange(len(lead_T))
    return np.interp(times, times[~missing_T], lead_T[~missing_T])
