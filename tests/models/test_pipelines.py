# SPDX-License-Identifier: Apache-2.0
"""The pipelines, from a path, a record, an array, or a dict to ranked labels."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from cgdmer import (
    CGDMERECGModel,
    CGDMERForECGClassification,
    CGDMERForZeroShot,
    ECGProcessor,
    ECGRecord,
    read_wfdb,
)
from cgdmer.models.errors import ECGInputError, ModelFolderError, RecordFileError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.pipeline_ecg_classification import ECGClassificationPipeline
from cgdmer.models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_record
from clinic_writers import write_aecg
from recordings import write_wfdb

PROMPTS = ["atrial fibrillation", "left bundle branch block", "normal ecg"]
LABELS = ["NORM", "MI", "STTC", "HYP"]


def make_record(seconds: float = 10, seed: int = 0, rate: int = 100, leads: int = 12) -> ECGRecord:
    """Noise in whole microvolts, smoothed, so that a file can hold it exactly."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(leads, round(seconds * rate) + 8)).cumsum(axis=1)
    smooth = noise[:, 8:] - noise[:, :-8]
    signal = np.round(smooth * rng.uniform(100, 400, (leads, 1))) / 1000
    return ECGRecord(signal=signal.astype(np.float32), sampling_rate=float(rate), lead_names=STANDARD_LEADS[:leads])


def described(record: ECGRecord) -> dict:
    return {"sampling_rate": record.sampling_rate, "lead_names": list(record.lead_names), "unit": "mV"}


def as_dict(record: ECGRecord) -> dict:
    return {"ecg": record.signal, **described(record)}


def scores(output: list[dict]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in output}


def assert_close(left: list[dict], right: list[dict], atol: float = 1e-5) -> None:
    assert scores(left) == pytest.approx(scores(right), abs=atol)


def assert_ranked(output: list[dict], labels: list[str]) -> None:
    assert sorted(entry["label"] for entry in output) == sorted(labels)
    values = [entry["score"] for entry in output]
    assert values == sorted(values, reverse=True)
    assert all(type(value) is float and 0 <= value <= 1 for value in values)


@pytest.fixture(scope="module")
def zero_shot(tiny_model_folder) -> ZeroShotECGClassificationPipeline:
    return pipeline("zero-shot-ecg-classification", model=str(tiny_model_folder))


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory, tiny_model_folder, tiny_processor) -> Path:
    """A saved fine-tuned model, with names for its labels."""
    config = CGDMERForZeroShot.from_pretrained(tiny_model_folder).config.ecg_config
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: number for number, label in enumerate(LABELS)}
    config.problem_type = "multi_label_classification"
    folder = tmp_path_factory.mktemp("classifier")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        CGDMERForECGClassification(config).save_pretrained(folder)
    tiny_processor.feature_extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classify(classifier_folder) -> ECGClassificationPipeline:
    return pipeline("ecg-classification", model=str(classifier_folder))


def mean_over_seconds(logits: torch.Tensor, seconds: int) -> torch.Tensor:
    """The mean over a recording's seconds, each counted once: the last window overlaps the one before."""
    return torch.stack([logits[second // 10] for second in range(seconds)]).mean(dim=0)


def naive_window_logits(model, processor: ECGProcessor, record: ECGRecord) -> torch.Tensor:
    """(windows, prompts or labels): each ten-second window is cut by hand and sent through the model alone."""
    length = 10 * round(record.sampling_rate)
    total = record.signal.shape[1]
    starts = [*range(0, max(1, total - length), length)]
    if total > length:
        starts.append(total - length)
    rows = []
    for start in starts:
        window = replace(record, signal=record.signal[:, start : start + length])
        with torch.no_grad():
            if isinstance(model, CGDMERForZeroShot):
                rows.append(model(**processor(ecg=window, text=PROMPTS, return_tensors="pt")).logits_per_ecg[0])
            else:
                rows.append(model(**processor(ecg=window, return_tensors="pt")).logits[0])
    return torch.stack(rows)


# Zero-shot: what goes in


def test_loads_by_task_name(zero_shot):
    assert type(zero_shot) is ZeroShotECGClassificationPipeline
    assert type(zero_shot.model) is CGDMERForZeroShot and not zero_shot.model.training
    assert type(zero_shot.processor) is ECGProcessor


def test_model_objects(zero_shot, tiny_model_folder, tiny_processor):
    model = CGDMERForZeroShot.from_pretrained(tiny_model_folder)
    from_objects = pipeline("zero-shot-ecg-classification", model=model, processor=tiny_processor)
    direct = ZeroShotECGClassificationPipeline(model=model, processor=tiny_processor)
    expected = zero_shot(make_record(), PROMPTS)
    assert from_objects(make_record(), candidate_labels=PROMPTS) == expected
    assert direct(make_record(), candidate_labels=PROMPTS) == expected


def test_model_tells_recordings_and_prompts_apart(zero_shot):
    """Otherwise the comparisons below would prove nothing."""
    outputs = [scores(zero_shot(make_record(seed=seed), PROMPTS)) for seed in range(3)]
    assert np.ptp([list(output.values()) for output in outputs], axis=1).min() > 0.01
    for prompt in PROMPTS:
        assert np.ptp([output[prompt] for output in outputs]) > 0.001


def test_every_form_of_a_recording_gives_the_same(zero_shot, tmp_path):
    record = make_record()
    path = write_wfdb(record, tmp_path / "rec")
    np.testing.assert_array_equal(read_wfdb(path).signal, record.signal)
    expected = zero_shot(record, PROMPTS)
    assert_ranked(expected, PROMPTS)
    assert zero_shot(path, PROMPTS) == expected
    assert zero_shot(str(path), candidate_labels=PROMPTS) == expected
    assert zero_shot(path.with_suffix(".hea"), candidate_labels=PROMPTS) == expected
    assert zero_shot(record.signal, PROMPTS, **described(record)) == expected
    assert zero_shot(torch.from_numpy(record.signal), PROMPTS, **described(record)) == expected
    assert zero_shot(as_dict(record), PROMPTS) == expected
    assert zero_shot({"ecg": record}, PROMPTS) == expected
    assert zero_shot({"ecg": record.signal, "unit": "mV"}, PROMPTS, sampling_rate=100, lead_names=STANDARD_LEADS)


def test_units_and_gain(zero_shot):
    record = make_record()
    expected = zero_shot(record, PROMPTS)
    microvolts = described(record) | {"unit": "uV"}
    assert_close(zero_shot(record.signal * 1000, PROMPTS, **microvolts), expected)
    counts = {"ecg": np.round(record.signal * 1000).astype(np.int16), "gain": 1000, **described(record), "unit": "adu"}
    assert_close(zero_shot(counts, PROMPTS), expected)


def test_mixed_list(zero_shot, tmp_path):
    records = [make_record(seed=seed) for seed in range(5)]
    alone = [zero_shot(record, PROMPTS) for record in records]
    mixed = [
        write_wfdb(records[0], tmp_path / "rec"),
        records[1],
        as_dict(records[2]),
        records[3].signal,
        {"ecg": records[4].signal},
    ]
    assert zero_shot(mixed, PROMPTS, **described(records[0])) == alone
    assert zero_shot(records[:1], PROMPTS) == alone[:1]
    assert zero_shot(tuple(records[:2]), PROMPTS) == alone[:2]
    assert list(zero_shot((record for record in records[:2]), PROMPTS)) == alone[:2]


def test_empty_list(zero_shot, classify):
    assert zero_shot([], PROMPTS) == classify([]) == []


def test_dict_outweighs_the_arguments_of_the_call(zero_shot):
    fast, slow = make_record(rate=200), make_record(seed=1)
    outputs = zero_shot([as_dict(fast), slow.signal], PROMPTS, **described(slow))
    assert outputs == [zero_shot(fast, PROMPTS), zero_shot(slow, PROMPTS)]


@pytest.mark.parametrize("batch_size", [2, 4])
def test_batches_change_nothing(zero_shot, batch_size):
    """Long and short recordings, many and few leads: batches cut across recordings and windows."""
    records = [
        make_record(10),
        make_record(34, seed=1),
        make_record(3, seed=2),
        make_record(21, seed=3, leads=2),
        make_record(5, seed=4, rate=250),
    ]
    alone = [zero_shot(record, PROMPTS) for record in records]
    batched = zero_shot(records, PROMPTS, batch_size=batch_size)
    assert len(batched) == len(records)
    for left, right in zip(batched, alone, strict=True):
        assert_close(left, right)


def test_padding_changes_nothing(zero_shot, tiny_processor):
    """The model itself: a recording gives the same alone and in a batch with shorter ones with fewer leads."""
    records = [make_record(4), make_record(10, seed=1), make_record(2, seed=2, leads=1)]
    text = tiny_processor(text=PROMPTS, return_tensors="pt")
    with torch.no_grad():
        together = zero_shot.model(**tiny_processor(ecg=records, return_tensors="pt"), **text).logits_per_ecg
        for row, record in enumerate(records):
            alone = zero_shot.model(**tiny_processor(ecg=record, return_tensors="pt"), **text).logits_per_ecg[0]
            torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=0)
    assert together.std(dim=0).min() > 1e-3


@pytest.mark.parametrize(("seconds", "leads"), [(4, 12), (10, 12), (20, 12), (27, 12), (27, 1)])
def test_long_recording_is_the_mean_of_its_windows(zero_shot, tiny_processor, seconds, leads):
    record = make_record(seconds, leads=leads)
    logits = naive_window_logits(zero_shot.model, tiny_processor, record)
    assert len(logits) == max(1, -(-seconds // 10))
    assert len(logits) == 1 or logits.std(dim=0).min() > 1e-3  # one window alone would not be enough
    expected = dict(zip(PROMPTS, mean_over_seconds(logits, seconds).sigmoid().tolist(), strict=True))
    assert scores(zero_shot(record, PROMPTS)) == pytest.approx(expected, abs=1e-5)


def test_half_precision(zero_shot, tiny_model_folder):
    half = pipeline("zero-shot-ecg-classification", model=str(tiny_model_folder), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    assert_close(half(make_record(), PROMPTS), zero_shot(make_record(), PROMPTS), atol=0.05)


def test_embeddings_use_the_packaged_model_by_default(tmp_path):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    (found,) = pipeline("ecg-embedding")([record])
    expected = pipeline("ecg-embedding", model=str(SHIPPED_MODEL))(record)
    assert found.shape == (128,)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("task", ["zero-shot-ecg-classification", "ecg-classification", "ecg-embedding"])
def test_half_precision_can_be_saved(tiny_model_folder, classifier_folder, tmp_path, task):
    folder = classifier_folder if task == "ecg-classification" else tiny_model_folder
    arguments = {"candidate_labels": PROMPTS} if task.startswith("zero-shot") else {}
    half = pipeline(task, model=str(folder), dtype=torch.float16)
    expected = half(make_record(), **arguments)
    half.save_pretrained(tmp_path)
    loaded = pipeline(task, model=str(tmp_path))
    assert loaded.model.dtype == torch.float16
    np.testing.assert_equal(loaded(make_record(), **arguments), expected)


# Zero-shot: what comes out


def test_sigmoid_by_default_and_softmax_on_request(zero_shot, tiny_processor):
    record = make_record()
    logits = naive_window_logits(zero_shot.model, tiny_processor, record)[0]
    for options, expected in (
        ({}, logits.sigmoid()),
        ({"multi_label": True}, logits.sigmoid()),
        ({"multi_label": False}, logits.softmax(dim=0)),
    ):
        output = zero_shot(record, PROMPTS, **options)
        assert_ranked(output, PROMPTS)
        assert scores(output) == pytest.approx(dict(zip(PROMPTS, expected.tolist(), strict=True)), abs=1e-5)
    assert sum(scores(zero_shot(record, PROMPTS, multi_label=False)).values()) == pytest.approx(1, abs=1e-5)
    assert sum(scores(zero_shot(record, PROMPTS)).values()) != pytest.approx(1, abs=1e-2)


def test_multi_label_set_when_the_pipeline_is_created(zero_shot, tiny_model_folder):
    exclusive = pipeline("zero-shot-ecg-classification", model=str(tiny_model_folder), multi_label=False)
    assert exclusive(make_record(), PROMPTS) == zero_shot(make_record(), PROMPTS, multi_label=False)
    assert exclusive(make_record(), PROMPTS, multi_label=True) == zero_shot(make_record(), PROMPTS)


def test_labels_set_when_the_pipeline_is_created(zero_shot, tiny_model_folder):
    expected = zero_shot(make_record(), PROMPTS)
    classify = pipeline("zero-shot-ecg-classification", model=str(tiny_model_folder), candidate_labels=PROMPTS)
    assert classify(make_record()) == expected
    assert classify([make_record(), make_record(seed=1)]) == [expected, zero_shot(make_record(seed=1), PROMPTS)]
    assert classify(make_record(), PROMPTS[:2]) == zero_shot(make_record(), PROMPTS[:2])
    assert classify(make_record()) == expected  # the labels of one call are not those of the next
    with pytest.raises(ECGInputError, match="no candidate_labels"):
        classify(make_record(), [])


def test_labels_between_commas(zero_shot):
    assert zero_shot(make_record(), ",".join(PROMPTS)) == zero_shot(make_record(), PROMPTS)
    assert zero_shot(make_record(), f" {PROMPTS[0]} , {PROMPTS[1]},") == zero_shot(make_record(), PROMPTS[:2])
    with pytest.raises(ECGInputError, match="given more than once"):
        zero_shot(make_record(), "normal ecg, normal ecg")


def test_single_labels_do_not_depend_on_each_other(zero_shot):
    together = scores(zero_shot(make_record(), PROMPTS))
    for prompt in PROMPTS:
        (alone,) = zero_shot(make_record(), prompt)  # without a comma one string is one prompt
        assert alone["label"] == prompt
        assert alone["score"] == pytest.approx(together[prompt], abs=1e-5)
    assert scores(zero_shot(make_record(), iter(PROMPTS))) == together
    assert scores(zero_shot(make_record(), PROMPTS[::-1])) == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (None, "no candidate_labels"),
        ([], "no candidate_labels"),
        ("", "no candidate_labels"),
        (" , ", "no candidate_labels"),
        (["normal ecg", "  "], "empty"),
        (["normal ecg", 3], "3 is empty or not a text"),
        (["normal ecg", None], "None is empty or not a text"),
        (["normal ecg", "block", "normal ecg"], "'normal ecg' is given more than once"),
    ],
)
def test_faulty_prompts(zero_shot, prompts, message):
    with pytest.raises(ECGInputError, match=message):
        zero_shot(make_record(), candidate_labels=prompts)


def test_prompts_are_embedded_once_per_call(zero_shot, monkeypatch):
    calls = []
    embed = zero_shot.model.get_text_features

    def counting(input_ids, **inputs):
        calls.append(len(input_ids))
        return embed(input_ids, **inputs)

    monkeypatch.setattr(zero_shot.model, "get_text_features", counting)
    zero_shot([make_record(25), make_record(seed=1)], PROMPTS, batch_size=2)
    assert calls == [3]
    zero_shot(make_record(), PROMPTS[:2])
    assert calls == [3, 2]


# What both pipelines refuse


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ({"ecg": np.zeros((2, 1000)), "rate": 100}, ["'rate'", "WFDB"]),
        ({"signal": np.zeros((2, 1000))}, ["'signal'"]),
        ({}, ["keys"]),
        ({1: 2, "ecg": 3}, ["keys"]),
        ({"ecg": make_record(), "sampling_rate": 250}, ["has its own"]),
        ({"ecg": [1.0, 2.0]}, ["type list"]),
        (5, ["type int"]),
        (None, ["type NoneType"]),
        (np.zeros(1000), ["missing"]),
        (np.zeros((3, 12, 1000)), ["(3, 12, 1000)"]),  # would be averaged like windows
    ],
)
def test_what_is_not_a_recording(zero_shot, classify, recording, words):
    for call in (lambda: zero_shot(recording, PROMPTS), lambda: classify(recording)):
        with pytest.raises(ECGInputError) as refusal:
            call()
        assert all(word in str(refusal.value) for word in words)


def test_arrays_need_a_description(zero_shot, classify):
    record = make_record()
    for name in described(record):
        arguments = {key: value for key, value in described(record).items() if key != name}
        with pytest.raises(ECGInputError, match=f"{name} is missing"):
            zero_shot(record.signal, PROMPTS, **arguments)
        with pytest.raises(ECGInputError, match=f"{name} is missing"):
            classify({"ecg": record.signal, **arguments})


@pytest.mark.parametrize("wrap", [str, Path, lambda path: [path]])
def test_missing_file(zero_shot, classify, tmp_path, wrap):
    path = tmp_path / "absent"
    with pytest.raises(RecordFileError, match=r"absent does not exist, nor does .*absent\.hea"):
        zero_shot(wrap(path), PROMPTS)
    with pytest.raises(RecordFileError, match=r"absent does not exist, nor does .*absent\.hea"):
        classify(wrap(path))


def test_unknown_arguments_are_not_swallowed(zero_shot, classify, tiny_model_folder):
    with pytest.raises(ECGInputError, match=r"no argument 'hypothesis_template'.*candidate_labels, multi_label"):
        zero_shot(make_record(), PROMPTS, hypothesis_template="an ECG with {}")
    with pytest.raises(ECGInputError, match="no argument 'rate'"):
        classify(make_record().signal, rate=100)
    with pytest.raises(ECGInputError, match="no argument 'multilabel'"):
        pipeline("zero-shot-ecg-classification", model=str(tiny_model_folder), multilabel=False)


# Classification


def test_classification_names_its_labels(classify, tiny_processor, tmp_path):
    assert type(classify) is ECGClassificationPipeline and type(classify.model) is CGDMERForECGClassification
    record = make_record(27)
    logits = naive_window_logits(classify.model, tiny_processor, record)
    assert len(logits) == 3 and logits.std(dim=0).min() > 1e-3
    output = classify(record)
    assert_ranked(output, LABELS)
    expected = dict(zip(LABELS, mean_over_seconds(logits, 27).sigmoid().tolist(), strict=True))
    assert scores(output) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(list(expected.values())) > 0.01
    assert classify(write_wfdb(record, tmp_path / "rec")) == output
    assert classify(as_dict(record)) == output
    assert classify(record.signal, **described(record)) == output


@pytest.mark.parametrize("batch_size", [1, 4])
def test_classification_of_a_list(classify, batch_size):
    records = [make_record(10), make_record(23, seed=1), make_record(3, seed=2, leads=1)]
    outputs = classify(records, batch_size=batch_size)
    for output, record in zip(outputs, records, strict=True):
        assert_close(output, classify(record))


@pytest.mark.parametrize(
    ("problem_type", "adds_to_one"),
    [("single_label_classification", True), ("multi_label_classification", False), (None, False)],
)
def test_softmax_for_one_label_per_record_otherwise_sigmoid(
    classifier_folder, tiny_processor, problem_type, adds_to_one
):
    model = CGDMERForECGClassification.from_pretrained(classifier_folder)
    model.config.problem_type = problem_type
    classify = pipeline("ecg-classification", model=model, feature_extractor=tiny_processor.feature_extractor)
    output = classify(make_record())
    logits = naive_window_logits(model, tiny_processor, make_record())[0]
    expected = logits.softmax(dim=0) if adds_to_one else logits.sigmoid()
    assert scores(output) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-5)
    assert (sum(scores(output).values()) == pytest.approx(1, abs=1e-5)) == adds_to_one


def test_a_model_without_a_classifier_is_refused(tiny_model_folder, tiny_processor, tmp_path):
    """transformers would use a random one instead."""
    encoder = CGDMERECGModel.from_pretrained(tiny_model_folder)
    encoder.save_pretrained(tmp_path)
    tiny_processor.feature_extractor.save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match=rf"{tmp_path} holds no weights of a classifier.*cgdmer finetune"):
        pipeline("ecg-classification", model=str(tmp_path))
    with pytest.raises(ModelFolderError, match="cgdmer finetune"):
        pipeline("ecg-classification", model=str(tmp_path), dtype=torch.float16)

    model = CGDMERForECGClassification.from_pretrained(tmp_path, num_labels=3)
    parts = {"feature_extractor": tiny_processor.feature_extractor}
    with pytest.raises(ModelFolderError, match="cgdmer finetune"):
        pipeline("ecg-classification", model=model, **parts)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = tiny_processor(ecg=make_record(), return_tensors="pt")
    model(**batch, labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    trained = pipeline("ecg-classification", model=model, **parts)(make_record())
    assert sum(scores(trained).values()) == pytest.approx(1)
    model.save_pretrained(tmp_path / "trained")
    tiny_processor.feature_extractor.save_pretrained(tmp_path / "trained")
    assert len(pipeline("ecg-classification", model=str(tmp_path / "trained"))(make_record())) == 3


# Without this package


def test_saved_folder_works_as_remote_code(zero_shot, tiny_model_folder, tmp_path):
    """In a process that never imports the package: the folder has all the code, including its own record type."""
    record = make_record(12, seed=3)
    path = write_wfdb(record, tmp_path / "rec")
    counts = np.rint(record.signal * 1000).astype(int)
    clinic = write_aecg(tmp_path / "record.xml", counts, 1.0, record.sampling_rate, record.lead_names)
    script = f"""
import json, sys
from transformers import pipeline
classify = pipeline("zero-shot-ecg-classification", model={str(tiny_model_folder)!r}, trust_remote_code=True)
outputs = classify([{str(path)!r}, {str(clinic)!r}], candidate_labels={PROMPTS!r})
assert not any(name.split(".")[0] == "cgdmer" for name in sys.modules)
print(json.dumps(outputs))
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert finished.returncode == 0, finished.stderr

    for output in json.loads(finished.stdout.splitlines()[-1]):
        assert_close(output, zero_shot(record, PROMPTS))


# Real recordings


def test_real_recordings(zero_shot, real_data):
    paths = sorted((real_data / "ptb-xl-subset/records500").rglob("*.hea"))[:3]
    paths += sorted((real_data / "cpsc2018-sample").glob("A*.hea"))[:2]
    paths += sorted((real_data / "code15-sample").glob("919*.hea"))[:2]
    outputs = zero_shot(paths, PROMPTS, batch_size=4)
    assert len(outputs) == 7
    for path, output in zip(paths, outputs, strict=True):
        assert_ranked(output, PROMPTS)
        assert_close(output, zero_shot(read_wfdb(path), PROMPTS), atol=1e-4)


def test_a_period_at_the_end_of_a_prompt_moves_no_score(zero_shot):
    plain = {row["label"]: row["score"] for row in zero_shot(make_record(), PROMPTS[:2])}
    ended = {row["label"]: row["score"] for row in zero_shot(make_record(), [f"{PROMPTS[0]} .", PROMPTS[1]])}
    assert ended == {f"{PROMPTS[0]} .": plain[PROMPTS[0]], PROMPTS[1]: plain[PROMPTS[1]]}


def test_arguments_for_arrays_are_refused_with_only_records(zero_shot, classify):
    for inputs in (make_record(), [make_record(), make_record(seed=1)]):
        with pytest.raises(ECGInputError, match="unit is for arrays, CSV and NPY files"):
            zero_shot(inputs, PROMPTS, unit="uV")
        with pytest.raises(ECGInputError, match="sampling_rate is for arrays"):
            classify(inputs, sampling_rate=123)
