# SPDX-License-Identifier: Apache-2.0
"""Which conditions of the simulated cohort can be combined, and how often each is drawn."""

from collections.abc import Collection

import numpy as np

from cgdmer.simulation.conditions import ARRHYTHMIAS, CONDITIONS, FURTHER_CONDITIONS, PATTERNS
from cgdmer.simulation.ventricles import infarct_territories

RHYTHMS = (
    "sinus_rhythm",
    "sinus_bradycardia",
    "sinus_tachycardia",
    "atrial_fibrillation",
    "atrial_flutter",
    "sinus_arrhythmia",
    *ARRHYTHMIAS,
)
_WITHOUT_P = ("atrial_fibrillation", "atrial_flutter")
_BUNDLES = ("left_bundle_branch_block", "right_bundle_branch_block")
_ELEVATIONS = ("anterior_st_elevation", "inferior_st_elevation")
_ST_AND_T = (*_ELEVATIONS, "st_depression", "t_wave_inversion")
_INFARCTS = tuple(name for name in (*CONDITIONS, *FURTHER_CONDITIONS) if name.endswith("_infarction"))

# What excludes what, and why. Any two rhythms exclude each other too.
_EXCLUSIONS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("first_degree_av_block",), _WITHOUT_P, "without P waves there is no PR interval"),
    (
        ("first_degree_av_block",),
        ("sinus_tachycardia",),
        "at a fast rate a P wave that early falls on the T wave before it, and the PR interval cannot be read",
    ),
    (("premature_ventricular_beats",), _WITHOUT_P, "without a regular sinus cycle, a beat cannot be called early"),
    (
        ("left_bundle_branch_block",),
        ("right_bundle_branch_block", "left_anterior_fascicular_block"),
        "a ventricle that is activated from the other side shows no second block",
    ),
    (
        ("left_bundle_branch_block",),
        ("left_ventricular_hypertrophy", "old_infarction", "low_voltage", *_ST_AND_T),
        "left bundle branch block itself changes the voltages, Q waves, ST segments, and T waves",
    ),
    (
        ("right_bundle_branch_block",),
        ("left_ventricular_hypertrophy", "anterior_st_elevation", "t_wave_inversion", "st_depression", "low_voltage"),
        "right bundle branch block itself changes the S wave, ST segment, and T wave of V1-V3",
    ),
    (("left_ventricular_hypertrophy",), ("low_voltage",), "voltages cannot be both high and low"),
    (
        ("inferior_st_elevation",),
        ("low_voltage",),
        "where the ST segment takes off from a small R wave, the size of the complex cannot be read",
    ),
    (("left_anterior_fascicular_block",), ("low_voltage",), "in very small limb leads, qR and rS cannot be read"),
    (
        ("atrial_flutter",),
        ("left_anterior_fascicular_block", "old_infarction", "low_voltage", *_ST_AND_T),
        "flutter waves hide small deflections in the limb leads, the ST segment, and the T wave",
    ),
    (
        ("anterior_st_elevation",),
        ("inferior_st_elevation",),
        "the reciprocal depression of each is the elevation of the other",
    ),
    (
        _ELEVATIONS,
        ("st_depression", "t_wave_inversion", "left_ventricular_hypertrophy"),
        "beside an acute elevation these are reciprocal or secondary changes and are not named separately",
    ),
    # The further conditions.
    (
        ("premature_atrial_beats", "left_atrial_enlargement"),
        (*_WITHOUT_P, "sinus_tachycardia"),
        "without P waves, or with P waves on the T wave, the atria cannot be read",
    ),
    (
        ("premature_atrial_beats",),
        ("sinus_arrhythmia", "premature_ventricular_beats"),
        "a beat is early, and the next one late, only relative to a regular cycle",
    ),
    (
        ("sinus_arrhythmia",),
        ("premature_ventricular_beats", "first_degree_av_block"),
        "with a varying cycle, neither a pause nor room for a long PR interval is certain",
    ),
    (
        ("incomplete_right_bundle_branch_block", "intraventricular_conduction_delay"),
        (*_BUNDLES, "left_ventricular_hypertrophy", "right_ventricular_hypertrophy", "low_voltage"),
        "the end of the QRS complex belongs to one of them",
    ),
    (
        ("incomplete_right_bundle_branch_block",),
        ("intraventricular_conduction_delay", "anteroseptal_infarction", "anterolateral_infarction"),
        "rSr' in V1 would be hidden",
    ),
    (
        ("right_ventricular_hypertrophy",),
        (
            *_BUNDLES,
            "left_anterior_fascicular_block",
            "left_ventricular_hypertrophy",
            "low_voltage",
            *_INFARCTS,
            *_ST_AND_T,
        ),
        "right ventricular hypertrophy itself changes the axis, the voltages, and ST and T in V1-V3",
    ),
    (
        tuple(name for name in _INFARCTS if name != "old_infarction"),
        (*_BUNDLES, *_ELEVATIONS, "left_anterior_fascicular_block", "old_infarction", "low_voltage", "atrial_flutter"),
        "the Q waves of the named wall would be hidden or would belong to something else",
    ),
    (
        ("nonspecific_t_changes",),
        (*_BUNDLES, *_ST_AND_T, "right_ventricular_hypertrophy", "atrial_flutter"),
        "T waves that have a cause are not nonspecific",
    ),
)

# How often a finding is tried, such that each condition is in at least 4 % of the records.
_CHRONIC = {
    "left_bundle_branch_block": 1.0,
    "right_bundle_branch_block": 1.0,
    "left_anterior_fascicular_block": 1.0,
    "left_ventricular_hypertrophy": 1.2,
    "old_infarction": 1.2,
    "low_voltage": 1.0,
}
_ACUTE = {
    "first_degree_av_block": 1.1,
    "anterior_st_elevation": 1.5,
    "inferior_st_elevation": 1.3,
    "st_depression": 1.5,
    "t_wave_inversion": 1.5,
    "premature_ventricular_beats": 1.2,
}
_RHYTHM_WEIGHTS = {
    "sinus_rhythm": 0.26,
    "sinus_bradycardia": 0.13,
    "sinus_tachycardia": 0.17,
    "atrial_fibrillation": 0.2,
    "atrial_flutter": 0.5,  # few findings can be combined with it
}
# In a cohort with the further conditions, where an old infarction has a named wall.
_FURTHER_CHRONIC = {name: weight for name, weight in _CHRONIC.items() if name != "old_infarction"} | {
    "left_atrial_enlargement": 1.5,
    "incomplete_right_bundle_branch_block": 1.0,
    "intraventricular_conduction_delay": 0.8,
    "right_ventricular_hypertrophy": 0.7,
    "anteroseptal_infarction": 1.0,
    "anterolateral_infarction": 0.5,
    "inferior_infarction": 1.2,
    "inferolateral_infarction": 0.5,
    "lateral_infarction": 0.5,
}
CHRONIC = frozenset({*_CHRONIC, *_FURTHER_CHRONIC})
_FURTHER_ACUTE = {**_ACUTE, "premature_atrial_beats": 1.2, "nonspecific_t_changes": 1.8}
_FURTHER_RHYTHM_WEIGHTS = {**_RHYTHM_WEIGHTS, "sinus_arrhythmia": 0.15}


def conflict(conditions: Collection[str]) -> str | None:
    """Why the conditions cannot be combined; None if they can."""
    present = set(conditions)
    rhythms = [name for name in RHYTHMS if name in present]
    if len(rhythms) > 1:
        return f"{rhythms[0]} and {rhythms[1]} exclude one another: a record has one rhythm"
    if (alone := present & {*ARRHYTHMIAS, *PATTERNS}) and len(present) > 1:
        one, other, *_ = sorted(present, key=lambda name: name not in alone)
        return f"{one} and {other} exclude one another: the simulator has {one} only by itself"
    for some, others, reason in _EXCLUSIONS:
        first = [name for name in some if name in present]
        second = [name for name in others if name in present]
        if first and second:
            return f"{first[0]} and {second[0]} exclude one another: {reason}"
    walls = [name for name in _INFARCTS if name in present]
    if len(walls) > 1:
        return f"{walls[0]} and {walls[1]} exclude one another: a record has one infarction"
    if "old_infarction" in present and not infarct_territories(present):
        return "old_infarction finds no wall in which its Q waves can be distinguished from the other conditions"
    return None


def _draw_condition(pool: dict[str, float], chosen: set[str], rng: np.random.Generator) -> None:
    """Add one condition from the pool that can be combined with those chosen, if there is one."""
    candidates = [name for name in pool if name not in chosen and conflict(chosen | {name}) is None]
    if candidates:
        weights = np.array([pool[name] for name in candidates])
        chosen.add(candidates[int(rng.choice(len(candidates), p=weights / weights.sum()))])


def draw_chronic(rng: np.random.Generator, further: bool) -> set[str]:
    """The conditions that all of a patient's records share."""
    chronic: set[str] = set()
    for _ in range(int(rng.choice(3, p=[0.36, 0.5, 0.14]))):
        _draw_condition(_FURTHER_CHRONIC if further else _CHRONIC, chronic, rng)
    return chronic


def draw_conditions(chronic: set[str], rng: np.random.Generator, further: bool) -> set[str]:
    """The chronic conditions with a record's rhythm and acute findings; never sinus rhythm alone."""
    chosen, all_acute = set(chronic), _FURTHER_ACUTE if further else _ACUTE
    acute = {name: weight for name, weight in all_acute.items() if conflict(chosen | {name}) is None}
    for _ in range(int(rng.choice(3, p=[0.45, 0.45, 0.1]))):
        _draw_condition(acute, chosen, rng)
    _draw_condition(_FURTHER_RHYTHM_WEIGHTS if further else _RHYTHM_WEIGHTS, chosen, rng)
    while chosen == {"sinus_rhythm"}:
        _draw_condition(all_acute, chosen, rng)
    return chosen
