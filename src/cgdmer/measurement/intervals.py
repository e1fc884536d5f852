# SPDX-License-Identifier: Apache-2.0
"""PR, QRS, and QT intervals and the frontal axis, measured on the typical beat of a recording: no model takes part.

The beats of one shape are aligned, and their median has little noise left. As in the usual practice, intervals are
over all leads: from the first beginning to the last end in any of them. Libraries that delineate single leads were
measured first (`benchmarks/intervals.py`): they err by more than the difference between a normal and a wide QRS.

Shapes: L leads, T samples, B beats, W samples of one beat.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from cgdmer.measurement.heart_rate import Leads, find_beats, measurable_leads
from cgdmer.models.ecg_record import ECGRecord

LOWEST_RATE = 200.0  # Hz; with fewer samples, intervals are too coarse
FEWEST_BEATS = 4  # of one shape
_MOST_BEATS = 60  # of a long recording, evenly spaced
_BEFORE_SECONDS, _AFTER_SECONDS = 0.35, 0.6  # of a beat, as far as the neighbors leave room
_ALIGNMENT_SECONDS, _ALIGNMENT_ROUNDS = 0.05, 3
_SAME_SHAPE = 0.9  # correlation with the typical beat
_WANDER_HZ, _NOISE_SECONDS = 0.5, 0.003
_VELOCITY_SECONDS = 0.004
# The velocity below which the QRS complex has not begun or has ended: this share of the largest one, in noise up to
# twice as much, and never less than 2 mV/s.
_QRS_SHARE, _QRS_MOST, _QRS_LEAST = 0.08, 0.15, 2.0
_NEVER_QUIET = 0.08  # a quarter of the beat is slower than this share: else no complex stands out
_P_SECONDS, _P_SHARE = 0.008, 0.25  # of smoothing; of the largest velocity
_AXIS_SECONDS = 0.08


@dataclass(frozen=True)
class Intervals:
    """Of the typical beat; None where it cannot be told.

    Attributes:
        beats: how many of this shape there are.
        pr_interval, qrs_duration, qt_interval: in seconds. There is no PR interval without a P wave.
        qtc_interval: QT at 60/min by Fridericia's formula, in seconds.
        axis: of the QRS complex in the frontal plane, in degrees, from the area of its first 80 ms in I and II.
    """

    beats: int
    pr_interval: float | None
    qrs_duration: float | None
    qt_interval: float | None
    qtc_interval: float | None
    axis: float | None

    def as_json(self) -> dict[str, float | None]:
        """All attributes, rounded to what is meaningful."""
        return {name: None if value is None else round(value, 3) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        """Without what cannot be told."""
        parts = [
            f"{name} {1000 * value:.0f} ms"
            for name, value in (
                ("PR", self.pr_interval),
                ("QRS", self.qrs_duration),
                ("QT", self.qt_interval),
                ("QTc", self.qtc_interval),
            )
            if value is not None
        ]
        parts += [] if self.axis is None else [f"axis {self.axis:.0f} degrees"]
        return f"{', '.join(parts)} (median of {self.beats} beats)"


def measure_intervals(record: ECGRecord) -> Intervals | None:
    """The intervals of a recording; None if it has fewer than 200 samples a second, no four beats of one shape, or a
    trace that never rests between complexes.

    Raises:
        ConfigurationError: the extra `measure` is not installed.

    Example:
        >>> measure_intervals(cgdmer.simulate_record(["left_bundle_branch_block"])).qrs_duration > 0.12
        True
    """
    leads, rate = measurable_leads(record), record.sampling_rate
    return intervals_of_beats(leads, find_beats(leads.signal, rate), rate)


def intervals_of_beats(leads: Leads, beats: np.ndarray, rate: float) -> Intervals | None:
    """The same for beats that were found already (see `find_beats`)."""
    if rate < LOWEST_RATE or len(beats) < FEWEST_BEATS + 1:
        return None
    beats_B = np.round(beats).astype(int)
    calm_LT = sosfiltfilt(butter(2, _WANDER_HZ, "highpass", fs=rate, output="sos"), leads.signal, axis=1)
    calm_LT = gaussian_filter1d(calm_LT, _NOISE_SECONDS * rate, axis=1)
    typical = _typical_beat(calm_LT, beats_B, rate)
    if typical is None:
        return None
    beat_LW, noise, center, count = typical
    complex_ = _qrs(beat_LW, center, rate)
    if complex_ is None:
        return None
    onset, end = complex_
    rr_seconds = float(np.median(np.diff(beats_B))) / rate
    t_end = _t_end(beat_LW, noise, onset, end, rate)
    earlier_t = 0 if t_end is None else max(0, t_end - round(rr_seconds * rate))  # of the beat before
    p_onset = _p_onset(beat_LW, noise, earlier_t, onset, rate)
    qt = None if t_end is None else (t_end - onset) / rate
    return Intervals(
        beats=count,
        pr_interval=None if p_onset is None else (onset - p_onset) / rate,
        qrs_duration=(end - onset) / rate,
        qt_interval=qt,
        qtc_interval=None if qt is None else qt / rr_seconds ** (1 / 3),
        axis=_axis(beat_LW, leads.names, onset, end, rate),
    )


class _TypicalBeat(NamedTuple):
    """(L, W) the median of beats of the most common shape, (L,) its noise, the sample of its center, and how many."""

    signal: np.ndarray
    noise: np.ndarray
    center: int
    beats: int


def _typical_beat(calm_LT: np.ndarray, beats_B: np.ndarray, rate: float) -> _TypicalBeat | None:
    interval = int(np.median(np.diff(beats_B)))
    before = min(round(_BEFORE_SECONDS * rate), round(0.5 * interval))
    after = min(round(_AFTER_SECONDS * rate), round(0.7 * interval))
    reach = round(_ALIGNMENT_SECONDS * rate)
    room_B = beats_B[(beats_B >= before + reach) & (beats_B + after + reach < calm_LT.shape[1])]
    if len(room_B) < FEWEST_BEATS:
        return None
    room_B = room_B[np.unique(np.linspace(0, len(room_B) - 1, _MOST_BEATS).astype(int))]
    centers_B = room_B.copy()
    kept_B = np.ones(len(centers_B), dtype=bool)
    near = slice(max(0, before - round(0.1 * rate)), before + round(0.1 * rate))
    for _ in range(_ALIGNMENT_ROUNDS):
        cut_BLW = np.stack([calm_LT[:, center - before : center + after] for center in centers_B])
        template_LW = np.median(cut_BLW[kept_B], axis=0)[:, near]
        first = near.start - before - reach
        around_BLT = np.stack(
            [calm_LT[:, center + first : center + first + template_LW.shape[1] + 2 * reach] for center in room_B]
        )
        similar_BS = _correlations(around_BLT, template_LW)
        centers_B = room_B + similar_BS.argmax(axis=1) - reach
        kept_B = similar_BS.max(axis=1) >= _SAME_SHAPE
        if kept_B.sum() < FEWEST_BEATS:
            return None
    cut_BLW = np.stack([calm_LT[:, center - before : center + after] for center in centers_B[kept_B]])
    beat_LW = np.median(cut_BLW, axis=0)
    noise_L = 1.25 * 1.4826 * np.median(np.abs(cut_BLW - beat_LW), axis=(0, 2)) / np.sqrt(len(cut_BLW))
    return _TypicalBeat(beat_LW, noise_L, before, len(cut_BLW))


def _correlations(around_BLT: np.ndarray, template_LW: np.ndarray) -> np.ndarray:
    """(B, shifts) the cosine of the template with each place of the signal around each beat."""
    width = template_LW.shape[1]
    places_BLSW = sliding_window_view(around_BLT, width, axis=2)
    products_BS = np.einsum("blsw,lw->bs", places_BLSW, template_LW, optimize=True)
    squares_BT = np.cumsum(np.pad((around_BLT**2).sum(axis=1), ((0, 0), (1, 0))), axis=1)
    sizes_BS = np.sqrt(np.maximum(squares_BT[:, width:] - squares_BT[:, :-width], 1e-12))
    found: np.ndarray = products_BS / sizes_BS / max(float(np.linalg.norm(template_LW)), 1e-12)
    return found


def _velocity(beat_LW: np.ndarray, rate: float) -> np.ndarray:
    """(W,) mV/s: the length, over all leads, of the change over 8 ms."""
    half = max(1, round(_VELOCITY_SECONDS * rate))
    padded = np.pad(beat_LW, ((0, 0), (half, half)), mode="edge")
    change: np.ndarray = np.linalg.norm(padded[:, 2 * half :] - padded[:, : -2 * half], axis=0) * rate / (2 * half)
    return change


def _edge(values_W: np.ndarray, start: int, step: int, level: float, hold: int) -> int:
    """The last sample above the level, walking from `start` until the values are below it for `hold` samples."""
    position, quiet = start, 0
    while 0 < position + step < len(values_W) and quiet < hold:
        position += step
        quiet = quiet + 1 if values_W[position] < level else 0
    return position - step * quiet


def _qrs(beat_LW: np.ndarray, center: int, rate: float) -> tuple[int, int] | None:
    """First and last sample of the QRS complex; None if the trace never rests, as in ventricular tachycardia."""
    velocity_W = _velocity(beat_LW, rate)
    near = slice(max(0, center - round(0.08 * rate)), center + round(0.08 * rate))
    peak = near.start + int(velocity_W[near].argmax())
    quiet = float(np.quantile(velocity_W, 0.25))  # of noise, and of what the atria do meanwhile
    if quiet > _NEVER_QUIET * velocity_W[peak]:
        return None
    level = max(_QRS_SHARE * velocity_W[peak], min(2.2 * quiet, _QRS_MOST * velocity_W[peak]), _QRS_LEAST)
    hold = round(0.012 * rate)
    return _edge(velocity_W, peak, -1, level, hold), _edge(velocity_W, peak, 1, level, hold)


def _p_onset(beat_LW: np.ndarray, noise_L: np.ndarray, earliest: int, onset: int, rate: float) -> int | None:
    """The first sample of the P wave; None if there is none above the noise.

    Args:
        earliest: where the T wave of the beat before has ended.
        onset: of the QRS complex.
    """
    end = onset - round(0.012 * rate)
    if end - earliest < round(0.08 * rate):
        return None
    before_LW = beat_LW[:, earliest : end + 1]
    # Above the line between both ends, which are quiet: what is left of the T wave is no P wave.
    ends = [before_LW[:, :1], before_LW[:, -round(0.02 * rate) :].mean(axis=1, keepdims=True)]
    along_W = np.linspace(0, 1, before_LW.shape[1])
    size_W = np.linalg.norm(before_LW - ends[0] * (1 - along_W) - ends[1] * along_W, axis=0)
    # The slope of the P wave is slow, so much noise can be smoothed away.
    slope_LW = gaussian_filter1d(before_LW, _P_SECONDS * rate, axis=1, order=1) * rate
    velocity_W = np.linalg.norm(slope_LW, axis=0)
    size_W = gaussian_filter1d(size_W, _P_SECONDS * rate)
    peak = int(size_W.argmax())
    if size_W[peak] < max(4 * np.linalg.norm(noise_L), 0.06) or peak < round(0.03 * rate):
        return None
    rising = max(0, peak - round(0.07 * rate))
    steepest = rising + int(velocity_W[rising : peak + 1].argmax())
    level = max(_P_SHARE * velocity_W[steepest], 1.2 * float(np.quantile(velocity_W, 0.1)))
    return earliest + _edge(velocity_W, steepest, -1, level, round(0.012 * rate))


def _t_end(beat_LW: np.ndarray, noise_L: np.ndarray, onset: int, qrs_end: int, rate: float) -> int | None:
    """Where the steepest tangent of the T wave's end, over all leads, reaches the level before the QRS complex."""
    begin = qrs_end + round(0.06 * rate)
    level_L1 = beat_LW[:, max(0, onset - round(0.016 * rate)) : max(1, onset - round(0.004 * rate))].mean(
        axis=1, keepdims=True
    )
    after_LW = gaussian_filter1d(beat_LW[:, begin:] - level_L1, 0.008 * rate, axis=1)
    if after_LW.shape[1] < round(0.1 * rate):
        return None
    main = np.linalg.svd(after_LW)[0][:, 0]
    wave_W = main @ after_LW
    peak = int(np.abs(wave_W).argmax())
    wave_W = wave_W * np.sign(wave_W[peak])
    if wave_W[peak] < max(4 * float(np.abs(main) @ noise_L), 0.05) or peak > len(wave_W) - round(0.04 * rate):
        return None
    slope_W = np.gradient(wave_W)
    steepest = peak + int(slope_W[peak : peak + round(0.16 * rate)].argmin())
    if slope_W[steepest] >= 0:
        return None
    end = begin + round(steepest - wave_W[steepest] / slope_W[steepest])
    return end if end < beat_LW.shape[1] else None  # a slope that is too flat leads anywhere


def _axis(beat_LW: np.ndarray, leads: list[str], onset: int, end: int, rate: float) -> float | None:
    """From I and II, which hold what all limb leads say. A blocked right bundle's late forces do not count."""
    if not {"I", "II"} <= set(leads):
        return None
    last = min(end, onset + round(_AXIS_SECONDS * rate))
    qrs_LW = beat_LW[:, onset : last + 1] - beat_LW[:, [onset]]
    area_1, area_2 = (float(qrs_LW[leads.index(name)].sum()) for name in ("I", "II"))
    if not (area_1 or area_2):
        return None
    return float(np.degrees(np.arctan2((2 * area_2 - area_1) / np.sqrt(3), area_1)))
