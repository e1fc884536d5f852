# SPDX-License-Identifier: Apache-2.0
"""A folder of WFDB records with a user's table, and what all corpora share: tables, splits, resampling."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from wfdb_files import write_record, write_table

from cgdmer.corpora.corpus import resampled, split_of_key
from cgdmer.corpora.preparing import corpus_records, prepare_corpus
from cgdmer.data.storage import load_dataset_folder, record_to_row, row_to_record
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError
from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb


@pytest.fixture
def raw(tmp_path):
    for number in range(6):
        write_record(tmp_path / "raw" / "sub" / f"r{number}", number)
    return tmp_path / "raw"


def rows_with(**columns):
    return [
        {"record": f"sub/r{number}"} | {name: field(number) for name, field in columns.items()} for number in range(6)
    ]


def test_record_of_a_row(raw, tmp_path):
    rows = rows_with(
        patient_id=lambda number: f"p{number // 2}",
        text=lambda number: "Sinus rhythm, unremarkable" if number else "",
        labels=lambda number: "normal; sinus rhythm ;normal;" if number else "",
        fold=lambda number: number + 5,
        age=lambda number: 70.5 if number else "",
        sex=lambda number: "Female" if number else "",
    )
    table = write_table(tmp_path / "table.csv", rows)
    first, second, *_ = corpus_records("wfdb-folder", raw, table=str(table))
    assert (first.text, first.labels, first.age, first.sex, first.fold) == (None, (), None, None, 5)
    assert second.record_id == "sub/r1" and second.patient_id == "p0"
    assert second.text == "Sinus rhythm, unremarkable" and second.labels == ("normal", "sinus rhythm")
    assert (second.age, second.sex, second.fold) == (70.5, "female", 6)
    counts = prepare_corpus("wfdb-folder", raw, tmp_path / "out", table=str(table))
    assert counts == {"written": 6, "skipped": 0, "train": 4, "validation": 1, "test": 1}


def test_records_that_are_mostly_padding_are_skipped(tmp_path):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    for name, samples in (("most", 150), ("some", 400)):
        signal = np.pad(record.signal[:, :samples], ((0, 0), (0, 1000 - samples)))
        write_wfdb(replace(record, signal=signal), tmp_path / "raw" / name)
    table = write_table(
        tmp_path / "table.csv", [{"record": name, "text": "Sinus rhythm"} for name in ("most", "some")]
    )
    assert prepare_corpus("wfdb-folder", tmp_path / "raw", tmp_path / "out", table=str(table))["skipped"] == 1
    (line,) = csv.DictReader((tmp_path / "out" / "skipped.csv").read_text().splitlines())
    assert line["record"] == "most" and "1.50 s are recorded" in line["reason"]


def test_splits_by_name_and_by_patient(raw, tmp_path):
    table = write_table(tmp_path / "t.csv", rows_with(split=lambda number: "test" if number == 3 else "train"))
    prepare_corpus("wfdb-folder", raw, tmp_path / "named", table=table.as_posix())
    assert load_dataset_folder(tmp_path / "named")["test"]["record_id"][:] == ["sub/r3"]
    table = write_table(tmp_path / "t.csv", rows_with(patient_id=lambda number: "alone"))
    counts = prepare_corpus("wfdb-folder", raw, tmp_path / "hashed", table=table.as_posix())
    assert counts[split_of_key("alone")] == 6


def test_split_of_key_is_the_same_everywhere():
    assert [number for number in range(20) if split_of_key(str(number)) == "test"] == [5, 8, 19]
    splits = [split_of_key(f"patient {number}") for number in range(20_000)]
    assert splits.count("train") == pytest.approx(14_000, rel=0.03)
    assert splits.count("validation") == pytest.approx(2_000, rel=0.1)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"diagnosis": lambda number: "x"}, "column.s. 'diagnosis', which have no meaning"),
        ({"fold": lambda number: 1, "split": lambda number: "train"}, "both split and fold"),
        ({"fold": lambda number: 11}, r"record 'sub/r0': column fold holds '11'"),
        ({"fold": lambda number: 1.5}, r"column fold holds '1.5'"),
        ({"split": lambda number: "dev"}, "column split holds 'dev'"),
        ({"age": lambda number: "old"}, "column age holds 'old'"),
        ({"sex": lambda number: "2"}, "column sex holds '2'"),
        ({"record": lambda number: ""}, "column record is blank in row 1"),
        ({"record ": lambda number: "x"}, "'record' more than once"),
    ],
)
def test_tables_that_make_no_sense(raw, tmp_path, columns, words):
    table = write_table(tmp_path / "table.csv", rows_with(**columns))
    with pytest.raises(CorpusError, match=words) as error:
        corpus_records("wfdb-folder", raw, table=str(table))
    assert "table.csv" in str(error.value)


def test_table_is_required(raw, tmp_path):
    with pytest.raises(CorpusError, match="needs a table"):
        corpus_records("wfdb-folder", raw)
    with pytest.raises(CorpusError, match=r"none\.csv does not exist"):
        corpus_records("wfdb-folder", raw, table="none.csv")
    table = write_table(tmp_path / "table.csv", [{"text": "sub/r1"}])
    with pytest.raises(CorpusError, match=r"lacks the column\(s\) record"):
        corpus_records("wfdb-folder", raw, table=str(table))
    with pytest.raises(CorpusError, match="nowhere is not a folder"):
        corpus_records("wfdb-folder", raw / "nowhere", table=str(table))


def test_records_that_are_repeated_missing_or_outside(raw, tmp_path):
    rows = [*rows_with(), {"record": "sub/r1"}, {"record": "sub/r9"}, {"record": "../raw/sub/r1"}]
    table = write_table(tmp_path / "table.csv", rows)
    counts = prepare_corpus("wfdb-folder", raw, tmp_path / "out", table=str(table))
    assert (counts["written"], counts["skipped"]) == (6, 3)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["skipped_by_kind"] == {"absent": 1, "repeated": 1, "unreadable": 1}


def sine(rate: float, seconds: float = 4.0) -> ECGRecord:
    times = np.arange(int(rate * seconds)) / rate
    signal = np.stack([np.sin(2 * np.pi * 3 * times), 30 * np.cos(2 * np.pi * 5 * times)]).astype(np.float32)
    return ECGRecord(signal, rate, ("I", "II"), gain=(200.0, 200.0), baseline=(7, 0))


@pytest.mark.parametrize(("rate", "new"), [(500.0, 100), (400.0, 500), (257.0, 100)])
def test_resampling(rate, new):
    record = resampled(sine(rate), new)
    expected = sine(new)
    assert record.sampling_rate == new and abs(record.signal.shape[1] - expected.signal.shape[1]) <= 1
    inner = slice(new // 2, 3 * new)
    np.testing.assert_allclose(record.signal[:, inner], expected.signal[:, inner], rtol=0.01, atol=0.02)
    stored = row_to_record(record_to_row(record))
    np.testing.assert_allclose(stored.signal, record.signal, atol=0.0006)


def test_resampling_keeps_gaps_and_large_values():
    record = sine(500.0)
    assert resampled(record, 500) is record
    signal = record.signal.copy()
    signal[0, 500:600] = np.nan
    signal[1, 1000] = 160.0
    new = resampled(replace(record, signal=signal), 100)
    missing = np.isnan(new.signal)
    assert missing[0, 101:119].all() and not missing[0, :99].any() and not missing[0, 121:].any()
    assert not missing[1].any()
    np.testing.assert_allclose(row_to_record(record_to_row(new)).signal, new.signal, atol=0.01)
    nothing = resampled(replace(record, signal=np.full_like(signal, np.nan)), 100)
    assert np.isnan(nothing.signal).all()


def test_prepared_at_another_rate(raw, tmp_path):
    table = write_table(tmp_path / "table.csv", rows_with())
    prepare_corpus("wfdb-folder", raw, tmp_path / "out", table=str(table), sampling_rate=250)
    for split in load_dataset_folder(tmp_path / "out").values():
        for row in split:
            assert (row["sampling_rate"], row["num_samples"]) == (250, 30)
    with pytest.raises(CorpusError, match="sampling_rate is 3;"):
        prepare_corpus("wfdb-folder", raw, tmp_path / "other", table=str(table), sampling_rate=3)
