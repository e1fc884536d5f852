# SPDX-License-Identifier: Apache-2.0
"""Heart beats and heart rate, measured on the signal: no model takes part.

SleepECG (Brunner and others, BSD-3-Clause; the extra `measure`) finds candidates in each lead. What some leads agree
on and bends like a QRS complex is a beat.

Shapes: L leads, T samples, B beats.
"""

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cgdmer.models.ecg_record import ECGRecord, without_filled_ends
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.leads import known_spelling

NOT_INSTALLED = "the heart rate needs the package sleepecg: pip install 'cgdmer[measure]'"

# Others follow from these, and would count twice.
_INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_TOGETHER_SECONDS = 0.06  # candidates of one beat, in different leads
_AGREEING_SHARE = 0.25  # of the leads: few see an early beat on the T wave before it
_STEEPNESS = 0.3  # of a beat, relative to the upper quartile of all candidates: a T wave is less steep
_STEEPNESS_SECONDS = 0.008
_REFRACTORY_SECONDS = 0.2
_MOST_MISSING = 0.2  # of a lead's samples
_FEWEST_BEATS = 3
_SHORTEST_SECONDS = 2.0
LOWEST_RATE = 80.0  # Hz; SleepECG keeps what is below 30 Hz


@dataclass(frozen=True)
class HeartRate:
    """What the beats of a recording say.

    Attributes:
        beats: how many were found.
        heart_rate: per minute, from the first beat to the last one.
        lowest_rate, highest_rate: per minute, of single intervals.
        rr_deviation: standard deviation of the intervals, in seconds.
    """

    beats: int
    heart_rate: float
    lowest_rate: float
    highest_rate: float
    rr_deviation: float

    def as_json(self) -> dict[str, float]:
        """All attributes, rounded to what is meaningful."""
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"heart rate {self.heart_rate:.0f}/min ({self.beats} beats, single intervals {self.lowest_rate:.0f} to "
            f"{self.highest_rate:.0f}/min)"
        )


class Leads(NamedTuple):
    """The leads of a recording that can be measured: their standard names, or "" for others, and (L, T) millivolts
    without gaps and constant leads."""

    names: list[str]
    signal: np.ndarray


def can_measure() -> bool:
    """Whether the extra `measure` is installed."""
    return find_spec("sleepecg") is not None


def measure_heart_rate(record: ECGRecord) -> HeartRate | None:
    """The heart rate of a recording; None if it has fewer than 80 samples a second, or three beats are not found.

    Raises:
        ConfigurationError: the extra `measure` is not installed.

    Example:
        >>> measure_heart_rate(cgdmer.simulate_record(["sinus_bradycardia"])).heart_rate < 60
        True
    """
    return rate_of_beats(find_beats(measurable_leads(record).signal, record.sampling_rate), record.sampling_rate)


def rate_of_beats(beats_B: np.ndarray, rate: float) -> HeartRate | None:
    """The heart rate of beats at these samples; None if there are fewer than three."""
    if len(beats_B) < _FEWEST_BEATS:
        return None
    intervals = np.diff(beats_B) / rate
    return HeartRate(
        beats=len(beats_B),
        heart_rate=float(60 / intervals.mean()),
        lowest_rate=float(60 / intervals.max()),
        highest_rate=float(60 / intervals.min()),
        rr_deviation=float(intervals.std(ddof=1)),
    )


def find_beats(signal_LT: np.ndarray, rate: float) -> np.ndarray:
    """(B,) samples of QRS complexes, increasing; none below 80 Hz.

    Args:
        signal_LT: millivolts without NaN; no lead is constant.
        rate: Hz.

    Raises:
        ConfigurationError: the extra `measure` is not installed.
    """
    try:
        from sleepecg import detect_heartbeats
    except ImportError as error:
        raise ConfigurationError(NOT_INSTALLED) from error
    if not len(signal_LT) or rate < LOWEST_RATE or signal_LT.shape[1] < _SHORTEST_SECONDS * rate:
        return np.zeros(0)
    candidates = np.sort(np.concatenate([detect_heartbeats(lead_T, rate) for lead_T in signal_LT]))
    if not len(candidates):
        return np.zeros(0)
    groups = np.split(candidates, np.flatnonzero(np.diff(candidates) > _TOGETHER_SECONDS * rate) + 1)
    agreed_B = np.array([np.median(group) for group in groups if len(group) >= _AGREEING_SHARE * len(signal_LT)])
    return _steep(agreed_B, signal_LT, rate)


def _steep(beats_B: np.ndarray, signal_LT: np.ndarray, rate: float) -> np.ndarray:
    """Without candidates that are much less steep than others, or too close to a steeper one."""
    if not len(beats_B):
        return beats_B
    slopes_LT = gaussian_filter1d(signal_LT, _STEEPNESS_SECONDS * rate, axis=1, order=1)
    slope_T, reach = np.linalg.norm(slopes_LT, axis=0), round(_TOGETHER_SECONDS * rate)
    steepness_B = np.array([slope_T[max(0, int(beat) - reach) : int(beat) + reach + 1].max() for beat in beats_B])
    kept = steepness_B >= _STEEPNESS * np.quantile(steepness_B, 0.75)
    found: list[tuple[float, float]] = []
    for beat, steepness in zip(beats_B[kept], steepness_B[kept], strict=True):
        if found and beat - found[-1][0] < _REFRACTORY_SECONDS * rate:
            found[-1] = max(found[-1], (beat, steepness), key=lambda one: one[1])
        else:
            found.append((beat, steepness))
    return np.array([beat for beat, _ in found])


def measurable_leads(record: ECGRecord) -> Leads:
    """The independent leads, or whatever there is."""
    recorded = without_filled_ends(record)
    names = [known_spelling(str(name)) for name in record.lead_names]
    rows = [row for row, name in enumerate(names) if name in _INDEPENDENT] or list(range(len(names)))
    usable, kept = [], []
    for row, lead_T in zip(rows, np.asarray(recorded.signal, dtype=np.float64)[rows], strict=True):
        known = np.isfinite(lead_T)
        if not len(lead_T) or known.mean() < 1 - _MOST_MISSING:
            continue
        places = np.arange(len(lead_T))
        whole_T = np.interp(places, places[known], lead_T[known])
        if np.ptp(whole_T) > 0:
            usable.append(whole_T)
            kept.append(names[row] or "")
    return Leads(kept, np.stack(usable) if usable else np.zeros((0, recorded.signal.shape[1])))
