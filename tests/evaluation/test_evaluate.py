# SPDX-License-Identifier: Apache-2.0
import json

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERModel, ECGViTConfig, ECGViTModel
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.evaluate_task import PROTOCOLS, evaluate_task, untrained_like
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.outputs import write_evaluation
from cgdmer.evaluation.readouts import attention
from cgdmer.evaluation.readouts.readout import LabeledFeatures
from cgdmer.evaluation.readouts.register import READOUTS
from cgdmer.evaluation.report import terminal_table, without_nan
from cgdmer.evaluation.robustness import DISTURBANCES
from cgdmer.evaluation.splits import LabeledRows
from cgdmer.evaluation.statistics import auroc_by_column
from cgdmer.evaluation.tasks import Task, get_task
from cgdmer.hub.results import as_eval_results, read_results
from cgdmer.inference import embedding_cache
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import RecordFeatures, embed_prompts, embed_records
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort, simulate_record


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


@pytest.fixture(scope="module")
def evaluation(model, processor, splits):
    return evaluate_task(
        model, processor, splits, get_task("simulated"), fractions=(0.1, 1.0), shots=(3,), robustness=True
    )


def test_an_untrained_model_is_measured_too_and_near_chance(evaluation, splits):
    results = evaluation.results
    names = ["zero-shot", "linear probe 10 %", "linear probe 100 %", "linear probe 3 shots"]
    assert list(results["measures"]) == list(results["untrained"]) == names
    assert abs(results["untrained"]["zero-shot"]["macro_auroc"] - 0.5) < 0.15
    assert results["measures"]["linear probe 100 %"]["training_records"] == [len(splits["train"])]
    assert results["measures"]["linear probe 10 %"]["training_records"] == [round(len(splits["train"]) / 10)] * 5
    assert len(results["measures"]["linear probe 3 shots"]["macro_auroc_by_seed"]) == 5
    table = terminal_table(results)
    assert all(name in table for name in (*names, "untrained", *results["measures"]["zero-shot"]["per_class"]))


def test_probes_see_the_feature_that_was_asked_for(evaluation, model, processor, splits):
    task = get_task("simulated")
    how = {"fractions": (1.0,), "untrained": False}
    found = evaluate_task(model, processor, splits, task, probed_feature="embeds", **how)
    assert (evaluation.results["probed_feature"], found.results["probed_feature"]) == ("pooled", "embeds")
    assert np.array_equal(found.scores["zero-shot"], evaluation.scores["zero-shot"])
    of_task = PROTOCOLS["repaired"](splits, task, None)
    parts = [of_task[name] for name in ("train", "validation", "test")]
    embeds = [embed_records(model, processor.feature_extractor, part).embeds for part in parts]
    train, validation = parts[0], (embeds[1], parts[1].labels)
    scores = fit_linear_probe(embeds[0], train.labels, train.patients, validation).scores(embeds[2])
    assert np.allclose(found.scores["linear probe 100 %"][0], scores, atol=1e-4)
    assert not np.allclose(found.scores["linear probe 100 %"], evaluation.scores["linear probe 100 %"], atol=1e-2)
    with pytest.raises(ConfigurationError, match="pooled or embeds"):
        evaluate_task(model, processor, splits, task, probed_feature="hidden", **how)


def test_f1_needs_validation_records_that_are_not_tested(evaluation, model, processor, splits):
    assert "macro_f1" in evaluation.results["measures"]["zero-shot"]
    task = get_task("simulated")
    both = evaluate_task(model, processor, splits, task, ("validation", "test"), fractions=())
    assert "macro_f1" not in both.results["measures"]["zero-shot"]


def test_scores_and_embeddings_are_those_behind_the_figures(evaluation, splits):
    result = evaluation.results["measures"]["zero-shot"]
    areas = auroc_by_column(evaluation.labels, evaluation.scores["zero-shot"][0])
    assert result["macro_auroc"] == pytest.approx(np.nanmean(areas))
    assert len(evaluation.embeddings) == len(evaluation.labels) == result["records"]


def test_robustness_measures_every_disturbance(evaluation):
    families = evaluation.results["robustness"]
    assert [(family, row["name"]) for family, rows in families.items() for row in rows] == [
        (one.family, one.name)
        for one in DISTURBANCES
        if one.name not in ("250 Hz", "125 Hz")  # the records have 100
    ]
    whole = evaluation.results["measures"]["zero-shot"]["macro_auroc"]
    values = [row["zero-shot"]["macro_auroc"] for rows in families.values() for row in rows]
    assert whole not in values[:4] and all("linear probe 100 %" in row for rows in families.values() for row in rows)


def test_groups_are_measured_by_themselves(evaluation, splits):
    groups = evaluation.results["groups"]
    assert list(groups) == ["sex", "age"] and [row["name"] for row in groups["sex"]] == ["female", "male"]
    sex = np.array(splits["test"]["sex"])
    assert sum(row["zero-shot"]["records"] for row in groups["age"]) == len(sex)
    for row in groups["sex"]:
        mask = sex == row["name"]
        assert row["zero-shot"]["records"] == mask.sum()
        for name in ("zero-shot", "linear probe 100 %"):
            labels, scores = evaluation.labels[mask], evaluation.scores[name][0][mask]
            areas = [roc_auc_score(y, s) for y, s in zip(labels.T, scores.T, strict=True) if 0 < y.sum() < len(y)]
            assert row[name]["macro_auroc"] == pytest.approx(np.mean(areas))


def test_calibration_is_that_of_the_pipelines_scores(evaluation, model):
    cosines = evaluation.scores["zero-shot"][0]
    scores = 1 / (1 + np.exp(-(model.config.score_scale * cosines + model.config.score_bias)))
    expected = np.mean((scores - evaluation.labels) ** 2)
    assert evaluation.results["calibration"]["brier"] == pytest.approx(expected, rel=1e-5)


def test_random_weights_are_optional(model, processor, splits):
    results = evaluate_task(model, processor, splits, get_task("simulated"), fractions=(), untrained=False).results
    assert results["untrained"] == {} and "zero-shot" in results["measures"]


def test_all_outputs_are_written(evaluation, tmp_path):
    evaluation.results["command"] = "cgdmer evaluate"
    files = write_evaluation(tmp_path / "new" / "folder", evaluation, get_task("simulated"))
    names = {path.name for path in files}
    assert {
        "results.json",
        "per_class.csv",
        "scores.parquet",
        "report.md",
        "per_class.png",
        "roc.png",
        "groups.png",
        "robustness.png",
    } <= names
    assert all(path.stat().st_size > 0 for path in files)
    read = json.loads((tmp_path / "new" / "folder" / "results.json").read_text())
    assert read["measures"]["zero-shot"]["macro_auroc"] == evaluation.results["measures"]["zero-shot"]["macro_auroc"]


def test_embeddings_are_computed_once(model, processor, splits, tmp_path, monkeypatch):
    task, arguments = get_task("simulated"), {"fractions": (), "cache": EmbeddingCache(tmp_path / "cache")}
    first = without_nan(evaluate_task(model, processor, splits, task, **arguments).results)
    calls = []
    original = embedding_cache.embed_records
    monkeypatch.setattr(embedding_cache, "embed_records", lambda *a, **k: calls.append(1) or original(*a, **k))
    again = {"fractions": (), "cache": EmbeddingCache(tmp_path / "cache")}
    assert without_nan(evaluate_task(model, processor, splits, task, **again).results) == first
    assert not calls
    # A change in anything they depend on makes new ones: weights, settings, records, and what is done to the records.
    part = LabeledRows(splits["test"], task.label_matrix(splits["test"]["labels"]), splits["test"]["patient_id"])
    cache, extractor = EmbeddingCache(tmp_path / "cache"), processor.feature_extractor
    other = type(extractor).from_dict({**extractor.to_dict(), "fixed_millivolts": 0.3})
    fewer = LabeledRows(part.rows.select(range(5)), part.labels[:5], part.patients[:5])
    cache.features(untrained_like(model, 5), extractor, part, "")
    cache.features(model, other, part, "")
    cache.features(model, extractor, fewer, "")
    cache.features(model, extractor, part, "", "noise")
    assert len(calls) == 4
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:100])  # cut off
    assert without_nan(evaluate_task(model, processor, splits, task, **again).results) == first


def test_records_and_patients_that_were_pretrained_on_are_refused(model, processor, splits):
    task, unseen = get_task("simulated"), Fingerprints.of(splits["train"])
    clean = evaluate_task(model, processor, splits, task, fractions=(), trained_on=unseen).results
    assert clean["overlap"] == {"records": 0, "patients": 0}
    seen = Fingerprints.of(splits["test"].select([0]), unseen)
    with pytest.raises(CorpusError, match="pretrained on 1 of the"):
        evaluate_task(model, processor, splits, task, fractions=(), trained_on=seen)
    told = evaluate_task(model, processor, splits, task, fractions=(), trained_on=seen, allow_overlap=True).results
    assert told["overlap"]["records"] == 1 <= told["overlap"]["patients"]


def test_in_domain_is_said(model, processor, splits):
    named = datasets.DatasetDict(splits)
    for split in named.values():
        split.info.dataset_name = "a-corpus"
    arguments = {"fractions": (), "splits": ("validation", "test")}
    for corpora, expected in ((("a-corpus",), True), (("another",), False)):
        trained_on = Fingerprints(np.zeros(0, np.int64), corpora)
        results = evaluate_task(
            model, processor, named, get_task("simulated"), trained_on=trained_on, **arguments
        ).results
        assert results["in_domain"] is expected


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

    planted = RecordFeatures(pooled=labels.astype(float), embeds=labels.astype(float))

    monkeypatch.setattr("cgdmer.evaluation.model_on_task.embed_prompts", planted_prompts)
    monkeypatch.setattr("cgdmer.inference.embedding_cache.embed_records", lambda *_, **__: planted)
    alone = datasets.DatasetDict({"test": splits["test"]})
    results = evaluate_task(model, processor, alone, task, fractions=()).results
    assert results["measures"]["zero-shot"]["macro_auroc"] == 1.0


def test_pooled_splits_are_measured_together(model, processor, splits):
    results = evaluate_task(
        model, processor, splits, get_task("simulated"), splits=("validation", "test"), fractions=()
    ).results
    assert results["measures"]["zero-shot"]["records"] == len(splits["validation"]) + len(splits["test"])


def test_a_patient_on_both_sides_is_refused(model, processor, splits):
    chosen_on = datasets.DatasetDict({**splits, "validation": splits["test"]})
    with pytest.raises(CorpusError, match="patients are in the validation split and in the test splits"):
        evaluate_task(model, processor, chosen_on, get_task("simulated"), fractions=())
    leaking = datasets.DatasetDict({**splits, "test": splits["train"].select(range(30))})
    with pytest.raises(CorpusError, match="patients are in the training split and in the test splits"):
        evaluate_task(model, processor, leaking, get_task("simulated"))


def test_a_corpus_without_the_tasks_labels_is_refused(model, processor, splits):
    with pytest.raises(CorpusError, match="ptbxl-super"):
        evaluate_task(model, processor, splits, get_task("ptbxl-super"))
    with pytest.raises(CorpusError, match="no split 'holdout'"):
        evaluate_task(model, processor, splits, get_task("simulated"), splits=("holdout",))


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
    assert len(windows.pop("record_index")) == len(windows.pop("window_weights")) == 2
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

    planted = RecordFeatures(pooled=labels.astype(float), embeds=labels.astype(float))

    wordings = task.prompts()
    asked = []

    def planted_prompts(model, processor, given):
        asked.append(given)
        return np.array([[float(one == other) for other in wordings] for one in given])

    monkeypatch.setattr("cgdmer.evaluation.model_on_task.embed_prompts", planted_prompts)
    monkeypatch.setattr("cgdmer.inference.embedding_cache.embed_records", lambda *_, **__: planted)
    alone = datasets.DatasetDict({"test": splits["test"]})

    def zero_shot() -> float:
        return evaluate_task(model, processor, alone, task, fractions=()).results["measures"]["zero-shot"][
            "macro_auroc"
        ]

    assert zero_shot() == 1.0
    assert asked == [wordings, wordings]
    monkeypatch.setattr(Task, "prompts", lambda *_: wordings[1:] + wordings[:1])
    assert zero_shot() < 0.6


@pytest.fixture(scope="module")
def cpsc2018(splits):
    """The same signals with codes of CPSC2018; every fifth record has no label of its task."""
    codes = [["59118001"], ["164889003"], ["426783006", "284470004"], ["59118001", "164884008"], ["999"]]

    def relabeled(rows):
        return rows.map(
            lambda row, number: {"labels": codes[number % 5], "statements": [], "patient_id": None},
            with_indices=True,
            features=rows.features,
        )

    return datasets.DatasetDict({name: relabeled(rows) for name, rows in splits.items()})


def test_records_without_a_label_are_left_out_and_counted(model, processor, cpsc2018):
    task = get_task("cpsc2018")
    results = evaluate_task(model, processor, cpsc2018, task, prompts="name", fractions=(1.0,)).results
    assert results["records_without_label"] == len(cpsc2018["test"]) // 5
    assert results["measures"]["zero-shot"]["records"] == len(cpsc2018["test"]) - len(cpsc2018["test"]) // 5
    fitted = results["measures"]["linear probe 100 %"]["training_records"]
    assert fitted == [len(cpsc2018["train"]) - len(cpsc2018["train"]) // 5]
    assert "cpsc2018, protocol: repaired, prompts: name" in terminal_table(results)


def test_the_published_protocol_names_itself_and_has_its_own_probe(model, processor, cpsc2018):
    results = evaluate_task(model, processor, cpsc2018, get_task("cpsc2018"), protocol="as_published").results
    names = ["zero-shot", *(f"published probe {percent} %" for percent in (1, 10, 100))]
    assert list(results["measures"]) == list(results["untrained"]) == names
    table = terminal_table(results)
    assert "protocol: as_published" in table and "published probe 100 %" in table
    with pytest.raises(ConfigurationError, match="no protocol 'published'"):
        evaluate_task(model, processor, cpsc2018, get_task("cpsc2018"), protocol="published")


# Readouts.


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "STEPS", 100)
        yield


@pytest.fixture(scope="module")
def all_readouts(model, processor, splits, tmp_path_factory):
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"))
    how = {"fractions": (0.1, 1.0), "shots": (3,), "readouts": list(READOUTS), "robustness": True, "cache": cache}
    return evaluate_task(model, processor, splits, get_task("simulated"), **how)


def test_every_readout_is_measured_as_fitted_by_hand(all_readouts, evaluation, model, processor, splits):
    results, task = all_readouts.results, get_task("simulated")
    repeated = ("linear probe", "per-lead probe", "nearest neighbors")
    names = [f"{name} {share}" for name in repeated for share in ("10 %", "100 %", "3 shots")]
    names = ["zero-shot", *names, "attention probe 100 %"]
    assert list(results["measures"]) == list(results["untrained"]) == list(all_readouts.scores) == names
    of_task, parts = PROTOCOLS["repaired"](splits, task, None), {}
    for name, part in of_task.items():
        features = embed_records(model, processor.feature_extractor, part, further=("per_lead", "tokens"))
        parts[name] = LabeledFeatures(features, part.labels, part.patients)
    for readout in READOUTS.values():
        name = f"{readout.measure} 100 %"
        fitted = readout().fit(parts["train"], parts["validation"])
        scores = fitted.scores(parts["test"].features)
        np.testing.assert_allclose(all_readouts.scores[name][0], scores, atol=1e-4)
        areas = auroc_by_column(parts["test"].labels, scores)
        assert results["measures"][name]["macro_auroc"] == pytest.approx(np.nanmean(areas))
        chosen = {"training_records": [len(splits["train"])]} | {what: [one] for what, one in fitted.chosen.items()}
        assert chosen.items() <= results["measures"][name].items()
    for name in ("zero-shot", "linear probe 10 %", "linear probe 100 %", "linear probe 3 shots"):
        assert np.array_equal(all_readouts.scores[name], evaluation.scores[name]), "as without other readouts"


def test_every_readout_is_in_the_tables_and_for_the_hub(all_readouts, tmp_path):
    results = all_readouts.results
    whole = ["zero-shot", *(f"{readout.measure} 100 %" for readout in READOUTS.values())]
    for families in (results["groups"], results["robustness"]):
        assert all(list(row) == ["name", *whole] for rows in families.values() for row in rows)
    for name in whole:
        noisy = results["robustness"]["noise"][-1][name]["macro_auroc"]
        assert noisy != results["measures"][name]["macro_auroc"]
    write_evaluation(tmp_path, all_readouts, get_task("simulated"))
    (read,), report, table = read_results([tmp_path]), (tmp_path / "report.md").read_text(), terminal_table(results)
    for name in whole:
        assert name in table and f"| {name} | trained |" in report and f"| {name} | untrained |" in report
        interval = "macro_auroc_interval"
        assert read["measures"][name][interval] == results["measures"][name][interval]
    names = {entry.task_name for entry in as_eval_results([read])}
    assert names == {"zero-shot", *(readout.measure for readout in READOUTS.values())}


def test_tokens_are_kept_in_the_cache_with_the_other_features(model, processor, splits, tmp_path, monkeypatch):
    part = PROTOCOLS["repaired"](splits, get_task("simulated"), None)["test"]
    calls, original = [], embedding_cache.embed_records
    monkeypatch.setattr(embedding_cache, "embed_records", lambda *a, **k: calls.append(1) or original(*a, **k))

    def features(*further: str) -> RecordFeatures:
        return EmbeddingCache(tmp_path).features(model, processor.feature_extractor, part, "", further=further)

    def same(first: RecordFeatures, second: RecordFeatures) -> bool:
        tokens = [one.tokens.batch(range(len(part)))[0] for one in (first, second)]
        return torch.equal(*tokens) and np.array_equal(first.per_lead, second.per_lead, equal_nan=True)

    alone, whole = features(), features("tokens", "per_lead")
    assert len(calls) == 2 and alone.tokens is None and alone.per_lead is None
    assert np.array_equal(features().pooled, alone.pooled) and same(features("per_lead", "tokens"), whole)
    assert len(calls) == 2
    for ending in ("tokens", "safetensors"):
        (path,) = tmp_path.glob(f"*per_lead-tokens.{ending}")
        kept = path.read_bytes()
        path.unlink()  # not cut off in place: `whole` still maps it
        path.write_bytes(kept[:-3])
        assert same(features("per_lead", "tokens"), whole) and same(features("per_lead", "tokens"), whole)
    assert len(calls) == 4 and not list(tmp_path.glob(".*"))


def test_an_encoder_of_all_leads_has_no_probe_per_lead_and_results_say_so(processor, splits, tmp_path):
    task, extractor = get_task("simulated"), processor.feature_extractor
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = ECGViTModel(ECGViTConfig(sampling_rate=100, num_samples=1000, patch_length=40, **sizes)).eval()
    how = {"fractions": (1.0,), "readouts": ["attention", "per_lead", "mean"], "untrained": False}
    found = evaluate_task(vit, extractor, splits, task, **how)
    assert list(found.results["measures"]) == ["linear probe 100 %", "attention probe 100 %"]
    assert found.results["readouts_left_out"] == {"per_lead": "the encoder's tokens belong to no lead"}
    line = "Readout per_lead: left out, because the encoder's tokens belong to no lead."
    write_evaluation(tmp_path, found, task)
    assert line in terminal_table(found.results) and line in (tmp_path / "report.md").read_text()
    assert read_results([tmp_path])[0]["readouts_left_out"] == found.results["readouts_left_out"]
    with pytest.raises(ConfigurationError, match="nothing to measure without per_lead, because the encoder's tokens"):
        evaluate_task(vit, extractor, splits, task, **how | {"readouts": ["per_lead"]})
    with pytest.raises(ConfigurationError, match="without attention, because it is for all training records"):
        evaluate_task(vit, extractor, splits, task, readouts=["attention"], fractions=(0.1,))


def test_readouts_that_do_not_exist_or_do_not_suit_the_protocol_are_refused(model, processor, splits):
    task = get_task("simulated")
    with pytest.raises(ConfigurationError, match=r"no readout 'median'\. Readouts: mean, per_lead"):
        evaluate_task(model, processor, splits, task, readouts=["mean", "median"])
    with pytest.raises(ConfigurationError, match="as_published has a probe of its own"):
        evaluate_task(model, processor, splits, task, readouts=["knn"], protocol="as_published")
