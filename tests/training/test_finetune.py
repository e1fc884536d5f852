# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoProcessor, pipeline

from cgdmer import CGDMERConfig, CGDMERECGModel, CGDMERForECGClassification, CGDMERModel
from cgdmer.data.fingerprints import PATIENTS_FILE, Fingerprints
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.tasks import choose_labels
from cgdmer.hub.cards import fill_card
from cgdmer.inference.embeddings import classifier_logits
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError, TrainingError
from cgdmer.simulation.cohort import simulate_record
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.finetune import LabeledDataset, finetune_model


@pytest.fixture(scope="module")
def model_folder(small_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    CGDMERModel(CGDMERConfig.from_pretrained(small_preset)).save_pretrained(folder)
    AutoProcessor.from_pretrained(small_preset).save_pretrained(folder)
    return folder


@pytest.fixture
def tune(model_folder, cohort_folder, tmp_path):
    """Finetune the model on the cohort, in the test's own folder."""

    def tune(**options) -> dict:
        places = {"model": str(model_folder), "dataset": str(cohort_folder), "output_dir": str(tmp_path), **options}
        return finetune_model(FinetuningArguments(**places))

    return tune


def encoders_equal(first, second) -> bool:
    one, two = (CGDMERECGModel.from_pretrained(folder).state_dict() for folder in (first, second))
    return all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_encoder_stays_as_it_was_and_the_pipeline_gives_the_labels(tune, model_folder, cohort_folder, tmp_path):
    labels = ["sinus_rhythm", "low_voltage"]
    results = tune(labels=labels, freeze_encoder=True)
    assert encoders_equal(model_folder, tmp_path)
    assert results["labels"] == labels and json.loads((tmp_path / "results.json").read_text())["labels"] == labels
    classify = pipeline("ecg-classification", model=str(tmp_path))
    row = load_dataset_folder(cohort_folder)["test"][0]
    scores = {one["label"]: one["score"] for one in classify(row_to_record(row))}
    model = CGDMERForECGClassification.from_pretrained(tmp_path)
    inputs = AutoProcessor.from_pretrained(model_folder).feature_extractor(row_to_record(row), return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits.sigmoid()[0]
    assert scores == {
        name: pytest.approx(float(value), abs=1e-6) for name, value in zip(labels, expected, strict=True)
    }


def test_a_finetuned_model_says_what_it_was_trained_on(tune, model_folder, cohort_folder, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    seen = Fingerprints.of(splits["test"].select(range(2)))  # as if pretrained on two of the test records
    begun = shutil.copytree(model_folder, tmp_path / "begun")
    seen.save(begun)
    how = {"labels": ["low_voltage", "sinus_rhythm"], "num_train_epochs": 2, "per_device_train_batch_size": 16}
    results = tune(model=str(begun), output_dir=str(tmp_path / "tuned"), **how)
    assert results["test"]["overlap"]["records"] == 2
    assert json.loads((tmp_path / "tuned" / "results.json").read_text())["test"]["overlap"]["records"] == 2
    trained_on = Fingerprints.of_model(str(tmp_path / "tuned"))
    assert trained_on.overlap(splits["train"])["records"] == len(splits["train"])
    assert trained_on.overlap(splits["test"])["records"] == 2
    assert trained_on.patients.key == seen.patients.key
    assert trained_on.overlap(splits["train"])["patients"] == len(splits["train"])
    assert trained_on.overlap(splits["test"])["patients"] == results["test"]["overlap"]["patients"] >= 2
    (tmp_path / "tuned" / PATIENTS_FILE).unlink()  # as published
    assert Fingerprints.of_model(str(tmp_path / "tuned")).overlap(splits["train"])["patients"] is None
    summary = json.loads((tmp_path / "tuned" / "training_summary.json").read_text())
    assert summary["steps"] == 2 * (len(splits["train"]) // 16) and summary["samples"] == 16 * summary["steps"]
    assert str(tmp_path) not in json.dumps(summary)
    card = str(fill_card(tmp_path / "tuned", "someone/tuned"))
    assert f"Training records: {len(splits['train'])}" in card and "Labels: low_voltage, sinus_rhythm" in card
    assert "cgdmer finetune begun --dataset dataset --output_dir run --labels low_voltage sinus_rhythm" in card
    assert "--num_train_epochs 2" in card and "--freeze_encoder" not in card


def test_the_whole_model_is_trained_and_learns_its_training_records(tune, model_folder, cohort_folder, tmp_path):
    how = {"num_train_epochs": 20, "learning_rate": 5e-3, "per_device_train_batch_size": 16}
    results = tune(labels=["low_voltage", "sinus_rhythm"], **how)
    assert not encoders_equal(model_folder, tmp_path)
    assert {"validation", "test"} & set(results)
    model = CGDMERForECGClassification.from_pretrained(tmp_path).eval()
    extractor = AutoProcessor.from_pretrained(model_folder).feature_extractor
    rows = list(load_dataset_folder(cohort_folder)["train"])
    inputs = extractor([row_to_record(row) for row in rows], return_tensors="pt")
    with torch.no_grad():
        scores = model(**inputs).logits[:, 1].numpy()
    assert roc_auc_score(["sinus_rhythm" in row["labels"] for row in rows], scores) > 0.8


def test_a_layer_decay_of_nearly_nothing_trains_the_classifier_and_the_last_norm(tune, model_folder, tmp_path):
    how = {"labels": ["low_voltage", "sinus_rhythm"], "num_train_epochs": 2, "per_device_train_batch_size": 16}
    tune(layer_decay=1e-12, learning_rate=1e-2, **how)
    before, after = (CGDMERECGModel.from_pretrained(folder).state_dict() for folder in (model_folder, tmp_path))
    for name, weight in before.items():
        moved = not torch.allclose(weight, after[name], rtol=0.0, atol=1e-6)
        assert moved == name.startswith("norm."), name
    for value in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="--layer_decay"):
            tune(layer_decay=value)


def test_a_classifier_is_replaced_when_the_labels_change(tune, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    tune(output_dir=first, labels=["low_voltage"], freeze_encoder=True)
    results = tune(model=first, output_dir=second, freeze_encoder=True)
    model = CGDMERForECGClassification.from_pretrained(second)
    assert [model.config.id2label[index] for index in range(len(results["labels"]))] == results["labels"]
    assert model.classifier.out_features == len(results["labels"]) > 1


def test_labels_are_those_requested_or_the_frequent_ones(train_split):
    split, counted = train_split, "training record"
    assert choose_labels([split], ["low_voltage", "sinus_rhythm"], counted) == ["low_voltage", "sinus_rhythm"]
    counts = {name: sum(name in row["labels"] for row in split) for row in split for name in row["labels"]}
    assert choose_labels([split], None, counted) == sorted(name for name, count in counts.items() if count >= 10)
    with pytest.raises(CorpusError, match="'flatline'"):
        choose_labels([split], ["flatline"], counted)


def test_a_patient_in_two_splits_is_refused_and_a_split_may_be_absent(tune, cohort_folder, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    parts = {"leaking": {"train": splits["train"], "test": splits["train"].select(range(20))}}
    parts["alone"] = {"train": splits["train"]}
    for name, part in parts.items():
        datasets.DatasetDict(part).save_to_disk(tmp_path / name)
        shutil.copy(Path(cohort_folder) / "summary.json", tmp_path / name)
    with pytest.raises(CorpusError, match="patients are in the split train and in the split test"):
        tune(dataset=str(tmp_path / "leaking"), labels=["atrial_fibrillation"])
    found = tune(dataset=str(tmp_path / "alone"), labels=["atrial_fibrillation"], freeze_encoder=True)
    assert found == {"labels": ["atrial_fibrillation"]}


def of_two_rhythms(number: int) -> ECGRecord:
    """27 s: ten of sinus rhythm, followed in every second record by atrial fibrillation."""
    label = ("sinus_rhythm", "atrial_fibrillation")[number % 2]
    first, rest = (
        simulate_record([name], seed=number, sampling_rate=100, duration=duration)
        for name, duration in (("sinus_rhythm", 10.0), (label, 17.0))
    )
    signal = np.concatenate([first.signal, rest.signal], axis=1)
    who = {"record_id": f"{number}", "patient_id": f"patient {number}"}
    return replace(first, signal=signal, labels=(label,), statements=(label,), fold=(1, 1, 10)[number % 3], **who)


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "dataset"
    write_dataset(map(of_two_rhythms, range(36)), folder, splits=split_of_fold, description="Long recordings.")
    return folder


@pytest.mark.parametrize("freeze_encoder", [True, False])
def test_what_is_measured_on_long_recordings_is_what_the_pipeline_answers(tune, long_folder, tmp_path, freeze_encoder):
    how = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "learning_rate": 3e-3}
    results = tune(dataset=str(long_folder), freeze_encoder=freeze_encoder, **how)
    classify = pipeline("ecg-classification", model=str(tmp_path))
    rows = list(load_dataset_folder(long_folder)["test"])

    def areas(scores_of) -> dict[str, float]:
        scores = [{one["label"]: one["score"] for one in scores_of(row_to_record(row))} for row in rows]
        return {
            label: roc_auc_score([label in row["labels"] for row in rows], [one[label] for one in scores])
            for label in results["labels"]
        }

    measured = {label: one["auroc"] for label, one in results["test"]["per_class"].items()}
    assert measured == pytest.approx(areas(classify))
    assert measured != pytest.approx(areas(lambda record: classify(replace(record, signal=record.signal[:, :1000]))))
    logits = classifier_logits(classify.model, classify.feature_extractor, [row_to_record(row) for row in rows])
    for row, line in zip(rows, logits, strict=True):
        scores = {one["label"]: one["score"] for one in classify(row_to_record(row))}
        expected = torch.from_numpy(line).sigmoid().tolist()
        assert scores == pytest.approx(dict(zip(results["labels"], expected, strict=True)), abs=1e-6)


def test_training_draws_a_window_of_a_long_recording_every_epoch(processor, long_folder, train_split):
    extractor = processor.feature_extractor
    split = load_dataset_folder(long_folder)["train"]
    windows = extractor(row_to_record(split[3]), windows=True)["ecg_values"]

    def drawn(seed: int, epochs: int, index: int = 3) -> list[int]:
        part, found = LabeledDataset(split, extractor, ["sinus_rhythm"], seed), []
        for epoch in range(epochs):
            part.set_epoch(epoch)
            (match,) = (row for row in range(3) if np.array_equal(windows[row], part[index]["ecg_values"]))
            found.append(match)
        return found

    counts = np.bincount(drawn(0, 600), minlength=3)
    np.testing.assert_allclose(counts / 600, [10 / 27, 10 / 27, 7 / 27], atol=0.06)
    assert drawn(0, 20) == drawn(0, 20) != drawn(1, 20)
    sample = LabeledDataset(train_split, extractor, ["sinus_rhythm"])[5]
    whole = extractor(row_to_record(train_split[5]))
    assert sample.keys() == {*whole.keys(), "labels"}
    assert all(np.array_equal(sample[name], value[0]) for name, value in whole.items())


def test_training_that_diverges_ends(tune, tmp_path):
    how = {"learning_rate": 1e30, "per_device_train_batch_size": 4, "num_train_epochs": 4}
    with pytest.raises(TrainingError, match="lower --learning_rate"):
        tune(labels=["low_voltage"], **how)
    assert not (tmp_path / "model.safetensors").exists()
