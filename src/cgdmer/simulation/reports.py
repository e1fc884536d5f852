# SPDX-License-Identifier: Apache-2.0
"""Reports of the simulated cohort: the findings, in various wordings and styles, and some that are absent."""

import re
from collections.abc import Collection, Sequence

import numpy as np

from cgdmer.simulation.conditions import ALL_CONDITIONS, ARRHYTHMIAS, CONDITIONS, FURTHER_CONDITIONS, PATTERNS

_BUNDLE = ("left_bundle_branch_block", "right_bundle_branch_block", "incomplete_right_bundle_branch_block")
# All but the first name a wall, and often have negative T waves.
_INFARCTS = tuple(name for name in (*CONDITIONS, *FURTHER_CONDITIONS) if name.endswith("_infarction"))
_STRAIN = "right_ventricular_hypertrophy"  # its T waves are negative in V1 to V3
_ELEVATION = ("anterior_st_elevation", "inferior_st_elevation")
# A negation is written only if all of its conditions are absent. Besides those that the sentence names, these are any
# that would make it untrue: the ST-T changes of left bundle branch block, or reciprocal depression.
NEGATIONS: dict[str, tuple[str, ...]] = {
    "no atrial fibrillation": ("atrial_fibrillation",),
    "no evidence of atrial fibrillation or flutter": ("atrial_fibrillation", "atrial_flutter"),
    "no st elevation": (*_ELEVATION, "left_bundle_branch_block"),
    "no anterior st elevation": ("anterior_st_elevation", "left_bundle_branch_block"),
    "no inferior st elevation": ("inferior_st_elevation", "left_bundle_branch_block"),
    "no st depression": ("st_depression", *_ELEVATION, "left_bundle_branch_block"),
    "no t wave inversion": ("t_wave_inversion", "nonspecific_t_changes", _STRAIN, *_INFARCTS[1:], *_BUNDLE),
    "no evidence of acute infarction": (*_ELEVATION, "left_bundle_branch_block"),
    "no acute ischaemic changes": (
        *_ELEVATION,
        *("st_depression", "t_wave_inversion", "nonspecific_t_changes", _STRAIN, "left_bundle_branch_block"),
    ),
    "no evidence of left bundle branch block": ("left_bundle_branch_block",),
    "no right bundle branch block": _BUNDLE[1:],
    "no bundle branch block": _BUNDLE,
    "without left anterior fascicular block": ("left_anterior_fascicular_block", "left_bundle_branch_block"),
    "no av block": ("first_degree_av_block", "atrial_flutter", "atrial_fibrillation"),
    "no left ventricular hypertrophy": ("left_ventricular_hypertrophy", "left_bundle_branch_block"),
    "no voltage criteria for lvh": ("left_ventricular_hypertrophy", "left_bundle_branch_block"),
    "no pathological q waves": (*_INFARCTS, "left_bundle_branch_block"),
    "no evidence of an old infarct": (*_INFARCTS, "left_bundle_branch_block"),
    "no ventricular extrasystoles": ("premature_ventricular_beats",),
    "no ectopic beats": ("premature_ventricular_beats", "premature_atrial_beats"),
    "voltage is not low": ("low_voltage",),
}

_NORMAL_WORDINGS = ("normal ecg", "normal tracing", "within normal limits", "no abnormality", "otherwise normal ecg")
_INCIDENTAL_WORDINGS = ("compared with the previous tracing no significant change", "tracing of good quality")


def write_report(labels: Collection[str], rate: float, rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """A report in one of several styles, and its sentence for each label.

    Args:
        labels: keys of `ALL_CONDITIONS`. The report may have them in another order, usually with the rhythm first.
        rate: ventricular beats per minute, which some reports state.
    """
    ordered = [name for name in ALL_CONDITIONS if name in labels]
    if rng.random() < 0.4:
        rng.shuffle(ordered)
    statements = {name: str(rng.choice(ALL_CONDITIONS[name].wordings)) for name in ordered}
    sentences = list(statements.values())
    if set(labels) == {"sinus_rhythm"} and rng.random() < 0.7:
        sentences.append(str(rng.choice(_NORMAL_WORDINGS)))
    if rng.random() < 0.35 and not set(labels) & {*ARRHYTHMIAS, *PATTERNS}:
        possible = [text for text, absent in NEGATIONS.items() if not set(absent) & set(labels)]
        count = min(len(possible), int(rng.integers(1, 3)))
        sentences += [str(text) for text in rng.choice(possible, count, replace=False)]
    if rng.random() < 0.2:
        sentences.insert(int(rng.integers(0, 2)), f"ventricular rate {rate:.0f} per minute")
    if rng.random() < 0.08:
        sentences.append(str(rng.choice(_INCIDENTAL_WORDINGS)))
    return _join(sentences, int(rng.integers(3))), tuple(statements[name] for name in labels)


_CAPITALS = re.compile(
    r"\b(ecg|af|av|lbbb|rbbb|lafb|lvh|stemi|qrs|pr|st|st-t|p|q|t|ii|iii|rvh|ivcd|vt|svt|wpw|qtc?|avl|lad|rad|i|v[1-6])\b"
)


def _join(sentences: Sequence[str], style: int) -> str:
    if style == 0:
        written = [_CAPITALS.sub(lambda found: found[0].upper(), sentence) for sentence in sentences]
        return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in written)
    return (". " if style == 1 else "; ").join(sentences) + "."
