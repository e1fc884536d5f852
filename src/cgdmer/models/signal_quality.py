# SPDX-License-Identifier: Apache-2.0
"""What casts doubt on a recording that can be used: implausible size, noise, cut peaks, contradicting leads.

The limits (ours) are such that few recordings of five corpora are doubted: `benchmarks/judging_recordings.py` measures
that, and which faults they find in the same recordings, changed. Signals are (leads, time) float64 millivolts without
NaN.
"""

import itertools

import numpy as np

from .leads import LIMB_LEADS, STANDARD_LEADS, contradiction
from .signal_checks import MAINS_HZ, mains_waves

LARGEST_CONTRADICTION = 0.2  # the largest `leads.contradiction` without a warning

# The median height (in two seconds, peak to peak) of each standard lead in those recordings, in millivolts.
_TYPICAL_MV = np.array([0.98, 1.14, 0.91, 1.01, 0.73, 0.91, 1.22, 2.06, 2.06, 2.14, 1.83, 1.44])
_SECONDS = 2.0
_FEWEST_LEADS = 6  # for the narrow limits of the size; a single lead may have any axis
# Geometric mean over leads, relative to the typical height. Of PTB-XL's folds 1 to 8, 0.4 % are below the first; the
# logarithm has a standard deviation of 0.26 there, so a factor of two is within what hearts and recorders differ by.
_SIZES, _SIZES_OF_FEW_LEADS = (0.46, 2.5), (0.28, 3.3)
_SAME_SIZE = 0.02  # relative spread over leads; the least in those recordings is 0.15
_LARGEST_HUM_MV = 0.1
_LARGEST_NOISE_MV = 0.1
_RAIL_SECONDS, _RAIL_TIMES = 0.012, 3  # a peak stays at the lead's very maximum this long, this often
_FLAT_SECONDS = 1.0
_EXPLAINED = 0.2  # of a contradiction, what is left when one swap or factor explains it


def doubts_about(signal_LT: np.ndarray, present_L: np.ndarray, rate: float) -> list[str]:
    """What casts doubt on a recording, besides its limb leads, in sentences; empty if nothing does.

    Args:
        signal_LT: (12, time) as recorded, zero where a lead is absent.
        present_L: (12,) bool, the leads that were recorded.
        rate: of the samples, in Hz.
    """
    recorded_LT = signal_LT[present_L]
    names = [lead for lead, given in zip(STANDARD_LEADS, present_L, strict=True) if given]
    found = [_of_size(recorded_LT, present_L, rate), _of_equal_size(recorded_LT)]
    found += [
        _naming(names, _hum(recorded_LT, rate) > _LARGEST_HUM_MV, "mains hum of more than 0.1 mV"),
        _naming(names, _noise(recorded_LT, rate) > _LARGEST_NOISE_MV, "noise of more than 0.1 mV"),
        _naming(names, _at_its_rails(recorded_LT, rate), "peaks are cut off at the converter's limits"),
        _naming(names, _has_flat_part(recorded_LT, rate), "constant for a second or more"),
    ]
    return [sentence for sentence in found if sentence]


def doubt_about_limb_leads(signal_LT: np.ndarray, present_L: np.ndarray) -> str:
    """A sentence if the recorded limb leads contradict each other, with what may explain it; else "".

    Args:
        signal_LT, present_L: see `doubts_about`.
    """
    share = contradiction(signal_LT, present_L)
    if share <= LARGEST_CONTRADICTION:
        return ""
    return (
        "The limb leads contradict each other: one differs from what I and II imply (III = II - I, and so on) by "
        f"{share:.0%} of their size. {_explained(signal_LT, present_L, share)}"
    )


def _explained(signal_LT: np.ndarray, present_L: np.ndarray, share: float) -> str:
    """Two limb leads that are exchanged, or one in another scale, if that explains a contradiction."""
    rows = [row for row, lead in enumerate(STANDARD_LEADS) if lead in LIMB_LEADS and present_L[row]]
    best, words = max(_EXPLAINED * share, 0.02), "Are leads misnamed, inverted, or recorded one after the other?"
    if len(rows) < 4:  # with three leads, any one of them can be made to fit the others
        return words
    for one, two in itertools.combinations(rows, 2):
        swapped = signal_LT.copy()
        swapped[[one, two]] = swapped[[two, one]]
        if (left := contradiction(swapped, present_L)) < best:
            best, words = left, f"{STANDARD_LEADS[one]} and {STANDARD_LEADS[two]} seem to be exchanged."
    for row in rows:
        factor = _factor(signal_LT, rows, row)
        scaled = signal_LT.copy()
        scaled[row] *= factor
        if factor and (left := contradiction(scaled, present_L)) < best:
            best = left
            words = f"{STANDARD_LEADS[row]} seems to be {1 / factor:.3g} times what it should be."
    return words


def _factor(signal_LT: np.ndarray, rows: list[int], row: int) -> float:
    """By what to multiply one limb lead so that it agrees best with what the others say; 0 if it is flat."""
    others = [other for other in rows if other != row]
    of_two = np.array([LIMB_LEADS[STANDARD_LEADS[other]] for other in others])
    centered = signal_LT - signal_LT.mean(axis=1, keepdims=True)
    first_and_second = np.linalg.lstsq(of_two, centered[others], rcond=None)[0]
    expected = np.array(LIMB_LEADS[STANDARD_LEADS[row]]) @ first_and_second
    power = float(centered[row] @ centered[row])
    return float(centered[row] @ expected) / power if power else 0.0


def _naming(names: list[str], chosen_L: np.ndarray, what: str) -> str:
    leads = ", ".join(name for name, chosen in zip(names, chosen_L, strict=True) if chosen)
    return f"{leads}: {what}." if leads else ""


def _of_size(recorded_LT: np.ndarray, present_L: np.ndarray, rate: float) -> str:
    ratios_L = _heights(recorded_LT, rate) / _TYPICAL_MV[present_L]
    size = float(np.exp(np.log(np.maximum(ratios_L, 1e-9)).mean()))
    lowest, highest = _SIZES if len(ratios_L) >= _FEWEST_LEADS else _SIZES_OF_FEW_LEADS
    if lowest <= size <= highest:
        return ""
    return f"The leads are {size:.2g} times as high as usual. Are unit and gain right?"


def _heights(recorded_LT: np.ndarray, rate: float) -> np.ndarray:
    """(leads,) the median over stretches of two seconds of the difference between highest and lowest value."""
    length = min(recorded_LT.shape[1], round(_SECONDS * rate))
    whole = recorded_LT[:, : recorded_LT.shape[1] // length * length].reshape(len(recorded_LT), -1, length)
    return np.median(np.ptp(whole, axis=2), axis=1)


def _of_equal_size(recorded_LT: np.ndarray) -> str:
    """Each lead by itself was scaled to one deviation or one height."""
    if len(recorded_LT) < 3:
        return ""
    for sizes_L, what in (
        (recorded_LT.std(axis=1), "standard deviation"),
        (np.ptp(recorded_LT, axis=1), "height"),
        (np.abs(recorded_LT).max(axis=1), "largest value"),
    ):
        if sizes_L.std() < _SAME_SIZE * sizes_L.mean():
            return f"All leads have the same {what}, as if each had been scaled by itself: millivolts are lost."
    return ""


def _hum(recorded_LT: np.ndarray, rate: float) -> np.ndarray:
    """(leads,) the amplitude at 50 or 60 Hz in millivolts, the median over seconds."""
    second = round(rate)
    if rate <= 2 * max(MAINS_HZ) or recorded_LT.shape[1] < second:
        return np.zeros(len(recorded_LT))
    seconds_LST = recorded_LT[:, : recorded_LT.shape[1] // second * second].reshape(len(recorded_LT), -1, second)
    waves_LSW = seconds_LST @ mains_waves(second, rate) * np.sqrt(2 / second)
    amplitudes_LS = np.hypot(waves_LSW[..., ::2], waves_LSW[..., 1::2]).max(axis=2)
    return np.median(amplitudes_LS, axis=1)


def _noise(recorded_LT: np.ndarray, rate: float) -> np.ndarray:
    """(leads,) the deviation of what changes from sample to sample, where the trace is quiet (between the waves)."""
    step = max(1, round(rate / 125))  # neighbors at the distance of a rate near 125 Hz, at which muscles are heard
    decimated = recorded_LT[:, ::step]
    if decimated.shape[1] < 3:
        return np.zeros(len(recorded_LT))
    second = np.abs(np.diff(decimated, n=2, axis=1))
    return 1.4826 * np.median(second, axis=1) / np.sqrt(6)


def _at_its_rails(recorded_LT: np.ndarray, rate: float) -> np.ndarray:
    """(leads,) bool: the lead stays at its highest or lowest value again and again."""
    found = np.zeros(len(recorded_LT), dtype=bool)
    shortest = max(3, round(_RAIL_SECONDS * rate))
    for row, lead_T in enumerate(recorded_LT):
        for rail in (lead_T.max(), lead_T.min()):
            at_rail = np.concatenate([[0], (np.abs(lead_T - rail) <= 1e-6 * np.ptp(lead_T)).astype(np.int8), [0]])
            edges = np.flatnonzero(np.diff(at_rail))
            found[row] |= int((edges[1::2] - edges[::2] >= shortest).sum()) >= _RAIL_TIMES
    return found


def _has_flat_part(recorded_LT: np.ndarray, rate: float) -> np.ndarray:
    """(leads,) bool: the lead has one value for a second."""
    length = round(_FLAT_SECONDS * rate)
    moves = np.diff(recorded_LT, axis=1) != 0
    before = np.cumsum(np.pad(moves, ((0, 0), (1, 0))), axis=1)
    if before.shape[1] <= length:
        return np.zeros(len(recorded_LT), dtype=bool)
    return (before[:, length:] == before[:, :-length]).any(axis=1)
