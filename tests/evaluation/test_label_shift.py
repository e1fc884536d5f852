# SPDX-License-Identifier: Apache-2.0
"""Probabilities moved to another frequency of findings, from unlabeled records alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

import cgdmer
from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.calibrating import calibrate_model, operating_point
from cgdmer.evaluation.evaluate import evaluate_model
from cgdmer.evaluation.label_shift import calibrate_by_prevalence, moved_point, prevalence
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.statistics import draws_of_patients
from cgdmer.inference.operating_points import OperatingPoints
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import SHIPPED_MODEL


def sample(count, share, seed=0):
    random = np.random.default_rng(seed)
    held = random.random(count) < share
    return random.normal(np.where(held, 1.0, -1.0), 1.0), held


@pytest.fixture(scope="module")
def fitted():
    logits, held = sample(4000, 0.3)
    return operating_point(logits, held, draws_of_patients([str(one) for one in range(4000)], 50, 0), "youden", 0.9)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6])
def test_the_prevalence_is_found_without_labels(fitted, share):
    logits, _ = sample(20_000, share, seed=1)
    assert prevalence(fitted, logits) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_moved_probabilities_hold_and_decisions_stay(fitted, share):
    logits, held = sample(20_000, share, seed=2)
    scores = expit(logits)
    moved = moved_point(fitted, logits)
    before, after = (
        reliability(held[:, None], one.probability(scores)[:, None])["expected_calibration_error"]
        for one in (fitted, moved)
    )
    assert after < 0.01 < before
    assert np.array_equal(fitted.probability(scores) >= fitted.threshold, moved.probability(scores) >= moved.threshold)
    low, high = moved.threshold_interval
    assert low <= moved.threshold <= high
    again = moved_point(moved, logits)  # where it already is, little moves
    assert again.intercept == pytest.approx(moved.intercept, abs=0.1)


def test_findings_that_are_never_there_stay_finite(fitted):
    for count, most in ((200, 0.35), (100_000, 0.001)):  # a few records move little
        moved = moved_point(fitted, np.full(count, -30.0))
        assert np.isfinite([moved.intercept, moved.threshold, moved.prevalence]).all()
        assert moved.prevalence < most * fitted.prevalence + 0.001


def test_scores_that_tell_nothing_leave_the_prevalence_as_it_is():
    """Without the known frequency, many such findings would be said to be absent."""
    random = np.random.default_rng(0)
    held = random.random(500) < 0.05
    draws = draws_of_patients([str(one) for one in range(500)], 50, 0)
    point = operating_point(random.normal(size=500), held, draws, "youden", 0.9)
    found = [prevalence(point, np.random.default_rng(seed).normal(size=200)) for seed in range(40)]
    assert all(0.4 < one / point.prevalence < 2 for one in found)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two prepared datasets of simulated patients; in the second, atrial fibrillation is four times as frequent."""
    root = tmp_path_factory.mktemp("places")
    cohort = list(cgdmer.simulate_cohort(400, seed=91, sampling_rate=100))
    half = len(cohort) // 2
    write_dataset(cohort[:half], root / "here", splits=lambda _: "validation", description="Here.")
    often = [one for one in cohort[half:] for _ in range(4 if "atrial_fibrillation" in one.labels else 1)]
    often = [replace(one, record_id=f"r{number}", patient_id=f"p{number}") for number, one in enumerate(often)]
    write_dataset(often, root / "there", splits=lambda _: "test", description="There.")
    calibrate_model(None, root / "calibrated", root / "here")
    return root


def test_a_folder_is_moved(places, capsys):
    command = ["calibrate", str(places / "calibrated"), str(places / "moved"), "--dataset", str(places / "there")]
    assert main([*command, "--splits", "test", "--by_prevalence", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "moved to the prevalence elsewhere" in answer["rule"]
    held = ["atrial_fibrillation" in labels for labels in load_dataset_folder(places / "there")["test"]["labels"]]
    name = "atrial fibrillation"
    before, after = (OperatingPoints.of_model(places / one).of_finding[name] for one in ("calibrated", "moved"))
    assert after.prevalence > 2 * before.prevalence and after.prevalence == pytest.approx(np.mean(held), abs=0.05)
    errors = []
    for one in ("calibrated", "moved"):
        arguments = EvaluationArguments(
            str(places / one),
            str(places / "there"),
            ["labels"],
            labels=["atrial_fibrillation"],
            skip_linear_probe=True,
            cache_dir=str(places / "embeddings"),  # both have the same weights
        )
        (row,) = evaluate_model(arguments)["labels"]["operating_points"].values()
        errors.append(row["brier"])
    assert errors[1] < errors[0] + 0.002


def test_what_is_refused(places, tmp_path):
    with pytest.raises(ConfigurationError, match="was not calibrated"):
        calibrate_by_prevalence(SHIPPED_MODEL, tmp_path / "out", places / "there", splits=["test"])
    few = tmp_path / "few"
    cohort = cgdmer.simulate_cohort(5, seed=3, sampling_rate=100)
    write_dataset(cohort, few, splits=lambda _: "validation", description="Few.")
    with pytest.raises(CorpusError, match="at least 100"):
        calibrate_by_prevalence(places / "calibrated", tmp_path / "out", few)
    assert not (tmp_path / "out").exists()
