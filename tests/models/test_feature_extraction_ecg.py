# SPDX-License-Identifier: Apache-2.0
"""The feature extractor: nothing guessed, nothing lost, and every step checked against a plain formula."""

import warnings
from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from transformers import AutoFeatureExtractor

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, ECGInputError, ECGInputWarning, RecordFileError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.filters import FILTERS
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.normalization import NORMALIZATIONS
from cgdmer.models.reading_wfdb import read_wfdb
from cgdmer.presets import preset_folder

# Most tests compare with the signal itself, in plain millivolts.
Extractor = partial(ECGFeatureExtractor, fixed_millivolts=1.0)

RATE = 500
KEYS = ("ecg_values", "lead_mask", "patch_mask")


def twelve_leads(seconds: float = 10, rate: float = RATE, seed: int = 0) -> np.ndarray:
    """(12, time) float64 mV that obey Einthoven and Goldberger: a sum of slow sinusoids, about 1 mV high."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    frequencies, phases = rng.uniform(0.5, 15, (8, 5, 1)), rng.uniform(0, 2 * np.pi, (8, 5, 1))
    first, second, *chest = 0.3 * np.sin(2 * np.pi * frequencies * times + phases).sum(axis=1)
    limb = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.stack([*limb, *chest])


def described(signal: np.ndarray, rate: float = RATE, names=STANDARD_LEADS, unit: str = "mV") -> dict:
    return {"ecg": signal, "sampling_rate": rate, "lead_names": list(names), "unit": unit}


def assert_same(left, right, atol: float = 0.0) -> None:
    for key in KEYS:
        np.testing.assert_allclose(np.asarray(left[key]), np.asarray(right[key]), atol=atol, rtol=0)


def present(features, row: int = 0) -> list[str]:
    return [name for name, there in zip(STANDARD_LEADS, features["lead_mask"][row], strict=True) if there]


def patches(features, row: int = 0) -> int:
    """How many patches are present; they must be the first ones."""
    mask = np.asarray(features["patch_mask"][row])
    assert mask.tolist() == sorted(mask.tolist(), reverse=True)
    return int(mask.sum())


@pytest.fixture(scope="module")
def extract() -> ECGFeatureExtractor:
    return Extractor()


# What comes out


def test_output_of_a_plain_recording(extract):
    signal = twelve_leads()
    features = extract(**described(signal))
    assert set(features) == set(KEYS)
    assert features["ecg_values"].shape == (1, 12, 5000) and features["ecg_values"].dtype == np.float32
    assert features["lead_mask"].shape == (1, 12) and features["patch_mask"].shape == (1, 100)
    assert features["lead_mask"].dtype == features["patch_mask"].dtype == np.int64
    assert features["lead_mask"].all() and features["patch_mask"].all()
    np.testing.assert_array_equal(features["ecg_values"][0], signal.astype(np.float32))


def test_tensors(extract):
    arrays = extract(**described(twelve_leads()))
    tensors = extract(**described(twelve_leads()), return_tensors="pt")
    assert tensors["ecg_values"].dtype == torch.float32 and tensors["lead_mask"].dtype == torch.int64
    assert_same(arrays, tensors)
    assert_same(arrays, extract(**described(torch.from_numpy(twelve_leads()))))
    assert_same(arrays, extract(**described(twelve_leads().tolist())))


def test_the_same_twice_and_the_input_is_unchanged():
    extract = Extractor(normalization="zscore_lead", filter="bandpass_0.67_40hz")
    signal = twelve_leads(7, 257.5)
    signal[3, 100:130] = np.nan
    before = signal.copy()
    first = extract(**described(signal, 257.5))
    assert_same(first, extract(**described(signal, 257.5)))
    np.testing.assert_array_equal(signal, before)


def test_lead_order_is_taken_from_the_names(extract):
    signal = twelve_leads()
    expected = extract(**described(signal))
    order = np.random.default_rng(5).permutation(12)
    names = [STANDARD_LEADS[row].upper() for row in order]
    assert_same(extract(**described(signal[order], names=names)), expected)
    wrong = extract(**described(signal[order]))
    assert np.abs(wrong["ecg_values"] - expected["ecg_values"]).max() > 0.1


# Units


def test_units_agree(extract):
    signal = twelve_leads()
    expected = extract(**described(signal))
    for unit, factor in {"uV": 1e3, "µV": 1e3, "μV": 1e3, "V": 1e-3}.items():
        assert_same(extract(**described(signal * factor, unit=unit)), expected, atol=1e-6)
    gains = np.linspace(100, 1200, 12)
    assert_same(extract(**described(signal * 200, unit="adu"), gain=200), expected, atol=1e-6)
    assert_same(extract(**described(signal * gains[:, None], unit="adu"), gain=list(gains)), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.uint16])
def test_number_types(extract, dtype):
    counts = np.round(twelve_leads() * 1000).astype(np.int64)
    counts += 5000 if dtype == np.uint16 else 0
    expected = extract(**described(counts / 1000.0))
    assert_same(extract(**described(counts.astype(dtype), unit="uV")), expected, atol=1e-6)


def test_a_long_recording_warns_of_what_is_left_out(extract):
    seconds = extract.num_samples / extract.sampling_rate
    with pytest.warns(ECGInputWarning, match=rf"lasts {4.7 * seconds:.1f} s: only the first {seconds:g} s are used"):
        extract(**described(twelve_leads(4.7 * seconds)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract(**described(twelve_leads(4.7 * seconds)), windows=True)
        extract(**described(twelve_leads(seconds + 0.01)))  # less than a patch


SWAPPED = [("I", "II"), ("aVR", "aVL"), ("II", "V2"), ("aVF", "aVL")]


@pytest.mark.parametrize("pair", SWAPPED, ids="-".join)
def test_contradictory_limb_leads_warn(extract, pair):
    signal, names = twelve_leads() + np.linspace(-3, 3, 12)[:, None], list(STANDARD_LEADS)  # offsets do not matter
    first, second = map(names.index, pair)
    names[first], names[second] = names[second], names[first]
    with pytest.warns(ECGInputWarning, match="limb leads contradict each other"):
        extract(**described(signal, names=names))


@pytest.mark.parametrize(
    "leads", [STANDARD_LEADS, ("II", "I", "aVF"), ("I", "II"), ("III", "aVR", "aVL"), ("I", "V1")]
)
def test_consistent_limb_leads_do_not_warn(extract, leads):
    """Not with interpolated gaps, a dead lead, or the whole recording inverted either."""
    signal = -twelve_leads()[[STANDARD_LEADS.index(name) for name in leads]]
    signal[0, 1000:1400] = np.nan
    signal[-1, 2000:2300] = np.nan
    dead = np.concatenate([signal, np.zeros((1, signal.shape[1]))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract(**described(signal, names=leads))
        if "III" not in leads:
            warnings.filterwarnings("ignore", "the recording has leads that are not used: III")
            extract(**described(dead, names=(*leads, "III")))


def test_no_real_recording_contradicts_itself(extract, real_data):
    paths = [path for folder in sorted(real_data.iterdir()) for path in sorted(folder.rglob("*.hea"))[::40]]
    assert len(paths) > 50
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the limb leads contradict", ECGInputWarning)
        warnings.filterwarnings("ignore", ".* has leads that are not used", ECGInputWarning)
        for path in paths:
            extract(read_wfdb(path), windows=True)


@pytest.mark.parametrize(
    ("stated", "factor", "hint"),
    [
        ("mV", 1000, "smaller unit"),  # microvolts given as millivolts
        ("mV", 200, "smaller unit"),  # converter units
        ("V", 1, "smaller unit"),
        ("uV", 1, "larger unit"),  # millivolts given as microvolts
        ("mV", 0.001, "larger unit"),  # volts
    ],
)
@pytest.mark.parametrize("leads", [12, 1])
def test_values_that_no_heart_makes_in_the_unit(extract, stated, factor, hint, leads):
    signal = twelve_leads()[:leads] * factor
    with pytest.raises(ECGInputError, match=hint):
        extract(**described(signal, names=STANDARD_LEADS[:leads], unit=stated))


def test_amplitude_check_looks_at_the_median_lead(extract):
    """One broken lead, or a voltage that is just low or high, is no reason to refuse a recording."""
    signal = twelve_leads()
    signal[7] *= 500
    signal[8] *= 0.004
    assert len(present(extract(**described(signal)))) == 12
    for factor in (0.05, 15):  # about 0.1 and 40 mV from peak to peak
        assert len(present(extract(**described(twelve_leads() * factor)))) == 12


@pytest.mark.parametrize(
    ("gain", "message"),
    [
        (None, "needs gain"),
        (0, "positive"),
        (-200, "positive"),
        (float("nan"), "positive"),
        ([200] * 11, "11 entries"),
    ],
)
def test_faulty_gains(extract, gain, message):
    with pytest.raises(ECGInputError, match=message):
        extract(**described(twelve_leads() * 200, unit="adu"), gain=gain)


def test_gain_needs_converter_units(extract):
    with pytest.raises(ECGInputError, match="only for"):
        extract(**described(twelve_leads()), gain=200)


# What is missing, contradictory, or out of bounds


@pytest.mark.parametrize("argument", ["sampling_rate", "lead_names", "unit"])
def test_missing_argument_is_named_and_not_guessed(extract, argument):
    arguments = described(twelve_leads())
    del arguments[argument]
    with pytest.raises(ECGInputError, match=f"^{argument} is missing"):
        extract(**arguments)


@pytest.mark.parametrize("rate", [0, -500, 49.9, 10_000.5, float("nan"), float("inf"), "fast", 1j])
def test_rates_out_of_bounds(extract, rate):
    with pytest.raises(ECGInputError, match="sampling_rate"):
        extract(**described(twelve_leads(), rate))


@pytest.mark.parametrize("rate", [50, 10_000, np.float32(500), np.array(500.0), "500"])
def test_rates_within_bounds(extract, rate):
    assert patches(extract(**described(twelve_leads(3, float(rate)), rate))) == 30


@pytest.mark.parametrize("unit", ["MV", "kV", "milli", "", "ADU", 1])
def test_unknown_units(extract, unit):
    with pytest.raises(ECGInputError, match="unit is"):
        extract(**described(twelve_leads(), unit=unit))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["I", "II"], "12 rows but 2 lead names"),
        (["MLII", *STANDARD_LEADS[1:]], "MLII"),
        (["II", *STANDARD_LEADS[1:]], "more than once"),
        ("I", "expected a list"),
        ([["I"], ["II"]], "2 entries for 1 recording"),
    ],
)
def test_faulty_lead_names(extract, names, message):
    with pytest.raises(ECGInputError, match=message):
        extract(twelve_leads(), sampling_rate=RATE, lead_names=names, unit="mV")


def test_time_by_leads_is_refused_with_a_hint(extract):
    with pytest.raises(ECGInputError, match=r"ecg\.T"):
        extract(**described(twelve_leads().T))
    with pytest.raises(ECGInputError, match="2500 rows") as refusal:
        extract(**described(np.ones((2500, 3))))
    assert "ecg.T" not in str(refusal.value)


@pytest.mark.parametrize(
    "ecg",
    [
        np.zeros(5000),
        np.zeros((1, 1, 12, 5000)),
        np.float64(3),
        [],
        np.zeros((0, 12, 5000)),
        [[1.0, 2.0], [3.0]],
        [["a", "b"], ["c", "d"]],
        None,
        {"I": [1.0]},
    ],
    ids=lambda ecg: f"{type(ecg).__name__}{np.shape(ecg) if isinstance(ecg, np.ndarray) else ''}",
)
def test_what_is_not_a_signal(extract, ecg):
    with pytest.raises(ECGInputError, match="ecg"):
        extract(ecg, sampling_rate=RATE, lead_names=["I", "II"], unit="mV")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(extract, value):
    signal = twelve_leads()
    signal[4, 1234] = value
    with pytest.raises(ECGInputError, match="infinite"):
        extract(**described(signal))


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0.00 s"), (1, "1.00 s"), (1.99, "1.99 s")])
def test_short_recordings(extract, seconds, shown):
    with pytest.raises(ECGInputError, match=shown):
        extract(**described(twelve_leads(seconds)))
    assert patches(extract(**described(twelve_leads(2)))) == 20


def test_recording_shorter_than_a_patch():
    extract = Extractor(sampling_rate=100, num_samples=1000, patch_length=500)
    with pytest.raises(ECGInputError, match="less than one patch"):
        extract(**described(twelve_leads(4.9)))
    assert patches(extract(**described(twelve_leads(5)))) == 1


def test_the_message_says_which_recording_of_a_batch(extract):
    with pytest.raises(ECGInputError, match=r"recording 1 of 2: .*infinite"):
        extract([twelve_leads(), np.full((12, 5000), np.inf)], RATE, list(STANDARD_LEADS), "mV")


# Missing samples and leads


def test_short_gap_is_interpolated(extract):
    signal = twelve_leads()
    signal[6] = np.linspace(-1, 1, 5000)  # on a line, interpolation is exact
    expected = extract(**described(signal))
    holed = signal.copy()
    holed[6, 700:1200] = np.nan  # one second, the longest gap that is repaired
    holed[6, 3000] = np.nan
    assert_same(extract(**described(holed)), expected, atol=1e-6)


def test_gap_at_an_end_takes_the_nearest_value(extract):
    signal = twelve_leads()
    signal[6, :100] = signal[7, -100:] = np.nan
    values = extract(**described(signal))["ecg_values"][0]
    np.testing.assert_array_equal(values[6, :100], np.float32(signal[6, 100]))
    np.testing.assert_array_equal(values[7, -100:], np.float32(signal[7, -101]))


@pytest.mark.parametrize("fault", ["long gap", "mostly missing", "all missing", "flat", "almost flat"])
def test_lead_that_becomes_absent(extract, fault):
    signal = twelve_leads()
    if fault == "long gap":
        signal[8, 700:1201] = np.nan
    elif fault == "mostly missing":  # short gaps, but more gaps than signal
        signal[8, np.arange(5000) % 5 > 1] = np.nan
    elif fault == "all missing":
        signal[8] = np.nan
    else:
        signal[8] = 0.7
        signal[8, ::2] += 0.001 if fault == "almost flat" else 0
    features = extract(**described(signal))
    assert present(features) == [name for name in STANDARD_LEADS if name != "V3"]
    assert not features["ecg_values"][0, 8].any()
    np.testing.assert_array_equal(features["ecg_values"][0, :8], signal[:8].astype(np.float32))


def test_options_for_gaps_and_lengths():
    signal = twelve_leads(1)
    signal[8, 100:150] = np.nan
    extract = Extractor(longest_gap_seconds=0.05, shortest_seconds=0.5)
    assert "V3" not in present(extract(**described(signal)))
    assert "V3" in present(Extractor(longest_gap_seconds=0.1, shortest_seconds=0.5)(**described(signal)))


@pytest.mark.parametrize("value", [np.nan, 0.0, 1.5])
def test_nothing_left(extract, value):
    with pytest.raises(ECGInputError, match="nothing is left"):
        extract(**described(np.full((12, 5000), value)))


def test_nothing_left_after_long_gaps(extract):
    signal = twelve_leads()
    signal[:, 2000:3000] = np.nan
    with pytest.raises(ECGInputError, match="nothing is left"):
        extract(**described(signal))


@pytest.mark.parametrize("fill", [np.nan, 0.0, -3.2])
def test_missing_ends_are_cut_off(extract, fill):
    """Corpora fill in short recordings, with NaN, zeros, or the voltage of zero counts."""
    signal = np.full((12, 5000), fill)
    signal[:, 1000:4000] = twelve_leads(6)
    if not np.isnan(fill):
        signal[3] = 0.0  # a lead that is off throughout does not hide it
    expected = twelve_leads(6)
    expected[3] = 0.0 if not np.isnan(fill) else expected[3]
    assert_same(extract(**described(signal)), extract(**described(expected)))
    signal[:, 1900:] = fill
    with pytest.raises(ECGInputError, match=r"only 1\.80 s"):
        extract(**described(signal))


def test_a_heart_at_rest_is_not_a_filled_end(extract):
    """A tenth of a second in which no lead moves; or one lead that moves while all others are constant."""
    signal = twelve_leads(6)
    signal[:, :50] = signal[:, 50:51]
    values = extract(**described(signal))["ecg_values"]
    np.testing.assert_array_equal(values[0, :, :3000], signal.astype(np.float32))
    signal[1:, :500] = signal[1:, 500:501]
    signal[0, :50] = 0.01 * np.arange(50)
    values = extract(**described(signal))["ecg_values"]
    np.testing.assert_array_equal(values[0, :, :3000], signal.astype(np.float32))


@pytest.mark.parametrize(
    "names", [["V5"], ["II"], ["aVF", "V2"], ["V1", "V2", "V6"], list(STANDARD_LEADS[6:]), ["V1", "III", "I", "V4"]]
)
def test_any_subset_of_leads(names):
    extract = Extractor(derive_limb_leads=False)
    signal = twelve_leads()
    rows = [STANDARD_LEADS.index(name) for name in names]
    features = extract(**described(signal[rows], names=names))
    assert sorted(present(features)) == sorted(names)
    values = features["ecg_values"][0]
    np.testing.assert_array_equal(values[rows], signal[rows].astype(np.float32))
    assert not np.delete(values, rows, axis=0).any()


def test_limb_leads_are_derived_on_request(extract):
    signal = twelve_leads()
    whole = extract(**described(signal))
    rows = [0, 1, *range(6, 12)]
    eight = described(signal[rows], names=[STANDARD_LEADS[row] for row in rows])
    assert_same(extract(**eight), whole, atol=1e-6)
    left_out = Extractor(derive_limb_leads=False)(**eight)
    assert present(left_out) == [STANDARD_LEADS[row] for row in rows]
    assert not left_out["ecg_values"][0, 2:6].any()
    dead = signal.copy()
    dead[4] = 0.0  # a flat limb lead is computed too
    assert_same(extract(**described(dead)), whole, atol=1e-6)


def naive_features(signal: np.ndarray, rate: float, names: list[str], model_rate: int) -> np.ndarray:
    """(12, 10 s), lead by lead, without derived leads: cut, gaps filled, resampled, divided by 0.2 mV."""
    there = [time for time in range(signal.shape[1]) if not all(np.isnan(signal[:, time]))]
    signal = signal[:, there[0] : there[-1] + 1]
    values = np.zeros((12, 10 * model_rate), dtype=np.float32)
    for name, lead in zip(names, signal, strict=True):
        missing = np.isnan(lead)
        runs = "".join("x" if gone else " " for gone in missing).split()
        if missing.mean() > 0.5 or max(map(len, runs), default=0) > rate:
            continue
        whole = np.interp(np.arange(len(lead)), np.flatnonzero(~missing), lead[~missing])
        if whole.max() - whole.min() < 0.005:
            continue
        if rate != model_rate:
            ratio = Fraction(model_rate) / Fraction(str(rate))
            low_pass = scipy_signal.firwin(40 * ratio.denominator + 1, 0.9 / ratio.denominator, window=("kaiser", 5.0))
            options = {"window": low_pass} if ratio < 1 else {}
            whole = scipy_signal.resample_poly(whole, ratio.numerator, ratio.denominator, padtype="edge", **options)
        whole = whole[: 10 * model_rate]
        values[STANDARD_LEADS.index(name), : len(whole)] = whole / 0.2
    return values


@pytest.mark.filterwarnings("ignore::cgdmer.models.errors.ECGInputWarning")  # random leads contradict each other
@pytest.mark.filterwarnings("error")  # numpy warns of leads that are all NaN
@pytest.mark.parametrize("rate", [100.0, 500.0, 257.5, 400.0])
def test_faulty_recordings_equal_the_naive_loop_to_the_last_bit(rate):
    extract = ECGFeatureExtractor(100, 1000, 50, derive_limb_leads=False)
    rng = np.random.default_rng(7)
    for seed in range(12):
        signal = twelve_leads(rng.uniform(6, 12), rate, seed)
        names = list(rng.permutation(STANDARD_LEADS)[: rng.integers(5, 13)])
        signal = signal[: len(names)]
        for lead, fault in enumerate(
            rng.permutation(["", "gap", "long gap", "sparse", "all", "flat"])[: len(names) - 2]
        ):
            start = rng.integers(0, round(3 * rate))
            if fault in ("gap", "long gap"):
                signal[lead, start : start + round(rate * (0.9 if fault == "gap" else 1.1))] = np.nan
            elif fault == "sparse":
                signal[lead, rng.random(signal.shape[1]) < rng.choice([0.2, 0.7])] = np.nan
            elif fault:
                signal[lead] = np.nan if fault == "all" else 0.3
        signal[:, : rng.integers(0, round(rate))] = np.nan
        features = extract(**described(signal, rate, names))
        expected = naive_features(signal, rate, names, 100)
        np.testing.assert_array_equal(features["ecg_values"][0], expected)
        np.testing.assert_array_equal(features["lead_mask"][0], expected.any(axis=1))
        assert 2 <= expected.any(axis=1).sum() < 12


# Resampling


def sinusoids(rate: float, seconds: float = 10, offset: float = 0.0) -> np.ndarray:
    """(12, time): lead k is a sinusoid of 1 + 2 k Hz, up to 23 Hz."""
    times = np.arange(round(seconds * rate)) / rate
    frequencies = 1 + 2 * np.arange(12)[:, None]
    return offset + np.sin(2 * np.pi * frequencies * times + frequencies)


@pytest.mark.parametrize("model_rate", [100, 500])
@pytest.mark.parametrize("rate", [100, 128, 250, 257.5, 300, 360, 400, 500, 800, 1000, 977])
def test_resampled_sinusoids_are_sinusoids(model_rate, rate):
    extract = Extractor(model_rate, 10 * model_rate, model_rate // 10)
    features = extract(**described(sinusoids(rate), rate))
    assert patches(features) == 100
    error = np.abs(features["ecg_values"][0] - sinusoids(model_rate))
    edge = model_rate // 5
    assert error[:, edge:-edge].max() < 0.02  # amplitude, frequency and phase
    assert error[:4].max() < 0.3  # at the ends the filter guesses what comes next: leads of up to 7 Hz


def test_no_aliasing_from_above_the_new_nyquist_frequency():
    extract = Extractor(100, 1000, 50)
    times = np.arange(5000) / RATE
    signal = np.stack([np.sin(2 * np.pi * 5 * times), np.sin(2 * np.pi * 90 * times)])
    values = extract(**described(signal, names=["V1", "V2"]))["ecg_values"][0]
    assert np.abs(values[6]).max() > 0.99
    assert np.abs(values[7, 20:-20]).max() < 0.01


@pytest.mark.parametrize("rate", [100, 250, 257.5, 1000])
def test_constant_offset_does_not_ring_at_the_ends(extract, rate):
    signal = np.full((12, round(10 * rate)), 20.0)
    signal[:, :: round(0.1 * rate)] += 1e-3  # neither flat nor filled in
    signal[:, round(5 * rate)] += 1
    values = extract(**described(signal, rate))["ecg_values"][0]
    np.testing.assert_allclose(values[:, :1500], 20.0, atol=0.03)
    np.testing.assert_allclose(values[:, -1500:], 20.0, atol=0.03)
    offset = extract(**described(sinusoids(rate, offset=20.0), rate))["ecg_values"]
    without = extract(**described(sinusoids(rate), rate))["ecg_values"]
    np.testing.assert_allclose(offset - 20, without, atol=0.05)


# Padding and windows


@pytest.mark.parametrize(
    ("samples", "whole_patches"), [(5000, 100), (4999, 99), (4951, 99), (4950, 99), (4949, 98), (1049, 20), (1050, 21)]
)
def test_padding_and_patch_mask(extract, samples, whole_patches):
    signal = twelve_leads(11)[:, :samples] + 3
    features = extract(**described(signal))
    assert patches(features) == whole_patches
    values = features["ecg_values"][0]
    np.testing.assert_array_equal(values[:, :samples], signal.astype(np.float32))
    assert not values[:, samples:].any()


@pytest.mark.parametrize("samples", [5001, 7500, 10_000, 10_001, 14_999, 15_000, 23_456])
def test_windows_cover_a_long_recording(extract, samples):
    signal = twelve_leads(50)[:, :samples]
    features = extract(**described(signal), windows=True)
    windows = features["ecg_values"]
    assert len(windows) == -(-samples // 5000)
    assert features["patch_mask"].all() and not features["record_index"].any()
    starts = [*range(0, samples - 5000, 5000), samples - 5000]
    assert len(starts) == len(windows)
    for start, window in zip(starts, windows, strict=True):
        np.testing.assert_array_equal(window, signal[:, start : start + 5000].astype(np.float32))


def test_without_windows_the_beginning_is_taken(extract):
    signal = twelve_leads(25)
    features = extract(**described(signal))
    assert not {"record_index", "window_weights"} & set(features)
    assert_same(features, extract(**described(signal[:, :5000])))


def test_record_index(extract):
    signals = [twelve_leads(seconds, seed=seed) for seed, seconds in enumerate((4, 25, 10))]
    features = extract(signals, RATE, list(STANDARD_LEADS), "mV", windows=True, return_tensors="pt")
    assert features["record_index"].tolist() == [0, 1, 1, 1, 2]
    assert features["window_weights"].tolist() == pytest.approx([1, 0.4, 0.4, 0.2, 1])
    assert [patches(features, row) for row in range(5)] == [40, 100, 100, 100, 100]
    np.testing.assert_array_equal(features["ecg_values"][4], signals[2].astype(np.float32))


def test_windows_are_normalized_one_by_one():
    extract = Extractor(normalization="zscore_lead")
    signal = np.concatenate([twelve_leads(10), 7 * twelve_leads(10, seed=1) + 2], axis=1)
    windows = extract(**described(signal), windows=True)["ecg_values"]
    np.testing.assert_allclose(windows.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(windows.std(axis=-1), 1, atol=1e-4)


# Normalization


def naive_normalization(name: str, recorded: np.ndarray) -> np.ndarray:
    """By the formula, on only the recorded leads and samples."""
    if name == "fixed":
        return recorded
    if name == "centered":
        return np.stack([lead - lead.mean() for lead in recorded])
    if name == "minmax_record":
        return (recorded - recorded.min()) / (recorded.max() - recorded.min())
    if name == "minmax_lead":
        return np.stack([2 * (lead - lead.min()) / (lead.max() - lead.min()) - 1 for lead in recorded])
    if name == "zscore_record":
        return (recorded - recorded.mean()) / recorded.std()
    return np.stack([(lead - lead.mean()) / lead.std() for lead in recorded])


@pytest.mark.parametrize(("name", "seconds"), list(product(NORMALIZATIONS, (10, 6))))
def test_normalization_ignores_absent_leads_and_padding(name, seconds):
    extract = Extractor(normalization=name, derive_limb_leads=False)
    rows = [1, 5, 7, 11]
    recorded = 2 + twelve_leads(seconds)[rows] * np.array([[1], [2], [3], [4]])  # no value is zero
    features = extract(**described(recorded, names=[STANDARD_LEADS[row] for row in rows]))
    values = features["ecg_values"][0]
    expected = naive_normalization(name, recorded)
    np.testing.assert_allclose(values[rows, : expected.shape[1]], expected, atol=2e-6)
    assert not values[:, expected.shape[1] :].any()
    assert not np.delete(values, rows, axis=0).any()


def test_every_normalization_is_tested():
    assert [*NORMALIZATIONS] == ["fixed", "centered", "minmax_record", "minmax_lead", "zscore_lead", "zscore_record"]
    extractors = [Extractor(normalization=name) for name in NORMALIZATIONS]
    outputs = [extract(**described(twelve_leads() + 0.5))["ecg_values"] for extract in extractors]
    for row, left in enumerate(outputs):
        assert all(np.abs(left - right).max() > 0.01 for right in outputs[:row])


def test_centered_ignores_offsets():
    extract = Extractor(normalization="centered")
    signal, offsets = twelve_leads(), np.linspace(-5, 5, 12)[:, None]
    plain, shifted = (extract(**described(one))["ecg_values"] for one in (signal, signal + offsets))
    np.testing.assert_allclose(shifted, plain, atol=1e-5)
    leads = plain[0]
    np.testing.assert_allclose(leads[2], leads[1] - leads[0], atol=1e-5)  # Einthoven still holds


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_flat_stretch_of_a_long_recording_stays_finite(name):
    signal = np.concatenate([twelve_leads(10), np.full((12, 5000), 0.3)], axis=1)
    assert np.isfinite(Extractor(normalization=name)(**described(signal), windows=True)["ecg_values"]).all()


@pytest.mark.parametrize("mains", [50, 60])
def test_a_lead_with_nothing_but_mains_hum_is_not_used(mains):
    signal, times = twelve_leads(), np.arange(5000) / RATE
    drift = 2 * np.pi * (mains + 0.03) * times + 0.2 * np.sin(times)  # of frequency and phase
    signal[7] = 0.2 * np.sin(drift)
    signal[8] += 1.0 * np.sin(drift)  # a heart beneath loud hum
    use = Extractor()(**described(signal)).record_use[0]
    assert use.leads_not_used == {"V2": "nothing but mains hum"} and "V3" in use.leads_used
    with pytest.raises(ECGInputError, match="nothing but mains hum"):
        Extractor()(**described(signal[7:8], names=["V2"]))


@pytest.mark.parametrize("mains", [50, 60])
def test_mains_hum_hardly_passes_the_resampler(mains):
    signal, times = twelve_leads(), np.arange(5000) / RATE
    extract = Extractor(100, 1000, 25)
    clean, humming = (extract(**described(one)) for one in (signal, signal + 0.1 * np.sin(2 * np.pi * mains * times)))
    apart = np.abs(clean["ecg_values"] - humming["ecg_values"])[..., 50:-50]
    assert apart.max() < 0.005 * 0.1 / extract.fixed_millivolts


# Filters


def gain_at(filter_name: str, frequency: float, rate: int = RATE) -> float:
    """Amplitude of a unit sinusoid after the filter, away from the ends."""
    seconds = 40
    extract = Extractor(rate, seconds * rate, rate, filter=filter_name)
    times = np.arange(seconds * rate) / rate
    signal = np.sin(2 * np.pi * frequency * times)[None]
    beats = np.sin(2 * np.pi * 3 * times)[None]  # a lead with nothing but mains hum is not used
    filtered = extract(**described(signal + beats, rate, ["V1"]))["ecg_values"][0, 6]
    middle = slice(len(times) // 4, 3 * len(times) // 4)
    return float(filtered[middle] @ signal[0, middle] / (signal[0, middle] @ signal[0, middle]))


@pytest.mark.parametrize(
    ("name", "frequency", "lowest", "highest"),
    [
        ("none", 50, 0.999, 1.001),
        ("none", 0.1, 0.999, 1.001),
        ("lowpass_40hz", 0.1, 0.999, 1.001),
        ("lowpass_40hz", 10, 0.999, 1.001),
        ("lowpass_40hz", 25, 0.98, 1.001),
        ("lowpass_40hz", 40, 0.49, 0.51),  # half the amplitude at the edge: 3 dB in each direction
        ("lowpass_40hz", 50, 0, 0.12),
        ("lowpass_40hz", 60, 0, 0.03),
        ("bandpass_0.67_40hz", 0.1, -0.001, 0.001),
        ("bandpass_0.67_40hz", 0.3, 0, 0.01),
        ("bandpass_0.67_40hz", 0.67, 0.49, 0.51),
        ("bandpass_0.67_40hz", 2, 0.99, 1.001),
        ("bandpass_0.67_40hz", 10, 0.99, 1.001),
        ("bandpass_0.67_40hz", 40, 0.49, 0.51),
        ("bandpass_0.67_40hz", 50, 0, 0.12),
        ("bandpass_0.67_40hz_order4", 40, 0.49, 0.51),
        ("bandpass_0.67_40hz_order4", 50, 0.12, 0.2),
        ("highpass_0.67hz", 0.3, 0, 0.01),
        ("highpass_0.67hz", 100, 0.999, 1.001),
        ("fir_0.05_47hz", 10, 0.98, 1.02),
        ("fir_0.05_47hz", 60, 0, 0.01),
        ("notch_50hz", 50, -0.001, 0.001),
        ("notch_50hz", 45, 0.95, 1.001),
        (["notch_50hz", "lowpass_40hz"], 40, 0.45, 0.5),
        ([], 50, 0.999, 1.001),
    ],
)
def test_filter_gains(name, frequency, lowest, highest):
    assert lowest <= gain_at(name, frequency) <= highest


@pytest.mark.parametrize("rate", [60, 80, 81, 100, 1000])
def test_filters_at_other_rates(rate):
    """At 80 Hz or less there is nothing above 40 Hz to remove, and no filter can be designed for it."""
    for name in FILTERS.keys() - {"median_baseline"}:
        assert gain_at(name, 10, rate) == pytest.approx(1, abs=0.02)
    assert gain_at("bandpass_0.67_40hz", 0.2, rate) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("name", "rest"), [("lowpass_40hz", 20.0), ("bandpass_0.67_40hz", 0.0)])
def test_filters_do_not_ring_with_a_constant_offset(name, rest):
    signal = np.full((1, 5000), 20.0)
    signal[0, ::50] += 1e-3  # neither flat nor filled in
    signal[0, 2500] += 1
    values = Extractor(filter=name)(**described(signal, names=["V1"]))["ecg_values"][0, 6]
    np.testing.assert_allclose(values[[0, 1, 10, 100, -100, -10, -2, -1]], rest, atol=0.01)


def test_the_filter_is_a_zero_phase_butterworth():
    signal = twelve_leads()
    sections = scipy_signal.butter(5, 40, fs=RATE, output="sos")
    expected = scipy_signal.sosfiltfilt(sections, signal, axis=-1)
    values = Extractor(filter="lowpass_40hz")(**described(signal))["ecg_values"][0]
    np.testing.assert_allclose(values, expected, atol=1e-5)


# Batches and records


def test_batch_equals_each_alone(extract):
    signals = [twelve_leads(10, 500), twelve_leads(8.192, 400, seed=1)[:8], twelve_leads(30, 257.5, seed=2)]
    rates, units = [500, 400, 257.5], ["mV", "uV", "V"]
    names = [list(STANDARD_LEADS), list(STANDARD_LEADS[:8]), list(STANDARD_LEADS[::-1])]
    scaled = [signal * factor for signal, factor in zip(signals, (1, 1e3, 1e-3), strict=True)]
    batch = extract(scaled, rates, names, units)
    assert len(batch["ecg_values"]) == 3
    for row, one in enumerate(zip(scaled, rates, names, units, strict=True)):
        alone = extract(*one)
        assert_same({key: batch[key][row : row + 1] for key in KEYS}, alone)


def test_one_description_for_a_whole_batch(extract):
    signals = np.stack([twelve_leads(seed=seed) for seed in range(3)])
    expected = extract(list(signals), [RATE] * 3, [list(STANDARD_LEADS)] * 3, ["mV"] * 3)
    assert_same(extract(signals, RATE, list(STANDARD_LEADS), "mV"), expected)
    assert_same(extract(tuple(signals), np.full(3, RATE), STANDARD_LEADS, "mV"), expected)


@pytest.mark.parametrize(
    ("argument", "value"), [("sampling_rate", [500, 500, 500]), ("unit", ["mV"]), ("lead_names", [["I"]] * 3)]
)
def test_lists_of_the_wrong_length(extract, argument, value):
    arguments = described([twelve_leads(), twelve_leads()]) | {argument: value}
    with pytest.raises(ECGInputError, match=rf"{argument} has \d entries for 2 recordings"):
        extract(**arguments)


def as_record(signal: np.ndarray, rate: float = RATE, names=STANDARD_LEADS) -> ECGRecord:
    return ECGRecord(signal=signal.astype(np.float32), sampling_rate=rate, lead_names=tuple(names))


def test_record_equals_array(extract):
    signals = [twelve_leads().astype(np.float32), twelve_leads(7, 400, seed=1).astype(np.float32)]
    names = [name.upper() for name in STANDARD_LEADS]
    expected = extract(signals, [500, 400], names, "mV")
    assert_same(extract([as_record(signals[0], names=names), as_record(signals[1], 400)]), expected)
    assert_same(extract(as_record(signals[1], 400)), extract(**described(signals[1], 400)))


@pytest.mark.parametrize(
    "argument", [{"sampling_rate": 500}, {"lead_names": list(STANDARD_LEADS)}, {"unit": "mV"}, {"gain": 200}]
)
def test_record_with_a_second_description(extract, argument):
    with pytest.raises(ECGInputError, match="has its own"):
        extract(as_record(twelve_leads()), **argument)


def test_record_of_another_copy_of_the_class(extract):
    """Remote code has its own copy of the record type."""

    class Stranger:
        signal, sampling_rate, lead_names = twelve_leads().astype(np.float32), 500.0, STANDARD_LEADS

    assert_same(extract(Stranger()), extract(as_record(twelve_leads())))


# Configuration


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalization": "zscore"}, "normalization is 'zscore'.*zscore_lead"),
        ({"filter": "notch"}, "filter is 'notch'.*lowpass_40hz"),
        ({"filter": None}, "filter is None"),
        ({"filter": ["lowpass_40hz", 3]}, "filter is 3"),
        ({"filter": ["lowpass_40hz"] * 1000}, "filter lists 1000 steps"),
        ({"resampling": "cubic"}, "resampling is 'cubic'.*fourier"),
        ({"filter_stage": "before"}, "filter_stage is 'before'.*recorded_rate"),
        ({"normalized_part": []}, r"normalized_part is \[\].*recording"),
        ({"evenly_spaced_windows": 0}, "evenly_spaced_windows is 0"),
        ({"evenly_spaced_windows": 2.5}, "evenly_spaced_windows is 2.5"),
        ({"patch_length": 51}, "must divide"),
        ({"patch_length": 0}, "must divide"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
        ({"normalisation": "zscore_lead"}, "no option 'normalisation'"),
    ],
)
def test_faulty_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Extractor(**options)


def test_save_and_load(tmp_path):
    options = {
        "sampling_rate": 250,
        "num_samples": 1500,
        "patch_length": 25,
        "normalization": "zscore_record",
        "filter": ["notch_50hz", "lowpass_40hz"],
        "filter_stage": "window",
        "resampling": "fourier",
        "normalized_part": "recording",
        "evenly_spaced_windows": 3,
        "derive_limb_leads": False,
        "longest_gap_seconds": 0.5,
        "shortest_seconds": 3.0,
    }
    extract = Extractor(**options)
    extract.save_pretrained(tmp_path)
    for loaded in (
        ECGFeatureExtractor.from_pretrained(tmp_path),
        ECGFeatureExtractor.from_dict(extract.to_dict()),
        AutoFeatureExtractor.from_pretrained(tmp_path, trust_remote_code=False),
    ):
        assert type(loaded) is ECGFeatureExtractor
        assert {name: getattr(loaded, name) for name in options} == options
        signal = described(twelve_leads(5, 400)[:3], 400, ["I", "II", "V1"])
        assert_same(loaded(**signal), extract(**signal))
    loaded.save_pretrained(tmp_path / "again")
    saved = [(folder / "preprocessor_config.json").read_text() for folder in (tmp_path, tmp_path / "again")]
    assert saved[0] == saved[1]


def test_option_changed_while_loading(tmp_path):
    Extractor().save_pretrained(tmp_path)
    assert ECGFeatureExtractor.from_pretrained(tmp_path, normalization="zscore_lead").normalization == "zscore_lead"


@pytest.mark.parametrize(
    "preset", ["cgdmer-base", "cgdmer-small", "cgdmer-tiny", "cgdmer-tiny-resnet18", "cgdmer-tiny-vit"]
)
def test_presets_fit_their_models(preset):
    from transformers import AutoConfig

    extract = AutoFeatureExtractor.from_pretrained(preset_folder(preset))
    config = AutoConfig.from_pretrained(preset_folder(preset)).ecg_config
    for name in ("sampling_rate", "num_samples", "patch_length"):
        assert getattr(extract, name) == getattr(config, name)
    assert extract.normalization == "centered"


# Real recordings

CORPORA = {
    "ptb-xl-subset/records500": 100,
    "ptb-xl-subset/records100": 100,
    "csn-sample": 44,
    "georgia-sample": 39,
    "cpsc2018-sample": 15,
    "code15-sample": 60,
}


def real_headers(real_data, corpus: str) -> list:
    """All headers of a small sample, evenly spaced ones of a large one."""
    paths = sorted((real_data / corpus).rglob("*.hea"))
    return paths[:: max(1, len(paths) // CORPORA[corpus])]


@pytest.mark.parametrize("corpus", CORPORA)
def test_real_recordings_are_accepted(real_data, extract, corpus):
    """All that the reader can read is accepted, with the leads that are not flat, except one that is all flat."""
    headers = real_headers(real_data, corpus)
    assert len(headers) >= CORPORA[corpus]
    refused = []
    for path in headers:
        try:
            record = read_wfdb(path)
            features = extract(record, windows=True)
        except (RecordFileError, ECGInputError) as error:
            refused.append((path.stem, str(error)))
            continue
        seconds = record.signal.shape[1] / record.sampling_rate
        assert len(features["ecg_values"]) == max(1, int(np.ceil(round(seconds * 500) / 5000)))
        assert np.isfinite(features["ecg_values"]).all()
        assert features["patch_mask"].sum(axis=1).min() == min(100, int(seconds * 10))
        alive = np.ptp(record.signal, axis=1) > 0.005
        assert features["lead_mask"][0, alive].all()
        assert not features["lead_mask"][0, 6:][~alive[6:]].any()
    expected = {"9190_all_data_is_zero": "flat or missing", "9190_low_sample_rate": "belongs to another file"}
    for name, message in refused:
        assert corpus == "code15-sample" and expected.pop(name, "?") in message, (name, message)
    assert corpus != "code15-sample" or not expected


def test_real_recordings_have_room_below_and_above_the_amplitude_bounds(real_data):
    """Peak-to-peak height of the median lead: every sample is within the bounds by a factor of four or more."""
    heights = []
    for corpus in CORPORA:
        for path in real_headers(real_data, corpus)[:60]:
            if not path.stem.startswith("9190_"):
                heights.append(float(np.median(np.ptp(read_wfdb(path).signal, axis=1))))
    assert len(heights) > 250
    assert min(heights) > 0.1 and max(heights) < 12.5


def test_real_recording_at_another_rate_is_the_same_recording(real_data):
    """PTB-XL has each recording at 500 and at 100 Hz. Resampled and low-passed, the two agree.

    The 100 Hz version is 2 ms early, which is one sample at 500 Hz.
    """
    extract = Extractor(filter="lowpass_40hz")
    pairs = 0
    for path in sorted((real_data / "ptb-xl-subset/records500").rglob("*_hr.hea"))[:40]:
        low = real_data / "ptb-xl-subset/records100" / path.parent.name / path.name.replace("_hr", "_lr")
        if not low.exists():
            continue
        left, right = (extract(read_wfdb(header))["ecg_values"][0] for header in (path, low))
        left, right = left[:, 51:-50], right[:, 50:-51]
        assert np.median(np.abs(left - right)) < 0.005
        assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.995
        pairs += 1
    assert pairs >= 10


def test_fixed_divides_by_one_constant_and_keeps_amplitudes_apart():
    signal = twelve_leads(10)
    in_millivolts = ECGFeatureExtractor(fixed_millivolts=1.0)(**described(signal))["ecg_values"]
    by_default = ECGFeatureExtractor()(**described(signal))["ecg_values"]
    np.testing.assert_allclose(by_default, in_millivolts / 0.2, rtol=1e-6)
    twice = ECGFeatureExtractor()(**described(2 * signal))["ecg_values"]
    np.testing.assert_allclose(twice, 2 * by_default, rtol=1e-6)


# Found by fuzzing (tests/security): each used to raise another error, give infinity, or ask for all memory.


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("sampling_rate", 10**400),
        ("sampling_rate", np.array([])),
        ("lead_names", 7),
        ("lead_names", np.array(7.0)),
        ("lead_names", {}),
        ("unit", {"mV"}),
        ("unit", np.zeros((1, 2))),
        ("gain", "high"),
        ("gain", [[1], [2, 3]]),
        ("gain", 10**400),
    ],
)
def test_arguments_of_another_type(extract, argument, value):
    arguments = described(twelve_leads(), unit="adu") | {"gain": 1000.0, argument: value}
    with pytest.raises(ECGInputError, match=r"sampling_rate|lead_names|lead names|unit|gain"):
        extract(**arguments)


@pytest.mark.parametrize("dtype", ["?", "c16", "U8", "S8", "M8[s]", "m8[s]", "V4"])
def test_what_numpy_would_turn_into_numbers(extract, dtype):
    """Complex values would lose their imaginary part, texts would be parsed, and times would be counted."""
    with pytest.raises(ECGInputError, match="not numeric"):
        extract(**described(np.zeros((12, 5000), dtype=dtype)))
    with pytest.raises(ECGInputError, match="not numeric"):
        extract(**described(np.full((12, 5000), np.zeros(1, dtype).item(), dtype="O")))


def test_a_tensor_with_a_gradient(extract):
    with pytest.raises(ECGInputError, match="requires grad"):
        extract(**described(torch.ones(12, 5000, requires_grad=True)))


def test_no_leads_at_all(extract):
    with pytest.raises(ECGInputError, match="nothing is left"):
        extract(**described(np.zeros((0, 5000)), names=[]))


def test_one_lead_beyond_all_numbers(extract):
    """The median lead looks right; in float32 this one would become infinity."""
    signal = twelve_leads()
    signal[3, 100] = 1e38
    with pytest.raises(ECGInputError, match=r"1e\+38 mV"):
        extract(**described(signal))
    signal[3, 100] = 1e307
    with pytest.raises(ECGInputError, match="inf mV"):
        extract(**described(signal, unit="V"))


@pytest.mark.parametrize(("leads", "samples", "rate"), [(1, 86_400_001, 1000), (12, 10**12, 500), (1, 5_000_000, 50)])
def test_recordings_of_more_than_a_day(extract, leads, samples, rate):
    """Broadcast arrays take no memory, but converted they would take up to 96 TB."""
    signal = np.broadcast_to(np.array(1.0, "f4"), (leads, samples))
    with pytest.raises(ECGInputError, match=r"at most 24 h.*in parts"):
        extract(**described(signal, rate, STANDARD_LEADS[:leads]))


@pytest.mark.parametrize(
    "options",
    [
        {"num_samples": 10**12, "patch_length": 10},
        {"sampling_rate": 10**9},
        {"sampling_rate": float("nan")},
        {"sampling_rate": "fast"},
        {"num_samples": 5000.0},
        {"patch_length": "50"},
        {"fixed_millivolts": float("inf")},
        {"shortest_seconds": float("nan")},
        {"longest_gap_seconds": None},
    ],
)
def test_options_without_bounds(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Extractor(**options)
