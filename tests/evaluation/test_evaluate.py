# SPDX-License-Identifier: Apache-2.0
import datasets
import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERModel
from cgdmer.data.simulation import simulate_cohort, simulate_record
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.embeddings import embed_prompts, embed_records
from cgdmer.evaluation.evaluate import evaluate, results_table, untrained_like
from cgdmer.evaluation.tasks import Task, get_task
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import preset_folder


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    records = simulate_cohort(120, seed=11, sampling_rate=100)
    write_dataset(records, folder, splits=split_of_fold, description="Simulated patients.")
    return load_dataset_folder(folder)


@pytest.fixture(scope="module")
def model():
    config = CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))
    config.ecg_config.num_hidden_layers = 1
    torch.manual_seed(4)
    return CGDMERModel(config).eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny"))


def test_an_untrained_model_is_beside_and_near_chance(model, processor, splits):
    results = evaluate(model, processor, splits, get_task("simulated"))
    assert set(results) == {
        *("task", "protocol", "prompts", "test_splits", "unlabelled_records", "absent_records"),
        *("zero_shot", "zero_shot_untrained", "linear_probe", "linear_probe_untrained"),
    }
    assert abs(results["zero_shot_untrained"]["macro_auroc"] - 0.5) < 0.15
    assert results["linear_probe"]["training_records"] == len(splits["train"])
    table = results_table(results)
    assert "zero shot" in table and "linear probe" in table and "untrained" in table
    assert all(name in table for name in results["zero_shot"]["per_class"])


def test_the_untrained_model_has_other_weights_and_leaves_the_random_state_alone(model):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    untrained = untrained_like(model, seed=0)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(untrained.ecg_shared_head.fc1.weight, model.ecg_shared_head.fc1.weight)


def test_a_model_that_knows_the_labels_scores_one(model, processor, splits, monkeypatch):
    """Embeddings planted so that each class points along its own axis: any mix-up of columns would show."""
    task = get_task("simulated")
    labels = task.label_matrix(row["labels"] for row in splits["test"])

    def planted_prompts(*_):
        return np.eye(len(task.class_names))

    class Planted:
        embeds = labels.astype(float)

    monkeypatch.setattr("cgdmer.evaluation.evaluate.embed_prompts", planted_prompts)
    monkeypatch.setattr("cgdmer.evaluation.evaluate.embed_records", lambda *_, **__: Planted)
    results = evaluate(model, processor, splits, task, linear_probe=False)
    assert results["zero_shot"]["macro_auroc"] == 1.0


def test_pooled_splits_are_measured_together(model, processor, splits):
    results = evaluate(
        model, processor, splits, get_task("simulated"), test_splits=("validation", "test"), linear_probe=False
    )
    assert results["zero_shot"]["records"] == len(splits["validation"]) + len(splits["test"])


def test_a_patient_on_both_sides_is_refused(model, processor, splits):
    leaking = datasets.DatasetDict({**splits, "test": splits["train"].select(range(30))})
    with pytest.raises(CorpusError, match="patients are in the training split and in the test splits"):
        evaluate(model, processor, leaking, get_task("simulated"))


def test_a_corpus_without_the_tasks_labels_is_refused(model, processor, splits):
    with pytest.raises(CorpusError, match="ptbxl-super"):
        evaluate(model, processor, splits, get_task("ptbxl-super"))
    with pytest.raises(CorpusError, match="no split 'holdout'"):
        evaluate(model, processor, splits, get_task("simulated"), test_splits=("holdout",))


def test_embeddings_are_unit_vectors_in_the_order_of_the_records(model, processor, splits):
    records = [row_to_record(row) for row in splits["test"]][:7]
    features = embed_records(model, processor.feature_extractor, records, batch_size=3)
    alone = embed_records(model, processor.feature_extractor, records[4:5])
    np.testing.assert_allclose(features.embeds[4], alone.embeds[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(features.embeds, axis=1), 1, atol=1e-5)


def test_a_long_recording_is_the_mean_over_its_windows(model, processor):
    long = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100, duration=20.0)
    features = embed_records(model, processor.feature_extractor, [long])
    windows = processor.feature_extractor(long, windows=True, return_tensors="pt")
    assert len(windows.pop("record_index")) == 2
    with torch.no_grad():
        pooled = model.ecg_model(**windows).pooler_output.mean(dim=0).numpy()
    np.testing.assert_allclose(features.pooled[0], pooled, atol=1e-5)


def test_a_class_is_the_mean_of_its_wordings(model, processor):
    both = embed_prompts(model, processor, [("atrial fibrillation", "irregular rhythm")])
    one, two = (embed_prompts(model, processor, [(text,)]) for text in ("atrial fibrillation", "irregular rhythm"))
    np.testing.assert_allclose(both, (one + two) / np.linalg.norm(one + two), atol=1e-5)


def test_a_model_that_knows_the_labels_fails_with_prompts_in_another_order(model, processor, splits, monkeypatch):
    """A planted fault: the prompts of one class under the name of the next."""
    task = get_task("simulated")
    labels = task.label_matrix(row["labels"] for row in splits["test"])

    class Planted:
        embeds = labels.astype(float)

    wordings = task.prompts()
    asked = []

    def planted_prompts(model, processor, given):
        asked.append(given)
        return np.array([[float(one == other) for other in wordings] for one in given])

    monkeypatch.setattr("cgdmer.evaluation.evaluate.embed_prompts", planted_prompts)
    monkeypatch.setattr("cgdmer.evaluation.evaluate.embed_records", lambda *_, **__: Planted)
    assert evaluate(model, processor, splits, task, linear_probe=False)["zero_shot"]["macro_auroc"] == 1.0
    assert asked == [wordings, wordings]
    monkeypatch.setattr(Task, "prompts", lambda *_: wordings[1:] + wordings[:1])
    assert evaluate(model, processor, splits, task, linear_probe=False)["zero_shot"]["macro_auroc"] < 0.6


@pytest.fixture(scope="module")
def cpsc2018(splits):
    """The same signals with CPSC2018's codes; every fifth has none."""
    codes = [["59118001"], ["164889003"], ["426783006", "284470004"], ["59118001", "164884008"], ["999"]]

    def relabelled(rows):
        return rows.map(
            lambda row, number: {"labels": codes[number % 5], "statements": [], "patient_id": None},
            with_indices=True,
            features=rows.features,
        )

    return datasets.DatasetDict({name: relabelled(rows) for name, rows in splits.items()})


def test_records_without_a_label_are_left_out_and_counted(model, processor, cpsc2018):
    results = evaluate(model, processor, cpsc2018, get_task("cpsc2018"), prompts="name")
    left_out = results["unlabelled_records"]
    assert left_out["test"] == len(cpsc2018["test"]) // 5 and left_out["train"] == len(cpsc2018["train"]) // 5
    assert results["zero_shot"]["records"] == len(cpsc2018["test"]) - left_out["test"]
    assert results["linear_probe"]["training_records"] == len(cpsc2018["train"]) - left_out["train"]
    assert (results["protocol"], results["prompts"]) == ("repaired", "name")
    assert "protocol repaired, prompts name" in results_table(results)


def test_the_published_protocol_names_itself_and_has_its_own_probe(model, processor, cpsc2018):
    results = evaluate(model, processor, cpsc2018, get_task("cpsc2018"), protocol="as_published")
    assert results["protocol"] == "as_published" and "linear_probe" not in results
    assert set(results["published_probe"]) == set(results["published_probe_untrained"]) == {"1", "10", "100"}
    table = results_table(results)
    assert "protocol as_published" in table and "published probe, 100 %" in table
    with pytest.raises(ConfigurationError, match="no protocol 'published'"):
        evaluate(model, processor, cpsc2018, get_task("cpsc2018"), protocol="published")
