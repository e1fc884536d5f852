# SPDX-License-Identifier: Apache-2.0
"""MIMIC-IV-ECG, generated in its layout: tables are joined on the study, reports cleaned, patients kept together."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from wfdb_files import MIMIC_LEADS, MIMIC_REPORTS, write_mimic, write_record, write_table

from cgdmer.corpora.mimic_iv_ecg import clean_report, report_statements
from cgdmer.corpora.preparing import corpus_records, prepare_corpus
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import CorpusError


def edit_table(path: Path, change) -> None:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    write_table(path, change(rows))


@pytest.mark.parametrize(
    ("lines", "text", "statements"),
    [
        (("Sinus rhythm", "Normal ECG"), "sinus rhythm. normal ecg.", ("Sinus rhythm.", "Normal ECG.")),
        (("*** Abnormal EKG ***",), "abnormal ecg.", ("Abnormal ECG.",)),
        (("=-Sinus\trhythm=", "a\nb ***"), "sinus rhythm=. a b.", ("Sinus rhythm.", "A b.")),
        (("--- Warning: poor data ---", "***"), "warning: poor data ---..", ("Warning: poor data.",)),
        (("Sinus rhythm.", "Sinus rhythm"), "sinus rhythm.. sinus rhythm.", ("Sinus rhythm.",)),
    ],
)
def test_reports_are_cleaned(lines, text, statements):
    assert clean_report(lines).replace(" ---. .", " ---.") == text
    assert (
        tuple(sentence.replace(" ---", "").replace("--- ", "") for sentence in report_statements(lines)) == statements
    )


def test_record_of_a_study(tmp_path):
    records = list(corpus_records("mimic-iv-ecg", write_mimic(tmp_path)))
    assert [record.record_id for record in records] == [str(40_000_000 + number) for number in range(12)]
    record = records[3]
    study = int(record.record_id)
    lines = tuple(line for line in MIMIC_REPORTS[study % 3] if line)
    assert record.text == clean_report(lines) and record.statements == report_statements(lines)
    assert record.patient_id == "10000001" and record.labels == () and record.lead_names == MIMIC_LEADS
    expected = write_record(tmp_path / "again", study, leads=MIMIC_LEADS, gain=200)
    np.testing.assert_array_equal(record.signal, (expected / 200).astype(np.float32))


def test_reports_for_which_a_record_is_skipped(tmp_path):
    raw = write_mimic(tmp_path / "raw")

    def change(rows):
        by_study = {int(row["study_id"]) - 40_000_000: row for row in rows}
        by_study[0] |= {"report_0": "Normal ECG", "report_1": "", "report_2": ""}  # two words
        by_study[1] |= {"report_0": "", "report_1": "", "report_2": ""}
        del by_study[2]
        return [*by_study.values(), by_study[3], by_study[4] | {"report_0": "Something quite different said"}]

    edit_table(raw / "machine_measurements.csv", change)
    edit_table(raw / "record_list.csv", lambda rows: [*rows, rows[5]])
    counts = prepare_corpus("mimic-iv-ecg", raw, tmp_path / "out")
    assert counts["written"] == 8 and counts["test"] == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["skipped_by_kind"] == {"no report": 2, "repeated": 1, "short report": 1, "two reports": 1}
    assert summary["texts_distinct"] == 3 and summary["texts_repeated"] == 3
    assert prepare_corpus("mimic-iv-ecg", raw, tmp_path / "all", min_words=0)["written"] == 11
    texts = {row["record_id"]: row["text"] for row in load_dataset_folder(tmp_path / "all")["train"]}
    assert texts["40000000"] == "normal ecg." and texts["40000002"] is None


def test_patients_stay_together(tmp_path):
    raw = write_mimic(tmp_path / "raw", 300)
    prepare_corpus("mimic-iv-ecg", raw, tmp_path / "out")
    loaded = load_dataset_folder(tmp_path / "out")
    patients = [set(loaded[split]["patient_id"]) for split in ("train", "validation")]
    assert patients[0] and patients[1] and not patients[0] & patients[1]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["patients_in_several_splits"] == 0


@pytest.mark.parametrize(("table", "column"), [("record_list.csv", "path"), ("machine_measurements.csv", "report_17")])
def test_damaged_tables(tmp_path, table, column):
    raw = write_mimic(tmp_path / "raw")
    path = raw / table
    content = path.read_text()
    edit_table(path, lambda rows: [{name: row[name] for name in row if name != column} for row in rows])
    with pytest.raises(CorpusError, match=rf"{table} lacks the column\(s\) {column}"):
        corpus_records("mimic-iv-ecg", raw)
    path.write_text(content[: content.rindex(",")])  # cut off in its last line
    with pytest.raises(CorpusError, match=rf"{table} cannot be read.*line 13 has"):
        corpus_records("mimic-iv-ecg", raw)
    path.unlink()
    with pytest.raises(CorpusError, match=rf"{table} does not exist.*not a MIMIC-IV-ECG folder"):
        prepare_corpus("mimic-iv-ecg", raw, tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["raw"]


def test_blank_fields_and_wrong_options(tmp_path):
    raw = write_mimic(tmp_path / "raw")
    edit_table(raw / "record_list.csv", lambda rows: [*rows[:3], rows[3] | {"subject_id": ""}])
    with pytest.raises(CorpusError, match=r"record_list.csv: column subject_id is blank in row 4"):
        corpus_records("mimic-iv-ecg", raw)
    with pytest.raises(CorpusError, match="min_words is -1"):
        corpus_records("mimic-iv-ecg", raw, min_words=-1)
