# SPDX-License-Identifier: Apache-2.0
"""The further conditions of the simulated cohort, as measured on the clean trace, and their reports."""

import re
from collections import Counter
from functools import cache

import ecg_measurements as calipers
import numpy as np
import pytest

from cgdmer.models.errors import ConfigurationError
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from cgdmer.simulation.conditions import CONDITIONS, FURTHER_CONDITIONS

RATE, SEEDS = 500, range(15)


@cache
def traces(name: str) -> list[np.ndarray]:
    return [simulate_record([name], seed=seed, noise=False, sampling_rate=RATE).signal for seed in SEEDS]


@cache
def measured(name: str) -> list[calipers.Measurements]:
    return [calipers.measure(signal, RATE) for signal in traces(name)]


def signs(found: calipers.Measurements, lead: str) -> list[int]:
    return [1 if wave.peak > 0 else -1 for wave in found.deflections[lead]]


def begins_with_q(found: calipers.Measurements, *leads: str) -> bool:
    first = [found.deflections[lead][:1] for lead in leads]
    return all(waves and waves[0].peak < -0.03 and waves[0].duration >= 0.028 for waves in first)


def sinus_arrhythmia(found):
    """The cycle varies slowly: a short interval has short neighbors."""
    smooth = np.corrcoef(found.rr[:-1], found.rr[1:])[0, 1] > 0
    return np.ptp(found.rr) > 0.12 and smooth and found.p_share > 0.55


def premature_atrial_beats(found):
    """A narrow beat is early, and the next one follows sooner than after a full pause."""
    typical = np.median(found.rr)
    early = [
        0.93 < before < 1.08 and first < 0.86 and second > 1.0 and first + second < 1.97
        for before, first, second in zip(*(found.rr[start:] / typical for start in range(3)), strict=False)
    ]
    return any(early) and not found.early_wide


def incomplete_right_bundle_branch_block(found):
    return 0.1 <= found.qrs_duration < 0.12 and signs(found, "V1") == [1, -1, 1]


def intraventricular_conduction_delay(found):
    blocks = calipers.left_bundle_branch_block(found) or calipers.right_bundle_branch_block(found)
    return 0.11 < found.qrs_duration < 0.145 and not blocks and signs(found, "V1") != [1, -1, 1]


def right_ventricular_hypertrophy(found):
    v1 = found.deflections["V1"]
    tall = max(wave.peak for wave in v1) > max(0.5, -min(wave.peak for wave in v1))
    return 90 < found.axis <= 180 and tall and min(wave.peak for wave in found.deflections["V6"]) < -0.2


def anteroseptal_infarction(found):
    return begins_with_q(found, "V2", "V3") and not begins_with_q(found, "I", "V6")


def anterolateral_infarction(found):
    return begins_with_q(found, "V2", "V3", "I", "V6")


def inferior_infarction(found):
    return begins_with_q(found, "II", "aVF") and signs(found, "V2")[:1] == [1] and not lateral_infarction(found)


def inferolateral_infarction(found):
    return begins_with_q(found, "II", "aVF", "V5", "V6") and signs(found, "V2")[:1] == [1]


def lateral_infarction(found):
    return begins_with_q(found, "I", "V5", "V6") and signs(found, "V2")[:1] == [1]


def nonspecific_t_changes(found):
    flat = all(abs(found.t_wave[lead]) < 0.1 for lead in ("I", "II", "V5", "V6"))
    return (
        flat and not begins_with_q(found, "I", "V6") and all(found.j_point[lead] > -0.1 for lead in ("V4", "V5", "V6"))
    )


READ = {reader.__name__: reader for reader in (
    sinus_arrhythmia,
    premature_atrial_beats,
    incomplete_right_bundle_branch_block,
    intraventricular_conduction_delay,
    right_ventricular_hypertrophy,
    anteroseptal_infarction,
    anterolateral_infarction,
    inferior_infarction,
    inferolateral_infarction,
    lateral_infarction,
    nonspecific_t_changes,
)}  # fmt: skip


@pytest.mark.parametrize("name", list(READ))
def test_a_further_condition_is_seen_only_in_its_own_records(name):
    seen = {other: np.mean([READ[name](found) for found in measured(other)]) for other in ("sinus_rhythm", *READ)}
    assert seen.pop(name) >= 0.9
    if name == "lateral_infarction":  # an inferolateral one is lateral too
        seen.pop("inferolateral_infarction")
    assert max(seen.values()) <= 0.1, seen


def p_wave(signal: np.ndarray) -> tuple[float, float]:
    """The lowest value of the P wave in V1 (mV) and its duration in lead II (s), on the average beat."""
    centers = calipers.find_beats(signal[[0, 1, *range(6, 12)]].astype(float), RATE)
    reach = round(0.26 * RATE)
    beats = [signal[:, c - reach : c - round(0.05 * RATE)] for c in centers if c >= reach]
    beat = np.median(np.stack(beats), axis=0)
    beat = beat - beat[:, -5:].mean(axis=1, keepdims=True)
    lead_ii = np.abs(beat[1]) > 0.01
    return float(beat[6].min()), float(lead_ii.sum() / RATE)


def test_an_enlarged_left_atrium_ends_the_p_wave_late_and_deep():
    depth, duration = np.transpose([p_wave(signal) for signal in traces("left_atrial_enlargement")])
    usual_depth, usual_duration = np.transpose([p_wave(signal) for signal in traces("sinus_rhythm")])
    assert (depth < -0.08).mean() > 0.9 and (usual_depth > -0.08).all()
    assert np.median(duration) > 0.11 > np.median(usual_duration)
    assert all(
        "first_degree_av_block" not in calipers.measured_conditions(m) for m in measured("left_atrial_enlargement")
    )


@pytest.fixture(scope="module")
def cohort():
    return list(simulate_cohort(400, seed=5, sampling_rate=100, duration=5, noise=False, further=True))


def test_the_cohort_has_all_conditions_if_asked_and_names_the_walls_of_infarctions(cohort):
    counts = Counter(label for record in cohort for label in record.labels)
    assert set(counts) == {*CONDITIONS, *FURTHER_CONDITIONS} - {"old_infarction"}
    assert min(counts.values()) >= 0.01 * len(cohort), counts.most_common()[-3:]
    usual = simulate_cohort(100, seed=5, sampling_rate=100, duration=5, noise=False)
    assert not {label for record in usual for label in record.labels} & set(FURTHER_CONDITIONS)


DENIED = {
    "ectopic": {"premature_atrial_beats", "premature_ventricular_beats"},
    "bundle branch block": {"incomplete_right_bundle_branch_block"},
    "q waves|old infarct": {name for name in FURTHER_CONDITIONS if name.endswith("_infarction")},
    "t wave inversion|ischaemic": {"nonspecific_t_changes", "right_ventricular_hypertrophy"},
}


def test_reports_state_the_further_conditions_and_deny_none_that_is_present(cohort):
    for record in cohort:
        assert len(record.statements) == len(record.labels)
        for label, statement in zip(record.labels, record.statements, strict=True):
            assert statement in {**CONDITIONS, **FURTHER_CONDITIONS}[label].wordings
            assert statement.lower() in record.text.lower()
        for sentence in re.split(r"\.(?:\s|$)|;", record.text.lower()):
            if not re.match(r"\s*(no|without)\b", sentence) or "left bundle" in sentence:
                continue
            for pattern, labels in DENIED.items():
                if re.search(pattern, sentence):
                    assert not labels & set(record.labels), (sentence, record.labels)


@pytest.mark.parametrize(
    "pair",
    [
        ("premature_atrial_beats", "atrial_fibrillation"),
        ("inferior_infarction", "lateral_infarction"),
        ("incomplete_right_bundle_branch_block", "right_bundle_branch_block"),
        ("right_ventricular_hypertrophy", "left_ventricular_hypertrophy"),
        ("sinus_arrhythmia", "sinus_rhythm"),
    ],
)
def test_impossible_combinations_are_refused(pair):
    with pytest.raises(ConfigurationError, match="exclude one another"):
        simulate_record(pair)
