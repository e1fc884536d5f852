# SPDX-License-Identifier: Apache-2.0
"""A simulated cohort of twelve-lead ECGs with reports, for demonstrations and tests.

No simulated record comes from a person. Results on the cohort show that the software works. They say nothing about how
well a model reads real ECGs.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation.arrhythmias import arrhythmia
from cgdmer.simulation.atria import ectopic_p_waves, fibrillatory_waves, flutter_waves, p_waves
from cgdmer.simulation.combinations import CHRONIC, RHYTHMS, conflict, draw_chronic, draw_conditions
from cgdmer.simulation.conditions import ALL_CONDITIONS, ARRHYTHMIAS, PATTERNS
from cgdmer.simulation.patterns import pattern
from cgdmer.simulation.reports import write_report
from cgdmer.simulation.ventricles import ectopic_waves, ventricular_waves
from cgdmer.simulation.waveforms import NUM_INDEPENDENT_LEADS, Anatomy, Waves, add_beats, draw_anatomy

UNITS_PER_MILLIVOLT = 1000
NUM_FOLDS = 10
# What takes the place of a record's conditions if it is asked for: in this share of the records, by a generator of its
# own (the number), so that all other records stay as they are.
_ALONE = ((ARRHYTHMIAS, 0.25, 3), (PATTERNS, 0.25, 4))


def _regular_onsets(
    interval: float, duration: float, rng: np.random.Generator, arrhythmia: bool = False
) -> np.ndarray:
    """(beats,) seconds. Sinus beats, from before the record's start to after its end. They are slightly faster while
    breathing in, with `arrhythmia` by more than 0.12 s."""
    count = int(duration / interval) + 4
    depth, breathing, phase = rng.uniform(0.0, 0.04), rng.uniform(0.18, 0.32), rng.uniform(0, 2 * np.pi)
    if arrhythmia:
        # Slow breaths, of at least four beats each, with a whole one in the record.
        depth = rng.uniform(max(0.08, 0.075 / interval), 0.2)
        breathing = rng.uniform(min(max(0.12, 1.1 / duration), 0.22), 0.22)
    change = depth * np.sin(2 * np.pi * breathing * interval * np.arange(count) + phase) + rng.normal(0, 0.006, count)
    intervals = interval * (1.0 + change - change.mean())
    return np.cumsum(intervals) - intervals[0] - interval * rng.uniform(0.0, 1.0)


def _fibrillation_onsets(interval: float, refractory: float, duration: float, rng: np.random.Generator) -> np.ndarray:
    """(beats,) seconds. Independent intervals, no shorter than the refractory period of the AV node."""
    count = int(2.2 * duration / interval) + 6
    spread = rng.uniform(0.16, 0.3)
    intervals = np.maximum(
        interval * np.exp(rng.normal(-0.5 * spread**2, spread, count)), max(refractory, 0.62 * interval)
    )
    onsets = np.cumsum(intervals * interval / intervals.mean()) - interval * (1 + rng.random())
    return onsets[onsets < duration + interval]


def _flutter_onsets(
    cycle: float, phase: float, duration: float, smallest: int, rng: np.random.Generator
) -> np.ndarray:
    """(beats,) seconds. One in `smallest` to four flutter waves is conducted, in a fixed or a changing ratio."""
    count = int(duration / cycle / 2) + 4
    ratios = np.arange(smallest, 5)
    fixed = rng.random() < 0.65
    steps = np.full(count, rng.choice(ratios)) if fixed else rng.choice(ratios, count)
    waves = np.cumsum(steps) - steps[0] - int(rng.integers(0, 4))
    onsets = (waves - phase + rng.random()) * cycle
    return onsets[onsets < duration + cycle]


def _place_ectopics(
    onsets: np.ndarray, duration: float, t_end: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Replace one to three sinus beats by premature ones. The sinus clock runs on, which leaves a full pause.

    Returns:
        (beats,) seconds, and (beats,) bool: which are premature.
    """
    possible = [
        index for index in range(1, len(onsets) - 1) if onsets[index - 1] > 0.3 and onsets[index + 1] < duration - 0.3
    ] or [int(np.abs(onsets - 0.5 * duration).argmin())]  # few beats: the one in the middle
    onsets, premature = onsets.copy(), np.zeros(len(onsets), dtype=bool)
    wanted = min(int(rng.integers(1, 4)), max(1, len(possible) // 4))
    for index in rng.permutation(possible):
        if premature.sum() < wanted and not premature[index - 1 : index + 2].any() and not premature[index - 2]:
            interval = onsets[index] - onsets[index - 1]
            coupling = np.clip(rng.uniform(0.56, 0.74) * interval, min(t_end + 0.02, 0.8 * interval), 0.8 * interval)
            onsets[index] = onsets[index - 1] + coupling
            premature[index] = True
    return onsets, premature


def _place_atrial_ectopics(
    onsets: np.ndarray, duration: float, t_end: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Replace one to three sinus beats by premature atrial ones, each of which resets the sinus clock.

    Returns:
        (beats,) seconds, and (beats,) bool: which are premature.
    """
    inside = (onsets > 0.3) & (onsets < duration - 0.3)
    possible = [index for index in range(2, len(onsets) - 2) if inside[index - 1] and inside[index + 1]]
    possible = possible or [int(np.abs(onsets - 0.5 * duration).argmin())]
    chosen: list[int] = []
    for index in rng.permutation(possible)[: int(rng.integers(1, 4))]:
        if all(abs(index - other) > 2 for other in chosen):
            chosen.append(int(index))
    onsets, premature = onsets.copy(), np.zeros(len(onsets), dtype=bool)
    for index in sorted(chosen):
        interval = onsets[index] - onsets[index - 1]
        coupling = np.clip(rng.uniform(0.58, 0.78) * interval, min(t_end + 0.06, 0.82 * interval), 0.82 * interval)
        pause = rng.uniform(1.02, 1.16) * interval
        onsets[index + 1 :] += onsets[index - 1] + coupling + pause - onsets[index + 1]
        onsets[index] = onsets[index - 1] + coupling
        premature[index] = True
    return onsets, premature


def _simulate_clean(
    conditions: Collection[str], anatomy: Anatomy, sampling_rate: int, duration: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The noise-free trace, (8, time) mV in I, II, and V1-V6, and the ventricular rate per minute."""
    for name in {*ARRHYTHMIAS, *PATTERNS} & set(conditions):
        return _simulate_alone(name, anatomy, sampling_rate, duration, rng)
    time = np.arange(round(duration * sampling_rate)) / sampling_rate
    onsets, signal = _rhythm(conditions, time, duration, rng)
    rate = 60.0 / float(np.diff(onsets).mean())

    waves, t_end = ventricular_waves(conditions, anatomy, rate, rng)
    ventricular = atrial = np.zeros(len(onsets), dtype=bool)  # which beats are premature
    if "premature_ventricular_beats" in conditions:
        onsets, ventricular = _place_ectopics(onsets, duration, t_end, rng)
    if "premature_atrial_beats" in conditions:
        onsets, atrial = _place_atrial_ectopics(onsets, duration, t_end, rng)
    # Breathing turns and moves the heart, so each lead swells and shrinks to its own degree.
    breath = np.sin(2 * np.pi * rng.uniform(0.18, 0.32) * onsets + rng.uniform(0, 2 * np.pi))
    scale = 1.0 + breath[:, None] * rng.uniform(-0.04, 0.04, NUM_INDEPENDENT_LEADS)
    scale += rng.normal(0, 0.008, scale.shape)

    def add(waves: Waves, beats: np.ndarray) -> None:
        add_beats(signal, waves, onsets[beats], scale[beats], sampling_rate)

    add(waves, ~ventricular)
    if ventricular.any():
        add(ectopic_waves(conditions, anatomy, rate, rng), ventricular)
    if not {"atrial_fibrillation", "atrial_flutter"} & set(conditions):
        if atrial.any():
            add(ectopic_p_waves(anatomy, rng.uniform(0.125, 0.175), rng), atrial)
        pr_interval, enlarged = _pr_interval(conditions, anatomy, rate, t_end), "left_atrial_enlargement" in conditions
        add(p_waves(anatomy, pr_interval, rng, enlarged), ~(ventricular | atrial))
    return signal, rate


def _simulate_alone(
    name: str, anatomy: Anatomy, sampling_rate: int, duration: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """An arrhythmia or a pattern."""
    signal = np.zeros((NUM_INDEPENDENT_LEADS, round(duration * sampling_rate)))
    beats, rate = (arrhythmia if name in ARRHYTHMIAS else pattern)(name, anatomy, duration, rng)
    swell = rng.uniform(-0.04, 0.04, NUM_INDEPENDENT_LEADS)
    breathing, phase = rng.uniform(0.18, 0.32), rng.uniform(0, 2 * np.pi)
    for waves, onsets in beats:
        scale = 1.0 + np.sin(2 * np.pi * breathing * onsets + phase)[:, None] * swell
        add_beats(signal, waves, onsets, scale + rng.normal(0, 0.008, scale.shape), sampling_rate)
    return signal, rate


def _rhythm(
    conditions: Collection[str], time: np.ndarray, duration: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(beats,) seconds at which QRS complexes begin, and (8, time) mV of atrial fibrillation or flutter."""
    signal = np.zeros((NUM_INDEPENDENT_LEADS, len(time)))
    # At the fastest rates, a wide complex, sinus or premature, leaves no room for a T and a P wave.
    wide = bool({"left_bundle_branch_block", "right_bundle_branch_block"} & set(conditions))
    if "atrial_fibrillation" in conditions:
        interval = 60.0 / rng.uniform(55, 95 if wide else 130)
        onsets = _fibrillation_onsets(interval, 0.46 if wide else 0.34, duration, rng)
        return onsets, signal + fibrillatory_waves(time, rng)
    if "atrial_flutter" in conditions:
        frequency, phase = rng.uniform(4.2, 5.4), rng.random()
        onsets = _flutter_onsets(1.0 / frequency, phase, duration, 3 if wide else 2, rng)
        return onsets, signal + flutter_waves(time, frequency, phase, rng)
    low, high = 62.0, 97.0
    if "sinus_bradycardia" in conditions:
        low, high = 40.0, 57.5
    elif "sinus_tachycardia" in conditions:
        low, high = 103.0, 110.0 if wide or "premature_ventricular_beats" in conditions else 130.0
    elif "first_degree_av_block" in conditions or "left_atrial_enlargement" in conditions:
        high = 88.0
    elif "sinus_arrhythmia" in conditions:
        low, high = 54.0, 88.0
    return _regular_onsets(60.0 / rng.uniform(low, high), duration, rng, "sinus_arrhythmia" in conditions), signal


def _pr_interval(conditions: Collection[str], anatomy: Anatomy, rate: float, t_end: float) -> float:
    """Seconds."""
    if "first_degree_av_block" in conditions:
        # The P wave must not begin before the T wave has ended.
        interval = min(0.218 + 0.1 * anatomy.pr_interval, 60.0 / rate * 0.96 - t_end)
    else:
        longest = min(0.188, 0.205 - 0.0004 * rate, 60.0 / rate * 0.97 - t_end)
        interval = 0.134 + anatomy.pr_interval * max(0.0, longest - 0.134)
    if "left_atrial_enlargement" in conditions:
        # The longer P wave does not shorten the PR segment, but must not make a first-degree block either.
        return max(interval, min(interval + 0.035, 0.194))
    return interval


def _electrode_noise(sampling_rate: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """(8, time) mV. Baseline wander, mains hum, and muscle noise of nine electrodes, in I, II, and V1-V6."""
    time = np.arange(length, dtype=np.float32) / np.float32(sampling_rate)
    frequency = np.concatenate([rng.uniform(0.05, 0.5, 3), [rng.choice([50.0, 60.0])]]).astype(np.float32)
    size = np.concatenate([np.full(3, np.exp(rng.normal(-3.4, 0.6))), [np.exp(rng.normal(-5.5, 0.8))]])
    if frequency[3] >= 0.5 * sampling_rate:
        size[3] = 0.0  # an anti-aliasing filter would have removed it
    turn = np.float32(2 * np.pi) * frequency[:, None] * time
    curves = np.concatenate([np.sin(turn), np.cos(turn)])
    electrodes = rng.normal(0, np.tile(size, 2), (9, 8)).astype(np.float32) @ curves
    strength = (np.exp(rng.normal(-4.5, 0.5)) * np.exp(rng.normal(0, 0.3, (9, 1)))).astype(np.float32)
    muscle = rng.standard_normal((9, length + 1), dtype=np.float32) * strength
    # Neighboring samples share some of it, because muscle noise is not quite white.
    electrodes += np.float32(0.8) * muscle[:, 1:]
    electrodes += np.float32(0.5) * muscle[:, :-1]
    right_arm, left_arm, left_leg = electrodes[:3]
    central = (right_arm + left_arm + left_leg) / 3
    return np.stack([left_arm - right_arm, left_leg - right_arm, *(electrodes[3:] - central)])


def _twelve_leads(signal: np.ndarray) -> np.ndarray:
    """Turn (8, time) mV into float32 (12, time) mV, rounded to 1 uV. III, aVR, aVL, and aVF are derived after that."""
    units = np.empty((len(STANDARD_LEADS), signal.shape[1]))
    units[[0, 1, *range(6, 12)]] = np.rint(signal * UNITS_PER_MILLIVOLT)
    lead_i, lead_ii = units[:2]
    units[2] = lead_ii - lead_i
    units[3] = np.rint(-(lead_i + lead_ii) / 2)
    units[4] = np.rint(lead_i - lead_ii / 2)
    units[5] = np.rint(lead_ii - lead_i / 2)
    return (units / UNITS_PER_MILLIVOLT).astype(np.float32)


def _make_record(
    conditions: Collection[str],
    anatomy: Anatomy,
    key: tuple[int, ...],
    sampling_rate: int,
    duration: float,
    noise: bool,
    **about: object,
) -> ECGRecord:
    """One record. Physiology, wording, and noise have separate generators, so leaving one out changes no other."""
    labels = tuple(name for name in ALL_CONDITIONS if name in conditions)
    signal, rate = _simulate_clean(conditions, anatomy, sampling_rate, duration, np.random.default_rng((*key, 0)))
    text, statements = write_report(labels, rate, np.random.default_rng((*key, 1)))
    if noise:
        signal = signal + _electrode_noise(sampling_rate, signal.shape[1], np.random.default_rng((*key, 2)))
    return ECGRecord(
        signal=_twelve_leads(signal),
        sampling_rate=sampling_rate,
        lead_names=STANDARD_LEADS,
        text=text,
        statements=statements,
        labels=labels,
        gain=(float(UNITS_PER_MILLIVOLT),) * len(STANDARD_LEADS),
        baseline=(0,) * len(STANDARD_LEADS),
        **about,  # type: ignore[arg-type]
    )


def _check_sampling(sampling_rate: int, duration: float) -> None:
    if int(sampling_rate) != sampling_rate or sampling_rate < 50:
        raise ConfigurationError(f"sampling_rate is {sampling_rate!r}; give a whole number of at least 50 Hz.")
    if not 5.0 <= duration <= 3600.0:
        raise ConfigurationError(f"duration is {duration!r}; give 5 to 3600 seconds, long enough to show a rhythm.")


def _draw_age(chronic: Collection[str], rng: np.random.Generator) -> float:
    """Years. Patients with chronic findings are older on average."""
    return float(np.clip(rng.normal(66 if chronic else 50, 14), 18, 92).round())


def simulate_record(
    conditions: Sequence[str],
    seed: int = 0,
    sampling_rate: int = 500,
    duration: float = 10.0,
    noise: bool = True,
) -> ECGRecord:
    """Simulate one record with the given conditions.

    Args:
        conditions: keys of `CONDITIONS`, `FURTHER_CONDITIONS`, `ARRHYTHMIAS`, or `PATTERNS`. If none of them is a
            rhythm, it is sinus rhythm.
        seed: the same seed gives the same record, and with or without noise the same heart.
        sampling_rate: Hz.
        duration: seconds.
        noise: add baseline wander, mains hum, and muscle noise.

    Raises:
        ConfigurationError: a condition is unknown, or two conditions exclude each other.

    Example:
        >>> cgdmer.simulate_record(["atrial_fibrillation"]).signal.shape
        (12, 5000)
    """
    _check_sampling(sampling_rate, duration)
    if isinstance(conditions, str):
        conditions = (conditions,)
    for name in conditions:
        if name not in ALL_CONDITIONS:
            raise ConfigurationError(f"conditions names {name!r}, which is not one of: {', '.join(ALL_CONDITIONS)}.")
    chosen = set(conditions)
    if not chosen & {*RHYTHMS, *PATTERNS}:
        chosen.add("sinus_rhythm")
    if reason := conflict(chosen):
        raise ConfigurationError(f"conditions {sorted(chosen)} cannot be combined: {reason}. Leave one out.")
    rng = np.random.default_rng((seed, 0))
    sex = "female" if rng.random() < 0.5 else "male"
    anatomy = draw_anatomy(rng, sex)
    return _make_record(
        chosen,
        anatomy,
        (seed, 0, 0),
        sampling_rate,
        duration,
        noise,
        record_id=f"simulated-{seed}",
        patient_id=f"simulated-{seed}",
        age=_draw_age(chosen & CHRONIC, rng),
        sex=sex,
    )


def simulate_patient(
    patient_index: int,
    seed: int = 0,
    sampling_rate: int = 500,
    duration: float = 10.0,
    noise: bool = True,
    further: bool = False,
    arrhythmias: bool = False,
    patterns: bool = False,
) -> list[ECGRecord]:
    """One to three records of a patient. They depend on (seed, patient_index) alone."""
    _check_sampling(sampling_rate, duration)
    rng = np.random.default_rng((seed, patient_index))
    sex = "female" if rng.random() < 0.5 else "male"
    anatomy = draw_anatomy(rng, sex)
    healthy = rng.random() < 0.2
    chronic = set() if healthy else draw_chronic(rng, further)
    age = _draw_age(chronic, rng)
    records = []
    for number in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))):
        conditions = {"sinus_rhythm"} if healthy else draw_conditions(chronic, rng, further)
        for wanted, (group, share, stream) in zip((arrhythmias, patterns), _ALONE, strict=True):
            special = np.random.default_rng((seed, patient_index, number, stream))
            if wanted and special.random() < share:
                conditions = {str(special.choice(list(group)))}
        age += float(number and rng.integers(0, 4))
        records.append(
            _make_record(
                conditions,
                anatomy,
                (seed, patient_index, number),
                sampling_rate,
                duration,
                noise,
                record_id=f"{seed}-{patient_index:06d}-{number}",
                patient_id=f"{seed}-{patient_index:06d}",
                # Consecutive patients are in consecutive folds, so that even a small cohort fills all ten.
                fold=patient_index % NUM_FOLDS + 1,
                age=age,
                sex=sex,
            )
        )
    return records


def simulate_cohort(
    num_patients: int,
    seed: int = 0,
    sampling_rate: int = 500,
    duration: float = 10.0,
    noise: bool = True,
    further: bool = False,
    arrhythmias: bool = False,
    patterns: bool = False,
) -> Iterator[ECGRecord]:
    """The records of `num_patients` patients, patient by patient.

    Folds 1 to 8 are for training, 9 for validation, and 10 for testing. Each patient is in one fold.

    Args:
        num_patients: each has one to three records.
        seed: the same seed gives the same cohort. A larger cohort begins with the smaller one.
        sampling_rate: Hz.
        duration: seconds per record.
        noise: add baseline wander, mains hum, and muscle noise. Without it, the same records are clean.
        further: draw `FURTHER_CONDITIONS` too. This gives a different cohort, for pretraining.
        arrhythmias: a quarter of the records have one of `ARRHYTHMIAS` instead; the others stay as they are.
        patterns: a quarter of the records have one of `PATTERNS` instead, also of those with arrhythmias.

    Example:
        >>> [record.patient_id for record in cgdmer.simulate_cohort(2, seed=1)]
        ['1-000000', '1-000000', '1-000001', '1-000001']
    """
    for patient_index in range(num_patients):
        yield from simulate_patient(
            patient_index, seed, sampling_rate, duration, noise, further, arrhythmias, patterns
        )
