# SPDX-License-Identifier: Apache-2.0
"""The arrhythmias of the simulator, read from the clean trace."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from ecg_measurements import steepest

from cgdmer.measurement.heart_rate import find_beats
from cgdmer.measurement.intervals import measure_intervals
from cgdmer.simulation.cohort import simulate_record

RATE, SEEDS = 500, range(15)
INDEPENDENT = [0, 1, *range(6, 12)]
WIDE = {"ventricular_tachycardia", "idioventricular_rhythm", "ventricular_pacing"}


@cache
def traces(name: str) -> list[np.ndarray]:
    return [simulate_record([name], seed=seed, noise=False, sampling_rate=RATE).signal for seed in SEEDS]


def beats(signal: np.ndarray) -> np.ndarray:
    """(beats,) seconds of QRS complexes, by a detector that knows nothing of the simulator."""
    return find_beats(signal[INDEPENDENT].astype(float), RATE) / RATE


def large_beats(signal: np.ndarray) -> np.ndarray:
    """(beats,) seconds, of slow rhythms with complexes of one size: where the trace changes most."""
    speed = np.linalg.norm(np.gradient(signal[INDEPENDENT].astype(float), axis=1), axis=0)
    speed = np.convolve(speed, np.ones(50) / 50, "same")
    return np.array(steepest(speed, 0.45, 0.4 * RATE)) / RATE


def busy(signal: np.ndarray) -> float:
    """The share of the time in which the trace changes quickly: larger for wide complexes."""
    speed = np.linalg.norm(np.gradient(signal[INDEPENDENT].astype(float), axis=1), axis=0)
    return float((speed > 0.25 * np.quantile(speed, 0.995)).mean()) * float(np.median(np.diff(beats(signal))))


def intervals(name: str) -> list[np.ndarray]:
    return [np.diff(beats(signal)) for signal in traces(name)]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ventricular_tachycardia", 130, 210),
        ("supraventricular_tachycardia", 145, 210),
        ("idioventricular_rhythm", 42, 98),
        ("junctional_rhythm", 40, 62),
        ("ventricular_pacing", 59, 81),
        ("complete_av_block", 28, 54),
    ],
)
def test_regular_rhythms_have_their_rate(name, low, high):
    read = large_beats if name == "complete_av_block" else beats
    found = [np.diff(read(signal)) for signal in traces(name)]
    assert all(low < 60 / np.median(rr) < high for rr in found)
    # A large P or T wave is taken for a complex now and then.
    assert np.mean([rr.std() < 0.06 * rr.mean() for rr in found]) >= 0.8


def test_ventricular_rhythms_are_wide_and_others_narrow():
    """Seconds of quick change per beat."""
    narrow, wide = ("supraventricular_tachycardia", "junctional_rhythm"), WIDE - {"ventricular_pacing"}
    seconds = {name: np.median([busy(signal) for signal in traces(name)]) for name in (*narrow, *wide)}
    assert max(seconds[name] for name in narrow) < 0.6 * min(seconds[name] for name in wide), seconds
    for name in ("idioventricular_rhythm", "ventricular_pacing", *narrow):
        found = [measure_intervals(simulate_record([name], seed=seed)) for seed in range(5)]
        assert all((one.qrs_duration > 0.12) == (name in WIDE) for one in found)


def test_second_degree_block_drops_beats():
    """Pauses of about two atrial intervals, or every second beat dropped and then a slow regular rhythm."""
    types = []
    for rr in intervals("second_degree_av_block"):
        pauses = rr > 1.35 * rr.min()
        if not pauses.any():
            assert 60 / rr.mean() < 52
            types.append("every second")
            continue
        assert 0.1 < pauses.mean() < 0.6 and rr.max() < 2.1 * rr.min()
        # Of the first type, the interval shortens from beat to beat and the pause is shorter than two of them.
        types.append("first" if rr.max() < 1.93 * np.median(rr[~pauses]) else "second")
    assert len(set(types)) == 3


def test_in_complete_block_p_waves_keep_their_own_time():
    """Without its complexes, the trace repeats at the atrial rate, which is faster."""
    seen = 0
    for seed in SEEDS:
        signal = simulate_record(["complete_av_block"], seed=seed, noise=False, duration=40.0).signal
        lead_ii = signal[1].astype(float).copy()
        for beat in large_beats(signal):
            lead_ii[max(0, round((beat - 0.15) * RATE)) : round((beat + 0.6) * RATE)] = np.nan
        kept = np.isfinite(lead_ii)
        lead_ii = np.where(kept, lead_ii - np.nanmedian(lead_ii), 0.0)
        best = {}
        for lag in range(round(0.5 * RATE), round(0.95 * RATE)):
            both = kept[lag:] & kept[:-lag]
            size = np.sqrt((lead_ii[lag:][both] ** 2).sum() * (lead_ii[:-lag][both] ** 2).sum())
            best[lag / RATE] = (lead_ii[lag:][both] * lead_ii[:-lag][both]).sum() / size if size else 0.0
        atrial = max(best, key=best.get)
        seen += (
            best[atrial] > 0.6 and 65 < 60 / atrial < 112 and atrial < 0.75 * np.median(np.diff(large_beats(signal)))
        )
    assert seen >= 11


def test_bigeminy_alternates_and_pacing_begins_with_a_spike():
    alternating = []
    for signal in traces("ventricular_bigeminy"):
        eight, found = signal[INDEPENDENT].astype(float), beats(signal)
        cuts = [eight[:, round(b * RATE) - 40 : round(b * RATE) + 40] for b in found if 0.1 < b < 9.9]
        same = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(cuts, cuts[2:], strict=False)]
        next_one = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairwise(cuts)]
        alternating.append(np.median(same) > 0.95 > 0.8 > np.median(next_one))
    assert np.mean(alternating) >= 0.8  # now and then, the detector takes the wide beats for T waves
    for paced, other in zip(traces("ventricular_pacing"), traces("idioventricular_rhythm"), strict=True):
        sharpest = [np.abs(np.diff(one[INDEPENDENT], n=2, axis=1)).max() for one in (paced, other)]
        assert sharpest[0] > 3 * sharpest[1]
