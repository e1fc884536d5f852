# SPDX-License-Identifier: Apache-2.0
"""Operating points: against naive references, on simulated patients of another mix, and in the answers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from scipy.special import expit, logit

import cgdmer
from cgdmer.commands import main
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.calibrating import (
    FEWEST,
    calibrate_model,
    choose_threshold,
    common_slope,
    operating_point,
    platt_scaling_with_prior,
)
from cgdmer.evaluation.evaluate import evaluate_model
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.statistics import draws_of_patients
from cgdmer.hub.staging import stage_model
from cgdmer.inference.operating_points import FILE_NAME, OperatingPoints
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.errors import ConfigurationError, CorpusError, ModelFolderError
from recordings import write_wfdb

AF = "atrial fibrillation"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Simulated patients, about 200 records to calibrate on and as many to test."""
    folder = tmp_path_factory.mktemp("cohort") / "ecgs"
    cohort = cgdmer.simulate_cohort(280, seed=77, sampling_rate=100)
    parts = ("validation", "test", "validation", "test", "train")
    write_dataset(cohort, folder, splits=lambda record: parts[record.fold % 5], description="Another place.")
    return folder


@pytest.fixture(scope="module")
def calibrated(dataset, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("models") / "calibrated"
    return folder, calibrate_model(None, folder, dataset)


def sample(count, seed=0, prevalence=0.3):
    random = np.random.default_rng(seed)
    held = random.random(count) < prevalence
    return random.normal(np.where(held, 1.0, -1.0), 1.2), held


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "specificity"])
@pytest.mark.parametrize("ties", [False, True])
def test_a_threshold_is_the_best_of_all(rule, ties):
    logits, held = sample(60, seed=3)
    values = np.round(expit(logits), 1) if ties else expit(logits)
    counts = np.random.default_rng(1).integers(0, 3, 60)

    def rates(threshold):
        positive = values >= threshold
        return (
            (counts * positive)[held].sum() / counts[held].sum(),
            1 - (counts * positive)[~held].sum() / counts[~held].sum(),
        )

    chosen = rates(choose_threshold(values, held, counts, rule, 0.8))
    every = [rates(one) for one in np.unique(values)]
    if rule == "youden":
        assert sum(chosen) == pytest.approx(max(map(sum, every)))
    elif rule == "sensitivity":
        assert chosen[0] >= 0.8
        assert chosen[1] == pytest.approx(max(specificity for sensitivity, specificity in every if sensitivity >= 0.8))
    else:
        assert chosen[1] >= 0.8
        assert chosen[0] == pytest.approx(max(sensitivity for sensitivity, specificity in every if specificity >= 0.8))


def test_no_threshold_may_be_specific_enough():
    values, held = np.array([0.9, 0.5, 0.4, 0.1]), np.array([False, True, True, False])
    threshold = choose_threshold(values, held, np.ones(4), "specificity", 0.9)
    assert threshold > 0.9


def test_the_curve_is_that_of_scikit_learn_where_the_prior_is_outweighed():
    from sklearn.linear_model import LogisticRegression

    logits, held = sample(40_000)
    slope, intercept = platt_scaling_with_prior(logits, held)
    reference = LogisticRegression(C=np.inf).fit(logits[:, None], held)
    assert slope == pytest.approx(reference.coef_[0, 0], abs=0.01)
    assert intercept == pytest.approx(reference.intercept_[0], abs=0.01)
    few = platt_scaling_with_prior(np.array([-1.0, 1.0]), np.array([False, True]))
    assert 1 < few[0] < 2  # without a prior, infinite


def test_scores_on_another_scale_are_calibrated_as_well():
    """A strongly regularized probe has logits that are ten times too small; few positives alone do not show it."""
    logits, held = (
        np.stack(columns, axis=1) for columns in zip(*(sample(400, seed=seed) for seed in range(8)), strict=True)
    )
    usual = common_slope(logits, held)
    assert common_slope(logits / 10, held) == pytest.approx(10 * usual, rel=0.15)
    few = slice(0, 60)
    for column in range(3):
        whole = np.array(platt_scaling_with_prior(logits[few, column], held[few, column], usual))
        small = np.array(platt_scaling_with_prior(logits[few, column] / 10, held[few, column], 10 * usual))
        assert small / [10, 1] == pytest.approx(whole, abs=1e-3)


def test_intervals_cover_what_comes_next():
    """Sensitivity and specificity are those of other patients, not of the ones that the threshold was chosen on."""
    covered = []
    for seed in range(30):
        logits, held = sample(150, seed=seed)
        draws = draws_of_patients([str(number) for number in range(150)], 200, seed)
        point = operating_point(logits, held, draws, "youden", 0.9)
        others, with_it = sample(20_000, seed=1000 + seed)
        positive = point.probability(expit(others)) >= point.threshold
        assert point.sensitivity == pytest.approx(positive[with_it].mean(), abs=0.25)
        low, high = point.sensitivity_interval
        covered.append(low <= positive[with_it].mean() <= high)
    assert np.mean(covered) >= 0.85


def test_probabilities_hold_on_other_patients(dataset, calibrated):
    folder, answer = calibrated
    assert answer["records"] >= 100 and AF in answer["findings"] and "arrhythmia" in answer["findings"]
    scorer, plain = load_scorer(folder), load_scorer()
    rows = DatasetRecords(load_dataset_folder(dataset)["test"])
    names = {AF: "atrial_fibrillation", "sinus bradycardia": "sinus_bradycardia"}
    held = np.array([[label in row["labels"] for label in names.values()] for row in rows.rows])
    errors = []
    for one in (plain, scorer):
        answers = [{row["label"]: row for row in one(record, list(names))} for record in rows]
        scores = np.array([[found[name]["score"] for name in names] for found in answers])
        errors.append(reliability(held, scores)["expected_calibration_error"])
    assert errors[1] <= 0.05 and errors[1] < errors[0]
    positive = np.array([[found[name]["positive"] for name in names] for found in answers])
    assert positive[held].mean() > 0.85 and positive[~held].mean() < 0.1


def test_answers_say_positive_or_negative(calibrated, tmp_path, capsys):
    folder, answer = calibrated
    write_wfdb(cgdmer.simulate_record(["atrial_fibrillation"], seed=5), tmp_path / "recordings" / "one")
    record, model = str(tmp_path / "recordings" / "one"), str(folder)
    labels = [AF, "kein Vorhofflimmern", "posterior infarction", "broken leg"]
    assert main(["classify", record, "--model", model, "--labels", *labels, "--json"]) == 0
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)["scores"]}
    point = answer["findings"][AF]
    assert rows[AF]["positive"] is True and rows[AF]["threshold"] == point.threshold
    assert rows["kein Vorhofflimmern"]["positive"] is False
    assert rows["kein Vorhofflimmern"]["score"] == pytest.approx(1 - rows[AF]["score"], abs=1e-6)
    raw = {row["label"]: row["score"] for row in load_scorer()(cgdmer.read_record(record), [AF])}[AF]
    assert rows[AF]["score"] == pytest.approx(expit(point.slope * logit(raw) + point.intercept), abs=1e-5)
    assert rows["posterior infarction"]["positive"] is None and rows["broken leg"]["score"] is None
    table = tmp_path / "scores.parquet"
    assert main(["score", str(tmp_path / "recordings"), str(table), "--model", model, "--labels", *labels]) == 0
    (row,) = pyarrow.parquet.read_table(table).to_pylist()
    assert row[AF] == pytest.approx(rows[AF]["score"], abs=1e-5)
    assert row[f"{AF}: positive"] is True and row["kein Vorhofflimmern: positive"] is False
    assert "posterior infarction: positive" not in row
    assert main(["classify", record, "--model", model, "--labels", AF, "posterior infarction"]) == 0
    shown = capsys.readouterr().out
    assert "(positive, threshold " in shown and "posterior infarction  (not calibrated" in shown


def test_the_command_shows_what_it_chose(dataset, tmp_path, capsys):
    arguments = ["calibrate", "cgdmer-tiny-ptbxl", str(tmp_path / "out"), "--dataset", str(dataset)]
    arguments += ["--labels", "atrial_fibrillation", "old_infarction", "--rule", "sensitivity", "--level", "0.95"]
    assert main([*arguments, "--splits", "validation", "test"]) == 0
    shown = capsys.readouterr().out
    assert AF in shown and "sensitivity" in shown and "Not a medical device" in shown
    saved = OperatingPoints.of_model(tmp_path / "out")
    assert saved.rule == "sensitivity at least 0.95" and saved.dataset == "Another place."
    assert set(saved.of_finding) == {AF, "myocardial infarction"}
    assert all(point.positives >= FEWEST for point in saved.of_finding.values())


def test_a_push_takes_both_files_along(calibrated, tmp_path):
    stage_model(calibrated[0], tmp_path)
    assert OperatingPoints.of_model(tmp_path) == OperatingPoints.of_model(calibrated[0]) is not None
    assert load_scorer(tmp_path).pipeline.processor.findings is not None


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"rule": "best"}, ConfigurationError, "expected one of youden"),
        ({"level": 1.0}, ConfigurationError, "between 0 and 1"),
        ({"labels": ["nothing"]}, ConfigurationError, "no record of the dataset has the label 'nothing'"),
        ({"splits": ["none"]}, ConfigurationError, "has no split 'none'"),
        ({"model": "someone/elsewhere"}, ConfigurationError, "is not a folder"),
        ({"output_dir": "."}, CorpusError, "exists"),
    ],
)
def test_what_is_refused(dataset, tmp_path, options, error, says):
    arguments = {"model": None, "output_dir": tmp_path / "out", "dataset": dataset} | options
    with pytest.raises(error, match=says):
        calibrate_model(**arguments)
    assert not (tmp_path / "out").exists()


def test_training_records_are_refused(dataset, calibrated, tmp_path):
    trained = tmp_path / "trained"
    shutil.copytree(calibrated[0], trained)
    Fingerprints.of(load_dataset_folder(dataset)["validation"].select([3])).save(trained)
    with pytest.raises(CorpusError, match="trained on 1 of these records"):
        calibrate_model(trained, tmp_path / "out", dataset)


@pytest.mark.parametrize("damage", ["", "{}", '{"findings": {"a": {}}, "rule": "", "dataset": ""}', "[1]"])
def test_damaged_points_are_refused(tmp_path, damage):
    (tmp_path / FILE_NAME).write_text(damage)
    with pytest.raises(ModelFolderError, match=r"operating_points\.json"):
        OperatingPoints.of_model(tmp_path)


def test_evaluate_says_what_the_thresholds_are_worth_elsewhere(dataset, calibrated, tmp_path):
    arguments = EvaluationArguments(
        *(str(calibrated[0]), str(dataset), ["labels"]), skip_linear_probe=True, output_dir=str(tmp_path)
    )
    (results,) = evaluate_model(arguments).values()
    points = OperatingPoints.of_model(calibrated[0]).of_finding
    assert results["operating_points"] and results["coverage"] and results["decisions"]
    for row in results["operating_points"].values():
        assert row["threshold"] == points[row["finding"]].threshold
    rows = results["operating_points"].values()
    # The same kind of patients: about as good as promised, and better calibrated than before.
    for rate in ("sensitivity", "specificity"):
        assert np.mean([row[rate] - row["promised"][rate] for row in rows]) == pytest.approx(0, abs=0.1)
    assert np.mean([row["brier"] - row["uncalibrated"]["brier"] for row in rows]) < 0
    report = next(tmp_path.rglob("report.md")).read_text()
    for heading in ("Thresholds that were chosen elsewhere", "Decisions", "Coverage"):
        assert f"## {heading}" in report
    assert list(tmp_path.rglob("coverage.png"))
