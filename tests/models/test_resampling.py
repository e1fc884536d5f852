# SPDX-License-Identifier: Apache-2.0
"""The feature extractor, prepared datasets, and robustness use one resampler: each is compared with SciPy directly."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import firwin, resample_poly

from cgdmer.corpora.corpus import resampled
from cgdmer.evaluation.robustness import lower_rate
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.resampling import RESAMPLING_METHODS, resample, resampled_length

RATES = [62.5, 100, 125, 250, 257.5, 300, 400, 500, 800, 1000]


def some_record(rate: float) -> ECGRecord:
    signal = np.random.default_rng(0).standard_normal((12, round(9.7 * rate))).astype(np.float32)
    return ECGRecord(signal + 3, rate, STANDARD_LEADS)


def polyphase(signal: np.ndarray, rate: float, new_rate: float, padding: str) -> np.ndarray:
    ratio = Fraction(new_rate) / Fraction(rate)  # exact: these rates are halves
    up, down = ratio.numerator, ratio.denominator
    options = {"axis": 1, "padtype": padding}
    if down > up:
        options["window"] = firwin(40 * down + 1, 0.9 / down, window=("kaiser", 5.0)).astype(signal.dtype)
    return resample_poly(signal, up, down, **options)


@pytest.mark.parametrize("new_rate", RATES)
@pytest.mark.parametrize("rate", RATES)
def test_every_user_gets_the_same_filter(rate, new_rate):
    record = some_record(rate)
    if rate == new_rate:
        assert resample(record.signal, rate, new_rate) is record.signal
        return
    expected = polyphase(record.signal.astype(np.float64), rate, new_rate, "edge")
    assert resampled_length(record.signal.shape[1], rate, new_rate) == expected.shape[1]
    np.testing.assert_array_equal(resampled(record, new_rate).signal, expected.astype(np.float32))
    extract = ECGFeatureExtractor(new_rate, 4 * expected.shape[1], 4, fixed_millivolts=1.0)
    with pytest.warns(UserWarning, match="contradict"):
        values = extract(record)["ecg_values"][0, :, : expected.shape[1]]
    np.testing.assert_array_equal(values, expected.astype(np.float32))
    if new_rate < rate:
        zeros_around = polyphase(record.signal, rate, new_rate, "constant").astype(np.float32)
        np.testing.assert_array_equal(lower_rate(record, new_rate).signal, zeros_around)


@pytest.mark.parametrize(("rate", "new_rate"), [(500, 250), (400, 500), (257.5, 100)])
def test_other_methods_do_what_they_say(rate, new_rate):
    signal = some_record(rate).signal[:2].astype(np.float64)
    length, old = resampled_length(signal.shape[1], rate, new_rate), signal.shape[1]
    linear = resample(signal, rate, new_rate, method="linear")
    place = (length // 3) * (old - 1) / (length - 1)
    below, share = int(place), place - int(place)
    assert linear.shape == (2, length)
    np.testing.assert_allclose(linear[:, [0, -1]], signal[:, [0, -1]])
    expected = (1 - share) * signal[:, below] + share * signal[:, below + 1]
    np.testing.assert_allclose(linear[:, length // 3], expected)

    times, new_times = np.arange(old) / old, np.arange(length) / length  # of one period
    slow = 3 + np.sin(2 * np.pi * 4 * times)[None] + np.cos(2 * np.pi * 41 * times)
    fourier = resample(slow, rate, new_rate, method="fourier")
    wanted = 3 + np.sin(2 * np.pi * 4 * new_times)[None] + np.cos(2 * np.pi * 41 * new_times)
    np.testing.assert_allclose(fourier, wanted, atol=1e-9)
    too_fast = np.sin(2 * np.pi * round(0.7 * length) * times)[None]
    if new_rate < rate:
        assert np.abs(resample(too_fast, rate, new_rate, method="fourier")).max() < 1e-9


def test_the_type_of_the_numbers_stays():
    signal = some_record(400).signal
    assert {resample(signal, 400, 500, method=one).dtype for one in RESAMPLING_METHODS} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("rate", "new_rate"), [(500, 100), (500, 250), (1000, 100), (400, 250), (257.5, 100)])
def test_what_is_too_fast_for_the_new_rate_is_cut_off(rate, new_rate):
    """At its Nyquist frequency too, which is that of mains for 100 Hz; what is well below it passes."""
    times, new_times = (np.arange(20 * one) / one for one in (rate, new_rate))
    middle = slice(len(new_times) // 4, 3 * len(new_times) // 4)
    for share, gain, apart in ((0.1, 1, 0.004), (0.5, 1, 0.004), (0.8, 1, 0.02), (0.98, 0, 0.004), (1.0, 0, 0.004)):
        frequency = share * new_rate / 2
        found = resample(np.sin(2 * np.pi * frequency * times + 0.7)[None], rate, new_rate)[0][: len(new_times)]
        wanted = gain * np.sin(2 * np.pi * frequency * new_times + 0.7)
        assert np.abs(found - wanted)[middle].max() < apart, share
    if rate > 1.3 * new_rate:
        assert (
            np.abs(resample(np.sin(2 * np.pi * 0.6 * new_rate * times)[None], rate, new_rate)[0][middle]).max() < 0.004
        )
