# SPDX-License-Identifier: Apache-2.0
"""The ventricles of simulated patients: QRS complex, ST segment, and T wave of conducted and premature beats.

The conditions follow the criteria of the AHA/ACCF/HRS recommendations for the standardization and interpretation of
the electrocardiogram (2009, parts III to VI) and of the fourth universal definition of myocardial infarction (2018).
Intervals are drawn with a margin of a few milliseconds, because a wave that starts with zero slope is seen a little
after it begins.
"""

from collections.abc import Collection

import numpy as np

from cgdmer.simulation.waveforms import (
    LEAD_I,
    LEAD_II,
    NUM_INDEPENDENT_LEADS,
    PRECORDIAL,
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    Anatomy,
    Waves,
    between,
    direction,
    hump,
    limb_amplitudes,
    waves_of,
)

_RIGHT_BLOCKS = {"right_bundle_branch_block", "incomplete_right_bundle_branch_block"}
# The independent leads that face a wall, by the part of an infarction's name that stands for it.
_SEEN_FROM = {"antero": [V1, V2, V3, V4], "infer": [LEAD_II], "lateral": [LEAD_I, V5, V6]}


def usual_qt(anatomy: Anatomy, rate: float) -> float:
    """QT interval in seconds. It is shorter at fast rates and never exceeds two thirds of the cycle."""
    return min(anatomy.corrected_qt - 0.0014 * (rate - 60.0), 0.66 * 60.0 / rate)


def infarct_territories(conditions: Collection[str]) -> tuple[str, ...]:
    """The walls in which a pathological Q wave can be distinguished from whatever else the trace shows."""
    hidden = {
        # Fascicular block requires rS in the inferior leads, which a Q wave there would contradict.
        "inferior": {"left_anterior_fascicular_block", "inferior_st_elevation", "low_voltage"},
        # An anterior Q turns rsR' into qR. Beside a new elevation of the same wall, it belongs to that infarct.
        "anterior": {"right_bundle_branch_block", "anterior_st_elevation"},
    }
    return tuple(wall for wall, blockers in hidden.items() if not blockers & set(conditions))


def infarct_wall(conditions: Collection[str], anatomy: Anatomy) -> str:
    """The wall of an old infarction: the one in its name, or else the patient's if Q waves can be distinguished there.
    Empty without an infarction."""
    for name in conditions:
        if name.endswith("_infarction") and name != "old_infarction":
            return name.removesuffix("_infarction")
    if "old_infarction" not in conditions:
        return ""
    walls = infarct_territories(conditions)
    preferred = "anterior" if anatomy.infarct_anterior else "inferior"
    return preferred if preferred in walls else walls[0]


def _left_bundle_branch_block(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> Waves:
    """Septum and left ventricle are activated from the right: slow, notched, always leftward and backward."""
    axis = direction(between(anatomy.axis, -28, 55))
    leads, notch = anatomy.lead_vectors, rng.uniform(0.03, 0.085)
    # Forward component of the first vector: with it there is an r in V1, without it a QS.
    first_forward = rng.choice([0.0, 0.26])
    dipole = {
        "first": [0.30 * axis[0] + 0.05, 0.30 * axis[1], first_forward],
        "middle": [0.75 * axis[0], 0.75 * axis[1], -0.55 * anatomy.posterior],
        "late": [0.78 * axis[0], 0.78 * axis[1], -0.65 * anatomy.posterior],
    }
    late = ((0.58 + notch) * duration, 0.25 * duration, 0.0, (0.42 - notch) * duration)
    rows = [
        ((0.17 * duration, 0.17 * duration, 0.0, 0.22 * duration), np.array(dipole["first"]) @ leads),
        (((0.42 - notch) * duration, 0.26 * duration, 0.0, 0.25 * duration), np.array(dipole["middle"]) @ leads),
        (late, np.array(dipole["late"]) @ leads),
    ]
    # The local terms of V2-V4 stay small: R progression is poor in left bundle branch block.
    local = anatomy.local_qrs * [0.2, 0.2, 0.2, 0.4, 0.8, 1.0]
    return waves_of(rows) + _local_waves(local, duration, 0.35, 0.06, 0.2)


def _local_waves(local_qrs: np.ndarray, duration: float, first: float, step: float, fall: float) -> Waves:
    """The local deflections (6, 6) of a QRS complex, one after another; times as shares of its duration."""
    rows = []
    for number, deflection in enumerate(local_qrs):
        amplitude = np.zeros(NUM_INDEPENDENT_LEADS)
        amplitude[PRECORDIAL] = deflection
        rows.append((((first + step * number) * duration, 0.2 * duration, 0.0, fall * duration), amplitude))
    return waves_of(rows)


def _narrow_start(
    conditions: Collection[str], anatomy: Anatomy, duration: float, wall: str, rng: np.random.Generator
) -> Waves:
    """Activation through an intact left bundle: septum, free wall, posterior wall, and base."""
    dipoles = _dipoles(conditions, anatomy, wall, rng)
    amplitude = {part: dipole @ anatomy.lead_vectors for part, dipole in dipoles.items()}
    peak = {"septal": 0.16, "main": 0.45, "posterior": 0.62, "basal": 0.82}
    if "left_anterior_fascicular_block" in conditions:
        peak["main"] = 0.5
    width = {"septal": (0.16, 0.18), "main": (0.28, 0.26), "posterior": (0.25, 0.26), "basal": (0.18, 0.18)}
    local = _scar(wall, anatomy, amplitude, peak, width, rng)
    rows = []
    for part, vector in amplitude.items():
        rise, fall = width[part]
        rows.append(((peak[part] * duration, rise * duration, 0.0, fall * duration), vector))
    waves = waves_of(rows) + _local_waves(local, duration, 0.21, 0.055, 0.24)
    if "intraventricular_conduction_delay" in conditions:
        # Late and slow somewhere in the left ventricle: a notch, but not in the direction of either bundle.
        axis = dipoles["main"][:2]
        late = rng.uniform(0.25, 0.5) * np.array([*axis, rng.uniform(-0.7, -0.2)]) @ anatomy.lead_vectors
        center = rng.uniform(0.7, 0.78)
        waves += waves_of([((center * duration, 0.16 * duration, 0.0, (1.0 - center) * duration), late)])
    return waves


def _dipoles(
    conditions: Collection[str], anatomy: Anatomy, wall: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The vector (left, down, forward) of each part, in the order of activation."""
    posterior, basal = anatomy.posterior, anatomy.basal
    if "left_anterior_fascicular_block" in conditions:
        # The posterior fascicle fires first (down and right), the anterior wall last (up and left).
        axis = direction(between(anatomy.axis, -80, -52))
        septal = np.array([-0.05 - 0.13 * axis[0], 0.24, 0.25])
        basal = 0.1
    else:
        low, high = (5, 60) if wall.startswith("infer") else (-18, 76)
        axis = direction(between(anatomy.axis, low, high))
        # Opposite to the main vector, so that the lead with the tall R wave has the small q, and no lead below a QS.
        septal = np.array([-0.12 * axis[0], 0.07 - 0.14 * axis[1], 0.28]) * anatomy.septal
    main_forward = anatomy.rotation
    if "left_ventricular_hypertrophy" in conditions:
        posterior *= 1.15
    if "right_ventricular_hypertrophy" in conditions:
        # The right ventricle outweighs the left: right, down, and forward.
        axis, main_forward = direction(between(anatomy.axis, 100, 135)), rng.uniform(0.55, 0.95)
        posterior, basal = 0.15 * posterior, 2.0 + basal
    if _RIGHT_BLOCKS & set(conditions):
        # The right ventricle, not the base, ends the complex.
        posterior, basal = 0.55 * posterior, 0.0
    return {
        "septal": septal,
        "main": np.array([axis[0], axis[1], main_forward]),
        "posterior": np.array([0.35 * axis[0], 0.35 * axis[1], -0.72 * posterior]),
        "basal": basal * np.array([-0.13, -0.13, -0.10]),
    }


def _scar(
    wall: str,
    anatomy: Anatomy,
    amplitude: dict[str, np.ndarray],
    peak: dict[str, float],
    width: dict[str, tuple[float, float]],
    rng: np.random.Generator,
) -> np.ndarray:
    """Remove the activation of an infarcted wall from `amplitude`, `peak`, and `width`. Returns the rest of
    `anatomy.local_qrs`, (6, 6) mV."""
    anterior, inferior, lateral = wall.startswith("anter"), wall.startswith("infer"), wall.endswith("lateral")
    local = anatomy.local_qrs
    if inferior or lateral:
        # The lower or the left wall is not activated: the first 40 ms point away from it.
        away = np.array([0.0, -rng.uniform(0.5, 0.75) if inferior else 0.0, 0.0])
        if lateral:
            away[0] = -rng.uniform(0.4, 0.6)
            if not inferior:
                away[1] = -0.5 * away[0]  # along lead aVL, which does not change lead II
        amplitude["septal"] = amplitude["septal"] + away @ anatomy.lead_vectors
        peak["septal"], width["septal"] = 0.20, (0.20, 0.24)
        peak["main"], width["main"] = 0.58, (0.23, 0.24)
        peak["posterior"] = 0.66
    if lateral:
        local = local * np.array([1.0, 1.0, 1.0, 0.6, 0.3, 0.2])
    if anterior:
        # The front wall is not activated: V2-V3 see a cavity, V1 and V4 its rim.
        depth = rng.uniform(0.7, 1.2)
        amplitude["septal"][[V1, V2, V3, V4]] = depth * np.array([-0.15, -0.45, -0.5, -0.3])
        amplitude["main"][[V1, V2, V3]] = depth * np.array([-0.35, -0.6, -0.6])
        peak["septal"], width["septal"] = 0.2, (0.2, 0.3)
        amplitude["main"][V4] *= 0.6
        local = local * np.array([0.0, 0.0, 0.0, 0.2, 1.0, 1.0])
    return local


def _scale_voltages(
    waves: Waves, limb: float, precordial: float, local_gain: np.ndarray, of_right: bool = False
) -> Waves:
    """Scale the largest limb-lead deflection and SV1 + max(RV5, RV6), or with `of_right` RV1 + max(SV5, SV6), to the
    given values (mV)."""
    amplitude = waves.amplitude.copy()
    amplitude[:, PRECORDIAL] *= local_gain
    first, last = waves.extent
    complex_ = amplitude.T @ waves.shape(np.arange(first, last, 0.001))
    lead_i, lead_ii = complex_[LEAD_I], complex_[LEAD_II]
    six = np.stack(
        [lead_i, lead_ii, lead_ii - lead_i, (lead_i + lead_ii) / 2, lead_i - lead_ii / 2, lead_ii - lead_i / 2]
    )
    if of_right:
        found = complex_[V1].max() - min(complex_[V5].min(), complex_[V6].min())
    else:
        found = -complex_[V1].min() + max(complex_[V5].max(), complex_[V6].max())
    amplitude[:, [LEAD_I, LEAD_II]] *= limb / np.ptp(six, axis=1).max()
    amplitude[:, PRECORDIAL] *= precordial / found
    return Waves(waves.timing, amplitude)


def _st_shift(conditions: Collection[str], complex_: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(8,) mV at the J point. An injury current is local, so the precordial values are given lead by lead."""
    shift = rng.uniform(-0.02, 0.03, NUM_INDEPENDENT_LEADS)
    # Slight elevation is normal in V2-V3 (early repolarization).
    shift[[V1, V2, V3, V4]] += rng.uniform(0.0, 0.1) * np.array([0.4, 1.0, 0.9, 0.4])
    if "left_bundle_branch_block" in conditions:
        return shift - rng.uniform(0.08, 0.13) * complex_
    if "anterior_st_elevation" in conditions:
        size = rng.uniform(0.22, 0.36 if "low_voltage" in conditions else 0.55)
        shift[PRECORDIAL] = (
            size * np.array([0.4, 1.03, 1.08, 0.7, 0.3, 0.1]) * rng.uniform([1, 1, 1, 0.6, 0.6, 0.6], 1.3)
        )
        # Upward and slightly leftward in the frontal plane: reciprocal depression in II, III, and aVF.
        frontal = direction(rng.uniform(-85, -60)) * rng.uniform(0.25, 0.4) * size
        shift[[LEAD_I, LEAD_II]] = limb_amplitudes(frontal)
    elif "inferior_st_elevation" in conditions:
        degrees, in_lead_ii = rng.uniform(95, 115), rng.uniform(0.13, 0.32)
        frontal = direction(degrees) * in_lead_ii / np.cos(np.radians(degrees - 60))
        shift[[LEAD_I, LEAD_II]] = frontal[0], in_lead_ii
        shift[PRECORDIAL] = in_lead_ii * rng.uniform(0.3, 1.0) * np.array([-0.1, -0.45, -0.4, -0.1, 0.1, 0.2])
    elif "st_depression" in conditions:
        size = rng.uniform(0.13, 0.3)
        shift[PRECORDIAL] = (
            size * np.array([0.2, -0.1, -0.5, -1.1, -1.15, -1.05]) * rng.uniform([0, 0, 0.6, 1, 1, 1], 1.3)
        )
        shift[[LEAD_I, LEAD_II]] = -size * rng.uniform(0.25, 0.6, 2)
    elif "left_ventricular_hypertrophy" in conditions:
        # Without strain the ST segment leans away from the deep S waves of V1-V3 but stays below 0.2 mV.
        shift[[V1, V2, V3]] += rng.uniform(0.0, 0.06)
    if "low_voltage" in conditions:
        shift[[LEAD_I, LEAD_II]] *= 0.6
    if "nonspecific_t_changes" in conditions:
        # Too little to be called depression.
        shift[[LEAD_I, LEAD_II, V4, V5, V6]] -= rng.uniform(0.0, 0.04)
    return shift


def _t_amplitude(
    conditions: Collection[str],
    anatomy: Anatomy,
    st_shift: np.ndarray,
    complex_: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """(8,) mV of the T wave itself, without the ST segment's part."""
    jitter = np.exp(rng.normal(0, 0.12, NUM_INDEPENDENT_LEADS))
    if "left_bundle_branch_block" in conditions:
        return -rng.uniform(0.18, 0.28) * complex_ * jitter
    size = np.clip(0.24 * anatomy.t_size * np.exp(rng.normal(0, 0.15)), 0.14, 0.4)
    frontal = size * direction(np.clip(between(anatomy.axis, -10, 70) + anatomy.t_axis, 5, 70))
    if "low_voltage" in conditions:
        size *= 0.65
    dipole = np.array([frontal[0], frontal[1], 1.1 * size])
    wave = (dipole @ anatomy.lead_vectors) * jitter
    if "low_voltage" in conditions:
        wave[[LEAD_I, LEAD_II]] *= 0.7
    # V1 may show either polarity; V3-V6 do not go below a low upright wave.
    wave[V1] -= size * rng.uniform(0.4, 1.3)
    wave[[V3, V4, V5, V6]] = np.maximum(wave[[V3, V4, V5, V6]], 0.1)
    if "right_bundle_branch_block" in conditions:
        wave[[V1, V2]] = -rng.uniform(0.1, 0.3) * np.array([1.0, rng.uniform(-0.3, 0.7)])
    if "anterior_st_elevation" in conditions:
        wave[PRECORDIAL] += np.maximum(st_shift[PRECORDIAL], 0.0) * rng.uniform(0.2, 0.8)
    if "inferior_st_elevation" in conditions:
        wave[LEAD_II] += st_shift[LEAD_II] * rng.uniform(0.4, 1.0)
    if "t_wave_inversion" in conditions:
        _invert(wave, conditions, rng)
    elif "st_depression" in conditions:
        # Upright enough to stay above the baseline although the ST segment still pulls down at its peak.
        wave += 0.45 * np.maximum(-st_shift, 0.0)
    if "nonspecific_t_changes" in conditions:
        flattened = [LEAD_I, LEAD_II, V3, V4, V5, V6]
        wave[flattened] = np.clip(wave[flattened], 0.0, 0.25) * rng.uniform(-0.1, 0.3) + rng.normal(0, 0.01, 6)
    if "right_ventricular_hypertrophy" in conditions:
        wave[[V1, V2, V3]] = -rng.uniform(0.05, 0.35) * rng.uniform([0.7, 0.6, 0.0], 1.2)
    wall = infarct_wall(conditions, anatomy) if "old_infarction" not in conditions else ""
    if wall and rng.random() < 0.5:
        # Over a scar the T wave is often flat or negative.
        leads = [lead for part, seen in _SEEN_FROM.items() if part in wall for lead in seen]
        wave[leads] *= rng.uniform(-1.0, 0.3)
    return wave


def _invert(wave: np.ndarray, conditions: Collection[str], rng: np.random.Generator) -> None:
    """Turns the T wave (8,) over in the leads that see one wall."""
    depth = rng.uniform(0.16, 0.5)
    walls = ["anterior", "lateral", "inferior"]
    if {"left_ventricular_hypertrophy", "st_depression"} & set(conditions):
        walls = ["lateral"]  # strain and subendocardial ischemia show in the lateral leads
    wall = rng.choice(walls)
    if wall == "anterior":
        wave[[V1, V2, V3, V4]] = -depth * rng.uniform(0.9, 1.2, 4) * np.array([0.5, 1.0, 1.1, 1.0])
        wave[V5] *= 0.5
    elif wall == "lateral":
        frontal = direction(rng.uniform(150, 175)) * depth * rng.uniform(0.6, 0.9)
        wave[[LEAD_I, LEAD_II]] = limb_amplitudes(frontal)
        wave[[V4, V5, V6]] = -depth * rng.uniform(0.95, 1.2, 3) * np.array([0.6, 1.0, 1.0])
    else:
        frontal = direction(rng.uniform(-85, -65)) * (0.1 + depth) * 0.9
        wave[[LEAD_I, LEAD_II]] = limb_amplitudes(frontal)


def ventricular_waves(
    conditions: Collection[str], anatomy: Anatomy, rate: float, rng: np.random.Generator
) -> tuple[Waves, float]:
    """QRS complex, ST segment, and T wave of a conducted beat.

    Args:
        rate: ventricular beats per minute, which the QT interval depends on.

    Returns:
        The waves, and the end of the T wave in seconds from the onset of the QRS complex.
    """
    complex_waves, duration = conducted_complex(conditions, anatomy, rng)
    # A wide complex lengthens the QT interval. At a fast rate, there must be room for the next P wave, but ST and T
    # together last at least 0.2 s.
    t_end = min(usual_qt(anatomy, rate) + max(0.0, duration - 0.1), 0.95 * 60.0 / rate - 0.16)
    t_end = max(t_end, duration + 0.2)
    st_shift, t_wave = st_and_t(conditions, anatomy, complex_waves, duration, rng)
    return complex_waves + repolarization(st_shift, t_wave, duration, t_end, rng), t_end


def conducted_complex(conditions: Collection[str], anatomy: Anatomy, rng: np.random.Generator) -> tuple[Waves, float]:
    """The QRS complex of a conducted beat, and its duration in seconds."""
    wall = infarct_wall(conditions, anatomy)
    duration = between(anatomy.qrs_duration, *_duration_limits(conditions, wall))
    of_right = "right_ventricular_hypertrophy" in conditions
    activation = _activation(conditions, anatomy, duration, wall, rng)
    return _scale_voltages(activation, *_voltages(conditions, anatomy), anatomy.local_gain, of_right), duration


def _duration_limits(conditions: Collection[str], wall: str) -> tuple[float, float]:
    """Of the QRS complex, in seconds."""
    wide = {
        "left_bundle_branch_block": (0.134, 0.165),
        "right_bundle_branch_block": (0.134, 0.158),
        "incomplete_right_bundle_branch_block": (0.106, 0.118),
        "intraventricular_conduction_delay": (0.118, 0.138),
    }
    for name, limits in wide.items():
        if name in conditions:
            return limits
    if wall:
        return 0.095, 0.106
    if "left_anterior_fascicular_block" in conditions or "left_ventricular_hypertrophy" in conditions:
        return 0.088, 0.108
    return 0.082, 0.104


def _voltages(conditions: Collection[str], anatomy: Anatomy) -> tuple[float, float]:
    """Limb and precordial voltages (mV) for `_scale_voltages`."""
    limb, precordial = (0.7, 2.1), (1.2, 3.25)
    if "left_ventricular_hypertrophy" in conditions:
        limb, precordial = (0.9, 2.6), (3.7, 5.6)
    elif "low_voltage" in conditions:
        limb, precordial = (0.24, 0.44), (0.9, 2.4)
    elif _RIGHT_BLOCKS & set(conditions):
        precordial = (1.1, 2.3)
    if "right_ventricular_hypertrophy" in conditions:
        precordial = (1.2, 2.4)
    return between(anatomy.limb_voltage, *limb), between(anatomy.precordial_voltage, *precordial)


def _activation(
    conditions: Collection[str], anatomy: Anatomy, duration: float, wall: str, rng: np.random.Generator
) -> Waves:
    """The QRS complex before its voltages are scaled."""
    if "left_bundle_branch_block" in conditions:
        return _left_bundle_branch_block(anatomy, duration, rng)
    if not _RIGHT_BLOCKS & set(conditions):
        return _narrow_start(conditions, anatomy, duration, wall, rng)
    complete = "right_bundle_branch_block" in conditions
    start = _narrow_start(conditions, anatomy, (0.6 if complete else 0.76) * duration, wall, rng)
    # The right ventricle is reached through the muscle: late, slow, rightward, and forward.
    size = rng.uniform(0.85, 1.3) if complete else rng.uniform(0.5, 0.8)
    terminal = size * np.array([-0.48, 0.05, 0.62]) @ anatomy.lead_vectors
    peak = (0.68 if complete else 0.74) * duration
    return start + waves_of([((peak, peak - 0.36 * duration, 0.0, duration - peak), terminal)])


def st_and_t(
    conditions: Collection[str], anatomy: Anatomy, complex_waves: Waves, duration: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(8,) mV of the ST segment after a QRS complex of this duration, and (8,) of the T wave."""
    # Mean QRS deflection in each lead: with bundle branch block, ST and T point away from it.
    _, rise, plateau, fall = complex_waves.timing.T
    complex_ = (0.5 * (rise + fall) + plateau) @ complex_waves.amplitude / (0.5 * duration)
    st_shift = _st_shift(conditions, complex_, rng)
    return st_shift, _t_amplitude(conditions, anatomy, st_shift, complex_, rng)


def repolarization(
    st_shift: np.ndarray,
    t_wave: np.ndarray,
    duration: float,
    t_end: float,
    rng: np.random.Generator,
    t_shares: tuple[float, float] = (0.57, 0.31),
) -> Waves:
    """ST segment and T wave after a QRS complex of this duration.

    Args:
        t_shares: the rise and the fall of the T wave as shares of the time from the J point to its end.
    """
    t_rise, t_fall = (share * (t_end - duration) for share in t_shares)
    t_peak = t_end - t_fall
    j_rise = min(0.04, 0.35 * duration)
    st_hold = 0.2 * (t_end - duration)
    st_timing = (duration - 0.004, j_rise, st_hold, t_end - duration - st_hold)
    # A second, smaller part of the T wave, seen mostly from the front, makes it more than one loop.
    second = np.zeros(NUM_INDEPENDENT_LEADS)
    second[PRECORDIAL] = t_wave[PRECORDIAL] * rng.uniform(-0.12, 0.12, 6)
    return waves_of(
        [
            (st_timing, st_shift),
            ((t_peak, t_rise, 0.0, t_fall), t_wave),
            (hump(t_peak - 0.5 * t_rise, 0.5 * t_rise), second),
        ]
    )


def ventricular_ectopic_waves(anatomy: Anatomy, rate: float, rng: np.random.Generator) -> Waves:
    """A beat of a ventricular rhythm. At fast rates the T wave ends with the next complex."""
    t_end = min(usual_qt(anatomy, min(rate, 120.0)) + 0.04, 0.97 * 60.0 / rate)
    return ectopic_waves((), anatomy, rate, rng, t_end)


def paced_waves(anatomy: Anatomy, rate: float, rng: np.random.Generator) -> Waves:
    """Stimulated at the tip of the right ventricle: a spike, and then a wide complex that runs up and to the left."""
    duration, axis = rng.uniform(0.15, 0.185), direction(rng.uniform(-85, -55))
    size, back = between(anatomy.limb_voltage, 0.8, 1.5), -rng.uniform(0.6, 1.0)
    first = size * np.array([0.35 * axis[0] + 0.1, 0.6 * axis[1], 0.4 * back]) @ anatomy.lead_vectors
    main = size * np.array([0.9 * axis[0] + 0.15, 0.9 * axis[1], back]) @ anatomy.lead_vectors
    main[[V5, V6]] *= rng.uniform(0.4, 0.9)
    spike = rng.uniform(0.3, 1.5) * np.array([*direction(rng.uniform(-120, -60)), rng.uniform(-0.5, 0.2)])
    t_end = usual_qt(anatomy, rate) + 0.07
    t_wave = -rng.uniform(0.22, 0.35) * main
    return waves_of(
        [
            (hump(-0.006, 0.003), spike @ anatomy.lead_vectors),
            (hump(0.28 * duration, 0.28 * duration), first),
            ((0.5 * duration, 0.26 * duration, 0.0, 0.5 * duration), main),
            ((0.8 * t_end, 0.8 * t_end - duration, 0.0, 0.2 * t_end), t_wave),
        ]
    )


def ectopic_waves(
    conditions: Collection[str],
    anatomy: Anatomy,
    rate: float,
    rng: np.random.Generator,
    t_end: float | None = None,
) -> Waves:
    """A premature ventricular beat: wide and large, with a T wave opposite to the QRS complex.

    Args:
        t_end: the end of the T wave in seconds from the onset of the QRS complex; None: as usual at this rate.
    """
    duration = rng.uniform(0.148, 0.185)
    # With bundle branch block, only a beat from the ventricle that is activated in time looks different.
    from_right = rng.random() < 0.5
    if "left_bundle_branch_block" in conditions:
        from_right = False
    elif "right_bundle_branch_block" in conditions:
        from_right = True
    # From the right ventricle, the vector turns left and backward; from the left one, right and forward.
    axis = direction(rng.uniform(60, 100) if from_right else rng.uniform(-140, -70))
    depth = (-1.0 if from_right else 1.0) * rng.uniform(0.5, 0.9)
    sideways = 0.35 if from_right else -0.2
    size = between(anatomy.limb_voltage, 1.3, 2.0) * rng.uniform(0.9, 1.2)
    if "left_ventricular_hypertrophy" in conditions:
        size *= 1.6
    first = size * np.array([0.5 * axis[0] + sideways, 0.6 * axis[1], 0.5 * depth]) @ anatomy.lead_vectors
    main = size * np.array([0.8 * axis[0] + sideways, 0.8 * axis[1], depth]) @ anatomy.lead_vectors
    last = size * np.array([0.4 * axis[0], 0.5 * axis[1], 0.4 * depth]) @ anatomy.lead_vectors
    main[PRECORDIAL] *= rng.uniform(0.8, 1.2, 6)
    if t_end is None:
        t_end = usual_qt(anatomy, rate) + 0.04
    t_wave = -rng.uniform(0.28, 0.42) * main
    return waves_of(
        [
            (hump(0.25 * duration, 0.25 * duration), first),
            ((0.45 * duration, 0.24 * duration, 0.0, 0.26 * duration), main),
            (hump(0.75 * duration, 0.25 * duration), last),
            ((duration, 0.3 * duration, 0.06, t_end - duration - 0.06), 0.3 * t_wave),
            ((0.78 * t_end, 0.78 * t_end - duration, 0.0, 0.22 * t_end), t_wave),
        ]
    )
