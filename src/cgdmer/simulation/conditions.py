# SPDX-License-Identifier: Apache-2.0
"""The conditions of the simulated cohort, and what they are called in reports and zero-shot prompts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """A finding and its wordings.

    Attributes:
        name: in plain English.
        wordings: the sentences that reports use.
        prompts: zero-shot prompts. None is among the wordings, but each of their words occurs in some report. The
            further conditions have none, because no task asks for them.
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


def _further(name: str, *wordings: str) -> Condition:
    return Condition(name, wordings, ())


# In the cohort only with `further=True`. `cgdmer demo` and its tests use only the others.
FURTHER_CONDITIONS: dict[str, Condition] = {
    "sinus_arrhythmia": _further(
        "sinus arrhythmia",
        "sinus arrhythmia",
        "respiratory sinus arrhythmia",
        "sinus rhythm that varies with breathing",
        "irregular sinus rhythm, each qrs with a p wave",
        "phasic sinus arrhythmia",
    ),
    "premature_atrial_beats": _further(
        "premature atrial beats",
        "premature atrial beats",
        "atrial premature complexes",
        "supraventricular extrasystoles",
        "early narrow beats with an abnormal p wave",
        "pacs",
    ),
    "left_atrial_enlargement": _further(
        "left atrial enlargement",
        "left atrial enlargement",
        "left atrial abnormality",
        "broad notched p waves in lead ii",
        "p mitrale",
        "deep negative terminal p wave in v1",
    ),
    "incomplete_right_bundle_branch_block": _further(
        "incomplete right bundle branch block",
        "incomplete right bundle branch block",
        "incomplete rbbb",
        "rsr' in v1 with a qrs below 120 ms",
        "incomplete block of the right bundle branch",
        "minor right ventricular conduction delay",
    ),
    "intraventricular_conduction_delay": _further(
        "intraventricular conduction delay",
        "intraventricular conduction delay",
        "nonspecific intraventricular block",
        "unspecific widening of the qrs complex",
        "ivcd",
        "slurred and widened qrs without bundle branch block pattern",
    ),
    "right_ventricular_hypertrophy": _further(
        "right ventricular hypertrophy",
        "right ventricular hypertrophy",
        "rvh",
        "tall r wave in v1 with right axis deviation",
        "hypertrophy of the right ventricle",
        "right ventricular hypertrophy with strain or high voltage",
    ),
    "anteroseptal_infarction": _further(
        "anteroseptal infarction",
        "old anteroseptal infarction",
        "anteroseptal myocardial infarction",
        "qs complexes in v1 to v3",
        "loss of r waves in v1 to v3, anteroseptal infarct",
        "anteroseptal infarct of old date",
    ),
    "anterolateral_infarction": _further(
        "anterolateral infarction",
        "old anterolateral infarction",
        "anterolateral myocardial infarction",
        "q waves in i, avl and v3 to v6",
        "extensive anterior infarct with lateral extension",
        "anterolateral infarct of old date",
    ),
    "inferior_infarction": _further(
        "inferior infarction",
        "old inferior infarction",
        "inferior myocardial infarction",
        "pathological q waves in ii, iii and avf",
        "diaphragmatic infarct",
        "inferior infarct of old date",
    ),
    "inferolateral_infarction": _further(
        "inferolateral infarction",
        "old inferolateral infarction",
        "inferolateral myocardial infarction",
        "q waves in ii, iii, avf, v5 and v6",
        "inferior infarct with lateral extension",
        "inferolateral infarct of old date",
    ),
    "lateral_infarction": _further(
        "lateral infarction",
        "old lateral infarction",
        "lateral myocardial infarction",
        "pathological q waves in i, avl, v5 and v6",
        "infarct of the lateral wall",
        "lateral infarct of old date",
    ),
    "nonspecific_t_changes": _further(
        "nonspecific T wave changes",
        "nonspecific t wave changes",
        "flattened t waves",
        "nondiagnostic t wave abnormality",
        "low flat t waves",
        "t waves are flat without a definite cause",
    ),
}

# Rhythms that are alone in their records, and in the cohort only with `arrhythmias=True`.
ARRHYTHMIAS: dict[str, Condition] = {
    "ventricular_tachycardia": _further(
        "ventricular tachycardia",
        "ventricular tachycardia",
        "vt",
        "fast wide complex rhythm of ventricular origin",
        "tachycardia with wide qrs complexes and av dissociation",
        "sustained ventricular tachycardia",
    ),
    "idioventricular_rhythm": _further(
        "idioventricular rhythm",
        "idioventricular rhythm",
        "ventricular escape rhythm",
        "wide complexes of ventricular origin without p waves",
        "rhythm from the ventricles at a normal or slow rate",
        "accelerated or slow idioventricular rhythm",
    ),
    "supraventricular_tachycardia": _further(
        "supraventricular tachycardia",
        "supraventricular tachycardia",
        "svt",
        "fast regular narrow complex tachycardia",
        "regular narrow tachycardia without p waves before the qrs",
        "av nodal reentrant tachycardia is likely",
    ),
    "junctional_rhythm": _further(
        "junctional rhythm",
        "junctional rhythm",
        "av nodal rhythm",
        "slow narrow rhythm without p waves before the qrs",
        "junctional escape rhythm",
        "narrow complexes with retrograde p waves or none",
    ),
    "second_degree_av_block": _further(
        "second-degree AV block",
        "second degree av block",
        "2nd degree av block",
        "some p waves are not conducted",
        "second degree atrioventricular block with dropped beats",
        "intermittently blocked av conduction",
    ),
    "complete_av_block": _further(
        "complete AV block",
        "complete av block",
        "third degree av block",
        "av dissociation with a slow escape rhythm",
        "complete heart block",
        "p waves and qrs complexes are independent of each other",
    ),
    "ventricular_pacing": _further(
        "ventricular pacing",
        "ventricular paced rhythm",
        "pacemaker rhythm",
        "pacing spikes followed by wide complexes",
        "electronic ventricular pacemaker",
        "paced ventricular complexes",
    ),
    "ventricular_bigeminy": _further(
        "ventricular bigeminy",
        "ventricular bigeminy",
        "bigeminy",
        "every second beat is a premature ventricular complex",
        "ventricular premature complexes in a bigeminal pattern",
        "alternating sinus and ventricular beats",
    ),
    "ventricular_trigeminy": _further(
        "ventricular trigeminy",
        "ventricular trigeminy",
        "trigeminy",
        "every third beat is a premature ventricular complex",
        "ventricular premature complexes in a trigeminal pattern",
        "two sinus beats and then a ventricular one",
    ),
    "atrial_pacing": _further(
        "atrial pacing",
        "atrial paced rhythm",
        "atrial pacemaker",
        "pacing spikes before the p waves",
        "electronic atrial pacemaker",
        "paced atria with conducted narrow complexes",
    ),
    "rapid_sinus_tachycardia": _further(
        "rapid sinus tachycardia",
        "sinus tachycardia",
        "rapid sinus tachycardia",
        "sinus tachycardia at a rate above 130",
        "very fast sinus rhythm",
        "marked sinus tachycardia",
    ),
}

# Shapes in sinus rhythm that are alone in their records, and in the cohort only with `patterns=True`.
PATTERNS: dict[str, Condition] = {
    "ventricular_preexcitation": _further(
        "ventricular preexcitation",
        "wolff-parkinson-white pattern",
        "ventricular preexcitation",
        "short pr interval with a delta wave",
        "wpw",
        "delta wave and slurred upstroke of the qrs",
    ),
    "long_qt": _further(
        "long QT",
        "prolonged qt interval",
        "long qt",
        "qtc is prolonged above 480 ms",
        "qt prolongation",
        "delayed repolarization with a long qt interval",
    ),
    "short_qt": _further(
        "short QT",
        "short qt interval",
        "short qt",
        "qtc is below 340 ms",
        "abnormally short qt with tall t waves",
        "shortened repolarization",
    ),
    "early_repolarization": _further(
        "early repolarization",
        "early repolarization",
        "j point elevation with notching, early repolarization",
        "benign early repolarization pattern",
        "st elevation consistent with early repolarization",
        "notched j point in the lateral leads",
    ),
    "left_axis_deviation": _further(
        "left axis deviation",
        "left axis deviation",
        "leftward axis",
        "qrs axis is deviated to the left",
        "abnormal left axis",
        "lad, axis beyond -30 degrees",
    ),
    "right_axis_deviation": _further(
        "right axis deviation",
        "right axis deviation",
        "rightward axis",
        "qrs axis is deviated to the right",
        "abnormal right axis",
        "rad, axis beyond 90 degrees",
    ),
    "acute_lateral_infarction": _further(
        "acute lateral infarction",
        "acute lateral myocardial infarction",
        "st elevation in i, avl, v5 and v6",
        "lateral stemi",
        "lateral st elevation with reciprocal inferior depression",
        "acute infarction of the lateral wall",
    ),
    "acute_posterior_infarction": _further(
        "acute posterior infarction",
        "acute posterior myocardial infarction",
        "st depression and tall r waves in v1 to v3, posterior infarction",
        "posterior stemi",
        "acute infarction of the posterior wall",
        "horizontal st depression in v1 to v3 with upright t waves",
    ),
    "hyperacute_t_waves": _further(
        "hyperacute T waves",
        "hyperacute t waves",
        "tall broad t waves in v2 to v4, very early infarction",
        "hyperacute anterior t waves",
        "broad symmetric t waves suggest acute ischaemia",
        "peaked broad t waves over the anterior wall",
    ),
    "pericarditis": _further(
        "acute pericarditis",
        "acute pericarditis",
        "diffuse st elevation with pr depression",
        "pericarditis",
        "widespread concave st elevation",
        "diffuse st elevation consistent with pericarditis",
    ),
    "hyperkalemia": _further(
        "hyperkalemia",
        "hyperkalemia",
        "tall peaked narrow t waves, hyperkalaemia",
        "peaked t waves suggest a high potassium",
        "electrolyte disturbance, hyperkalemia",
        "tented t waves",
    ),
    "brugada_type_1": _further(
        "Brugada pattern",
        "brugada type 1 pattern",
        "coved st elevation in v1 and v2",
        "brugada pattern",
        "coved st segment with negative t wave in v1",
        "brugada ecg, type 1",
    ),
    "digitalis_effect": _further(
        "digitalis effect",
        "digitalis effect",
        "scooped st depression, digitalis effect",
        "digoxin effect",
        "sagging st segments with a short qt",
        "st-t changes due to digitalis",
    ),
    "right_atrial_enlargement": _further(
        "right atrial enlargement",
        "right atrial enlargement",
        "tall peaked p waves in ii, iii and avf",
        "p pulmonale",
        "right atrial overload",
        "right atrial abnormality",
    ),
    "arm_electrodes_exchanged": _further(
        "exchanged arm electrodes",
        "left and right arm electrodes are exchanged",
        "arm lead reversal",
        "limb lead reversal is likely",
        "negative p and qrs in lead i, electrodes exchanged",
        "misplaced arm electrodes",
    ),
}

ALL_CONDITIONS = {**CONDITIONS, **FURTHER_CONDITIONS, **ARRHYTHMIAS, **PATTERNS}
