# SPDX-License-Identifier: Apache-2.0
"""The wording of the simulated cohort: what each condition is called, in reports and in zero-shot prompts."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Condition:
    """A finding and the ways to say it.

    Attributes:
        name: plain English name.
        wordings: the sentences that reports use.
        prompts: zero-shot prompts; none is among the wordings, but each word occurs somewhere in the reports.
    """

    name: str
    wordings: tuple[str, ...]
    prompts: tuple[str, ...]


CONDITIONS: dict[str, Condition] = {
    "sinus_rhythm": Condition(
        "sinus rhythm",
        (
            "sinus rhythm",
            "regular sinus rhythm",
            "normal sinus rhythm",
            "sinus rhythm with a normal rate",
            "rhythm is sinus at a normal rate",
            "a p wave precedes each qrs complex at a normal rate",
        ),
        ("the tracing shows sinus rhythm", "rhythm is regular sinus", "sinus p wave with normal rate"),
    ),
    "sinus_bradycardia": Condition(
        "sinus bradycardia",
        (
            "sinus bradycardia",
            "slow sinus rhythm",
            "bradycardia of sinus origin",
            "sinus rhythm with a slow rate below 60",
            "marked sinus bradycardia",
            "sinus rhythm, bradycardic",
        ),
        ("the tracing shows sinus bradycardia", "sinus bradycardia with a slow rate", "slow rate of sinus origin"),
    ),
    "sinus_tachycardia": Condition(
        "sinus tachycardia",
        (
            "sinus tachycardia",
            "fast sinus rhythm",
            "tachycardia of sinus origin",
            "sinus rhythm with a fast rate above 100",
            "marked sinus tachycardia",
            "sinus rhythm, tachycardic",
        ),
        ("the tracing shows sinus tachycardia", "sinus tachycardia with a fast rate", "fast rate of sinus origin"),
    ),
    "atrial_fibrillation": Condition(
        "atrial fibrillation",
        (
            "atrial fibrillation",
            "irregularly irregular rhythm without p waves, atrial fibrillation",
            "rhythm is atrial fibrillation with an irregular ventricular response",
            "the atria are fibrillating",
            "fibrillatory waves replace the p waves",
            "af with irregular ventricular response",
        ),
        (
            "the tracing shows atrial fibrillation",
            "irregular rhythm, atrial fibrillation, without p waves",
            "atrial fibrillation with fibrillatory waves",
        ),
    ),
    "atrial_flutter": Condition(
        "atrial flutter",
        (
            "atrial flutter",
            "rhythm is atrial flutter",
            "typical sawtooth flutter waves",
            "atrial flutter with av conduction block",
            "flutter waves in the inferior leads",
            "sawtooth atrial activity consistent with flutter",
        ),
        (
            "the tracing shows atrial flutter",
            "sawtooth waves of atrial flutter",
            "atrial flutter with sawtooth activity",
        ),
    ),
    "first_degree_av_block": Condition(
        "first-degree atrioventricular block",
        (
            "first degree av block",
            "prolonged pr interval",
            "av block of first degree",
            "the pr interval is prolonged above 200 ms",
            "delayed av conduction with a long pr interval",
            "1st degree atrioventricular block",
        ),
        (
            "the tracing shows first degree av block",
            "long pr interval, first degree block",
            "first degree atrioventricular block",
        ),
    ),
    "left_bundle_branch_block": Condition(
        "left bundle branch block",
        (
            "left bundle branch block",
            "complete left bundle branch block",
            "lbbb",
            "wide qrs of left bundle branch block type",
            "complete lbbb with secondary st-t changes",
            "conduction is blocked in the left bundle branch",
        ),
        (
            "the tracing shows left bundle branch block",
            "complete block of the left bundle branch",
            "wide qrs, left bundle branch block",
        ),
    ),
    "right_bundle_branch_block": Condition(
        "right bundle branch block",
        (
            "right bundle branch block",
            "complete right bundle branch block",
            "rbbb",
            "wide qrs of right bundle branch block type",
            "rsr' in v1, complete rbbb",
            "conduction is blocked in the right bundle branch",
        ),
        (
            "the tracing shows right bundle branch block",
            "complete block of the right bundle branch",
            "wide qrs, right bundle branch block",
        ),
    ),
    "left_anterior_fascicular_block": Condition(
        "left anterior fascicular block",
        (
            "left anterior fascicular block",
            "left anterior hemiblock",
            "marked left axis deviation due to left anterior fascicular block",
            "lafb",
            "left axis deviation, left anterior hemiblock",
            "block of the left anterior fascicle",
        ),
        (
            "the tracing shows left anterior fascicular block",
            "left anterior fascicular block with left axis deviation",
            "left anterior fascicular hemiblock",
        ),
    ),
    "left_ventricular_hypertrophy": Condition(
        "left ventricular hypertrophy",
        (
            "left ventricular hypertrophy",
            "voltage criteria for left ventricular hypertrophy",
            "lvh by voltage",
            "high precordial voltage suggests left ventricular hypertrophy",
            "sokolow-lyon criteria for lvh are met",
            "hypertrophy of the left ventricle",
        ),
        (
            "the tracing shows left ventricular hypertrophy",
            "high voltage, left ventricular hypertrophy",
            "left ventricular hypertrophy by voltage criteria",
        ),
    ),
    "anterior_st_elevation": Condition(
        "anterior ST elevation",
        (
            "anterior st elevation",
            "st elevation in the anterior leads",
            "st segment elevation in v2 and v3",
            "acute anterior myocardial infarction",
            "anterior stemi",
            "elevated st segments over the anterior wall with reciprocal changes",
        ),
        (
            "the tracing shows anterior st elevation",
            "anterior st segment elevation, acute infarction",
            "st elevation over the anterior wall",
        ),
    ),
    "inferior_st_elevation": Condition(
        "inferior ST elevation",
        (
            "inferior st elevation",
            "st elevation in the inferior leads",
            "st segment elevation in ii, iii and avf",
            "acute inferior myocardial infarction",
            "inferior stemi",
            "elevated st segments over the inferior wall with reciprocal changes",
        ),
        (
            "the tracing shows inferior st elevation",
            "inferior st segment elevation, acute infarction",
            "st elevation over the inferior wall",
        ),
    ),
    "old_infarction": Condition(
        "old myocardial infarction",
        (
            "old myocardial infarction",
            "pathological q waves",
            "q waves of an old infarct",
            "previous myocardial infarction with pathological q waves",
            "infarction of old date",
            "abnormal q waves consistent with a previous infarct",
        ),
        (
            "the tracing shows an old myocardial infarction",
            "previous infarction, pathological q waves",
            "old infarct with abnormal q waves",
        ),
    ),
    "st_depression": Condition(
        "ST depression",
        (
            "st depression",
            "st segment depression in the lateral leads",
            "depressed st segments in v4 to v6",
            "lateral st depression suggests ischaemia",
            "horizontal depression of the st segment",
            "st depression in v5 and v6",
        ),
        (
            "the tracing shows st depression",
            "st segment depression suggests ischaemia",
            "depression of the st segments in the lateral leads",
        ),
    ),
    "t_wave_inversion": Condition(
        "T wave inversion",
        (
            "t wave inversion",
            "inverted t waves",
            "negative t waves in contiguous leads",
            "abnormal t waves with inversion",
            "t waves are inverted",
            "inversion of the t wave",
        ),
        (
            "the tracing shows t wave inversion",
            "inverted t waves in contiguous leads",
            "abnormal negative t wave",
        ),
    ),
    "premature_ventricular_beats": Condition(
        "premature ventricular beats",
        (
            "premature ventricular beats",
            "ventricular extrasystoles",
            "ventricular premature complexes",
            "wide ventricular ectopic beats",
            "pvcs",
            "premature wide complexes of ventricular origin followed by a pause",
        ),
        (
            "the tracing shows premature ventricular beats",
            "premature ventricular complexes",
            "wide premature beats of ventricular origin",
        ),
    ),
    "low_voltage": Condition(
        "low QRS voltage",
        (
            "low voltage",
            "low qrs voltage",
            "low voltage in the limb leads",
            "small qrs complexes in the limb leads",
            "the limb leads are of low voltage",
            "reduced voltage in the limb leads",
        ),
        (
            "the tracing shows low voltage",
            "low qrs voltage in the limb leads",
            "small qrs complexes of low voltage",
        ),
    ),
}

_BUNDLE = ("left_bundle_branch_block", "right_bundle_branch_block")
_ELEVATION = ("anterior_st_elevation", "inferior_st_elevation")
# A negation is written only if every condition beside it is absent. The list is longer than what the sentence names
# where another condition would make it untrue: the ST-T changes of left bundle branch block, reciprocal depression.
NEGATIONS: dict[str, tuple[str, ...]] = {
    "no atrial fibrillation": ("atrial_fibrillation",),
    "no evidence of atrial fibrillation or flutter": ("atrial_fibrillation", "atrial_flutter"),
    "no st elevation": (*_ELEVATION, "left_bundle_branch_block"),
    "no anterior st elevation": ("anterior_st_elevation", "left_bundle_branch_block"),
    "no inferior st elevation": ("inferior_st_elevation", "left_bundle_branch_block"),
    "no st depression": ("st_depression", *_ELEVATION, "left_bundle_branch_block"),
    "no t wave inversion": ("t_wave_inversion", *_BUNDLE),
    "no evidence of acute infarction": (*_ELEVATION, "left_bundle_branch_block"),
    "no acute ischaemic changes": (*_ELEVATION, "st_depression", "t_wave_inversion", "left_bundle_branch_block"),
    "no evidence of left bundle branch block": ("left_bundle_branch_block",),
    "no right bundle branch block": ("right_bundle_branch_block",),
    "no bundle branch block": _BUNDLE,
    "without left anterior fascicular block": ("left_anterior_fascicular_block", "left_bundle_branch_block"),
    "no av block": ("first_degree_av_block", "atrial_flutter", "atrial_fibrillation"),
    "no left ventricular hypertrophy": ("left_ventricular_hypertrophy", "left_bundle_branch_block"),
    "no voltage criteria for lvh": ("left_ventricular_hypertrophy", "left_bundle_branch_block"),
    "no pathological q waves": ("old_infarction", "left_bundle_branch_block"),
    "no evidence of an old infarct": ("old_infarction", "left_bundle_branch_block"),
    "no ventricular extrasystoles": ("premature_ventricular_beats",),
    "no ectopic beats": ("premature_ventricular_beats",),
    "voltage is not low": ("low_voltage",),
}

_NORMAL_WORDINGS = ("normal ecg", "normal tracing", "within normal limits", "no abnormality", "otherwise normal ecg")
_INCIDENTAL_WORDINGS = ("compared with the previous tracing no significant change", "tracing of good quality")


def write_report(labels: Collection[str], rate: float, rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """A report in one of several styles, and the sentence in it for each label.

    Args:
        labels: keys of `CONDITIONS`; the report does not keep their order, but the rhythm usually leads.
        rate: ventricular beats a minute, which some reports state.
    """
    ordered = [name for name in CONDITIONS if name in labels]
    if rng.random() < 0.4:
        rng.shuffle(ordered)
    statements = {name: str(rng.choice(CONDITIONS[name].wordings)) for name in ordered}
    sentences = list(statements.values())
    if set(labels) == {"sinus_rhythm"} and rng.random() < 0.7:
        sentences.append(str(rng.choice(_NORMAL_WORDINGS)))
    if rng.random() < 0.35:
        possible = [text for text, absent in NEGATIONS.items() if not set(absent) & set(labels)]
        count = min(len(possible), int(rng.integers(1, 3)))
        sentences += [str(text) for text in rng.choice(possible, count, replace=False)]
    if rng.random() < 0.2:
        sentences.insert(int(rng.integers(0, 2)), f"ventricular rate {rate:.0f} per minute")
    if rng.random() < 0.08:
        sentences.append(str(rng.choice(_INCIDENTAL_WORDINGS)))
    return _join(sentences, int(rng.integers(3))), tuple(statements[name] for name in labels)


_CAPITALS = re.compile(r"\b(ecg|af|av|lbbb|rbbb|lafb|lvh|stemi|qrs|pr|st|st-t|p|q|t|ii|iii|v[1-6])\b")


def _join(sentences: Sequence[str], style: int) -> str:
    if style == 0:
        written = [_CAPITALS.sub(lambda found: found[0].upper(), sentence) for sentence in sentences]
        return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in written)
    return (". " if style == 1 else "; ").join(sentences) + "."


__all__ = ["CONDITIONS", "NEGATIONS", "Condition", "write_report"]
