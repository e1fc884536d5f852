# SPDX-License-Identifier: Apache-2.0
"""Rhythms that do not come from the sinus node, or do not reach the ventricles: tachycardias, blocks, escapes, pacing.

Each is a list of waves with the times at which they begin. The criteria are those of the usual textbooks: a
ventricular rhythm has wide complexes and no P waves of its own; in complete block, P waves and complexes each keep
their own time; in second-degree block of the first type, the PR interval grows until a beat is dropped, and in the
second type it stays.
"""

from collections.abc import Callable

import numpy as np

from cgdmer.simulation.atria import p_waves, retrograde_p_waves
from cgdmer.simulation.ventricles import paced_waves, ventricular_ectopic_waves, ventricular_waves
from cgdmer.simulation.waveforms import Anatomy, Beats, direction, hump, regular_times, waves_of

_Rhythm = Callable[[Anatomy, float, np.random.Generator], tuple[Beats, float]]  # and ventricular beats per minute


def arrhythmia(name: str, anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    """The beats of a record with this rhythm, and ventricular beats per minute."""
    return RHYTHMS[name](anatomy, duration, rng)


def _ventricular(low: float, high: float, with_atria: bool) -> _Rhythm:
    def rhythm(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
        rate = rng.uniform(low, high)
        beats = [(ventricular_ectopic_waves(anatomy, rate, rng), regular_times(60 / rate, duration, rng, 0.01))]
        if with_atria and rng.random() < 0.6:  # the sinus node goes on by itself
            beats.append((p_waves(anatomy, 0.0, rng), regular_times(60 / rng.uniform(60, 100), duration, rng)))
        return beats, rate

    return rhythm


def _from_the_node(low: float, high: float) -> _Rhythm:
    """Narrow complexes from the AV node, which drives the atria backward: before, within, or after the complex."""

    def rhythm(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
        rate = rng.uniform(low, high)
        times = regular_times(60 / rate, duration, rng)
        beats = [(ventricular_waves((), anatomy, rate, rng)[0], times)]
        place = rng.choice(["hidden", "after", "before"] if high < 100 else ["hidden", "after"])
        if place != "hidden":
            begins = -rng.uniform(0.09, 0.11) if place == "before" else rng.uniform(0.1, 0.13)
            beats.append((retrograde_p_waves(anatomy, rng), times + begins))
        return beats, rate

    return rhythm


def _second_degree(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    first_type = rng.random() < 0.5
    atrial = rng.uniform(62, 88 if first_type else 96)
    times = regular_times(60 / atrial, duration, rng)
    group = int(rng.integers(3, 6) if first_type else rng.choice([2, 3, 4]))  # P waves, of which the last is blocked
    place = (np.arange(len(times)) + int(rng.integers(group))) % group
    pr_interval = rng.uniform(0.16, 0.2)
    delay = pr_interval * np.ones(len(times))
    if first_type:
        growth = np.concatenate([[0.0], np.cumsum(rng.uniform(0.05, 0.08) * 0.7 ** np.arange(group - 1))])
        delay = pr_interval + growth[place]
    conducted = place < group - 1
    rate = atrial * (group - 1) / group
    onsets = times[conducted] + delay[conducted]
    # The T wave has to end before the next P wave.
    return [(p_waves(anatomy, 0.0, rng), times), (ventricular_waves((), anatomy, atrial, rng)[0], onsets)], rate


def _complete_block(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    narrow = rng.random() < 0.5
    rate = rng.uniform(40, 52) if narrow else rng.uniform(30, 42)
    waves = ventricular_waves((), anatomy, rate, rng)[0] if narrow else ventricular_ectopic_waves(anatomy, rate, rng)
    atria = p_waves(anatomy, 0.0, rng), regular_times(60 / rng.uniform(72, 105), duration, rng)
    return [atria, (waves, regular_times(60 / rate, duration, rng))], rate


def _paced(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    rate = float(rng.choice([60, 65, 70, 75, 80]))
    return [(paced_waves(anatomy, rate, rng), regular_times(60 / rate, duration, rng, 0.0))], rate


def _every_nth_premature(group: int) -> _Rhythm:
    """The last of so many beats is a ventricular one, with a full pause after it."""

    def rhythm(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
        rate = rng.uniform(62, 90)
        interval = 60 / rate
        first = regular_times(group * interval, duration, rng, 0.01)
        waves, t_end = ventricular_waves((), anatomy, rate, rng)
        coupling = min(max(rng.uniform(0.56, 0.68) * interval, t_end + 0.02), 0.8 * interval)
        pr_interval = 0.13 + 0.06 * anatomy.pr_interval
        sinus = np.concatenate([first + number * interval for number in range(group - 1)])
        beats = [(p_waves(anatomy, pr_interval, rng), sinus), (waves, sinus)]
        early = first + (group - 2) * interval + coupling
        return [*beats, (ventricular_ectopic_waves(anatomy, rate, rng), early)], rate

    return rhythm


def _atrial_pacing(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    """A spike before each P wave, after which conduction is the heart's own."""
    rate = float(rng.choice([60, 65, 70, 75, 80]))
    times, pr_interval = regular_times(60 / rate, duration, rng, 0.0), rng.uniform(0.16, 0.21)
    spike = rng.uniform(0.2, 0.8) * np.array([*direction(rng.uniform(30, 80)), rng.uniform(-0.4, 0.4)])
    waves = waves_of([(hump(-pr_interval - 0.004, 0.003), spike @ anatomy.lead_vectors)])
    waves += p_waves(anatomy, pr_interval, rng)
    return [(waves + ventricular_waves((), anatomy, rate, rng)[0], times)], rate


def _rapid_sinus(anatomy: Anatomy, duration: float, rng: np.random.Generator) -> tuple[Beats, float]:
    """The P wave begins as the T wave before it ends."""
    rate = rng.uniform(132, 180)
    pr_interval = rng.uniform(0.112, 0.125)
    waves = ventricular_waves((), anatomy, rate, rng)[0] + p_waves(anatomy, pr_interval, rng)
    return [(waves, regular_times(60 / rate, duration, rng, 0.006))], rate


RHYTHMS: dict[str, _Rhythm] = {
    "ventricular_tachycardia": _ventricular(135, 205, with_atria=True),
    "idioventricular_rhythm": _ventricular(45, 95, with_atria=False),
    "supraventricular_tachycardia": _from_the_node(150, 205),
    "junctional_rhythm": _from_the_node(42, 60),
    "second_degree_av_block": _second_degree,
    "complete_av_block": _complete_block,
    "ventricular_pacing": _paced,
    "ventricular_bigeminy": _every_nth_premature(2),
    "ventricular_trigeminy": _every_nth_premature(3),
    "atrial_pacing": _atrial_pacing,
    "rapid_sinus_tachycardia": _rapid_sinus,
}
