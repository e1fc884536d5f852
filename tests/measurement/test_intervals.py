# SPDX-License-Identifier: Apache-2.0
"""Intervals and axis against what simulated hearts have, and against what cardiologists said of real ones."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cgdmer
from cgdmer import read_wfdb
from cgdmer.commands import main
from cgdmer.measurement.contradictions import contradictions
from cgdmer.measurement.heart_rate import HeartRate
from cgdmer.measurement.intervals import Intervals, measure_intervals
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation import cohort
from recordings import write_wfdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "simulation"))
from ecg_measurements import measure
from told import simulate_told

CONDITIONS = ("sinus_rhythm", "sinus_tachycardia", "sinus_bradycardia", "left_bundle_branch_block")
CONDITIONS += ("right_bundle_branch_block", "first_degree_av_block", "left_anterior_fascicular_block")
CONDITIONS += ("old_infarction", "low_voltage", "premature_ventricular_beats")


@pytest.mark.parametrize("sampling_rate", [500, 250])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_intervals_are_those_of_the_simulated_heart(condition, sampling_rate):
    for seed in (20, 21, 22):  # others than those that limits were chosen on
        record, told = simulate_told(condition, seed, sampling_rate)
        calipers = measure(cohort.simulate_record([condition], seed=seed, noise=False).signal, 500)
        found = measure_intervals(record)
        assert -0.025 < found.qrs_duration - told["qrs_duration"] < 0.015
        assert found.pr_interval == pytest.approx(told["pr_interval"], abs=0.03)
        assert found.qt_interval == pytest.approx(told["qt_interval"], abs=0.04)
        assert abs((found.axis - calipers.axis + 180) % 360 - 180) < 20
        rr = float(np.median(calipers.rr))
        assert found.qtc_interval == pytest.approx(found.qt_interval / rr ** (1 / 3), rel=0.03)


def test_where_the_trace_never_rests_there_are_no_intervals():
    found = [measure_intervals(cgdmer.simulate_record(["ventricular_tachycardia"], seed=seed)) for seed in range(15)]
    assert (
        np.mean([one is None or one.qrs_duration > 0.12 for one in found]) > 0.8
    )  # two of fifteen are still read too short
    assert sum(one is None for one in found) > 7


def test_without_p_waves_there_is_no_pr_interval():
    found = [measure_intervals(cgdmer.simulate_record(["atrial_fibrillation"], seed=seed)) for seed in range(10)]
    assert sum(one.pr_interval is None for one in found) >= 9
    assert all(0.06 < one.qrs_duration < 0.13 for one in found)


def test_intervals_do_not_depend_on_how_leads_are_given():
    record = cgdmer.simulate_record(["sinus_rhythm"], seed=4)
    expected = measure_intervals(record)
    others = {
        "in another order": replace(record, signal=record.signal[::-1], lead_names=STANDARD_LEADS[::-1]),
        "offsets": replace(record, signal=record.signal + np.arange(12, dtype=np.float32)[:, None]),
        "twice as high": replace(record, signal=2 * record.signal),
        "a longer recording": replace(record, signal=np.tile(record.signal, 8)),
    }
    for name, other in others.items():
        found = measure_intervals(other)
        for interval in ("pr_interval", "qrs_duration", "qt_interval"):
            assert getattr(found, interval) == pytest.approx(getattr(expected, interval), abs=0.012), name
        assert found.axis == pytest.approx(expected.axis, abs=4), name
    without_limbs = replace(record, signal=record.signal[6:], lead_names=record.lead_names[6:])
    assert measure_intervals(without_limbs).axis is None
    inverted = measure_intervals(replace(record, signal=-record.signal))
    assert (inverted.axis - expected.axis) % 360 == pytest.approx(180, abs=4)


def test_what_cannot_be_measured_is_not():
    record = cgdmer.simulate_record(["sinus_rhythm"], seed=4)
    assert measure_intervals(replace(record, signal=np.zeros_like(record.signal))) is None
    assert measure_intervals(replace(record, signal=record.signal[:, :1200])) is None
    assert measure_intervals(replace(record, signal=record.signal[:, ::5], sampling_rate=100)) is None
    noise = np.random.default_rng(0).normal(0, 0.3, record.signal.shape)
    found = measure_intervals(replace(record, signal=noise))
    assert found is None or found.pr_interval is None


def test_intervals_tell_what_cardiologists_said(real_data):
    """On 500 Hz recordings: wide complexes, long PR, left axis."""
    folder = real_data / "ptb-xl-subset"
    table = pd.read_csv(folder / "ptbxl_database.csv").set_index("ecg_id")
    codes = table["scp_codes"].map(lambda text: set(ast.literal_eval(text)))
    there = [number for number in table.index if (folder / f"{table.filename_hr[number]}.hea").is_file()]
    medians = {}
    for name, wanted in {"block": {"CLBBB", "CRBBB"}, "slow": {"1AVB"}, "left": {"LAFB"}, "normal": {"NORM"}}.items():
        chosen = [number for number in there if codes[number] & wanted][:12]
        found = [measure_intervals(read_wfdb(folder / table.filename_hr[number])) for number in chosen]
        frame = pd.DataFrame([one.as_json() for one in found if one is not None])
        medians[name] = frame.median(numeric_only=True)
        assert len(frame) > 5
    assert medians["block"].qrs_duration > 0.12 > 0.1 > medians["normal"].qrs_duration > 0.06
    assert medians["slow"].pr_interval > 0.2 > medians["normal"].pr_interval > 0.12
    assert medians["left"].axis < -30 < 0 < medians["normal"].axis < 90
    assert 0.34 < medians["normal"].qtc_interval < 0.44


@pytest.mark.parametrize(
    ("finding", "score", "intervals", "said"),
    [
        ("first degree AV block", 0.1, {"pr_interval": 0.28}, "PR is 280 ms"),
        ("first degree AV block", 0.9, {"pr_interval": 0.15}, "PR is 150 ms"),
        ("first degree AV block", 0.9, {"pr_interval": 0.21}, ""),
        ("first degree AV block", 0.9, {"pr_interval": None}, ""),
        ("complete left bundle branch block", 0.9, {"qrs_duration": 0.08}, "QRS is 80 ms"),
        ("complete left bundle branch block", 0.1, {"qrs_duration": 0.16}, ""),  # it may be another block
    ],
)
def test_a_score_that_an_interval_does_not_fit_is_pointed_out(finding, score, intervals, said):
    nothing = dict.fromkeys(("pr_interval", "qrs_duration", "qt_interval", "qtc_interval", "axis"))
    measured = Intervals(beats=10, **{**nothing, **intervals})
    row = {"label": "it", "finding": finding, "negated": False, "score": score}
    rate = HeartRate(10, 70.0, 70.0, 70.0, 0.0)
    found = contradictions([row], rate, measured)
    assert len(found) == bool(said) and all(said in one for one in found)
    assert contradictions([row], rate) == []


def test_classify_shows_them(tmp_path, capsys):
    write_wfdb(cgdmer.simulate_record(["first_degree_av_block"], seed=2), tmp_path / "record")
    command = ["classify", str(tmp_path / "record"), "--labels", "first-degree AV block"]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["measured"]["intervals"]["pr_interval"] > 0.2
    assert main(command) == 0
    line = next(one for one in capsys.readouterr().out.splitlines() if one.startswith("Measured on the signal"))
    assert "; PR " in line and "QTc" in line and line.endswith(" beats).")
