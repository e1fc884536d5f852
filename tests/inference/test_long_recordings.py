# SPDX-License-Identifier: Apache-2.0
"""A recording longer than the model's window has the same score everywhere, and each of its seconds counts once."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import torch

from cgdmer.data.storage import DatasetRecords, load_dataset_folder, row_to_record
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.evaluate_task import evaluate_task
from cgdmer.evaluation.tasks import Task
from cgdmer.inference.embeddings import average_windows
from cgdmer.inference.scoring import score_recordings
from cgdmer.inference.search import search_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.simulation.cohort import simulate_record

RHYTHMS = {"sinus_rhythm": "sinus rhythm", "atrial_fibrillation": "atrial fibrillation"}
TASK = Task("rhythms", tuple(RHYTHMS), lambda labels: labels, own_prompts={k: (v,) for k, v in RHYTHMS.items()})


def of_seconds(seconds: float, seed: int, rhythm: str, then: str) -> ECGRecord:
    """Ten seconds of one rhythm and then another, so that windows differ."""
    first, rest = (
        simulate_record([name], seed=seed, sampling_rate=100, duration=duration)
        for name, duration in ((rhythm, 10.0), (then, max(seconds - 10, 5)))
    )
    signal = np.concatenate([first.signal, rest.signal], axis=1)[:, : round(100 * seconds)]
    return replace(first, signal=signal, record_id=f"{rhythm} {seconds}", labels=(rhythm,), statements=(), text=rhythm)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of 37, 24 and 10 seconds, and the last one repeated three times."""
    normal, fibrillating = RHYTHMS
    once = of_seconds(10, 2, normal, normal)
    records = [
        of_seconds(37, 1, normal, fibrillating),
        of_seconds(24, 3, fibrillating, normal),
        once,
        replace(once, signal=np.tile(once.signal, (1, 3)), record_id="three times"),
    ]
    path = tmp_path_factory.mktemp("long") / "dataset"
    write_dataset(records, path, splits=lambda record: "test", description="Long recordings.")
    return path


@pytest.fixture(scope="module")
def scores(folder, classify, tmp_path_factory) -> dict[str, np.ndarray]:
    """(records, labels) from the pipeline, `score`, and `evaluate`."""
    splits, labels = load_dataset_folder(folder), list(RHYTHMS.values())
    answers = [classify(row_to_record(row), candidate_labels=labels) for row in splits["test"]]
    table = tmp_path_factory.mktemp("scores") / "scores.parquet"
    score_recordings(folder, table, labels, num_proc=0)
    columns = pyarrow.parquet.read_table(table)
    found = evaluate_task(classify.model, classify.processor, splits, TASK, fractions=(), shots=(), untrained=False)
    cosines = torch.from_numpy(found.scores["zero-shot"][0])
    return {
        "pipeline": np.array([[{a["label"]: a["score"] for a in one}[label] for label in labels] for one in answers]),
        "score": np.stack([columns[label].to_numpy() for label in labels], axis=1),
        "evaluate": classify.model.score_logits(cosines).sigmoid().numpy(),
    }


def test_pipeline_score_and_evaluate_agree(scores):
    assert np.ptp(scores["pipeline"], axis=0).min() > 0.05  # otherwise agreement would prove little
    for name in ("score", "evaluate"):
        np.testing.assert_allclose(scores[name], scores["pipeline"], atol=1e-6)


def test_a_recording_repeated_scores_as_it_does_once(scores):
    for found in scores.values():
        np.testing.assert_allclose(found[3], found[2], atol=1e-6)


def test_search_ranks_by_the_mean_of_the_windows_cosines(folder, classify):
    records = DatasetRecords(load_dataset_folder(folder)["test"])
    query = RHYTHMS["atrial_fibrillation"]
    text = classify.embed_texts([query])[0]
    expected = {}
    for record in records:
        length = record.signal.shape[1]
        starts = [*range(0, length - 1000, 1000), length - 1000]
        parts = [replace(record, signal=record.signal[:, start : start + 1000]) for start in starts]
        inputs = classify.processor(ecg=parts, return_tensors="pt")
        with torch.no_grad():
            cosines = classify.model.get_ecg_features(**inputs).pooler_output @ text
        expected[record.record_id] = float(np.mean([cosines[second // 10] for second in range(length // 100)]))
    found = {
        row["record_id"]: row["cosine"] for row in search_records(query, records, classify.model, classify.processor)
    }
    assert found == {name: pytest.approx(cosine, abs=1e-6) for name, cosine in expected.items()}
    assert list(found.values()) == sorted(found.values(), reverse=True)  # by name, the repeated record would tie


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_planted_outputs_are_weighted_by_the_seconds_that_are_new(classify, batch_size, monkeypatch):
    """The output for a window is the last value of its lead I, which is planted in the signal."""
    record = of_seconds(37, 1, "sinus_rhythm", "sinus_rhythm")
    signal = record.signal.copy()
    signal[0, [999, 1999, 2999, 3699]] = [0.1, 0.2, 0.4, 0.8]
    records = [replace(record, signal=signal), replace(record, signal=signal[:, :1000])]
    extractor = classify.processor.feature_extractor
    planted = [extractor(one, windows=True)["ecg_values"][:, 0, -1] for one in records]
    expected = [planted[0] @ [10, 10, 10, 7] / 37, planted[1][0]]

    def last_of_lead_i(windows):
        return windows["ecg_values"][:, 0, -1:]

    parts = average_windows(
        *(classify.model, last_of_lead_i, 1, extractor, records), batch_size=batch_size, description="planted"
    )
    means = torch.cat([means for _, means in parts])
    np.testing.assert_allclose(means[:, 0], expected, rtol=1e-5)
    monkeypatch.setattr(classify, "window_output", lambda inputs, **_: last_of_lead_i(inputs))
    answers = classify(records, candidate_labels=["planted"], batch_size=batch_size)
    found = [np.log(one[0]["score"] / (1 - one[0]["score"])) for one in answers]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
