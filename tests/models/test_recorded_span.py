# SPDX-License-Identifier: Apache-2.0
"""What was recorded, what was filled in, and what is a calibration pulse."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from cgdmer.models.reading_record import read_record
from cgdmer.models.recorded_span import recorded_span, recording_ends
from cgdmer.simulation.cohort import simulate_record


def noise(num_samples: int, num_leads: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_leads, num_samples))


@pytest.mark.parametrize("fill", [0.0, np.nan, -3.2])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (600, 0), (0, 500), (25_000, 30_001)])
def test_filled_ends_are_not_part_of_the_recording(fill, before, after):
    signal = np.full((3, before + 2000 + after), fill)
    signal[:, before : before + 2000] = noise(2000)
    assert recorded_span(signal, 500) == (before, before + 2000)


def test_constant_ends_need_a_second_but_missing_samples_always_count():
    signal = noise(5000)
    signal[:, :499] = signal[:, -600:] = 0.25
    assert recorded_span(signal, 500) == (0, 4400)
    assert recorded_span(signal, 499) == (499, 4400)
    signal[:, :10] = np.nan
    assert recorded_span(signal, 500) == (10, 4400)


def test_one_lead_moves_or_is_partly_missing():
    signal = np.zeros((3, 5000))
    signal[:, 1000:4000] = noise(3000)
    signal[0, -7:] = signal[1, :3] = np.nan  # hides nothing
    signal[2] = 0.0  # off all the time
    assert recorded_span(signal, 500) == (1000, 4000)
    signal[0, 500] = 0.01
    assert recorded_span(signal, 500) == (500, 4000) and recorded_span(signal, 501) == (0, 4000)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_signal_that_never_moves_is_kept_whole(value):
    assert recorded_span(np.full((2, 3000), value), 500) == (0, 3000)
    stepped = np.repeat([[0.0, np.nan, 1.0]], [400, 200, 400], axis=1)
    assert recorded_span(stepped, 100) == (0, 1000)


# Calibration pulses


def heart(rate: float = 250, leads: slice | list[int] = slice(None)) -> np.ndarray:
    return simulate_record(["sinus_rhythm"], seed=1, sampling_rate=rate).signal[leads].astype(float)


def pulse(rate: float, seconds: tuple[float, float, float] = (0.1, 0.2, 0.1), size: float = 1.0, edge: int = 0):
    """(time,): flat, up by `size`, and flat again, each for some seconds; edges of some samples."""
    before, top, after = (
        np.full(round(length * rate), level) for length, level in zip(seconds, (0, size, 0), strict=True)
    )
    ramp = np.linspace(0, size, edge + 2)[1:-1]
    return np.concatenate([before, ramp, top, ramp[::-1], after])


@pytest.mark.parametrize("rate", [100, 250, 500, 1000])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"seconds": (0, 0.2, 0.3)},
        {"seconds": (0.1, 0.1, 0)},
        {"seconds": (0, 0.5, 0)},
        {"size": 2.0},
        {"size": 0.5},
        {"size": -1.0},
        {"edge": 2},
    ],
    ids=str,
)
def test_calibration_pulses_are_cut_off(rate, shape):
    """At either end or both; also if it is filled beyond, and if only eight of the leads were stored."""
    signal = heart(rate)
    length, one = signal.shape[1], pulse(rate, **shape)
    derived = np.array([1, 1, 0, -1, 0.5, 0.5, 1, 1, 1, 1, 1, 1])
    for leads in (np.ones(12), derived):
        after = leads[:, None] * one
        before = after[:, ::-1]
        zeros = np.zeros((12, 2 * rate))
        for pieces in ([signal, after], [signal, after, zeros]):
            cut = sum(piece.shape[1] for piece in pieces[1:])
            first, last, filled, calibration = recording_ends(np.concatenate(pieces, axis=1), rate)
            assert (first, last, filled + calibration) == (0, length, cut)
            assert calibration >= 0.1 * rate
        both = np.concatenate([before, signal, after], axis=1)
        assert recorded_span(both, rate) == (len(one), len(one) + length)
        assert recorded_span(both.astype(np.float32), rate) == (len(one), len(one) + length)


def test_pulses_on_offsets_in_trains_and_with_noise():
    signal, rate = heart(500), 500
    length, offsets = signal.shape[1], np.linspace(-0.3, 0.4, 12)[:, None]
    train = np.tile(pulse(rate, (0.1, 0.5, 0.4)), 5)
    whole = np.concatenate([np.broadcast_to(train, (12, len(train))), signal], axis=1) + offsets
    assert recorded_span(whole, rate) == (len(train), len(train) + length)
    noisy = np.broadcast_to(pulse(rate), (12, 200)) + np.random.default_rng(0).normal(0, 0.004, (12, 200))
    first, last = recorded_span(np.concatenate([signal, noisy], axis=1), rate)
    assert first == 0 and length <= last <= length + 50  # at most the flat piece before it is left


@pytest.mark.parametrize("leads", [[1], [0, 1], [1, 7], [0, 1, 2], [6, 7, 8, 9, 10, 11]], ids=str)
def test_pulses_in_fewer_leads(leads):
    signal, rate = heart(500, leads), 500
    length, one = signal.shape[1], np.broadcast_to(pulse(rate), (len(leads), 200))
    assert recorded_span(np.concatenate([one, signal, one], axis=1), rate) == (200, 200 + length)


@pytest.mark.parametrize("leads", [slice(None), [1], [0, 1], [0, 1, 2]], ids=str)
def test_what_is_no_pulse_is_kept(leads):
    signal, rate = heart(500, leads), 500
    length = signal.shape[1]
    for added in (
        np.full(40, 0.0),  # a tenth of a second at rest
        pulse(rate, (0.1, 0.2, 0.1), 0.8),  # not a standard size
        pulse(rate, (0.05, 0.05, 0.05)),  # as short as a beat
        np.sin(np.arange(200) / 20),  # in all leads, but no step
    ):
        whole = np.concatenate([signal, np.broadcast_to(added, (len(signal), len(added)))], axis=1)
        assert recorded_span(whole, rate) == (0, whole.shape[1])
    if len(signal) > 2:
        one_lead = np.concatenate([signal, np.zeros((len(signal), 200))], axis=1)
        one_lead[0, -200:] = pulse(rate)
        one_lead[-1, -200:] += 0.1 * np.arange(200)  # another lead moves meanwhile
        assert recorded_span(one_lead, rate) == (0, length + 200)


def test_beats_are_never_cut_off():
    """Recordings that begin and end anywhere in a beat, with one lead and with twelve."""
    conditions = ("sinus_rhythm", "atrial_fibrillation", "premature_ventricular_beats", "anterior_st_elevation")
    for condition, noise in product(conditions, (False, True)):
        signal = simulate_record([condition], seed=3, sampling_rate=250, noise=noise).signal
        for start in range(0, 500, 11):
            for leads in (slice(None), [1], [0, 1], [6]):
                part = signal[leads, start : start + 1500]
                assert recorded_span(part, 250) == (0, 1500)


def test_no_real_recording_is_cut_as_a_pulse(real_data: Path):
    paths = sorted(real_data.rglob("*.hea"))[::12]
    assert len(paths) > 300
    for path in paths:
        if path.stem.startswith("9190_"):
            continue
        record = read_record(path)
        assert recording_ends(record.signal, record.sampling_rate).calibration == 0, path
        assert recording_ends(record.signal[1:2], record.sampling_rate).calibration == 0, path
