# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pyarrow.parquet
import pytest
from sklearn.metrics import roc_auc_score

from cgdmer.commands import main
from cgdmer.evaluation.comparison import compare, write_scores
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.models.errors import CorpusError

CLASSES = ("B", "A", "C")  # not in alphabetical order


def write(folder, scores, labels, order=None, **results):
    """Write the folder of an evaluation, with its records in this order."""
    order = np.arange(len(labels)) if order is None else order
    folder.mkdir()
    (folder / "results.json").write_text(
        json.dumps({"task": "ptbxl-super", "protocol": "repaired", "splits": ["test"], **results})
    )
    evaluation = Evaluation(
        results={},
        record_ids=[f"record {number}" for number in order],
        patients=[f"patient {number // 2}" for number in order],
        labels=labels[order],
        scores={name: by_seed[:, order] for name, by_seed in scores.items()},
        embeddings=np.zeros((len(labels), 2)),
    )
    write_scores(folder / "scores.parquet", evaluation, CLASSES)
    return folder


def sample():
    random = np.random.default_rng(0)
    labels = random.random((200, 3)) < 0.3
    noise = random.normal(size=(5, *labels.shape)).astype(np.float32)
    good = {"zero-shot": 2 * labels + noise[:1], "linear probe 1 %": labels + noise}
    bad = {"zero-shot": labels + noise[:1], "linear probe 1 %": labels + noise[::-1], "more": noise}
    return labels, good, bad


def area(labels, by_seed):
    return np.mean([[roc_auc_score(labels[:, k], one[:, k]) for k in range(3)] for one in by_seed])


def test_difference_of_the_same_records_in_any_order(tmp_path, capsys):
    labels, good, bad = sample()
    order = np.random.default_rng(1).permutation(len(labels))
    first, second = write(tmp_path / "a", good, labels), write(tmp_path / "b", bad, labels, order)
    compared = compare(first, second)
    assert (compared["records"], compared["patients"]) == (200, 100)
    assert list(compared["measures"]) == ["zero-shot", "linear probe 1 %"]  # what both have
    for name, row in compared["measures"].items():
        assert row["first"] == pytest.approx(area(labels, good[name]))
        assert row["second"] == pytest.approx(area(labels, bad[name]))
        assert row["difference"] == pytest.approx(row["first"] - row["second"])
    zero_shot, probe = compared["measures"].values()
    assert zero_shot["interval"][0] > 0 and zero_shot["p_value"] < 0.01
    assert probe["difference"] == pytest.approx(0)  # the same five fits in another order
    assert main(["compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert f"{zero_shot['first']:.3f}" in shown and f"{zero_shot['difference']:+.3f}" in shown


def test_scores_are_written_as_they_are(tmp_path):
    labels, good, _ = sample()
    rows = pyarrow.parquet.read_table(write(tmp_path / "a", good, labels) / "scores.parquet").to_pylist()
    assert len(rows) == 600 and set(rows[0]) == {
        *("record_id", "patient_id", "class", "label", "zero-shot"),
        *(f"linear probe 1 % ({number})" for number in range(1, 6)),
    }
    row = rows[7]  # third record, second class
    assert (row["record_id"], row["patient_id"], row["class"]) == ("record 2", "patient 1", "A")
    assert row["label"] == labels[2, 1] and row["zero-shot"] == good["zero-shot"][0, 2, 1]


def test_what_cannot_be_compared_is_refused(tmp_path):
    labels, good, bad = sample()
    first = write(tmp_path / "first", good, labels)
    for name, folder in {
        "splits": write(tmp_path / "a", bad, labels, splits=["validation", "test"]),
        "task": write(tmp_path / "b", bad, labels, task="ptbxl-sub"),
        "the same records": write(tmp_path / "c", bad, labels, np.arange(199)),
        "different labels": write(tmp_path / "d", bad, ~labels),
        "no measure in common": write(tmp_path / "e", {"more": bad["more"]}, labels),
        "holds no evaluation": tmp_path,
    }.items():
        with pytest.raises(CorpusError, match=name):
            compare(first, folder)
    (tmp_path / "b" / "results.json").write_text("{}")
    with pytest.raises(CorpusError, match="lacks task"):
        compare(first, tmp_path / "b")
    (tmp_path / "a" / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="holds no evaluation"):
        compare(first, tmp_path / "a")
