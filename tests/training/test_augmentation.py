# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest

from cgdmer.models.errors import ConfigurationError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.pretrain import parse_arguments
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.training.augmentation import Augmentation


@pytest.fixture(scope="module")
def record():
    return next(iter(simulate_cohort(1, seed=3, sampling_rate=100)))


def changed(record, seed: int = 0, **options):
    return Augmentation(**options)(record, np.random.default_rng(seed))


def test_without_options_nothing_is_changed_or_drawn(record):
    random = np.random.default_rng(0)
    assert Augmentation()(record, random) is record
    assert random.random() == np.random.default_rng(0).random()


def test_the_same_draw_gives_the_same_change_and_the_record_stays_as_it_is(record):
    before = record.signal.copy()
    options = {"lead_dropout": 0.5, "noise": 0.1, "gain": 0.2}
    first, again, other = (changed(record, seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.signal, again.signal)
    assert first.lead_names == again.lead_names
    assert other.signal.shape != first.signal.shape or not np.array_equal(other.signal, first.signal)
    np.testing.assert_array_equal(record.signal, before)
    assert (first.labels, first.text, first.sampling_rate) == (record.labels, record.text, record.sampling_rate)


def test_gain_is_one_factor_within_its_bounds_as_often_up_as_down(record):
    factors = []
    for seed in range(300):
        large = np.abs(record.signal) > 0.05
        ratio = changed(record, seed, gain=0.25).signal[large] / record.signal[large]
        assert np.ptp(ratio) < 1e-5
        factors.append(float(ratio.mean()))
    assert 0.8 <= min(factors) < 0.81 and 1.24 < max(factors) <= 1.25
    assert 0.4 < np.mean(np.array(factors) > 1) < 0.6


def test_noise_and_wander_stay_below_their_bound_and_differ_between_leads(record):
    added = np.stack([changed(record, seed, noise=0.1).signal - record.signal for seed in range(200)])
    spectrum = np.abs(np.fft.rfft(added, axis=-1)) ** 2
    frequencies = np.fft.rfftfreq(added.shape[-1], 1 / record.sampling_rate)
    slow, fast = spectrum[..., frequencies <= 0.6].sum(axis=-1), spectrum[..., frequencies > 2].mean(axis=-1)
    white = np.sqrt(fast / added.shape[-1])  # the standard deviation, from the level of a flat spectrum
    assert 0.09 < white.max() < 0.11 and white.min() < 0.01
    assert np.median(slow / spectrum.sum(axis=-1)) > 0.1
    assert added.std(axis=-1).max() < np.sqrt(2) * 0.1 * 1.1
    assert np.abs(np.corrcoef(added[0] - added[0].mean(axis=1, keepdims=True))[0, 1:]).max() < 0.999


def test_dropped_leads_leave_lead_one_or_two_limb_leads_or_any(record):
    kept = Counter(changed(record, seed, lead_dropout=0.6).lead_names for seed in range(600))
    whole = kept.pop(tuple(STANDARD_LEADS))
    assert 0.36 * 600 < whole < 0.48 * 600  # a random subset may also be all twelve
    assert 80 < kept.pop(("I",)) < 165 and 80 < kept.pop(("I", "II")) < 165
    assert {len(names) for names in kept} >= set(range(1, 12))
    assert all(list(names) == [lead for lead in STANDARD_LEADS if lead in names] for names in kept)
    one = changed(record, 4, lead_dropout=1.0)
    for name, signal in zip(one.lead_names, one.signal, strict=True):
        np.testing.assert_array_equal(signal, record.signal[record.lead_names.index(name)])


@pytest.mark.parametrize(("option", "value"), [("--lead_dropout", "1.5"), ("--noise", "-0.1"), ("--gain", "nan")])
def test_values_without_meaning_are_refused(option, value):
    with pytest.raises(ConfigurationError, match=f"{option} is"):
        parse_arguments(["--dataset", "d", "--config_name", "c", "--output_dir", "o", option, value])
