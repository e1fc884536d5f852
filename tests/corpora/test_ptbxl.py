# SPDX-License-Identifier: Apache-2.0
"""PTB-XL: records from rows of its table, planted faults in the tables, and the real subset."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from wfdb_files import write_record

from cgdmer.corpora.preparing import corpus_records, prepare_corpus
from cgdmer.corpora.ptbxl import statement_sentence
from cgdmer.data.storage import SkippedRecord, load_dataset_folder, row_to_record, split_of_fold
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError
from cgdmer.models.leads import STANDARD_LEADS

STATEMENTS = """,description,diagnostic,diagnostic_class
NORM,normal ECG,1.0,NORM
ISCLA,ischemic in lateral leads,1.0,STTC
SR,sinus rhythm,,
"""


def table_row(ecg_id: int, **changes: object) -> dict[str, object]:
    return {
        "ecg_id": ecg_id,
        "patient_id": f"{100 + ecg_id // 2}.0",
        "age": "56.0",
        "sex": 1,
        "report": "sinusrhythmus normales ekg",
        "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
        "strat_fold": ecg_id,
        "filename_lr": f"records100/00000/{ecg_id:05d}_lr",
        "filename_hr": f"records500/00000/{ecg_id:05d}_hr",
        **changes,
    }


def write_corpus(folder: Path, rows: list[dict[str, object]], rate: int = 100) -> Path:
    """A random corpus in PTB-XL's layout, with a record for each row."""
    leads = tuple(lead.upper() for lead in STANDARD_LEADS)
    for row in rows:
        path = folder / str(row["filename_lr" if rate == 100 else "filename_hr"])
        write_record(path, num_samples=2 * rate, rate=rate, leads=leads)
    pd.DataFrame(rows).to_csv(folder / "ptbxl_database.csv", index=False)
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_corpus(tmp_path / "raw", [table_row(number) for number in range(1, 11)])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_record_of_a_row(corpus):
    record = next(iter(corpus_records("ptb-xl", corpus)))
    assert isinstance(record, ECGRecord)
    assert record.record_id == "1" and record.patient_id == "100"
    assert record.text == "sinusrhythmus normales ekg"
    assert record.labels == ("NORM", "SR")
    assert record.statements == ("Normal ECG.", "Sinus rhythm.")
    assert (record.fold, record.age, record.sex) == (1, 56.0, "female")
    assert record.sampling_rate == 100 and record.signal.shape == (12, 200) and record.gain == (1000.0,) * 12


def test_rows_with_other_values(tmp_path):
    corpus = write_corpus(
        tmp_path / "raw",
        [
            table_row(1, age="300.0", sex=0, report="  ", scp_codes="{'SR': 0.0, 'ISCLA': 35.0}", patient_id=""),
            table_row(2, age="", sex=""),
            table_row(3, age="95", sex="0.0", scp_codes="{}"),
        ],
        rate=500,
    )
    first, second, third = corpus_records("ptb-xl", corpus, sampling_rate=500)
    assert (first.age, first.sex, first.text, first.patient_id) == (90.0, "male", None, None)
    assert first.labels == ("SR", "ISCLA"), "in the table's order, whatever the likelihood"
    assert first.statements == ("Sinus rhythm.", "Ischemic ST-T changes in lateral leads.")
    assert (second.age, second.sex) == (None, None)
    assert (third.age, third.sex, third.labels) == (95.0, "male", ())


def test_folds_make_the_splits(corpus, tmp_path):
    counts = prepare_corpus("ptb-xl", corpus, tmp_path / "out")
    assert counts == {"written": 10, "skipped": 0, "train": 8, "validation": 1, "test": 1}
    loaded = load_dataset_folder(tmp_path / "out")
    assert loaded["train"]["fold"][:] == list(range(1, 9))
    assert loaded["validation"]["fold"][:] == [9] and loaded["test"]["fold"][:] == [10]
    assert "CC BY 4.0" in loaded["train"].info.description and "100 Hz" in loaded["train"].info.description
    with pytest.raises(CorpusError, match="its fold is None"):
        split_of_fold(ECGRecord(np.zeros((1, 2), np.float32), 100.0, ("I",)))


def test_bad_records_are_skipped(corpus, tmp_path):
    folder = corpus / "records100" / "00000"
    (folder / "00002_lr.dat").unlink()
    (folder / "00003_lr.hea").unlink()
    edit(folder / "00004_lr.hea", "12 100 200", "12 nan 100")
    edit(folder / "00005_lr.hea", "12 100 200", "12 500 200")
    content = bytearray((folder / "00006_lr.dat").read_bytes())
    content[0] ^= 1
    (folder / "00006_lr.dat").write_bytes(content)
    counts = prepare_corpus("ptb-xl", corpus, tmp_path / "out")
    assert (counts["written"], counts["skipped"]) == (5, 5)
    with open(tmp_path / "out" / "skipped.csv", encoding="utf-8", newline="") as file:
        reasons = {row["record"]: row["reason"] for row in csv.DictReader(file)}
    words = {"2": "does not exist", "3": "does not exist", "4": "sampling rate", "5": "500 Hz", "6": "checksum"}
    assert reasons.keys() == words.keys()
    for record_id, word in words.items():
        assert word in reasons[record_id] and f"0000{record_id}_lr" in reasons[record_id]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"] == 5


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", "records100\\x", "records100/../../x"])
def test_files_outside_the_corpus_are_not_opened(tmp_path, name):
    corpus = write_corpus(tmp_path / "raw", [table_row(1)])
    table = pd.read_csv(corpus / "ptbxl_database.csv").assign(filename_lr=name)
    table.to_csv(corpus / "ptbxl_database.csv", index=False)
    (skipped,) = corpus_records("ptb-xl", corpus)
    assert isinstance(skipped, SkippedRecord) and "filename_lr" in skipped.reason


@pytest.mark.parametrize("table", ["ptbxl_database.csv", "scp_statements.csv"])
def test_missing_and_unreadable_tables(corpus, table):
    path = corpus / table
    header = path.read_bytes().split(b"\n")[0] + b"\n"
    for content, word in (
        (b"", "cannot be read"),
        (b"ecg_id,scp\xe4_codes\n1,\xff\xfe\n", "not UTF-8"),
        (header + b'"1', "cannot be read.*unexpected end"),
        (header + b"1,2\n", "cannot be read.*line 2 has 2 fields, the header has"),
        (b"a,b\n1,2\n", "lacks the column"),
        (header, "no rows"),
    ):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=word) as error:
            corpus_records("ptb-xl", corpus)
        assert table in str(error.value)
    path.unlink()
    with pytest.raises(CorpusError, match=rf"{table} does not exist.*not a PTB-XL folder"):
        corpus_records("ptb-xl", corpus)


@pytest.mark.parametrize(
    "column", ["ecg_id", "patient_id", "age", "sex", "report", "scp_codes", "strat_fold", "filename_lr"]
)
def test_missing_columns_are_named(corpus, column):
    table = pd.read_csv(corpus / "ptbxl_database.csv").drop(columns=column)
    table.to_csv(corpus / "ptbxl_database.csv", index=False)
    with pytest.raises(CorpusError, match=rf"ptbxl_database.csv lacks the column.*{column}"):
        corpus_records("ptb-xl", corpus)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("scp_codes", ""),
        ("scp_codes", "{'NORM': 100.0"),
        ("scp_codes", "['NORM']"),
        ("scp_codes", "{1: 2}"),
        ("scp_codes", "{[]: 2}"),
        ("scp_codes", "__import__('os').mkdir('planted')"),
        ("scp_codes", "{" + "'NORM': 1, " * 2000 + "}"),
        ("scp_codes", "(" * 5000),
        ("scp_codes", "{'NEW': 100.0}"),
        ("strat_fold", ""),
        ("strat_fold", "0"),
        ("strat_fold", "11"),
        ("strat_fold", "2.5"),
        ("strat_fold", "nan"),
        ("age", "old"),
        ("age", "-3"),
        ("age", "inf"),
        ("sex", "2"),
        ("ecg_id", ""),
        ("ecg_id", "1"),
    ],
)
def test_fields_that_make_no_sense(tmp_path, monkeypatch, column, value):
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path / "raw", [table_row(1), table_row(2)])
    table = pd.read_csv(corpus / "ptbxl_database.csv", dtype=str)
    table.loc[1, column] = value
    table.to_csv(corpus / "ptbxl_database.csv", index=False)
    with pytest.raises(CorpusError, match=rf"ptbxl_database.csv.*column {column}") as error:
        corpus_records("ptb-xl", corpus)
    assert column == "ecg_id" or "ecg_id '2'" in str(error.value)
    assert not (tmp_path / "planted").exists()


def test_only_two_rates_exist(corpus):
    with pytest.raises(CorpusError, match="250"):
        corpus_records("ptb-xl", corpus, sampling_rate=250)
    with pytest.raises(CorpusError, match=r"no record could be written.*00001_hr"):
        prepare_corpus("ptb-xl", corpus, corpus.parent / "out", sampling_rate=500)  # this corpus has no records500


def test_sentences():
    assert statement_sentence("Wolf-Parkinson-White syndrome") == "Wolff-Parkinson-White syndrome."
    assert statement_sentence(" non-specific  ischemic ") == "Non-specific ischemic ST-T changes."
    assert statement_sentence("left atrial overload/enlargement") == "Left atrial overload or enlargement."


def test_all_statements_are_plain_sentences(real_data):
    table = pd.read_csv(real_data / "ptb-xl-subset" / "scp_statements.csv", index_col=0)
    sentences = [statement_sentence(description) for description in table["description"]]
    assert len(set(sentences)) == len(sentences) == 71
    for sentence in sentences:
        assert sentence[0].isupper() and sentence.endswith(".") and not set("()/_").intersection(sentence)


def test_real_subset_is_prepared_completely(real_data, tmp_path):
    raw_dir = real_data / "ptb-xl-subset"
    counts = prepare_corpus("ptb-xl", raw_dir, tmp_path / "out")
    assert counts["written"] == 4061 and counts["skipped"] == 11
    loaded = load_dataset_folder(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["patients_in_several_splits"] == 0
    row = loaded["test"][0]
    record = row_to_record(row)
    expected, fields = wfdb.rdsamp(str(raw_dir / "records100" / "00000" / f"{int(row['record_id']):05d}_lr"))
    np.testing.assert_array_equal(record.signal, expected.T.astype(np.float32))
    assert record.sampling_rate == fields["fs"] and record.lead_names == tuple(fields["sig_name"])
    # In the table, sex 0 is male: men are taller than women.
    table = pd.read_csv(raw_dir / "ptbxl_database.csv", index_col="ecg_id")
    heights = {sex: [] for sex in ("male", "female")}
    for split in loaded.values():
        for record_id, sex in zip(split["record_id"], split["sex"], strict=True):
            heights[sex].append(table["height"][int(record_id)])
    assert np.nanmedian(heights["male"]) > np.nanmedian(heights["female"]) + 10
