# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from cgdmer.evaluation.robustness import DISTURBANCES, add_noise, lower_rate
from cgdmer.models.ecg_record import keep_leads
from cgdmer.models.errors import ECGInputError
from cgdmer.simulation.cohort import simulate_record


@pytest.fixture(scope="module")
def record():
    return simulate_record(["sinus_rhythm"], seed=3, sampling_rate=500)


def test_leads_are_kept_by_name(record):
    turned = replace(record, signal=record.signal[::-1], lead_names=record.lead_names[::-1])
    for some in (record, turned):
        kept = keep_leads(some, ("V2", "I"))
        assert kept.lead_names == ("V2", "I")
        np.testing.assert_array_equal(kept.signal[0], record.signal[record.lead_names.index("V2")])
        np.testing.assert_array_equal(kept.signal[1], record.signal[0])
    with pytest.raises(ECGInputError, match="V2"):
        keep_leads(keep_leads(record, ("I", "II")), ("I", "V2"))


def test_noise_begins_and_ends_with_the_recording(record):
    filled = replace(record, signal=np.pad(record.signal, ((0, 0), (600, 700))))
    np.testing.assert_array_equal(add_noise(filled, 10).signal, add_noise(record, 10).signal)


@pytest.mark.parametrize("rate", [250, 125, 62.5])
def test_a_lower_rate_keeps_what_it_can_show(rate):
    """A wave of 5 Hz survives; one above half the rate is gone."""
    time = np.arange(5000) / 500
    slow, fast = np.sin(2 * np.pi * 5 * time), np.sin(2 * np.pi * 200 * time)
    base = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    waves = replace(base, signal=np.stack([slow, slow + fast]).astype(np.float32), lead_names=("I", "II"))
    lowered = lower_rate(waves, rate)
    assert lowered.sampling_rate == rate
    assert lowered.signal.shape == (2, 10 * rate)
    middle = slice(int(rate), int(9 * rate))
    expected = np.sin(2 * np.pi * 5 * np.arange(lowered.signal.shape[1]) / rate)
    for lead in lowered.signal:
        np.testing.assert_allclose(lead[middle], expected[middle], atol=0.03)


def test_a_rate_is_never_raised(record):
    assert lower_rate(record, 500) is record
    assert lower_rate(record, 1000) is record


@pytest.mark.parametrize("decibels", [20, 0])
def test_noise_has_the_power_that_it_says(record, decibels):
    noise = add_noise(record, decibels).signal - record.signal
    ratio = record.signal.var(axis=1) / noise.var(axis=1)
    np.testing.assert_allclose(10 * np.log10(ratio), decibels, atol=0.5)
    np.testing.assert_array_equal(add_noise(record, decibels).signal, add_noise(record, decibels).signal)
    other = replace(record, record_id="another")
    assert not np.array_equal(add_noise(other, decibels).signal, add_noise(record, decibels).signal)


def test_every_disturbance_runs_on_a_record_with_its_own_setting(record):
    """Each closure holds its own value, not the last one of the loop."""
    changed = {one.name: one.apply(record) for one in DISTURBANCES}
    assert [len(changed[name].lead_names) for name in ("6 limb leads", "3 leads", "2 leads", "lead I")] == [6, 3, 2, 1]
    assert [changed[f"{rate} Hz"].sampling_rate for rate in ("250", "125", "62.5")] == [250, 125, 62.5]
    sizes = [np.abs(changed[f"{level} dB"].signal - record.signal).mean() for level in (20, 10, 5, 0)]
    assert sizes == sorted(sizes) and sizes[0] < 0.5 * sizes[-1]
