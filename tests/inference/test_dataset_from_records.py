# SPDX-License-Identifier: Apache-2.0
"""A dataset from recordings and a data frame: the right cells reach the right recordings."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import cgdmer
from cgdmer.corpora.corpus import split_of_key
from cgdmer.data.storage import load_dataset_folder, row_to_record
from cgdmer.models.errors import CorpusError, ECGInputError
from recordings import write_wfdb

LEADS = ["I", "II", "V1"]


@pytest.fixture(scope="module")
def arrays() -> np.ndarray:
    """(20, 3, 500) in microvolts."""
    return np.random.default_rng(0).normal(0, 300, (20, 3, 500)).round()


def rows_of(dataset) -> dict:
    return {row["record_id"]: row for split in dataset.values() for row in split}


def test_arrays_and_a_data_frame(arrays, tmp_path):
    frame = pd.DataFrame(
        {
            "MRN": [7.0, 7.0, np.nan, *range(100, 117)],
            "AF": [True, False] * 10,
            "Linksherz": pd.array([1, 0, None, *[0] * 17], dtype="Int64"),
            "Befund": ["Sinus", None, *["x"] * 18],
            "age": [63.5, "> 89", None, *[50] * 17],
            "sex": pd.Categorical(["F", "M", None, *["M"] * 17]),
            "not used": 0,
        },
        index=range(50, 70),
    )
    dataset = cgdmer.dataset_from_records(
        *(arrays, frame, tmp_path / "mine"),
        **{"sampling_rate": 100, "lead_names": LEADS, "unit": "uV", "patient_column": "MRN"},
        **{"text_column": "Befund", "label_columns": ["AF", "Linksherz"]},
    )
    rows = rows_of(dataset)
    names = ("patient_id", "text", "labels", "age", "sex")
    assert [tuple(rows[str(number)][name] for name in names) for number in range(4)] == [
        ("7", "Sinus", ["AF", "Linksherz"], 63.5, "female"),
        ("7", None, [], 90.0, "male"),
        (None, "x", ["AF"], None, None),
        ("100", "x", [], 50.0, "male"),
    ]
    for number in range(20):
        record = row_to_record(rows[str(number)])
        np.testing.assert_allclose(record.signal, arrays[number] / 1000, atol=1e-6)
        assert record.sampling_rate == 100 and list(record.lead_names) == LEADS
    assert {name for name, split in dataset.items() if "7" in split["patient_id"][:]} == {split_of_key("7")}
    notes = " ".join(json.loads((tmp_path / "mine" / "summary.json").read_text())["notes"])
    assert (
        "Recordings without a patient: 1." in notes and "Column Linksherz: blank cells, which count as 0: 1" in notes
    )


def test_what_records_say_holds_unless_the_table_says_otherwise(tmp_path):
    records = [record for _, record in zip(range(6), cgdmer.simulate_cohort(6, sampling_rate=100), strict=False)]
    dataset = cgdmer.dataset_from_records(records, None, tmp_path / "own")
    for record in records:
        row = rows_of(dataset)[record.record_id]
        assert (row["labels"], row["text"], row["fold"]) == (list(record.labels), record.text, record.fold)
        assert row["statements"] == list(record.statements)
        assert record.record_id in dataset[cgdmer.data.storage.split_of_fold(record)]["record_id"][:]
    table = {"labels": [["b, c", "a"], ["a"], [], ["a"], None, ["a"]], "split": ["test"] * 5 + ["holdout"]}
    dataset = cgdmer.dataset_from_records(records, table, tmp_path / "other")
    assert dataset.num_rows == {"train": 0, "validation": 0, "test": 5}
    rows = [rows_of(dataset)[record.record_id] for record in records[:5]]
    assert [row["labels"] for row in rows[:2]] == [["b, c", "a"], ["a"]] and rows[0]["statements"] == []
    assert rows[0]["text"] == records[0].text
    with open(tmp_path / "other" / "skipped.csv") as file:
        (left_out,) = csv.DictReader(file)
    assert left_out["record"] == records[5].record_id and "holds 'holdout'" in left_out["reason"]


def test_paths_and_records_that_cannot_be_used(tmp_path):
    record = cgdmer.simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    write_wfdb(record, tmp_path / "a" / "same")
    write_wfdb(record, tmp_path / "b" / "same")
    (tmp_path / "bad.dcm").write_bytes(b"no")
    flat = replace(record, record_id="flat", signal=np.zeros_like(record.signal))
    given = [tmp_path / "a" / "same", str(tmp_path / "b" / "same"), tmp_path / "bad.dcm", flat]
    table = pd.DataFrame({"labels": ["x", "y", "x", "y"]})
    rows = rows_of(cgdmer.dataset_from_records(given, table, tmp_path / "out"))
    assert {name: row["labels"] for name, row in rows.items()} == {"same": ["x"], "same (1)": ["y"]}
    skipped = (tmp_path / "out" / "skipped.csv").read_text()
    assert "bad,unreadable" in skipped and "flat,unreadable" in skipped


def test_tables_that_do_not_fit(arrays, tmp_path):
    how = {"sampling_rate": 100, "lead_names": LEADS, "unit": "uV"}
    with pytest.raises(CorpusError, match="the table has 3 rows for 20 recordings"):
        cgdmer.dataset_from_records(arrays, {"labels": ["x"] * 3}, tmp_path / "o", **how)
    with pytest.raises(CorpusError, match=r"no column 'AFib' .--label_columns.; did you mean 'AF'"):
        cgdmer.dataset_from_records(arrays, {"AF": [0] * 20}, tmp_path / "o", label_columns=["AFib"], **how)
    with pytest.raises(CorpusError, match="names the record 'a' twice"):
        cgdmer.dataset_from_records(arrays, {"record": ["a"] * 20}, tmp_path / "o", **how)
    with pytest.raises(ECGInputError, match="unit"):
        cgdmer.dataset_from_records(arrays, None, tmp_path / "o", sampling_rate=100, lead_names=LEADS)
    with pytest.raises(TypeError, match="labels_column"):
        cgdmer.dataset_from_records(arrays, None, tmp_path / "o", labels_column="x", **how)
    assert not (tmp_path / "o").exists()


def test_a_split_is_what_estimators_take(tmp_path):
    records = list(cgdmer.simulate_cohort(20, sampling_rate=100))
    table = {"AF": [int("atrial_fibrillation" in record.labels) for record in records]}
    cgdmer.dataset_from_records(records, table, tmp_path / "out", label_columns="AF")
    dataset = load_dataset_folder(tmp_path / "out")
    embedded = cgdmer.ECGEmbedder().fit_transform(dataset["train"])
    assert len(embedded) == dataset.num_rows["train"] > 0
