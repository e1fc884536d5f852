# SPDX-License-Identifier: Apache-2.0
"""The patterns of the simulator, read from the clean trace by the criteria of docs/guides/simulator.md."""

from dataclasses import dataclass
from functools import cache

import ecg_measurements as calipers
import numpy as np
import pytest

from cgdmer.simulation import patterns
from cgdmer.simulation.cohort import simulate_record
from cgdmer.simulation.conditions import PATTERNS

RATE, SEEDS = 500, range(15)
BEFORE = round(0.3 * RATE)


@dataclass
class Beat:
    """The average beat, by lead, in millivolts above the line between T and P; times from its steepest sample on."""

    leads: dict[str, np.ndarray]
    onset: int  # samples, of the QRS complex
    j_point: int
    t_peak: int
    t_end: int
    rr: float

    def at(self, sample: float, *leads: str) -> np.ndarray:
        return np.array([self.leads[lead][round(sample)] for lead in leads])

    def st(self, *leads: str, seconds: float = 0.03) -> np.ndarray:
        return self.at(self.j_point + seconds * RATE, *leads)

    def t(self, *leads: str) -> np.ndarray:
        """The largest deflection between 0.1 s after the J point and the end of the T wave."""
        parts = [self.leads[lead][self.j_point + round(0.1 * RATE) : self.t_end] for lead in leads]
        return np.array([part[np.argmax(np.abs(part))] for part in parts])

    def p(self, *leads: str) -> np.ndarray:
        return np.array([self.leads[lead][self.onset - round(0.19 * RATE) : self.onset].max() for lead in leads])

    def r(self, *leads: str) -> np.ndarray:
        return np.array([self.leads[lead][self.onset : self.j_point].max() for lead in leads])

    def s(self, *leads: str) -> np.ndarray:
        return np.array([-self.leads[lead][self.onset : self.j_point].min() for lead in leads])

    @property
    def qrs(self) -> float:
        return (self.j_point - self.onset) / RATE

    @property
    def corrected_qt(self) -> float:
        return (self.t_end - self.onset) / RATE / np.sqrt(self.rr)

    @property
    def axis(self) -> float:
        area = {lead: self.leads[lead][self.onset : self.j_point].sum() for lead in ("I", "aVF")}
        return float(np.degrees(np.arctan2(area["aVF"] * 2 / np.sqrt(3), area["I"])))

    def t_width(self, lead: str) -> float:
        """Seconds above half of the height."""
        after = self.leads[lead][self.j_point + round(0.04 * RATE) :]
        return float((after > 0.5 * after.max()).sum() / RATE)


def average(name: str, seed: int) -> Beat:
    signal = simulate_record([name], seed=seed, noise=False, sampling_rate=RATE).signal.astype(float)
    eight = signal[calipers.INDEPENDENT]
    speed = calipers._velocity(eight, RATE)
    # The steepest sample of each complex: the rates are below 90, so within 0.45 s there is one.
    centers = calipers.steepest(speed, 0.5, 0.45 * RATE)
    centers = [c for c in centers if BEFORE + 50 < c < signal.shape[1] - 0.75 * RATE]
    rr = float(np.median(np.diff(centers)) / RATE)
    length = round((min(rr, 0.9) - 0.2) * RATE)
    beats = np.median(np.stack([signal[:, c - BEFORE : c + length] for c in centers]), axis=0)
    beats = beats - beats[:, BEFORE - round(0.27 * RATE) : BEFORE - round(0.25 * RATE)].mean(axis=1, keepdims=True)
    speed = calipers._velocity(beats[calipers.INDEPENDENT], RATE)
    level = 0.07 * speed.max()
    onset = calipers._quiet_edge(speed, BEFORE, -1, level, 7)
    j_point = calipers._quiet_edge(speed, BEFORE, 1, level, 9)
    size = np.linalg.norm(beats[calipers.INDEPENDENT], axis=0)
    late = j_point + round(0.08 * RATE)
    t_peak = late + int(np.argmax(size[late:]))
    beyond = np.flatnonzero(size[t_peak:] < 0.06 * size[t_peak])
    t_end = t_peak + int(beyond[0]) if len(beyond) else len(size) - 1
    return Beat(dict(zip(calipers.LEADS, beats, strict=True)), onset, j_point, t_peak, t_end, rr)


@cache
def averages(name: str) -> list[Beat]:
    return [average(name, seed) for seed in SEEDS]


def ventricular_preexcitation(beat):
    """Short from P to QRS, and a QRS complex that starts slowly and lasts."""
    size = np.linalg.norm([beat.leads[lead] for lead in ("I", "II", "V1", "V2", "V5", "V6")], axis=0)
    begins = int(np.flatnonzero(size > 0.03)[0])
    steep = beat.onset + int(np.argmax(np.abs(np.diff(size[beat.onset : beat.j_point]))))
    return beat.qrs >= 0.11 and (beat.onset - begins) / RATE < 0.12 and (steep - beat.onset) / RATE > 0.05


def long_qt(beat):
    return beat.corrected_qt > 0.48 and beat.qrs < 0.115  # a wide complex lengthens it by itself


def short_qt(beat):
    return beat.corrected_qt < 0.34 and beat.t("V3")[0] > 0.25


def early_repolarization(beat):
    """A J wave or J point of 0.1 mV in two neighbors of the lower or left leads, without PR depression."""
    raised = (beat.st("V4", "V5", seconds=0.0) >= 0.1).all() and (beat.t("V4", "V5") > 0.3).all()
    return raised and not pericarditis(beat) and beat.st("III")[0] > -0.1 and beat.t_width("V4") < 0.19


def left_axis_deviation(beat):
    return -90 < beat.axis < -30


def right_axis_deviation(beat):
    return 90 < beat.axis <= 180 and beat.p("I")[0] > 0.02


def acute_lateral_infarction(beat):
    return (beat.st("I", "aVL", "V5", "V6") >= 0.1).all() and beat.st("III")[0] < -0.05


def acute_posterior_infarction(beat):
    depressed = (beat.st("V1", "V2", "V3") <= -0.05).all() and (beat.t("V2", "V3") > 0.2).all()
    return depressed and (beat.r("V2") > beat.s("V2"))[0]


def hyperacute_t_waves(beat):
    tall, flat = (beat.t("V2", "V3", "V4") > 0.75).all(), (beat.st("V2", "V3", seconds=0.0) < 0.15).all()
    return tall and flat and beat.t_width("V3") > 0.11


def pericarditis(beat):
    """Elevation in most leads, none of its mirror image but in aVR and V1, and a lowered PR segment."""
    raised = (beat.st("I", "II", "V3", "V4", "V5", "V6") >= 0.07).all() and beat.st("aVR")[0] < -0.05
    return raised and (beat.at(beat.onset - 6, "II", "V5") < -0.025).all()


def hyperkalemia(beat):
    return (beat.t("V3", "V4") > 0.75).all() and beat.t_width("V3") < 0.11 and beat.corrected_qt > 0.34


def brugada_type_1(beat):
    """High at the J point, then falling without a peak to a negative T wave."""
    falls = all(beat.st(lead, seconds=0.08) < beat.st(lead, seconds=0.02) for lead in ("V1", "V2"))
    return (
        (beat.st("V1", "V2", seconds=0.02) >= 0.2).all() and falls and (beat.leads["V1"][beat.t_peak :].min() < -0.05)
    )


def digitalis_effect(beat):
    """The lowest place is within the ST segment, which is rounded."""
    lowest = [np.argmin(beat.leads[lead][beat.j_point : beat.t_end]) / RATE for lead in ("V5", "V6")]
    sags = [beat.leads[lead][beat.j_point : beat.t_end].min() < -0.1 for lead in ("V5", "V6")]
    return all(sags) and all(0.03 < place < 0.16 for place in lowest) and beat.corrected_qt < 0.38


def right_atrial_enlargement(beat):
    return beat.p("II")[0] >= 0.25


def arm_electrodes_exchanged(beat):
    """P, QRS, and T are negative in lead I while V6 is as usual."""
    lead = beat.leads["I"]
    return lead[: beat.onset].min() < -0.02 and beat.s("I") > beat.r("I") and beat.t("I") < 0 < beat.t("V6")


READ = {name: globals()[name] for name in PATTERNS}


@pytest.mark.parametrize("name", list(READ))
def test_a_pattern_is_seen_only_in_its_own_records(name):
    seen = {
        other: np.mean([bool(READ[name](beat)) for beat in averages(other)])
        for other in ("sinus_rhythm", "anterior_st_elevation", "inferior_st_elevation", *READ)
    }
    assert seen.pop(name) >= 0.9
    assert max(seen.values()) <= 0.1, {other: share for other, share in seen.items() if share}


def test_exchanged_arms_are_the_same_heart_in_other_leads(monkeypatch):
    exchanged = simulate_record(["arm_electrodes_exchanged"], seed=2, noise=False).signal
    monkeypatch.setattr(patterns, "_exchange_arms", lambda waves: waves)
    usual = dict(
        zip(calipers.LEADS, simulate_record(["arm_electrodes_exchanged"], seed=2, noise=False).signal, strict=True)
    )
    breath = 0.06 * np.ptp(exchanged)  # each lead swells with the breath to its own degree
    places = {"I": -usual["I"], "II": usual["III"], "III": usual["II"], "aVR": usual["aVL"], "aVL": usual["aVR"]}
    for lead, expected in {**usual, **places}.items():
        assert np.allclose(exchanged[calipers.LEADS.index(lead)], expected, atol=breath), lead
