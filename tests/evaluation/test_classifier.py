# SPDX-License-Identifier: Apache-2.0
"""`cgdmer evaluate` of a fine-tuned classifier: its own scores, on the labels of the dataset that are its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, roc_auc_score
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from cgdmer import EvaluationArguments, FinetuningArguments, evaluate_model, finetune_model
from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.simulation.cohort import simulate_cohort
from small_families import small_config, write_classifier, write_small_preset

LABELS = ["sinus_rhythm", "atrial_fibrillation", "left_bundle_branch_block"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "ecgs"
    cohort = simulate_cohort(150, seed=3, sampling_rate=100)
    write_dataset(cohort, folder, splits=split_of_fold, description="Simulated.")
    return folder


@pytest.fixture(scope="module")
def finetuned(dataset, tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("finetuned")
    preset = write_small_preset(home / "preset", "coreecg")
    encoder = AutoModelForAudioClassification.from_config(small_config("coreecg")).ecg_model
    encoder.save_pretrained(home / "encoder")
    AutoFeatureExtractor.from_pretrained(preset).save_pretrained(home / "encoder")
    arguments = FinetuningArguments(
        str(home / "encoder"), str(dataset), str(home / "mine"), LABELS, freeze_encoder=True
    )
    finetune_model(arguments)
    return home / "mine"


def by_hand(folder: Path, dataset: Path) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Logits and scores of the test records of one window each, (records, labels), and the records' labels."""
    rows = [row for row in load_dataset_folder(dataset)["test"]]
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    logits = []
    for row in rows:
        inputs = extractor(row_to_record(row), windows=True, return_tensors="pt")
        weights = inputs.pop("window_weights")
        inputs.pop("record_index", None)
        with torch.no_grad():
            found = model(**{name: inputs[name] for name in extractor.model_input_names}).logits
        logits.append((weights[:, None] * found).sum(dim=0).numpy())
    logits = np.array(logits)
    exclusive = model.config.problem_type == "single_label_classification"
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) if exclusive else 1 / (1 + np.exp(-logits))
    return logits, scores, [row["labels"] for row in rows]


def test_its_figures_are_those_that_finetuning_measured(finetuned, dataset, tmp_path, capsys):
    asked = ["evaluate", str(finetuned), "--dataset", str(dataset), "--output_dir", str(tmp_path)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "A classifier of 3 labels" in said and "linear probe" not in said
    results = json.loads((tmp_path / "labels" / "results.json").read_text())
    measured = json.loads((finetuned / "results.json").read_text())["test"]
    assert list(results["measures"]) == ["classifier"] and list(results["untrained"]) == ["classifier"]
    found = results["measures"]["classifier"]
    assert found["records"] == measured["records"] and found["macro_auroc"] == pytest.approx(measured["macro_auroc"])
    assert found["per_class"].keys() == measured["per_class"].keys() and len(found["per_class"]) > 1
    for label, row in measured["per_class"].items():
        assert found["per_class"][label]["auroc"] == pytest.approx(row["auroc"])
    assert found["macro_auroc"] != results["untrained"]["classifier"]["macro_auroc"]
    assert results["overlap"]["records"] == 0 and "trained on 0 of these records" in said
    _, scores, labels = by_hand(finetuned, dataset)
    truth = np.array([[name in row for name in LABELS] for row in labels])
    brier = brier_score_loss(truth.ravel(), scores.ravel())
    assert results["calibration"]["brier"] == pytest.approx(brier, abs=1e-5)
    assert results["groups"] and all("classifier" in row for rows in results["groups"].values() for row in rows)
    assert {"report.md", "scores.parquet", "per_class.png", "roc.png"} <= {
        path.name for path in (tmp_path / "labels").iterdir()
    }


def test_records_that_it_was_trained_on_are_refused(finetuned, dataset):
    with pytest.raises(CorpusError, match=r"pretrained on .* of the .* test records"):
        evaluate_model(EvaluationArguments(str(finetuned), str(dataset), splits=["train"]))


def test_labels_that_exclude_each_other_are_ranked_by_their_shares(dataset, tmp_path):
    labels = ["sinus_rhythm", "atrial_fibrillation", "nobody_has_this"]
    folder = write_classifier(tmp_path / "model", "merit", "single_label_classification", labels)
    said: list[str] = []
    arguments = EvaluationArguments(str(folder), str(dataset))
    results = evaluate_model(arguments, say=lambda *line: said.append(" ".join(map(str, line))))["labels"]
    _, scores, of_records = by_hand(folder, dataset)
    for column, label in enumerate(labels[:2]):
        truth = [label in row for row in of_records]
        expected = roc_auc_score(truth, scores[:, column])
        assert results["measures"]["classifier"]["per_class"][label]["auroc"] == pytest.approx(expected, abs=1e-6)
    assert "nobody_has_this" in "\n".join(said)
    assert any("does not say which records" in line for line in said)


def test_of_a_named_task_the_classes_that_it_knows(finetuned, dataset):
    """Records of its other classes are negative, as they are for other models."""
    asked = EvaluationArguments(str(finetuned), str(dataset), ["simulated"], robustness=True)
    results = evaluate_model(asked)["simulated"]
    found = results["measures"]["classifier"]
    assert set(found["per_class"]) <= set(LABELS) and not set(results["classes_not_scored"]) & set(LABELS)
    assert len(results["classes_not_scored"]) == 17 - 3
    _, scores, labels = by_hand(finetuned, dataset)
    assert found["records"] == len(labels)  # each has a class of the task
    truth = ["atrial_fibrillation" in row for row in labels]
    expected = roc_auc_score(truth, scores[:, 1])
    assert found["per_class"]["atrial_fibrillation"]["auroc"] == pytest.approx(expected, abs=1e-6)
    assert all("classifier" in row for rows in results["robustness"].values() for row in rows)
    with pytest.raises(ConfigurationError, match=r"without a label of the task cpsc2018\. Its labels: sinus_rhythm"):
        evaluate_model(EvaluationArguments(str(finetuned), str(dataset), ["cpsc2018"], skip_linear_probe=True))


def test_a_classifier_without_a_label_of_the_task_is_measured_by_its_encoder(dataset, tmp_path):
    classifier = write_classifier(tmp_path / "stranger", "coreecg", "multi_label_classification", ["blue", "green"])
    said: list[str] = []
    asked = EvaluationArguments(str(classifier), str(dataset), ["simulated"])
    results = evaluate_model(asked, say=lambda *line: said.append(" ".join(map(str, line))))["simulated"]
    assert [*results["measures"]] == ["linear probe 1 %", "linear probe 10 %", "linear probe 100 %"]
    assert any("has no label of simulated: readouts of its encoder" in line for line in said)


def test_what_cannot_be_measured_is_refused_by_name(finetuned, dataset, tmp_path):
    regression = write_classifier(tmp_path / "age", "cgdmer", "regression", LABELS)
    with pytest.raises(ConfigurationError, match=r"is a regression.*cgdmer score"):
        evaluate_model(EvaluationArguments(str(regression), str(dataset)))
    stranger = write_classifier(tmp_path / "other", "cgdmer", "multi_label_classification", ["x", "y"])
    with pytest.raises(CorpusError, match="no record has a label of the classifier, which knows x, y"):
        evaluate_model(EvaluationArguments(str(stranger), str(dataset)))
    with pytest.raises(ConfigurationError, match=r"no label 'atrial_fibrilation'.*Did you mean 'atrial_fibrillation'"):
        evaluate_model(EvaluationArguments(str(finetuned), str(dataset), labels=["atrial_fibrilation"]))
