# SPDX-License-Identifier: Apache-2.0
"""The simulated cohort: leads, splits, wording, and each condition as measured on the noise-free trace.

The measurements (`ecg_measurements`) share nothing with the simulator. Fibrillation or flutter waves that overlap a
complex shift the measured points by some hundredths of a millivolt, so a few percent of records, close to the limit of
a criterion, are misread. With a P wave before each complex, the reading must be right.
"""

import re
import sys
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation import atria, cohort, ventricles
from cgdmer.simulation.cohort import simulate_cohort, simulate_patient, simulate_record
from cgdmer.simulation.conditions import CONDITIONS

sys.path.insert(0, str(Path(__file__).parent))
import ecg_measurements as calipers

RHYTHMS = ("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "atrial_fibrillation", "atrial_flutter")
NUM_PATIENTS = 450
# The share of records that may be misread, per condition: with P waves, and with atrial arrhythmia.
TOLERANCE_SINUS, TOLERANCE_ARRHYTHMIA = 0.004, 0.04


@cache
def clean_cohort() -> list[ECGRecord]:
    return list(simulate_cohort(NUM_PATIENTS, seed=5, noise=False))


@cache
def measured() -> list[calipers.Measurements]:
    return [calipers.measure(record.signal, record.sampling_rate) for record in clean_cohort()]


def having(condition: str) -> list[int]:
    return [index for index, record in enumerate(clean_cohort()) if condition in record.labels]


def misread(labels_of: list[tuple[str, ...]]) -> tuple[Counter, Counter]:
    """How often criteria and labels differ per condition, in records with P waves and in others."""
    sinus, arrhythmia = Counter(), Counter()
    for record, labels, measurements in zip(clean_cohort(), labels_of, measured(), strict=True):
        wrong = calipers.measured_conditions(measurements) ^ set(labels)
        has_p = not {"atrial_fibrillation", "atrial_flutter"} & set(record.labels)
        (sinus if has_p else arrhythmia).update(wrong)
    return sinus, arrhythmia


# Leads, units, reproducibility


def test_record_fields():
    record = simulate_record(["atrial_fibrillation"], seed=3)
    assert record.signal.shape == (12, 5000) and record.signal.dtype == np.float32
    assert record.lead_names == STANDARD_LEADS and record.sampling_rate == 500
    assert record.labels == ("atrial_fibrillation",)
    assert len(record.statements) == 1 and record.text and record.sex in ("female", "male")
    assert record.age is not None and 18 <= record.age <= 95
    assert np.isfinite(record.signal).all() and np.abs(record.signal).max() < 8


@pytest.mark.parametrize("noise", [False, True])
def test_integers_are_exact_and_limb_leads_follow_from_two(noise):
    for record in simulate_cohort(15, seed=2, noise=noise):
        integers = np.rint(record.signal * np.float32(1000)).astype(np.int16)
        assert np.array_equal((integers / 1000).astype(np.float32), record.signal)
        assert record.gain == (1000.0,) * 12 and record.baseline == (0,) * 12
        i, ii, iii, avr, avl, avf = integers[:6].astype(int)
        assert np.array_equal(i + iii, ii)
        assert np.abs(2 * avr + i + ii).max() <= 1
        assert np.abs(2 * avl - 2 * i + ii).max() <= 1
        assert np.abs(2 * avf - 2 * ii + i).max() <= 1


def test_rank_is_eight():
    for record in simulate_cohort(25, seed=4, noise=False):
        values = np.linalg.svd(record.signal.astype(np.float64), compute_uv=False)
        assert values[7] > 0.002 * values[0], record.labels
        assert values[8] < 0.001 * np.sqrt(record.signal.size)  # the effect of rounding to 1 uV


def test_the_heart_is_the_same_at_other_sampling_rates():
    fast = simulate_record(["premature_ventricular_beats"], seed=1, sampling_rate=1000, duration=12, noise=False)
    slow = simulate_record(["premature_ventricular_beats"], seed=1, sampling_rate=250, duration=12, noise=False)
    assert slow.signal.shape == (12, 3000) and fast.text == slow.text
    assert np.abs(fast.signal[:, ::4] - slow.signal).max() < 0.0015


def test_same_seed_same_record_in_any_order():
    cohort = list(simulate_cohort(6, seed=9))
    again = simulate_patient(4, seed=9)
    same = [record for record in cohort if record.patient_id == again[0].patient_id]
    assert len(same) == len(again)
    for first, second in zip(same, again, strict=True):
        assert np.array_equal(first.signal, second.signal)
        assert (first.text, first.labels, first.fold) == (second.text, second.labels, second.fold)
    other = simulate_patient(4, seed=10)
    assert not np.array_equal(again[0].signal, other[0].signal)


def test_noise_changes_the_signal_and_nothing_else():
    for noisy, clean in zip(simulate_cohort(20, seed=1), simulate_cohort(20, seed=1, noise=False), strict=True):
        assert (noisy.text, noisy.labels, noisy.age) == (clean.text, clean.labels, clean.age)
        difference = noisy.signal - clean.signal
        assert 0.005 < difference.std() < 0.6
        assert abs(np.corrcoef(difference[1], clean.signal[1])[0, 1]) < 0.25


@pytest.mark.slow
def test_patients_stay_in_one_fold_and_share_anatomy():
    folds, records = {}, Counter()
    for record in clean_cohort():
        assert folds.setdefault(record.patient_id, record.fold) == record.fold
        records[record.patient_id] += 1
    assert set(folds.values()) == set(range(1, 11))
    assert set(records.values()) == {1, 2, 3}
    assert len({record.record_id for record in clean_cohort()}) == len(clean_cohort())
    # Voltages vary less within a patient than between patients.
    voltage: dict[str, list[float]] = {}
    for record, found in zip(clean_cohort(), measured(), strict=True):
        if not {"left_bundle_branch_block", "right_bundle_branch_block"} & set(record.labels):
            voltage.setdefault(record.patient_id, []).append(calipers.sokolow_lyon(found))
    repeated = [values for values in voltage.values() if len(values) > 1]
    within = np.mean([np.std(values) for values in repeated])
    assert within < 0.2 * np.std([values[0] for values in repeated])


# Which conditions can be combined


def test_prevalence():
    records = clean_cohort()
    counts = Counter(label for record in records for label in record.labels)
    assert set(counts) == set(CONDITIONS) and len(CONDITIONS) >= 16
    for name in CONDITIONS:
        assert 0.03 * len(records) <= counts[name] <= 0.6 * len(records), name
    plain = sum(record.labels == ("sinus_rhythm",) for record in records)
    assert 0.15 < plain / len(records) < 0.27
    assert sum(len(record.labels) > 2 for record in records) > 0.2 * len(records)


def test_impossible_combinations_raise_and_never_occur():
    refused = {frozenset(pair) for pair in combinations(CONDITIONS, 2) if not _possible(pair)}
    for pair in combinations(RHYTHMS, 2):
        assert frozenset(pair) in refused
    for pair in (
        ("left_bundle_branch_block", "right_bundle_branch_block"),
        ("left_ventricular_hypertrophy", "low_voltage"),
        ("first_degree_av_block", "atrial_fibrillation"),
        ("first_degree_av_block", "atrial_flutter"),
        ("left_bundle_branch_block", "left_anterior_fascicular_block"),
    ):
        assert frozenset(pair) in refused
    for pair in (
        ("right_bundle_branch_block", "left_anterior_fascicular_block"),
        ("left_ventricular_hypertrophy", "t_wave_inversion"),
        ("atrial_fibrillation", "left_bundle_branch_block"),
        ("old_infarction", "first_degree_av_block"),
    ):
        assert frozenset(pair) not in refused
    for record in clean_cohort():
        for pair in combinations(record.labels, 2):
            assert frozenset(pair) not in refused, record.labels


def _possible(pair: tuple[str, str]) -> bool:
    try:
        simulate_record(pair, duration=5)
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"conditions": ["measles"]}, "measles"),
        ({"conditions": ["old_infarction", "right_bundle_branch_block", "left_anterior_fascicular_block"]}, "wall"),
        ({"conditions": [], "sampling_rate": 20}, "sampling_rate"),
        ({"conditions": [], "duration": 1.0}, "duration"),
    ],
)
def test_bad_arguments_name_what_is_wrong(arguments, part):
    with pytest.raises(ConfigurationError, match=part):
        simulate_record(**arguments)


def test_rhythm_is_sinus_unless_named():
    assert simulate_record(["low_voltage"]).labels == ("sinus_rhythm", "low_voltage")
    assert simulate_record("sinus_bradycardia").labels == ("sinus_bradycardia",)


# Reports and prompts

# How a reader recognizes each finding in a sentence, written independently of the simulator's lists.
MENTION = {
    "sinus_rhythm": r"(?<!fast )(?<!slow )\bsinus (rhythm|at a normal)(?!.*(slow|fast|cardic))|p wave precedes",
    "sinus_bradycardia": r"bradycard|slow sinus|slow rate",
    "sinus_tachycardia": r"tachycard|fast sinus|fast rate",
    "atrial_fibrillation": r"fibrillat|\baf\b",
    "atrial_flutter": r"flutter",
    "first_degree_av_block": r"(first|1st) degree|\bpr interval|(?<!with )\bav block$",
    "left_bundle_branch_block": r"left bundle branch|\blbbb|no bundle branch block",
    "right_bundle_branch_block": r"right bundle branch|\brbbb|no bundle branch block",
    "left_anterior_fascicular_block": r"anterior (fascic|hemi)|\blafb",
    "left_ventricular_hypertrophy": r"hypertrophy|\blvh",
    "anterior_st_elevation": r"anterior (st\b|leads$|myocardial|stemi|wall)|elevation in v2|no st elevation",
    "inferior_st_elevation": r"inferior (st\b|leads$|myocardial|stemi|wall)|elevation in ii|no st elevation",
    "old_infarction": r"\bold\b|previous (myocardial|infarct)|pathological q",
    "st_depression": r"depress",
    "t_wave_inversion": r"inver(sion|ted)|negative t",
    "premature_ventricular_beats": r"premature|extrasystole|ectopic|pvc",
    "low_voltage": r"low (qrs )?voltage|small qrs|reduced voltage|not low",
}
NEGATION = re.compile(r"^(no|without|not)\b|\bis not\b")
NORMAL = re.compile(r"normal (ecg|tracing)|normal limits|no abnormality")
NEUTRAL = re.compile(r"ventricular rate \d+ per minute|good quality|no significant change")


def sentences_of(record: ECGRecord) -> list[str]:
    assert record.text is not None
    return [part.strip().lower() for part in re.split(r"\.(?:\s|$)|;", record.text) if part.strip()]


def mentioned(sentence: str) -> set[str]:
    found = {name for name, pattern in MENTION.items() if re.search(pattern, sentence)}
    if "waves in the inferior leads" in sentence:
        found.discard("inferior_st_elevation")
    return found


def test_reports_state_what_is_present_and_deny_only_what_is_absent():
    negated, styles = 0, Counter()
    for record in simulate_cohort(NUM_PATIENTS, seed=5, duration=5, noise=False):
        said, denied = set(), set()
        for sentence in sentences_of(record):
            if NEUTRAL.search(sentence):
                continue
            if NORMAL.search(sentence):
                assert record.labels == ("sinus_rhythm",), record.text
            elif NEGATION.search(sentence):
                denied |= mentioned(sentence)
            else:
                names = mentioned(sentence)
                assert names & set(record.labels), (sentence, record.labels)
                said |= names
        assert set(record.labels) <= said, (record.text, record.labels)
        assert said <= set(record.labels), (record.text, record.labels)
        assert not denied & set(record.labels), (record.text, record.labels)
        negated += bool(NEGATION.search(" ".join(sentences_of(record))) or denied)
        styles[";" in record.text, record.text[0].isupper()] += 1
        assert len(record.statements) == len(record.labels)
        for statement in record.statements:
            assert statement.lower() in record.text.lower()
    assert 0.25 * NUM_PATIENTS < negated < 0.8 * NUM_PATIENTS
    assert len(styles) >= 3


def test_wordings_vary_and_prompts_differ_from_them():
    wordings = {text.lower() for condition in CONDITIONS.values() for text in condition.wordings}
    known = {word for text in wordings for word in re.findall(r"[a-z0-9']+", text)} | {"the", "tracing", "shows"}
    for name, condition in CONDITIONS.items():
        assert len(set(condition.wordings)) >= 5 and len(set(condition.prompts)) >= 3, name
        for text in condition.wordings:
            assert mentioned(text.lower()) == {name}, text
        for prompt in condition.prompts:
            assert prompt.lower() not in wordings
            assert set(re.findall(r"[a-z0-9']+", prompt.lower())) - known <= {"shows"}, prompt
    used = {statement for record in clean_cohort() for statement in record.statements}
    assert len(used) > 0.9 * len(wordings)


# Each condition, measured


def test_criteria_hold_only_where_labeled():
    sinus, arrhythmia = misread([record.labels for record in clean_cohort()])
    num_arrhythmia = len(having("atrial_fibrillation")) + len(having("atrial_flutter"))
    num_sinus = len(clean_cohort()) - num_arrhythmia
    for name in CONDITIONS:
        assert sinus[name] <= max(1, TOLERANCE_SINUS * num_sinus), (name, sinus)
        assert arrhythmia[name] <= max(1, TOLERANCE_ARRHYTHMIA * num_arrhythmia), (name, arrhythmia)
    assert sum(sinus.values()) <= 0.015 * num_sinus, sinus


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_each_condition_is_measured_in_its_own_records(name):
    indices = having(name)
    seen = sum(name in calipers.measured_conditions(measured()[index]) for index in indices)
    assert len(indices) >= 15 and seen >= 0.95 * len(indices)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("atrial_fibrillation", "atrial_flutter"),
        ("left_bundle_branch_block", "right_bundle_branch_block"),
        ("anterior_st_elevation", "inferior_st_elevation"),
        ("st_depression", "t_wave_inversion"),
        ("sinus_rhythm", "sinus_tachycardia"),
        ("old_infarction", "low_voltage"),
        ("left_anterior_fascicular_block", "first_degree_av_block"),
        ("left_ventricular_hypertrophy", "premature_ventricular_beats"),
    ],
)
def test_exchanged_labels_are_detected(first, second):
    exchange = {first: second, second: first}
    sinus, arrhythmia = misread([tuple(exchange.get(name, name) for name in r.labels) for r in clean_cohort()])
    for name in (first, second):
        assert sinus[name] + arrhythmia[name] > 0.9 * len(set(having(first)) ^ set(having(second)))


def _regular(interval, _refractory, duration, _rng):
    return np.arange(-interval, duration + interval, interval)


def _late_qrs(anatomy, pr_interval, rng, enlarged, original=atria.p_waves):
    return original(anatomy, pr_interval + 0.08, rng, enlarged)


def _no_shift(_conditions, _complex, _rng):
    return np.zeros(8)


def _all_scaled(waves, limb, precordial, gain, of_right, original=ventricles._scale_voltages):
    return original(waves, 0.8, 2.0, gain)


@pytest.mark.parametrize(
    ("module", "function", "fault", "condition", "expected"),
    [
        (cohort, "_fibrillation_onsets", _regular, "atrial_fibrillation", False),
        (cohort, "p_waves", _late_qrs, "first_degree_av_block", True),
        (ventricles, "_st_shift", _no_shift, "anterior_st_elevation", False),
        (ventricles, "_st_shift", _no_shift, "inferior_st_elevation", False),
        (ventricles, "_st_shift", _no_shift, "st_depression", False),
        (ventricles, "_scale_voltages", _all_scaled, "left_ventricular_hypertrophy", False),
        (ventricles, "_scale_voltages", _all_scaled, "low_voltage", False),
    ],
)
def test_faults_in_the_simulator_are_detected(monkeypatch, module, function, fault, condition, expected):
    labels = ["sinus_rhythm"] if expected else [condition]
    for seed in range(5):
        sound = calipers.measure(simulate_record(labels, seed=seed, noise=False).signal, 500)
        assert (condition in calipers.measured_conditions(sound)) is not expected
    monkeypatch.setattr(module, function, fault)
    for seed in range(5):
        faulty = calipers.measure(simulate_record(labels, seed=seed, noise=False).signal, 500)
        assert (condition in calipers.measured_conditions(faulty)) is expected


def test_normal_record_is_normal():
    normal = [index for index, record in enumerate(clean_cohort()) if record.labels == ("sinus_rhythm",)]
    for index in normal:
        found = measured()[index]
        assert 60 <= found.rate <= 100
        assert found.pr_interval is not None and 0.115 <= found.pr_interval <= 0.2
        assert 0.065 <= found.qrs_duration < 0.11
        assert calipers.sokolow_lyon(found) < 3.5
        assert -30 <= found.axis <= 95
        assert found.p_peak >= 0.05
        assert max(abs(found.j_point[lead]) for lead in ("I", "II", "aVF", "V5", "V6")) < 0.1
        assert all(found.t_wave[lead] > 0 for lead in ("I", "II", "V3", "V4", "V5", "V6"))
        assert found.deflections["V1"][0].peak > 0 > found.deflections["V1"][1].peak


def test_reciprocal_depression():
    for name, leads in (("anterior_st_elevation", ("III", "aVF")), ("inferior_st_elevation", ("aVL",))):
        values = [measured()[index].j_point[lead] for index in having(name) for lead in leads]
        assert np.mean(np.array(values) < -0.02) > 0.9, name


def test_flutter_rate_and_conduction():
    rates, ratios = [], []
    for index in having("atrial_flutter"):
        found = measured()[index]
        if found.flutter_frequency:
            rates.append(60 * found.flutter_frequency)
            ratios += list(found.rr * found.flutter_frequency)
    assert min(rates) > 240 and max(rates) < 340
    assert np.mean(np.abs(np.array(ratios) - np.round(ratios)) < 0.12) > 0.97
    assert {2, 3, 4} == set(np.round(ratios).astype(int))


def test_fibrillation_intervals_have_no_memory():
    correlations = []
    for index in having("atrial_fibrillation"):
        rr = measured()[index].rr
        correlations.append(np.corrcoef(rr[:-1], rr[1:])[0, 1])
    assert abs(np.mean(correlations)) < 0.2


# A single number that does not define a condition does not reveal it


def separation(first: list[float], second: list[float]) -> float:
    """Area under the ROC curve in the better direction, 0.5 to 1."""
    ranks = np.argsort(np.argsort(np.concatenate([first, second])))[: len(first)]
    area = (ranks.sum() - len(first) * (len(first) - 1) / 2) / (len(first) * len(second))
    return max(area, 1 - area)


NUISANCE = {
    "rate": lambda m: m.rate,
    "QRS voltage in I": lambda m: m.peak_to_peak["I"],
    "QRS voltage in V3": lambda m: m.peak_to_peak["V3"],
    "T wave in V2": lambda m: m.t_wave["V2"],
}
DEFINING = {
    "rate": {"sinus_bradycardia", "sinus_tachycardia"},
    "QRS voltage in I": {"low_voltage", "left_anterior_fascicular_block", "left_ventricular_hypertrophy"},
    "QRS voltage in V3": {"left_ventricular_hypertrophy", "low_voltage"},
    "T wave in V2": {"t_wave_inversion", "anterior_st_elevation", "right_bundle_branch_block", "low_voltage"},
}


@pytest.mark.parametrize("feature", list(NUISANCE))
def test_nuisance_overlaps(feature):
    values = [NUISANCE[feature](found) for found in measured()]
    for name in CONDITIONS:
        if name in DEFINING[feature]:
            continue
        inside = set(having(name))
        first = [value for index, value in enumerate(values) if index in inside]
        second = [value for index, value in enumerate(values) if index not in inside]
        assert separation(first, second) < 0.85, name


def test_criteria_are_met_narrowly_too():
    """Some amplitudes and intervals are close to their limits, on both sides."""
    all_found = measured()
    lvh = {*having("left_ventricular_hypertrophy")}
    sokolow = np.array([calipers.sokolow_lyon(found) for found in all_found])
    assert min(sokolow[list(lvh)]) < 3.9 and max(value for i, value in enumerate(sokolow) if i not in lvh) > 3.1
    pr = [all_found[index].pr_interval or 1.0 for index in having("first_degree_av_block")]
    assert min(pr) < 0.225
    elevation = [min(all_found[i].j_point["V2"], all_found[i].j_point["V3"]) for i in having("anterior_st_elevation")]
    assert min(elevation) < 0.25 and max(elevation) > 0.35
    rates = [all_found[index].rate for index in having("sinus_bradycardia")]
    assert max(rates) > 55 and min(rates) < 45
