# SPDX-License-Identifier: Apache-2.0
"""CSN and CPSC 2018: generated and real trees of records with SNOMED CT codes in the headers."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import wfdb
from wfdb_files import write_csn, write_record

from cgdmer.corpora.preparing import corpus_records, prepare_corpus
from cgdmer.corpora.snomed import snomed_statements
from cgdmer.data.storage import SkippedRecord, load_dataset_folder
from cgdmer.models.errors import CorpusError


def read_skipped(folder):
    with open(folder / "skipped.csv", encoding="utf-8", newline="") as file:
        return {row["record"]: row for row in csv.DictReader(file)}


def test_record_of_a_header(tmp_path):
    write_csn(tmp_path, 12)
    records = list(corpus_records("csn", tmp_path))
    assert [record.record_id for record in records] == [f"JS{number:05d}" for number in range(1, 13)]
    record = records[2]
    assert record.labels == ("426783006", "59118001")
    assert record.statements == ("Sinus rhythm.", "Right bundle branch block.")
    assert (record.age, record.sex, record.patient_id, record.text) == (3.0, "female", None, None)


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (["Age: NaN", "Sex: Unknown", "Dx: 426783006"], (None, None, ("426783006",))),
        (["Age: -1", "Sex: F", "Dx: 426783006, 426783006 ,59118001"], (None, "female", ("426783006", "59118001"))),
        (["Age: 1000", "Sex: M", "Dx:"], (None, "male", ())),
        (["age: 61.5", "SEX: MALE"], (61.5, "male", ())),
        ([" Age : 7", "no colon here", "Dx: 999,164889003,nonsense"], (7.0, None, ("164889003",))),
    ],
)
def test_odd_comments(tmp_path, comments, expected):
    write_record(tmp_path / "JS00001", comments=comments, mat=True)
    (record,) = corpus_records("csn", tmp_path)
    assert (record.age, record.sex, record.labels) == expected
    assert len(record.statements) == len(record.labels)


def test_unknown_codes_are_counted(tmp_path):
    write_record(tmp_path / "raw" / "A0001", comments=["Dx: 999,164889003"], mat=True)
    write_record(tmp_path / "raw" / "g2" / "A0002", comments=["Dx: 999,nonsense"], mat=True)
    prepare_corpus("cpsc2018", tmp_path / "raw", tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["unknown_codes"] == {"999": 2, "nonsense": 1}
    assert summary["labels"].keys() == {"164889003"} and summary["with_labels"] == 1


def test_bad_records_are_named_and_counted(tmp_path):
    raw = write_csn(tmp_path / "raw", 9)
    folder = raw / "WFDBRecords" / "01" / "000"
    (folder / "JS00001.mat").unlink()
    (folder / "JS00002.hea").unlink()
    (folder / "JS00003.mat").write_bytes((folder / "JS00003.mat").read_bytes()[:-2])
    header = folder / "JS00004.hea"
    header.write_text(header.read_text().replace("12 500 1000", "12 500 1001"))
    (folder / "RECORDS").write_text("JS00005\nJS00010\n../../../outside/JS00011\n")
    (raw / "RECORDS").write_text("WFDBRecords/01/000/\nWFDBRecords\n")
    write_record(raw / "elsewhere" / "JS00006", 6, mat=True)
    write_record(raw / "elsewhere" / "E00001", 6, mat=True)
    counts = prepare_corpus("csn", raw, tmp_path / "out")
    assert counts["written"] == 5 and counts["skipped"] == 8
    skipped = read_skipped(tmp_path / "out")
    assert {record: row["kind"] for record, row in skipped.items()} == {
        "JS00001": "absent",
        "JS00002": "absent",
        "JS00003": "unreadable",
        "JS00004": "unreadable",
        "JS00006": "repeated",
        "JS00010": "absent",
        "JS00011": "unreadable",
        "E00001": "of another corpus",
    }
    assert "1001 samples" in skipped["JS00004"]["reason"] and "truncated" in skipped["JS00003"]["reason"]
    assert "outside" in skipped["JS00011"]["reason"] and "not a file inside" in skipped["JS00011"]["reason"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["skipped_by_kind"] == {"absent": 3, "of another corpus": 1, "repeated": 1, "unreadable": 3}


def test_folders_that_are_not_the_corpus(tmp_path):
    with pytest.raises(CorpusError, match="absent is not a folder"):
        corpus_records("csn", tmp_path / "absent")
    write_record(tmp_path / "E00001")
    with pytest.raises(CorpusError, match=r"holds a record of this corpus, such as A0001\.hea"):
        corpus_records("cpsc2018", tmp_path)


def test_source_is_stored_in_the_dataset(tmp_path):
    write_csn(tmp_path / "raw", 2)
    prepare_corpus("csn", tmp_path / "raw", tmp_path / "out")
    info = load_dataset_folder(tmp_path / "out")["train"].info
    assert info.license == "CC BY 4.0" and "Zheng" in info.citation and "physionet.org" in info.homepage
    assert "version 1.0.0" in info.description
    source = json.loads((tmp_path / "out" / "summary.json").read_text())["source"]
    assert source["name"] == "csn" and source["license"] == "CC BY 4.0"


def test_statements_are_plain_sentences():
    statements = snomed_statements()
    assert len(statements) == 137 and len(set(statements.values())) == 137
    for code, sentence in statements.items():
        assert code.isdigit() and sentence[0].isupper() and sentence.endswith(".") and "  " not in sentence


def test_table_knows_every_code_of_the_corpora(real_data):
    known = snomed_statements()
    for name, column in (
        ("ConditionNames_SNOMED-CT.csv", "Snomed_CT"),
        ("cinc2021_dx_mapping_scored.csv", "SNOMEDCTCode"),
        ("cinc2021_dx_mapping_unscored.csv", "SNOMEDCTCode"),
    ):
        with open(real_data / "codes" / name, encoding="utf-8-sig", newline="") as file:
            assert {row[column].strip() for row in csv.DictReader(file)} <= set(known)


@pytest.mark.parametrize(("name", "folder"), [("csn", "csn-sample"), ("cpsc2018", "cpsc2018-sample")])
def test_real_samples_come_back_exactly(real_data, tmp_path, name, folder):
    counts = prepare_corpus(name, real_data / folder, tmp_path / "out")
    headers = sorted((real_data / folder).glob("*.hea"))
    assert (counts["written"], counts["skipped"]) == (len(headers), 0)
    rows = {row["record_id"]: row for split in load_dataset_folder(tmp_path / "out").values() for row in split}
    for path in headers:
        row, expected = rows[path.stem], wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        stored = np.frombuffer(row["signal"], "<i2").reshape(row["num_leads"], row["num_samples"])
        np.testing.assert_array_equal(stored, expected.d_signal.T)
        assert row["gain"] == expected.adc_gain and row["baseline"] == expected.baseline
        assert row["lead_names"] == expected.sig_name and row["sampling_rate"] == expected.fs
        (diagnoses,) = [comment for comment in expected.comments if comment.startswith("Dx:")]
        assert ",".join(row["labels"]) == diagnoses.removeprefix("Dx:").strip()
        assert f"Age: {row['age']:g}" in expected.comments


def test_real_georgia_headers_are_read(real_data):
    """Headers that name their .mat file, and an age that is NaN. This package has no corpus of that name."""
    from cgdmer.corpora.corpus import CorpusRow
    from cgdmer.corpora.snomed import read_snomed_row

    unknown = Counter()
    for path in (real_data / "georgia-sample").glob("*.hea"):
        row = CorpusRow(path.stem, path.stem, "train")
        record = read_snomed_row(real_data / "georgia-sample", row, {}, unknown)
        assert not isinstance(record, SkippedRecord) and record.labels and record.sex
    assert not unknown
