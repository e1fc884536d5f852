# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoProcessor, pipeline

from cgdmer import CGDMERConfig, CGDMERECGModel, CGDMERForECGClassification, CGDMERModel
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder, row_to_record
from cgdmer.hub.cards import fill_card
from cgdmer.models.errors import CorpusError
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.finetune import choose_labels, finetune_model


def finetune(*places: str, **options) -> dict:
    return finetune_model(FinetuningArguments(*places, **options))


@pytest.fixture(scope="module")
def model_folder(small_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    CGDMERModel(CGDMERConfig.from_pretrained(small_preset)).save_pretrained(folder)
    AutoProcessor.from_pretrained(small_preset).save_pretrained(folder)
    return folder


def encoders_equal(first, second) -> bool:
    one, two = (CGDMERECGModel.from_pretrained(folder).state_dict() for folder in (first, second))
    return all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_encoder_stays_as_it_was_and_the_pipeline_gives_the_labels(model_folder, cohort_folder, tmp_path):
    labels = ["sinus_rhythm", "low_voltage"]
    results = finetune(str(model_folder), str(cohort_folder), str(tmp_path), labels=labels, freeze_encoder=True)
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


def test_a_finetuned_model_says_what_it_was_trained_on(model_folder, cohort_folder, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    seen = Fingerprints.of(splits["test"].select(range(2)))  # as though pretrained on two of the test records
    begun = shutil.copytree(model_folder, tmp_path / "begun")
    seen.save(begun)
    how = {"labels": ["low_voltage", "sinus_rhythm"], "num_train_epochs": 2, "per_device_train_batch_size": 16}
    results = finetune(str(begun), str(cohort_folder), str(tmp_path / "tuned"), **how)
    assert results["test"]["overlap"]["records"] == 2
    assert json.loads((tmp_path / "tuned" / "results.json").read_text())["test"]["overlap"]["records"] == 2
    trained_on = Fingerprints.of_model(str(tmp_path / "tuned"))
    assert trained_on.overlap(splits["train"])["records"] == len(splits["train"])
    assert trained_on.overlap(splits["test"])["records"] == 2
    summary = json.loads((tmp_path / "tuned" / "training_summary.json").read_text())
    assert summary["steps"] == 2 * (len(splits["train"]) // 16) and summary["samples"] == 16 * summary["steps"]
    assert str(tmp_path) not in json.dumps(summary)
    card = str(fill_card(tmp_path / "tuned", "someone/tuned"))
    assert f"Records trained on: {len(splits['train'])}" in card and "Labels: low_voltage, sinus_rhythm" in card
    assert "cgdmer finetune begun --dataset dataset --output_dir run --labels low_voltage sinus_rhythm" in card
    assert "--num_train_epochs 2" in card and "--freeze_encoder" not in card


def test_the_whole_model_is_trained_and_learns_its_training_records(model_folder, cohort_folder, tmp_path):
    results = finetune(
        *(str(model_folder), str(cohort_folder), str(tmp_path)),
        labels=["low_voltage", "sinus_rhythm"],
        num_train_epochs=20,
        learning_rate=5e-3,
        per_device_train_batch_size=16,
    )
    assert not encoders_equal(model_folder, tmp_path)
    assert {"validation", "test"} & set(results)
    model = CGDMERForECGClassification.from_pretrained(tmp_path).eval()
    extractor = AutoProcessor.from_pretrained(model_folder).feature_extractor
    rows = list(load_dataset_folder(cohort_folder)["train"])
    inputs = extractor([row_to_record(row) for row in rows], return_tensors="pt")
    with torch.no_grad():
        scores = model(**inputs).logits[:, 1].numpy()
    assert roc_auc_score(["sinus_rhythm" in row["labels"] for row in rows], scores) > 0.8


def test_a_classifier_is_replaced_when_the_labels_change(model_folder, cohort_folder, tmp_path):
    finetune(
        *(str(model_folder), str(cohort_folder), str(tmp_path / "first")), labels=["low_voltage"], freeze_encoder=True
    )
    results = finetune(str(tmp_path / "first"), str(cohort_folder), str(tmp_path / "second"), freeze_encoder=True)
    model = CGDMERForECGClassification.from_pretrained(tmp_path / "second")
    assert [model.config.id2label[index] for index in range(len(results["labels"]))] == results["labels"]
    assert model.classifier.out_features == len(results["labels"]) > 1


def test_labels_are_those_asked_for_or_the_frequent_ones(cohort_folder):
    split = load_dataset_folder(cohort_folder)["train"]
    assert choose_labels(split, ["low_voltage", "sinus_rhythm"]) == ["low_voltage", "sinus_rhythm"]
    counts = {name: sum(name in row["labels"] for row in split) for row in split for name in row["labels"]}
    assert choose_labels(split, None) == sorted(name for name, count in counts.items() if count >= 10)
    with pytest.raises(CorpusError, match="'flatline'"):
        choose_labels(split, ["flatline"])


def test_a_patient_in_two_splits_is_refused_and_a_split_may_be_absent(model_folder, cohort_folder, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    parts = {"leaking": {"train": splits["train"], "test": splits["train"].select(range(20))}}
    parts["alone"] = {"train": splits["train"]}
    for name, part in parts.items():
        datasets.DatasetDict(part).save_to_disk(tmp_path / name)
        shutil.copy(Path(cohort_folder) / "summary.json", tmp_path / name)
    with pytest.raises(CorpusError, match="patients are in the split train and in the split test"):
        finetune(str(model_folder), str(tmp_path / "leaking"), str(tmp_path / "out"), ["atrial_fibrillation"])
    found = finetune(
        *(str(model_folder), str(tmp_path / "alone"), str(tmp_path / "out"), ["atrial_fibrillation"]),
        freeze_encoder=True,
    )
    assert found == {"labels": ["atrial_fibrillation"]}
