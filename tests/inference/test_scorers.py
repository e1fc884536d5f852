# SPDX-License-Identifier: Apache-2.0
"""A fine-tuned classifier of any family and problem type: every way to its scores gives those of a plain forward."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoFeatureExtractor, Trainer, TrainingArguments, pipeline

import cgdmer
from cgdmer import CGDMERECGModel, CGDMERForECGClassification, ECGRecord, read_record
from cgdmer.commands import main
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.explanation.explaining import explain_recording
from cgdmer.families import ecg_config_of
from cgdmer.hub.cards import fill_card
from cgdmer.hub.staging import stage_model
from cgdmer.inference.exporting import export_onnx
from cgdmer.inference.scorers import load_scorer
from cgdmer.inference.scoring import score_recordings
from cgdmer.inference.search import search_dataset
from cgdmer.models.errors import CGDMERError, ConfigurationError, ECGInputError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from recordings import write_wfdb
from small_families import CLASSIFIER_LABELS as LABELS
from small_families import FAMILIES, small_config, write_classifier

everywhere = pytest.mark.parametrize(("family", "problem_type"), list(product(FAMILIES, LABELS)))
every_type = pytest.mark.parametrize("problem_type", LABELS)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory) -> dict[tuple[str, str], Path]:
    home = tmp_path_factory.mktemp("classifiers")
    return {pair: write_classifier(home / "-".join(pair), *pair) for pair in product(FAMILIES, LABELS)}


@pytest.fixture(scope="module")
def record() -> ECGRecord:
    return simulate_record(["atrial_fibrillation"], seed=5, sampling_rate=100, duration=10.0)


@pytest.fixture(scope="module")
def long(record) -> ECGRecord:
    """24 s: three windows, of which the last adds 4 s."""
    return simulate_record(["premature_ventricular_beats"], seed=6, sampling_rate=100, duration=24.0)


@pytest.fixture(scope="module")
def files(record, long, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_wfdb(record, folder / "a")
    write_wfdb(long, folder / "b")
    return folder


def by_hand(folder: Path, record: ECGRecord) -> dict[str, float]:
    """The scores of a record with nothing but transformers and arithmetic."""
    config = json.loads((folder / "config.json").read_text())
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = getattr(cgdmer, config["architectures"][0]).from_pretrained(folder).eval()
    window, length, logits, weights = round(10 * record.sampling_rate), record.signal.shape[1], [], []
    done = 0
    for start in range(0, length, window):
        begin = min(start, length - window)
        piece = ECGRecord(record.signal[:, begin : begin + window], record.sampling_rate, record.lead_names)
        with torch.no_grad():
            logits.append(model(**extractor(piece, return_tensors="pt")).logits[0].double().numpy())
        weights.append(begin + window - done)
        done = begin + window
    logit = np.average(logits, axis=0, weights=weights)
    if config["problem_type"] == "single_label_classification":
        scores = np.exp(logit) / np.exp(logit).sum()
    else:
        scores = logit if config["problem_type"] == "regression" else 1 / (1 + np.exp(-logit))
    return {config["id2label"][str(row)]: float(score) for row, score in enumerate(scores)}


def as_dict(rows) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows}


@everywhere
def test_every_way_to_a_score_gives_that_of_a_plain_forward(
    classifiers, files, tmp_path, capsys, family, problem_type
):
    folder = classifiers[family, problem_type]
    expected = {name: by_hand(folder, read_record(files / name)) for name in ("a", "b")}
    close = {name: pytest.approx(scores, rel=2e-6, abs=1e-6) for name, scores in expected.items()}
    assert list(expected["a"]) == LABELS[problem_type] and np.ptp(list(expected["a"].values())) > 1e-3
    if problem_type == "single_label_classification":
        assert sum(expected["b"].values()) == pytest.approx(1)
    if problem_type == "regression":
        assert max(map(abs, expected["a"].values())) > 1

    answers = pipeline("ecg-classification", model=str(folder))([str(files / name) for name in expected])
    assert [as_dict(rows) for rows in answers] == list(close.values())
    for name in expected:
        assert main(["classify", str(files / name), "--model", str(folder), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert as_dict(answer["scores"]) == close[name] and answer["problem_type"] == problem_type
    assert score_recordings(files, tmp_path / "all.parquet", model=folder, num_proc=0)["unreadable"] == 0
    table = pq.read_table(tmp_path / "all.parquet")
    assert json.loads(table.schema.metadata[b"cgdmer"])["problem_type"] == problem_type
    for row, name in zip(table.to_pylist(), expected, strict=True):
        assert {label: row[label] for label in LABELS[problem_type]} == close[name]


@every_type
def test_given_labels_choose_among_its_own_and_change_no_score(classifiers, files, tmp_path, problem_type):
    folder, labels = classifiers["coreecg", problem_type], LABELS[problem_type]
    score = load_scorer(folder)
    every = as_dict(score(str(files / "b")))
    assert score.own_labels == labels and score.problem_type == problem_type
    assert as_dict(score(str(files / "b"), labels[1:])) == {name: every[name] for name in labels[1:]}
    score_recordings(files, tmp_path / "some.parquet", labels[1:], folder, num_proc=0, embeddings=True)
    table = pq.read_table(tmp_path / "some.parquet")
    assert table.column_names[: len(labels) + 2] == ["record_id", *labels[1:], "embedding", "leads_used"]
    assert table.column_names[-1] == "error"
    assert table[labels[1]][1].as_py() == pytest.approx(every[labels[1]], rel=2e-6, abs=1e-6)
    embed = pipeline("ecg-embedding", model=str(folder))(str(files / "a"))
    np.testing.assert_allclose(table["embedding"][0].as_py(), embed / np.linalg.norm(embed), atol=1e-6)
    with pytest.raises(ECGInputError, match=rf"without a label '{labels[1].upper()}'.*Did you mean '{labels[1]}'"):
        score(str(files / "a"), [labels[1].upper()])
    with pytest.raises(ConfigurationError, match=f"decided in training .{problem_type}."):
        score(str(files / "a"), labels, exclusive=True)


@every_type
def test_the_log_odds_of_a_label_are_those_of_its_score(classifiers, problem_type):
    head = load_scorer(classifiers["merit", problem_type]).head()
    logits = torch.randn(5, head.num_logits, generator=torch.Generator().manual_seed(1)) * 3
    log_odds, scores = head.log_odds(logits), head.scores(logits)
    torch.testing.assert_close(log_odds if problem_type == "regression" else log_odds.sigmoid(), scores)


one_each = pytest.mark.parametrize(("family", "problem_type"), list(zip(FAMILIES, LABELS, strict=True)))


@one_each
def test_relevance_adds_up_to_the_log_odds_of_the_label(classifiers, record, family, problem_type):
    folder = classifiers[family, problem_type]
    label = LABELS[problem_type][0]
    found = explain_recording(record, label, folder)
    assert found.score == pytest.approx(by_hand(folder, record)[label], rel=1e-5, abs=1e-6)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    score = load_scorer(folder)
    inputs = extractor(record, return_tensors="pt")

    def log_odds(values: torch.Tensor) -> float:
        with torch.no_grad():
            logits = score.model(**{**inputs, "ecg_values": values}).logits.double()
        if problem_type == "single_label_classification":
            share = float(logits.softmax(dim=1)[0, 0])
            return float(np.log(share / (1 - share)))
        return float(logits[0, 0])

    change = log_odds(inputs["ecg_values"]) - log_odds(torch.zeros_like(inputs["ecg_values"]))
    assert float(found.relevance.sum()) + found.rest == pytest.approx(change, rel=1e-3, abs=1e-4)
    assert found.problem_type == problem_type == found.as_json()["problem_type"]


def test_without_a_label_the_highest_score_is_explained(classifiers, record, tmp_path, capsys):
    folder = classifiers["cgdmer", "multi_label_classification"]
    first = load_scorer(folder)(record)[0]
    found = explain_recording(record, model=folder)
    assert found.label == first["label"] and found.score == pytest.approx(first["score"], abs=1e-6)
    with pytest.raises(ECGInputError, match="Name the value to explain, one of age in years, ejection fraction"):
        explain_recording(record, model=classifiers["cgdmer", "regression"])
    with pytest.raises(ECGInputError, match="scores findings in free text"):
        explain_recording(record)
    one = write_classifier(tmp_path / "age", "cgdmer", "regression", ["age in years"])
    assert explain_recording(record, model=one).label == "age in years"


def test_a_regression_is_shown_as_numbers(classifiers, record, files, tmp_path, capsys):
    folder = classifiers["cgdmer", "regression"]
    expected = as_dict(load_scorer(folder)(record))
    picture = tmp_path / "values.svg"
    assert main(["classify", str(files / "a"), "--model", str(folder), "--plot", str(picture)]) == 0
    said = capsys.readouterr().out
    assert [line.split("  ")[-1] for line in said.splitlines()[:2]] == LABELS["regression"]
    assert f"{expected['age in years']:.3g}" in said and "%" not in said
    drawn = picture.read_text()
    assert "score track" not in drawn and drawn
    arguments = ["explain", str(files / "a"), "--model", str(folder), "--label", "age in years"]
    assert main([*arguments, "--plot", str(tmp_path / "relevance.png")]) == 0
    assert "%" not in capsys.readouterr().out.splitlines()[0]


@one_each
def test_an_exported_file_gives_the_same(classifiers, record, tmp_path, family, problem_type):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, labels = classifiers[family, problem_type], LABELS[problem_type]
    expected = by_hand(folder, record)
    path = tmp_path / "model.onnx"
    if problem_type == "single_label_classification":
        with pytest.raises(ECGInputError, match="exclude each other"):
            export_onnx(folder, path, labels[:2])
    answer = export_onnx(folder, path, labels[::-1])
    assert answer["labels"] == labels[::-1]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["problem_type"] == problem_type and json.loads(metadata["labels"]) == labels[::-1]
    values = AutoFeatureExtractor.from_pretrained(folder)(record, return_tensors="np")["ecg_values"]
    scores, logits, embeddings = session.run(["scores", "logits", "embeddings"], {"ecg_values": values})
    assert dict(zip(labels[::-1], scores[0].tolist(), strict=True)) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-5)
    again = {"regression": logits, "multi_label_classification": 1 / (1 + np.exp(-logits))}
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(again.get(problem_type, softmax), scores, atol=1e-5)


def test_what_a_trainer_saved_scores_too(classifiers, record, tmp_path):
    """With the feature extractor as its processing class, a folder and each checkpoint of it."""
    names = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}
    folder = classifiers["cgdmer", "multi_label_classification"]
    model = CGDMERForECGClassification.from_pretrained(
        folder, problem_type="single_label_classification", **names, ignore_mismatched_sizes=True
    )
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = {name: tensor[0] for name, tensor in extractor(record, return_tensors="pt").items()}
    rows = [{**inputs, "labels": torch.tensor(number % 2)} for number in range(4)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, save_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True
    )
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=extractor)
    trainer.train()
    trainer.save_model()
    for saved in (tmp_path, tmp_path / "checkpoint-2"):
        score = load_scorer(saved)
        assert score.problem_type == "single_label_classification"
        assert as_dict(score(record)) == pytest.approx(by_hand(saved, record), abs=1e-6)
    assert (tmp_path / "training_args.bin").is_file()  # a pickle, which stays behind
    published = tmp_path / "published"
    published.mkdir()
    stage_model(tmp_path, published)
    assert not list(published.glob("*.bin")) and as_dict(load_scorer(published)(record)) == as_dict(score(record))
    assert "yes, no" in fill_card(published, "lab/model").text


def test_a_folder_that_cannot_score_says_what_can(classifiers, tmp_path):
    encoder = tmp_path / "encoder"
    CGDMERECGModel(ecg_config_of(small_config("cgdmer"))).save_pretrained(encoder)
    with pytest.raises(ModelFolderError, match=r"takes no texts, without a trained classifier.*cgdmer finetune"):
        load_scorer(encoder)
    with pytest.raises(ModelFolderError, match=r"has no text tower.*cgdmer score"):
        search_dataset(write_dataset_of_one(tmp_path), "x", model=classifiers["merit", "regression"])
    twice = write_classifier(tmp_path / "twice", "cgdmer", "multi_label_classification", ["a", "b"])
    config = json.loads((twice / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "a"}
    (twice / "config.json").write_text(json.dumps(config))
    with pytest.raises(CGDMERError, match="label 'a' more than once"):
        load_scorer(twice)


def write_dataset_of_one(folder: Path) -> Path:
    write_dataset(
        simulate_cohort(3, seed=1, sampling_rate=100), folder / "ecgs", splits=split_of_fold, description="Simulated."
    )
    return folder / "ecgs"


def test_free_text_needs_labels(record, capsys, files):
    score = load_scorer()
    assert score.own_labels is None and score.problem_type == "zero_shot"
    assert as_dict(score(record, ["normal ECG"])) == as_dict(
        pipeline("zero-shot-ecg-classification", model=str(SHIPPED_MODEL))(record, ["normal ECG"])
    )
    assert main(["classify", str(files / "a")]) == 1
    assert "Name them (--labels)" in capsys.readouterr().err
