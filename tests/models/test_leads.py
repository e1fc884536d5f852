# SPDX-License-Identifier: Apache-2.0
"""Lead names in all their spellings, and limb leads derived from two others."""

from itertools import combinations

import numpy as np
import pytest

from cgdmer.models.channels import rows_of_leads
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import ECGInputError
from cgdmer.models.leads import STANDARD_LEADS, derive_limb_leads, known_spelling, standard_lead_names
from cgdmer.models.reading_wfdb import read_wfdb

LIMB_LEADS = STANDARD_LEADS[:6]
LIMB_PAIRS = list(combinations(range(6), 2))


def limb_leads_from_electrodes(rng: np.random.Generator, num_samples: int = 40) -> dict[str, np.ndarray]:
    """The six limb leads from their definition: differences between the potentials of the three electrodes."""
    right_arm, left_arm, left_leg = rng.normal(size=(3, num_samples))
    return {
        "I": left_arm - right_arm,
        "II": left_leg - right_arm,
        "III": left_leg - left_arm,
        "aVR": right_arm - (left_arm + left_leg) / 2,
        "aVL": left_arm - (right_arm + left_leg) / 2,
        "aVF": left_leg - (right_arm + left_arm) / 2,
    }


@pytest.mark.parametrize("name", STANDARD_LEADS)
def test_standard_names_in_any_form(name):
    forms = [name, name.upper(), name.lower(), f" {name} ", f"Lead {name}", f"lead_{name}", f"ECG {name}"]
    forms += [f"ECG Lead {name}", f"ecg-lead-{name.lower()}", f"{name}."]
    assert {known_spelling(form) for form in forms} == {name}


ALIASES = {
    "I": {"Lead 1", "L1"},
    "II": {"EKG lead II", "DII", "LII"},
    "III": {"ecg_lead_3", "d3"},
    **{"aVR": {"VR"}, "aVL": {"avl"}, "aVF": {"AVF", "a_VF"}},
    **{"V1": {"C1"}, "V2": {"EKG V2"}, "V4": {"V-4"}, "V6": {"c6"}},
}


@pytest.mark.parametrize("name", ALIASES)
def test_aliases(name):
    assert {known_spelling(alias) for alias in ALIASES[name]} == {name}


OTHER_LEADS = ["MLII", "V7", "V3R", "X", "", "V", "lead", "CM5", "VV1", "aV1", "I and II"]
CHANNEL_NUMBERS = ["1", "2", " 3 ", "4", "ECG1", "ECG 2", "ecg_3", "EKG 1", "EKG2"]


@pytest.mark.parametrize("name", OTHER_LEADS + CHANNEL_NUMBERS)
def test_other_names_are_not_standard_leads(name):
    with pytest.raises(ECGInputError, match="not one of the twelve"):
        standard_lead_names([name])


INVERTED = ["-aVR", " -II", "\u2212aVR", "aVR-", "V1 \u2212", "ECG I - ref"]
DIFFERENCES = ["I-II", "V1-V2", "LI-LII", "lead 1-2", "II.III"]


@pytest.mark.parametrize("name", INVERTED + DIFFERENCES)
def test_inverted_leads_and_differences_are_not_standard_leads(name):
    with pytest.raises(ECGInputError, match="invert its signal"):
        standard_lead_names([name])


def test_c1_to_c6_are_chest_leads_only_as_a_whole_set_with_limb_leads():
    chest = ["C1", "C2", "c 3", "C-4", "C5", "ECG C6"]
    assert standard_lead_names(["DI", *chest]) == ["I", *STANDARD_LEADS[6:]]
    assert standard_lead_names(["C3", "I"], asked_for=True) == [
        "V3",
        "I",
    ]  # which channel that is, is another question
    scalp = (["C3"], ["C3", "C4"], ["V1", "ECG C_2"], ["ECG I", "C3", "C4"], chest, ["I", *chest[:5]])
    for names in scalp:
        with pytest.raises(ECGInputError, match="scalp"):
            standard_lead_names(names)


@pytest.mark.parametrize("other", ["Cz", "EEG Fpz", "F3", "O1", "T3-M2", "EOG left", "FC1", "P4"])
def test_c1_to_c6_beside_other_electrodes_of_an_eeg_are_refused_if_they_are_used(other):
    names = ["ECG I", *(f"C{number}" for number in range(1, 7)), other]
    assert rows_of_leads([*names[:7], "resp"], ["V3", "I"], "the record") == [0, 3]
    assert rows_of_leads(names, ["I"], "the record") == [0]
    with pytest.raises(ECGInputError, match="scalp: there is"):
        rows_of_leads(names, ["V3"], "the record")


def test_names_keep_their_order():
    assert standard_lead_names(["v6", "AVR", "lead ii"]) == ["V6", "aVR", "II"]
    assert standard_lead_names([]) == []


def test_same_lead_twice_is_refused_with_both_spellings():
    with pytest.raises(ECGInputError, match="more than once") as refusal:
        standard_lead_names(["I", "aVF", "V1", "AVF"])
    assert "'aVF'" in str(refusal.value) and "'AVF'" in str(refusal.value) and "'I'" not in str(refusal.value)


@pytest.mark.parametrize("pair", LIMB_PAIRS, ids=lambda pair: "-".join(LIMB_LEADS[row] for row in pair))
def test_any_two_limb_leads_give_the_other_four(pair):
    rng = np.random.default_rng(3)
    limb = limb_leads_from_electrodes(rng)
    expected = np.concatenate([[limb[name] for name in LIMB_LEADS], rng.normal(size=(6, 40))])
    present = np.isin(np.arange(12), [*pair, 8])
    given = np.where(present[:, None], expected, 99.0)  # absent rows must not matter
    before = given.copy(), present.copy()
    derived, now_present = derive_limb_leads(given, present)
    np.testing.assert_allclose(derived[:6], expected[:6], atol=1e-12)
    assert now_present.tolist() == [True] * 6 + [False, False, True, False, False, False]
    np.testing.assert_array_equal(derived[6:], given[6:])
    np.testing.assert_array_equal(given, before[0])  # the arguments do not change
    np.testing.assert_array_equal(present, before[1])


def test_derivation_by_the_textbook_formulas():
    first, second = np.random.default_rng(0).normal(size=(2, 30))
    signal = np.zeros((12, 30))
    signal[:2] = first, second
    derived, _ = derive_limb_leads(signal, np.arange(12) < 2)
    for name, expected in {
        "III": second - first,
        "aVR": -(first + second) / 2,
        "aVL": first - second / 2,
        "aVF": second - first / 2,
    }.items():
        np.testing.assert_allclose(derived[STANDARD_LEADS.index(name)], expected, atol=1e-12)


def test_recorded_leads_are_never_overwritten():
    """Three limb leads that contradict each other: all three stay, only the others are computed."""
    signal = np.random.default_rng(1).normal(size=(12, 20))
    present = np.isin(np.arange(12), [0, 2, 4])
    derived, now_present = derive_limb_leads(signal, present)
    np.testing.assert_array_equal(derived[present], signal[present])
    np.testing.assert_allclose(derived[1], signal[0] + signal[2], atol=1e-12)
    assert now_present.sum() == 6


@pytest.mark.parametrize("rows", [[], [3], [1, 6, 7], [6, 7, 8, 9, 10, 11]])
def test_fewer_than_two_limb_leads_give_nothing(rows):
    signal = np.random.default_rng(2).normal(size=(12, 20))
    present = np.isin(np.arange(12), rows)
    derived, now_present = derive_limb_leads(signal, present)
    np.testing.assert_array_equal(derived, signal)
    np.testing.assert_array_equal(now_present, present)
    assert derived is not signal and now_present is not present


def test_real_recordings_obey_einthoven_and_goldberger(real_data):
    """From any two recorded limb leads the other four follow, up to the rounding of the stored integers."""
    paths = sorted((real_data / "ptb-xl-subset").glob("records500/00000/*.hea"))[:40]
    for corpus in ("csn-sample", "georgia-sample", "cpsc2018-sample"):
        paths += sorted((real_data / corpus).glob("*.hea"))
    assert len(paths) > 100
    for path in paths:
        record = read_wfdb(path)
        assert standard_lead_names(record.lead_names) == list(STANDARD_LEADS)
        signal = record.signal.astype(np.float64)
        for pair in LIMB_PAIRS:
            derived, _ = derive_limb_leads(signal, np.isin(np.arange(12), pair))
            # 0.00488 mV is the coarsest step in these corpora; the weights of a derivation go up to 2.
            assert np.abs(derived[:6] - signal[:6]).max() < 0.015, (path.name, pair)


def noise(num_samples: int, num_leads: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_leads, num_samples))


def test_kept_leads_keep_their_gain_and_baseline():
    record = ECGRecord(noise(10), 500.0, ("i", "VX", "v1"), gain=(1.0, 2.0, 3.0), baseline=(4, 5, 6))
    kept = keep_leads(record, (name for name in ("V1", "I")))
    assert (kept.lead_names, kept.gain, kept.baseline) == (("V1", "I"), (3.0, 1.0), (6, 4))
    np.testing.assert_array_equal(kept.signal, record.signal[[2, 0]])
    for leads, message in (
        ("I", "expected a list"),
        ([], "at least"),
        (iter(["I", "i"]), "more than once"),
        (["II"], "has no lead II; it has i, VX, v1"),
        (["VX"], "not one of the twelve"),
    ):
        with pytest.raises(ECGInputError, match=message):
            keep_leads(record, leads)
    twice = ECGRecord(noise(10, 2), 500.0, ("I", "i"))
    with pytest.raises(ECGInputError, match="has 2 leads I"):
        keep_leads(twice, ["I"])
