# SPDX-License-Identifier: Apache-2.0
"""An evaluation of a dataset with records that cannot be used is that of the others, which it says."""

import csv
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERModel
from cgdmer.data.storage import DatasetRecords, load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.comparison import compare, comparison_table
from cgdmer.evaluation.evaluate_task import evaluate_task
from cgdmer.evaluation.outputs import left_out_in_words, write_evaluation
from cgdmer.evaluation.report import terminal_table
from cgdmer.evaluation.report_retrieval import retrieval_table, retrieve_reports
from cgdmer.evaluation.tasks import get_task
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import embed_records
from cgdmer.inference.search import search_records
from cgdmer.models.errors import CGDMERError, CorpusError, ECGInputWarning
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort
from unusable_records import REASONS, spoiled, with_unusable

NAMES = {f"spoiled {kind}": reason for kind, reason in REASONS.items()}
TASK = get_task("simulated")
HOW = {"fractions": (1.0,), "untrained": False}


@pytest.fixture(scope="module")
def model():
    config = CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))
    config.ecg_config.num_hidden_layers = 1
    torch.manual_seed(4)
    return CGDMERModel(config).eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny"))


@pytest.fixture(scope="module")
def datasets_of(tmp_path_factory):
    """The same cohort twice: as it is, and with five unusable test records and one in each of the other splits."""
    folder = tmp_path_factory.mktemp("cohorts")
    records = list(simulate_cohort(60, seed=11, sampling_rate=100))
    unusable = list(with_unusable(records, "test", split_of_fold))
    for split in ("train", "validation"):
        one = next(record for record in records if split_of_fold(record) == split)
        unusable.append(replace(spoiled(one, "gap"), record_id=f"spoiled in {split}"))
    for name, these in (("clean", records), ("spoiled", unusable)):
        write_dataset(these, folder / name, splits=split_of_fold, description="Simulated patients.")
    return load_dataset_folder(folder / "clean"), load_dataset_folder(folder / "spoiled")


def test_the_others_are_measured(model, processor, datasets_of, tmp_path):
    clean, dirty = (evaluate_task(model, processor, splits, TASK, **HOW) for splits in datasets_of)
    assert dirty.record_ids == clean.record_ids and clean.left_out == []
    for name, scores in clean.scores.items():
        np.testing.assert_allclose(dirty.scores[name], scores, atol=1e-5)
    assert (clean.results["unusable_records"], dirty.results["unusable_records"]) == (0, len(NAMES))
    named = {record: (part, reason) for part, record, reason in dirty.left_out}
    assert named.keys() == NAMES.keys() | {"spoiled in train", "spoiled in validation"}
    for name, reason in NAMES.items():
        assert named[name][0] == "test records" and reason in named[name][1]
    assert named["spoiled in train"][0] == "training records"
    assert f"{len(NAMES)} that cannot be used" in terminal_table(dirty.results)
    assert len(left_out_in_words(dirty.left_out)) == 7 and left_out_in_words([]) == []
    write_evaluation(tmp_path / "run", dirty, TASK)
    rows = list(csv.DictReader((tmp_path / "run" / "left_out.csv").read_text().splitlines()))
    assert {row["record"] for row in rows} == named.keys()
    assert "they cannot be used | 5" in (tmp_path / "run" / "report.md").read_text()
    assert not any(name in (tmp_path / "run" / "results.json").read_text() for name in named), "it may be published"
    write_evaluation(tmp_path / "run", clean, TASK)
    assert not (tmp_path / "run" / "left_out.csv").exists()


def test_a_cache_remembers_them(model, processor, datasets_of, tmp_path):
    records = DatasetRecords(datasets_of[1]["test"])
    features = [
        EmbeddingCache(tmp_path).features(model, processor.feature_extractor, records, "test") for _ in range(2)
    ]
    for one in features:
        ids = np.array(records.rows["record_id"])
        assert set(ids[~one.usable]) == NAMES.keys()
    np.testing.assert_array_equal(features[0].pooled, features[1].pooled)
    with pytest.raises(CGDMERError, match=r"record \d+ of \d+: .*flat or has long gaps"):
        embed_records(model, processor.feature_extractor, records)
    unusable = records.rows.filter(lambda name: name in NAMES, input_columns="record_id")
    with pytest.raises(CorpusError, match="none of 5 records can be used; record"):
        embed_records(model, processor.feature_extractor, DatasetRecords(unusable), unusable="nan")


def test_leads_that_are_not_used_are_counted(model, processor, tmp_path):
    records = list(simulate_cohort(60, seed=11, sampling_rate=100))
    chosen = [number for number, record in enumerate(records) if split_of_fold(record) == "test"][:3]
    for number in chosen:
        signal = records[number].signal.copy()
        signal[6] = 0.25  # V1
        records[number] = replace(records[number], signal=signal)
    write_dataset(records, tmp_path / "cohort", splits=split_of_fold, description="Simulated patients.")
    splits, cache = load_dataset_folder(tmp_path / "cohort"), EmbeddingCache(tmp_path / "cache")
    for _ in range(2):
        evaluation = evaluate_task(model, processor, splits, TASK, **HOW, cache=cache)
        assert evaluation.results["records_with_refused_leads"] == len(chosen)
    assert "3 of the records have leads that are not used" in terminal_table(evaluation.results)
    features = cache.features(model, processor.feature_extractor, DatasetRecords(splits["test"]), "test")
    assert np.argwhere(features.refused_leads)[:, 1].tolist() == [6, 6, 6]
    write_evaluation(tmp_path / "run", evaluation, TASK)
    assert "leads that are not used | 3" in (tmp_path / "run" / "report.md").read_text()


def test_retrieval_of_reports(model, processor, datasets_of):
    clean, dirty = (retrieve_reports(model, processor, splits) for splits in datasets_of)
    assert dirty["records"] == clean["records"] and dirty["left_out"].keys() == NAMES.keys()
    assert dirty["measures"]["retrieved"] == clean["measures"]["retrieved"]
    assert "'spoiled gap' is left out: every lead" in retrieval_table(dirty)
    assert json.loads(json.dumps(dirty)) and clean["left_out"] == {}


def test_search(model, processor, datasets_of):
    clean, dirty = (DatasetRecords(splits["test"]) for splits in datasets_of)
    with pytest.warns(ECGInputWarning, match=r"5 records cannot be used and are not searched \('spoiled gap'"):
        found = search_records("sinus rhythm", dirty, model, processor, top=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ECGInputWarning)
        expected = search_records("sinus rhythm", clean, model, processor, top=100)
    assert [row["record_id"] for row in found] == [row["record_id"] for row in expected]


def test_a_record_that_one_model_cannot_use_is_compared_for_neither(model, processor, datasets_of, tmp_path):
    clean, _ = datasets_of
    everything = evaluate_task(model, processor, clean, TASK, fractions=(), untrained=False)
    lost = np.isin(np.arange(len(everything.record_ids)), [1, 3])
    fewer = replace(
        everything,
        record_ids=[name for name, gone in zip(everything.record_ids, lost, strict=True) if not gone],
        patients=[name for name, gone in zip(everything.patients, lost, strict=True) if not gone],
        labels=everything.labels[~lost],
        scores={name: scores[:, ~lost] for name, scores in everything.scores.items()},
        embeddings=everything.embeddings[~lost],
        left_out=[("test records", everything.record_ids[number], "too short") for number in (1, 3)],
    )
    write_evaluation(tmp_path / "all", everything, TASK)
    write_evaluation(tmp_path / "fewer", fewer, TASK)
    compared = compare(tmp_path / "all", tmp_path / "fewer")
    assert compared["records"] == len(everything.record_ids) - 2 and compared["left_out"] == [2, 0]
    assert compared["measures"]["zero-shot"]["difference"] == 0
    assert "left out, because the other model cannot use them: 2 and 0" in comparison_table(compared)
    (tmp_path / "fewer" / "left_out.csv").unlink()
    with pytest.raises(CorpusError, match="do not have the same records"):
        compare(tmp_path / "all", tmp_path / "fewer")
