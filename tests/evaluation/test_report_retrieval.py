# SPDX-License-Identifier: Apache-2.0
"""Report retrieval with planted embeddings, so that the outcome is known."""

import json

import datasets
import numpy as np
import pytest

from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.report_retrieval import MOST_FREQUENT, RANDOM, RETRIEVED, retrieve_reports
from cgdmer.families import load_model, load_processor
from cgdmer.hub.results import read_results
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import RecordFeatures
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    write_dataset(
        simulate_cohort(60, seed=3, sampling_rate=100), folder, splits=split_of_fold, description="Simulated."
    )
    return folder


@pytest.fixture(scope="module")
def splits(folder) -> datasets.DatasetDict:
    return load_dataset_folder(folder)


@pytest.fixture(scope="module")
def shipped():
    model = load_model(SHIPPED_MODEL)
    return model, load_processor(SHIPPED_MODEL, model)


class Planted(EmbeddingCache):
    """Every text has a direction of its own, and an ECG points in the direction of the text that `chosen` returns."""

    def __init__(self, chosen):
        super().__init__(None)
        self.chosen = chosen

    def texts(self, model, processor, texts):
        self.known = list(texts)
        return np.eye(len(texts), dtype=np.float32)

    def features(self, model, feature_extractor, part, description, change_name=""):
        reports = list(dict.fromkeys(text for text in self.splits["train"]["text"] if text))
        wanted = [reports.index(self.chosen(text, reports)) for text in part.rows["text"]]
        return RecordFeatures(np.zeros((len(wanted), 1)), np.eye(len(reports), dtype=np.float32)[wanted])


def retrieved_by(chosen, splits, shipped, patient=None, **options):
    """Test on the training records under other ids, as records of other patients or all of `patient`."""
    cache = Planted(chosen)
    cache.splits = splits
    again = splits["train"].map(
        lambda row: {"record_id": f"{row['record_id']}-again", "patient_id": patient or f"{row['patient_id']}-again"}
    )
    twice = datasets.DatasetDict({"train": splits["train"], "again": again})
    return retrieve_reports(*shipped, twice, ("again",), cache=cache, **options)


def test_an_ecg_that_points_at_its_own_report_gets_it(splits, shipped):
    measures = retrieved_by(lambda own, reports: own, splits, shipped)["measures"]
    assert all(measures[RETRIEVED][name] == 1.0 for name in ("rouge1", "rouge2", "rougeL"))
    assert measures[RETRIEVED]["rouge1_interval"] == [1.0, 1.0]
    for baseline in (RANDOM, MOST_FREQUENT):
        low, high = measures[baseline]["rougeL_interval"]
        assert low < measures[baseline]["rougeL"] < high < 1.0


def test_records_of_a_patient_count_together(splits, shipped):
    """Of a single patient, however many records say nothing about others."""
    found = retrieved_by(lambda own, reports: reports[0], splits, shipped, patient="one")
    assert found["patients"] == 1 < found["records"]
    for measured in found["measures"].values():
        assert measured["rouge1_interval"] == [0.0, 1.0]


def test_a_language_model_gets_the_record_and_the_nearest_reports_best_first(splits, shipped):
    seen = []

    def write(record, reports):
        seen.append((record.text, reports))
        return record.text

    found = retrieved_by(lambda own, reports: reports[0], splits, shipped, write=write, num_reports=3)
    assert found["measures"]["written"]["rouge2"] == 1.0
    assert len(seen) == found["records"] == len(splits["train"])
    assert {tuple(reports) for _, reports in seen} == {tuple(list(dict.fromkeys(splits["train"]["text"]))[:3])}


def test_what_cannot_be_measured_is_refused(splits, shipped):
    model, processor = shipped
    with pytest.raises(ConfigurationError, match="takes no texts"):
        retrieve_reports(model.base_model, processor, splits)
    silent = splits["test"].map(lambda row: {"text": None}, features=splits["test"].features)
    with pytest.raises(CorpusError, match="have no reports"):
        retrieve_reports(model, processor, datasets.DatasetDict(splits | {"test": silent}))
    with pytest.raises(CorpusError, match="are in the training split and in the test splits"):
        retrieve_reports(model, processor, splits, ("train",))


def test_the_command_leaves_its_results(folder, tmp_path, capsys):
    asked = ["evaluate", str(SHIPPED_MODEL), "--dataset", str(folder), "--tasks", "simulated", "--skip_linear_probe"]
    assert main([*asked, "--report_retrieval", "--output_dir", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "report-retrieval.json").read_text())
    assert [one["task"] for one in read_results([tmp_path])] == ["simulated"]  # what cards read
    assert results["splits"] == ["test"] and results["candidates"] > 10
    assert set(results["measures"]) == {RETRIEVED, RANDOM, MOST_FREQUENT}
    assert f"{results['measures'][RETRIEVED]['rougeL']:.3f}" in capsys.readouterr().out
