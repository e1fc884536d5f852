# SPDX-License-Identifier: Apache-2.0
"""Where a recording starts and ends, without filled ends and calibration pulses."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

# With a coarse converter, all leads can be constant between two beats.
_SHORTEST_STILL_SECONDS = 1.0
_SAMPLES_AT_ONCE = 200  # most recordings move right away, so only their ends need a look

# A calibration pulse steps by the same standard size in all leads at once, which no heart does: leads I and III that
# both rise by 1 mV would mean 2 mV in II. Leads that were derived from others have a multiple of it.
_PULSE_SIZES_MV, _SIZE_TOLERANCE = (0.5, 1.0, 2.0), 0.05
_MULTIPLES = np.array([1.0, 0.0, -1.0, 0.5, -0.5])
_SHORTEST_PULSE_SECONDS, _LONGEST_PULSE_SECONDS = 0.08, 1.0
_LONGEST_EDGE_SECONDS = 0.03
_SHORTEST_FLAT_SECONDS = 0.02
_LONGEST_CALIBRATION_SECONDS = 30.0  # recorders write trains of pulses too
_SAME_MV = 0.02  # of noise
# One or two leads say less: in them, only a computed pulse of 1 mV is recognized.
_FEW_LEADS, _SAME_IN_FEW_LEADS_MV, _SIZE_IN_FEW_LEADS_MV, _SIZE_TOLERANCE_IN_FEW_LEADS = 2, 0.002, (1.0,), 0.01
_EXACT_MV = 1e-5  # rounding of float32


class RecordingEnds(NamedTuple):
    """The part of a signal that was recorded from a person, and what lies outside of it, in samples.

    Attributes:
        first: the first sample.
        last: the one after the last.
        filled: samples outside that are missing or constant in every lead.
        calibration: samples outside that belong to calibration pulses.
    """

    first: int
    last: int
    filled: int
    calibration: int


def recorded_span(signal: np.ndarray, sampling_rate: float) -> tuple[int, int]:
    """Where a recording starts and ends, without ends that were filled to a fixed length and calibration pulses.

    At a filled end every lead is missing (NaN), or all leads are constant for a second or more. Corpora such as
    CODE-15% fill with zeros, which a model would take for a heart that does not beat. A calibration pulse is a step of
    0.5, 1, or 2 mV in all leads at once, which is cut off with the flat pieces around it.

    Args:
        signal: (leads, time) millivolts.
        sampling_rate: in Hz.

    Returns:
        The first sample, and the one after the last; the whole signal if nothing in it moves.
    """
    return recording_ends(signal, sampling_rate)[:2]


def recording_ends(signal: np.ndarray, sampling_rate: float) -> RecordingEnds:
    """As `recorded_span`, and what was cut off."""
    first, last = _without_filling(signal, sampling_rate)
    calibration = 0
    while True:
        before = _calibration_samples(signal[:, first:last], sampling_rate)
        after = _calibration_samples(signal[:, first + before : last][:, ::-1], sampling_rate)
        if not before + after or before + after >= last - first:
            break
        first, last, calibration = first + before, last - after, calibration + before + after
        start, end = _without_filling(signal[:, first:last], sampling_rate)
        first, last = first + start, first + end
    return RecordingEnds(first, last, signal.shape[1] - (last - first) - calibration, calibration)


def _without_filling(signal: np.ndarray, sampling_rate: float) -> tuple[int, int]:
    first = _missing_samples(signal)
    if first == signal.shape[1]:
        return 0, first
    last = signal.shape[1] - _missing_samples(signal[:, ::-1])
    before, after = _still_samples(signal[:, first:last]), _still_samples(signal[:, first:last][:, ::-1])
    if before + after < last - first:  # something moves in between
        shortest = _SHORTEST_STILL_SECONDS * sampling_rate
        first += before if before >= shortest else 0
        last -= after if after >= shortest else 0
    return first, last


def _missing_samples(signal: np.ndarray) -> int:
    """The number of samples before any lead has a value."""
    for start in range(0, signal.shape[1], _SAMPLES_AT_ONCE):
        there = ~np.isnan(signal[:, start : start + _SAMPLES_AT_ONCE]).all(axis=0)
        if there.any():
            return start + int(there.argmax())
    return signal.shape[1]


def _still_samples(signal: np.ndarray) -> int:
    """The number of samples for which every lead keeps its first value or is missing."""
    kept = np.full((len(signal), 1), np.nan)
    for start in range(0, signal.shape[1], _SAMPLES_AT_ONCE):
        part = signal[:, start : start + _SAMPLES_AT_ONCE]
        there = ~np.isnan(part)
        first_there = np.take_along_axis(part, there.argmax(axis=1)[:, None], axis=1)
        kept = np.where(np.isnan(kept), first_there, kept)
        moving = ((part != kept) & there).any(axis=0)
        if moving.any():
            return start + int(moving.argmax())
    return signal.shape[1]


class _Pulses(NamedTuple):
    """How calibration pulses look in a recording: in samples and millivolts, see the constants."""

    sizes: tuple[float, ...]
    size_tolerance: float
    same: float
    shortest: int
    longest: int
    edge: int
    shortest_flat: int


def _pulses_of(num_leads: int, rate: float) -> _Pulses:
    lengths = (_SHORTEST_PULSE_SECONDS, _LONGEST_PULSE_SECONDS, _LONGEST_EDGE_SECONDS, _SHORTEST_FLAT_SECONDS)
    samples = [max(round(seconds * rate), 2) for seconds in lengths]
    if num_leads <= _FEW_LEADS:
        return _Pulses(_SIZE_IN_FEW_LEADS_MV, _SIZE_TOLERANCE_IN_FEW_LEADS, _SAME_IN_FEW_LEADS_MV, *samples)
    return _Pulses(_PULSE_SIZES_MV, _SIZE_TOLERANCE, _SAME_MV, *samples)


def _calibration_samples(signal: np.ndarray, sampling_rate: float) -> int:
    """The number of samples at the start that belong to calibration pulses, with the flat pieces around them."""
    pulses = _pulses_of(len(signal), sampling_rate)
    signal = signal[:, : round(_LONGEST_CALIBRATION_SECONDS * sampling_rate)]
    signal = signal[~np.isnan(signal[:, : pulses.shortest]).any(axis=1)]  # a lead that is missing here says nothing
    if not len(signal) or signal.shape[1] <= pulses.shortest:
        return 0
    offset = _median(signal[:, : pulses.shortest].T)[:, None]
    for zero in (np.zeros_like(offset), offset):  # pulses start at 0 mV, or at each lead's own offset
        length = pulses.shortest
        while len(common_T := _common_course(signal[:, :length] - zero, pulses)) == length < signal.shape[1]:
            length = min(4 * length, signal.shape[1])
        end = _end_of_last_pulse(common_T, pulses) if len(common_T) >= pulses.shortest else 0
        if end:
            return end + _back_to_baseline(common_T[end:], signal[:, end:] - zero, pulses)
    return 0


def _common_course(height_LT: np.ndarray, pulses: _Pulses) -> np.ndarray:
    """(t,) millivolts: what most leads do, for as long as each lead does just that, or a fixed multiple of it."""
    common_T = _median(height_LT)
    apart_MLT = np.abs(height_LT - _MULTIPLES[:, None, None] * common_T)
    follows_MLT = np.logical_and.accumulate(apart_MLT <= pulses.same, axis=2)
    alike_T, still_T = follows_MLT[0].sum(axis=0), follows_MLT[1].sum(axis=0)
    most_T = alike_T >= np.maximum(0.6 * (len(height_LT) - still_T), min(len(height_LT), _FEW_LEADS + 1))
    holds_T = follows_MLT.any(axis=0).all(axis=0) & most_T
    return common_T if holds_T.all() else common_T[: int(holds_T.argmin())]


def _median(values: np.ndarray) -> np.ndarray:
    """Over the first axis; `np.median` takes ten times as long for a few rows, and every recording comes here."""
    ordered = np.sort(values, axis=0)
    return (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


def _end_of_last_pulse(common_T: np.ndarray, pulses: _Pulses) -> int:
    """The end of the last pulse, with only pulses, flat pieces, and edges before it; 0 if there is none."""
    level_T = np.zeros(len(common_T), dtype=int)  # 0: an edge, 1: the baseline, others: the top of a pulse
    level_T[np.abs(common_T) <= pulses.same] = 1
    for number, size in enumerate(pulses.sizes, start=2):
        on_top_T = np.abs(np.abs(common_T) - size) <= pulses.size_tolerance * size
        level_T[on_top_T] = np.sign(common_T[on_top_T]).astype(int) * number
    starts = np.flatnonzero(np.diff(level_T, prepend=-9)).tolist()
    found = 0
    for start, end in pairwise([*starts, len(level_T)]):
        if level_T[start] == 0 and end - start > pulses.edge:
            break
        is_top = level_T[start] not in (0, 1) and pulses.shortest <= end - start <= pulses.longest
        if is_top and np.ptp(common_T[start:end]) <= 2 * pulses.same:
            found = end
    return found


def _back_to_baseline(common_T: np.ndarray, height_LT: np.ndarray, pulses: _Pulses) -> int:
    """The number of samples after a pulse in which all leads together go back to zero and stay there."""
    high_T = np.abs(common_T[: pulses.edge]) > pulses.same
    back = len(high_T) if high_T.all() else int(high_T.argmin())
    moving_T = (np.abs(height_LT[:, back:]) > _EXACT_MV).any(axis=0)
    flat = int(moving_T.argmax()) if moving_T.any() else len(moving_T)
    if flat >= pulses.shortest_flat:
        return back + flat
    return back if len(height_LT) > _FEW_LEADS else 0
