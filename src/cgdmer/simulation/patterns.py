# SPDX-License-Identifier: Apache-2.0
"""Shapes of P, QRS, ST, and T in sinus rhythm that have a name of their own: preexcitation, long and short QT, acute
infarctions that the usual walls leave out, pericarditis, and what drugs, potassium, and exchanged electrodes do.

Each pattern is a function that changes a healthy beat. The criteria and their sources are in docs/guides/simulator.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cgdmer.simulation.atria import p_waves, tall_p_waves
from cgdmer.simulation.ventricles import conducted_complex, repolarization, st_and_t, usual_qt
from cgdmer.simulation.waveforms import (
    LEAD_I,
    LEAD_II,
    NUM_INDEPENDENT_LEADS,
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    Anatomy,
    Beats,
    Waves,
    direction,
    hump,
    limb_amplitudes,
    regular_times,
    waves_of,
)


@dataclass
class _Beat:
    """A beat before its waves are put together. Seconds from the onset of the QRS complex, millivolts in (8,) leads.

    Attributes:
        further: waves that only the pattern has.
        t_shares: see `repolarization`.
    """

    rate: float
    pr_interval: float
    complex_waves: Waves
    qrs_duration: float
    t_end: float
    st_shift: np.ndarray
    t_wave: np.ndarray
    t_shares: tuple[float, float] = (0.57, 0.31)
    atria: Callable[[Anatomy, float, np.random.Generator], Waves] = p_waves
    further: list[Waves] = field(default_factory=list)

    @property
    def cycle(self) -> float:
        return 60.0 / self.rate

    def waves(self, anatomy: Anatomy, rng: np.random.Generator) -> Waves:
        total = self.complex_waves + self.atria(anatomy, self.pr_interval, rng)
        total += repolarization(self.st_shift, self.t_wave, self.qrs_duration, self.t_end, rng, self.t_shares)
        for waves in self.further:
            total += waves
        return total


_Pattern = Callable[[_Beat, Anatomy, np.random.Generator], None]


def pattern(name: str, anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    """The beats of a record with this pattern, and the heart rate."""
    beat = _healthy_beat(anatomy, rng)
    PATTERNS[name](beat, anatomy, rng)
    waves = beat.waves(anatomy, rng)
    if name == "arm_electrodes_exchanged":
        waves = _exchange_arms(waves)
    return [(waves, regular_times(beat.cycle, duration, rng, 0.012))], beat.rate


def _healthy_beat(anatomy: Anatomy, rng: np.random.Generator) -> _Beat:
    rate = rng.uniform(56, 88)
    complex_waves, qrs_duration = conducted_complex((), anatomy, rng)
    st_shift, t_wave = st_and_t((), anatomy, complex_waves, qrs_duration, rng)
    pr_interval = 0.136 + 0.045 * anatomy.pr_interval
    return _Beat(rate, pr_interval, complex_waves, qrs_duration, usual_qt(anatomy, rate), st_shift, t_wave)


def _leads(**millivolts: float) -> np.ndarray:
    """(8,) mV, zero in the leads that are not named."""
    names = {"i": LEAD_I, "ii": LEAD_II, "v1": V1, "v2": V2, "v3": V3, "v4": V4, "v5": V5, "v6": V6}
    values = np.zeros(NUM_INDEPENDENT_LEADS)
    for name, value in millivolts.items():
        values[names[name]] = value
    return values


def _preexcitation(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """An accessory pathway excites a ventricle early and slowly (the delta wave); the rest follows as usual."""
    delay = rng.uniform(0.042, 0.052)
    left_side = rng.random() < 0.5
    way = np.array([-0.15, 0.3, 0.5] if left_side else [0.5, -0.25, -0.15])
    delta = rng.uniform(0.6, 0.9) * way @ anatomy.lead_vectors
    usual = beat.complex_waves
    timing = usual.timing.copy()
    timing[:, 0] += delay
    beat.complex_waves = Waves(timing, usual.amplitude) + waves_of([((1.1 * delay, 1.1 * delay, 0.02, 0.05), delta)])
    beat.qrs_duration += delay
    beat.t_end += delay
    beat.pr_interval = rng.uniform(0.092, 0.112)
    beat.st_shift = beat.st_shift - 0.15 * delta
    beat.t_wave = beat.t_wave - rng.uniform(0.5, 0.9) * delta


def _qt_interval(low: float, high: float, t_size: float) -> _Pattern:
    """Bazett's corrected interval between these limits."""

    def change(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
        beat.rate = rng.uniform(56, 80)
        beat.t_end = rng.uniform(low, high) * np.sqrt(beat.cycle)
        beat.t_wave = t_size * beat.t_wave

    return change


def _early_repolarization(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """A notch at the end of the QRS complex, a rising ST segment, and tall T waves, mostly in V4 to V6 and below."""
    size = rng.uniform(0.12, 0.24)
    frontal = limb_amplitudes(direction(rng.uniform(48, 66)) * size * rng.uniform(0.6, 1.0))
    shift = _leads(v2=0.9 * size, v3=1.1 * size, v4=size, v5=0.9 * size, v6=0.7 * size)
    shift[[LEAD_I, LEAD_II]] = frontal
    beat.st_shift = shift
    notch = rng.uniform(0.8, 1.2) * _leads(i=0.5, ii=0.9, v4=1.2, v5=1.2, v6=0.9) * size
    beat.further.append(waves_of([(hump(beat.qrs_duration + 0.004, 0.016), notch)]))
    taller = np.array([1.2, 1.3, 1.0, 1.4, 1.6, 1.7, 1.5, 1.3])
    beat.t_wave = taller * beat.t_wave


def _axis_between(low: float, high: float) -> _Pattern:
    """The heart is turned in the frontal plane, by which the precordial leads change little."""

    def change(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
        amplitude = beat.complex_waves.amplitude.copy()
        area = 0.5 * beat.complex_waves.timing[:, [1, 3]].sum(axis=1) @ amplitude
        now = np.degrees(np.arctan2(*_frontal(area)[::-1]))
        turn = np.radians(rng.uniform(low, high) - now)
        for number in range(len(amplitude)):
            amplitude[number, [LEAD_I, LEAD_II]] = _turned(amplitude[number], turn)
        beat.complex_waves = Waves(beat.complex_waves.timing, amplitude)
        beat.t_wave = beat.t_wave.copy()
        beat.t_wave[[LEAD_I, LEAD_II]] = _turned(beat.t_wave, 0.5 * turn)

    return change


def _frontal(eight: np.ndarray) -> np.ndarray:
    """(2,) left and down, from (8,) leads."""
    return np.array([eight[LEAD_I], (eight[LEAD_II] - 0.5 * eight[LEAD_I]) / np.sqrt(0.75)])


def _turned(eight: np.ndarray, radians: float) -> tuple[float, float]:
    left, down = _frontal(eight)
    cosine, sine = np.cos(radians), np.sin(radians)
    return limb_amplitudes(np.array([cosine * left - sine * down, sine * left + cosine * down]))


def _acute_lateral(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    size = rng.uniform(0.16, 0.34)
    shift = size * _leads(v1=-0.3, v2=-0.3, v3=0.0, v4=0.45, v5=1.0, v6=1.05) * rng.uniform(0.9, 1.2, 8)
    shift[[LEAD_I, LEAD_II]] = limb_amplitudes(direction(rng.uniform(-38, -15)) * size)
    beat.st_shift = shift
    beat.t_wave = beat.t_wave + rng.uniform(0.4, 1.0) * np.maximum(shift, 0.0)


def _acute_posterior(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """What V7 to V9 would show as elevation and Q waves is depression and tall R waves in V1 to V3, upside down."""
    size = rng.uniform(0.13, 0.28)
    beat.st_shift = size * _leads(ii=0.1, v1=-0.8, v2=-1.1, v3=-1.05, v4=-0.4, v5=0.1, v6=0.2)
    deep = -np.minimum(beat.complex_waves.amplitude.sum(axis=0), 0.0)
    taller = _leads(v1=0.45, v2=0.8, v3=0.5) * rng.uniform(0.9, 1.3) + 0.5 * deep * _leads(v1=1, v2=1, v3=1)
    middle = 0.55 * beat.qrs_duration
    beat.further.append(waves_of([((middle, 0.4 * beat.qrs_duration, 0.0, 0.4 * beat.qrs_duration), taller)]))
    beat.t_wave = beat.t_wave + _leads(v1=0.25, v2=0.4, v3=0.35) * rng.uniform(0.7, 1.3)


def _hyperacute(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """The first minutes of an anterior infarction: T waves that are tall, broad, and symmetric, hardly any ST."""
    size = rng.uniform(1.0, 1.5)
    beat.t_wave = beat.t_wave + size * _leads(v1=0.25, v2=0.85, v3=1.0, v4=0.9, v5=0.45, v6=0.15)
    beat.st_shift = beat.st_shift + rng.uniform(-0.06, 0.04) * _leads(v2=1, v3=1, v4=1)
    beat.t_shares = (0.6, 0.4)


def _pericarditis(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Elevation in all leads that face the heart from the left and below, and a PR segment that is lowered in them."""
    size = rng.uniform(0.12, 0.26)
    towards = _leads(v1=-0.15, v2=0.7, v3=0.95, v4=1.0, v5=1.0, v6=0.85)
    towards[[LEAD_I, LEAD_II]] = limb_amplitudes(direction(rng.uniform(42, 62)))
    beat.st_shift = size * towards * rng.uniform(0.95, 1.15, 8)
    depression = -rng.uniform(0.06, 0.11) * towards
    beat.pr_interval = max(beat.pr_interval, 0.155)
    begin = -beat.pr_interval + 0.09
    beat.further.append(waves_of([((begin + 0.02, 0.03, -begin - 0.022, 0.012), depression)]))


def _hyperkalemia(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Tall, narrow, pointed T waves; the higher the potassium, the flatter the P wave and the wider the complex."""
    severity = rng.random()
    tall = rng.uniform(0.95, 1.5) * _leads(i=0.3, ii=0.6, v1=0.2, v2=0.85, v3=1.0, v4=1.0, v5=0.8, v6=0.5)
    beat.t_wave = np.maximum(beat.t_wave, 0.0) * 0.3 + tall
    wider = 1.0 + 0.6 * max(0.0, severity - 0.25)
    timing = beat.complex_waves.timing * wider
    beat.complex_waves = Waves(timing, beat.complex_waves.amplitude)
    beat.qrs_duration *= wider
    beat.t_end += beat.qrs_duration * (1 - 1 / wider)
    beat.t_shares = (0.3, 0.3)
    beat.st_shift = 0.5 * beat.st_shift
    beat.pr_interval += 0.06 * severity
    flat = max(0.0, 1.0 - 1.2 * severity)

    def flatter(anatomy: Anatomy, pr_interval: float, rng: np.random.Generator) -> Waves:
        waves = p_waves(anatomy, pr_interval, rng)
        return Waves(waves.timing, flat * waves.amplitude)

    beat.atria = flatter


def _brugada(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Type 1: V1 and V2 end the complex at least 0.2 mV high, from where the trace falls into a negative T wave."""
    high = rng.uniform(0.26, 0.45) * _leads(v1=rng.uniform(0.85, 1.1), v2=1.1, v3=rng.uniform(0.1, 0.35))
    keep = 1.0 - _leads(v1=1, v2=1)
    beat.st_shift = beat.st_shift * keep
    beat.t_wave = beat.t_wave * keep - rng.uniform(0.2, 0.35) * _leads(v1=1.0, v2=1.0)
    # A straight or arched descent that takes most of the time to the peak of the T wave.
    falls = 0.62 * (beat.t_end - beat.qrs_duration)
    beat.further.append(waves_of([((beat.qrs_duration, 0.045, 0.02, falls), high)]))


def _digitalis(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """An ST segment that sags like a scoop, in the leads with tall R waves, with a short QT and low T waves."""
    size = rng.uniform(0.14, 0.26)
    towards = _leads(v1=-0.3, v2=-0.1, v3=0.4, v4=0.95, v5=1.1, v6=1.0)
    towards[[LEAD_I, LEAD_II]] = limb_amplitudes(direction(rng.uniform(30, 60)))
    beat.t_end = rng.uniform(0.335, 0.365) * np.sqrt(beat.cycle)
    beat.st_shift = -0.35 * size * towards
    lasts = beat.t_end - beat.qrs_duration
    scoop = (hump(beat.qrs_duration + 0.4 * lasts, 0.4 * lasts), -size * towards)
    beat.further.append(waves_of([scoop]))
    beat.t_wave = 0.35 * beat.t_wave
    beat.t_shares = (0.3, 0.25)
    beat.pr_interval = min(beat.pr_interval + 0.02, 0.195)


def _right_atrium(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    beat.atria = tall_p_waves


def _unchanged(beat: _Beat, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """The heart is healthy; the electrodes are not where they belong."""


def _exchange_arms(waves: Waves) -> Waves:
    """Lead I is turned over, and leads II and III (II minus I) change places, as do aVR and aVL."""
    amplitude = waves.amplitude.copy()
    amplitude[:, LEAD_I] = -waves.amplitude[:, LEAD_I]
    amplitude[:, LEAD_II] = waves.amplitude[:, LEAD_II] - waves.amplitude[:, LEAD_I]
    return Waves(waves.timing, amplitude)


PATTERNS: dict[str, _Pattern] = {
    "ventricular_preexcitation": _preexcitation,
    "long_qt": _qt_interval(0.495, 0.57, 1.0),
    "short_qt": _qt_interval(0.295, 0.325, 1.3),
    "early_repolarization": _early_repolarization,
    "left_axis_deviation": _axis_between(-62, -37),
    "right_axis_deviation": _axis_between(105, 135),
    "acute_lateral_infarction": _acute_lateral,
    "acute_posterior_infarction": _acute_posterior,
    "hyperacute_t_waves": _hyperacute,
    "pericarditis": _pericarditis,
    "hyperkalemia": _hyperkalemia,
    "brugada_type_1": _brugada,
    "digitalis_effect": _digitalis,
    "right_atrial_enlargement": _right_atrium,
    "arm_electrodes_exchanged": _unchanged,
}
