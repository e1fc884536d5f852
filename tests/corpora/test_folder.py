# SPDX-License-Identifier: Apache-2.0
"""A folder of recordings in mixed formats with a user's table: which file a row names, and what its cells mean."""

import csv
import json
import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from wfdb_files import write_record, write_table

from cgdmer.commands import main
from cgdmer.corpora.corpus import split_of_key
from cgdmer.corpora.preparing import corpus_records, prepare_corpus
from cgdmer.corpora.table_rows import age_of_cell
from cgdmer.data.storage import SkippedRecord, load_dataset_folder, row_to_record
from cgdmer.models.errors import CorpusError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation.cohort import simulate_record
from clinic_writers import WRITERS
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


def skipped(folder) -> dict[str, tuple[str, str]]:
    with open(folder / "skipped.csv", encoding="utf-8") as file:
        return {row["record"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}


def notes(folder) -> str:
    return "\n".join(json.loads((folder / "summary.json").read_text())["notes"])


def rows_of(folder) -> dict:
    return {row["record_id"]: row for split in load_dataset_folder(folder).values() for row in split}


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
    first, second, *_ = corpus_records("folder", raw, table=str(table))
    assert (first.text, first.labels, first.age, first.sex, first.fold) == (None, (), None, None, 5)
    assert second.record_id == "sub/r1" and second.patient_id == "p0"
    assert second.text == "Sinus rhythm, unremarkable" and second.labels == ("normal", "sinus rhythm")
    assert (second.age, second.sex, second.fold) == (70.5, "female", 6)
    counts = prepare_corpus("folder", raw, tmp_path / "out", table=str(table))
    assert counts == {"written": 6, "skipped": 0, "train": 4, "validation": 1, "test": 1}


def test_records_that_are_mostly_padding_are_skipped(tmp_path):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    for name, samples in (("most", 150), ("some", 400)):
        signal = np.pad(record.signal[:, :samples], ((0, 0), (0, 1000 - samples)))
        write_wfdb(replace(record, signal=signal), tmp_path / "raw" / name)
    table = write_table(
        tmp_path / "table.csv", [{"record": name, "text": "Sinus rhythm"} for name in ("most", "some")]
    )
    assert prepare_corpus("folder", tmp_path / "raw", tmp_path / "out", table=str(table))["skipped"] == 1
    (line,) = csv.DictReader((tmp_path / "out" / "skipped.csv").read_text().splitlines())
    assert line["record"] == "most" and "only 1.50 s of the recording" in line["reason"]


def test_split_of_key_is_the_same_everywhere():
    assert [number for number in range(20) if split_of_key(str(number)) == "test"] == [5, 8, 19]
    splits = [split_of_key(f"patient {number}") for number in range(20_000)]
    assert splits.count("train") == pytest.approx(14_000, rel=0.03)
    assert splits.count("validation") == pytest.approx(2_000, rel=0.1)


def test_splits_by_name_and_by_patient(raw, tmp_path):
    table = write_table(tmp_path / "t.csv", rows_with(split=lambda number: "Test" if number == 3 else "train"))
    prepare_corpus("folder", raw, tmp_path / "named", table=table.as_posix())
    assert load_dataset_folder(tmp_path / "named")["test"]["record_id"][:] == ["sub/r3"]
    assert "names their column): a patient may be in training and in test." in notes(tmp_path / "named")
    table = write_table(tmp_path / "t.csv", rows_with(patient_id=lambda number: "alone"))
    counts = prepare_corpus("folder", raw, tmp_path / "hashed", table=table.as_posix())
    assert counts[split_of_key("alone")] == 6 and notes(tmp_path / "hashed") == ""
    columns = {"patient_id": lambda number: "alone", "split": lambda number: "val" if number else "train"}
    table = write_table(tmp_path / "t.csv", rows_with(**columns))
    counts = prepare_corpus("folder", raw, tmp_path / "leaking", table=table.as_posix())
    assert counts["validation"] == 5 and "Patients in several splits, as the table says: 1." in notes(
        tmp_path / "leaking"
    )


def test_without_patients_the_danger_is_said(raw, tmp_path, caplog):
    table = write_table(tmp_path / "t.csv", rows_with())
    with caplog.at_level(logging.WARNING, "cgdmer"):
        prepare_corpus("folder", raw, tmp_path / "out", table=str(table))
    assert "names their column): recordings were split one by one, so a patient may be" in caplog.text
    table = write_table(tmp_path / "t.csv", rows_with(patient_id=lambda number: "" if number < 2 else "p"))
    prepare_corpus("folder", raw, tmp_path / "some", table=str(table))
    assert "Recordings without a patient: 2." in notes(tmp_path / "some")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"fold": lambda number: 1, "split": lambda number: "train"}, "'fold' and 'split', which mean the same"),
        ({"file": lambda number: "x"}, "'record' and 'file', which mean the same. .*--file_column"),
        ({"record ": lambda number: "x"}, "'record' more than once"),
        ({"labels": lambda number: "?" if number else "1"}, r"column labels: row 2 holds '\?'"),
        ({"record": lambda number: f"x{number}"}, "none of its 6 rows .* holds, for example, 'x0', .* 'sub/r0'"),
    ],
)
def test_tables_that_make_no_sense(raw, tmp_path, columns, words):
    table = write_table(tmp_path / "table.csv", rows_with(**columns))
    with pytest.raises(CorpusError, match=words) as error:
        corpus_records("folder", raw, table=str(table))
    assert "table.csv" in str(error.value)


def test_table_is_required(raw, tmp_path):
    with pytest.raises(CorpusError, match="needs a table"):
        corpus_records("folder", raw)
    with pytest.raises(CorpusError, match=r"none\.csv does not exist"):
        corpus_records("folder", raw, table="none.csv")
    table = write_table(tmp_path / "table.csv", [{"text": "sub/r1"}])
    with pytest.raises(CorpusError, match=r"lacks a column record or file.*--file_column.*'text'"):
        corpus_records("folder", raw, table=str(table))
    with pytest.raises(CorpusError, match=r"no column 'txt' .--text_column.; did you mean 'text'"):
        corpus_records("folder", raw, table=str(table), file_column="TEXT", text_column="txt")
    with pytest.raises(CorpusError, match="nowhere is not a folder"):
        corpus_records("folder", raw / "nowhere", table=str(table))
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(CorpusError, match=r'is an Excel workbook\. Save its sheet as "CSV UTF-8"'):
        corpus_records("folder", raw, table=str(tmp_path / "table.xlsx"))


def test_every_row_and_every_file_is_accounted_for(raw, tmp_path, capsys):
    (raw / "report.pdf").write_bytes(b"%PDF")
    (raw / ".hidden").write_text("x")
    (raw / "sub" / "r4.dat").write_bytes(b"short")
    rows = [
        *rows_with()[:5],
        {"record": "sub/r1"},
        {"record": "sub/r9"},
        {"record": "../raw/sub/r1"},
        {"record": "NA"},
    ]
    table = write_table(raw / "table.csv", rows)
    assert main(["prepare", "folder", str(raw), str(tmp_path / "out"), "--table", str(table)]) == 0
    assert "4 records written" in (printed := capsys.readouterr().out)
    assert "7 skipped: 3 no file, 2 no row, 1 repeated, 1 unreadable" in printed
    found = skipped(tmp_path / "out")
    assert {name: kind for name, (kind, _) in found.items()} == {
        "sub/r1": "repeated",
        "sub/r9": "no file",
        "../raw/sub/r1": "no file",
        "row 9": "no file",
        "report.pdf": "no row",
        "sub/r5": "no row",
        "sub/r4": "unreadable",
    }
    assert "table.csv, row 7: there is no file 'sub/r9'" in found["sub/r9"][1]


def test_unusable_rows_are_left_out_and_named(raw, tmp_path):
    values = ["train", "holdout", "", "11", "10", "train"]
    rows = rows_with(split=lambda number: values[number])
    rows[5:] = [{"record": "sub/r5", "split": "train"}, {"record": "sub/r5", "split": "test"}]
    prepare_corpus("folder", raw, tmp_path / "out", table=str(write_table(tmp_path / "table.csv", rows)))
    found = skipped(tmp_path / "out")
    assert sorted(rows_of(tmp_path / "out")) == ["sub/r0", "sub/r4"]
    assert "column split holds 'holdout'; train, validation, test" in found["sub/r1"][1]
    assert "column split is blank" in found["sub/r2"][1] and "holds '11'" in found["sub/r3"][1]
    assert found["sub/r5"] == (
        "contradictory",
        f"{tmp_path / 'table.csv'}, row 7: rows 6, 7 name the file sub/r5 and differ. Write one row, with all of its "
        "labels.",
    )


@pytest.fixture
def mixed(tmp_path):
    """One recording in each format, with names as hospitals give them."""
    folder = tmp_path / "Müller & Co"
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    write_wfdb(record, folder / "deep er" / "000017")
    counts = np.rint(record.signal * 200).astype(np.int16)
    for (_, write), name in zip(WRITERS.values(), ("A 1.DCM", "größe.edf", "x.1.xml", "b.XML"), strict=True):
        write(folder / name, counts, 5.0, 500, STANDARD_LEADS)
    return folder, counts / np.float32(200)


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["000017", "A 1.DCM", "größe.edf", "x.1.xml", "b.XML"], "names"),
        (["deep er/000017.hea", "a 1.dcm", "GRÖßE.EDF", "X.1.XML", "B"], "paths in another case"),
        (["17", "A 1", "gro\u0308ße", "x.1", "b"], "without suffix, decomposed, without zeros"),
        (["17.0", "A 1", "größe", "x.1", "b.xml"], "a number of pandas"),
        ([r"deep er\000017", r"C:\export\A 1.dcm", "/mnt/größe.edf", "./x.1.xml", "Müller & Co/b.xml"], "elsewhere"),
        (["deep er/000017.dat", "A 1", "größe", "x.1", "b.xml"], "a signal file"),
    ],
)
def test_which_file_a_row_names(mixed, tmp_path, cells, names):
    folder, signal = mixed
    table = tmp_path / "t.csv"
    table.write_text("Datei;Nr\n" + "".join(f"{cell};{number}\n" for number, cell in enumerate(cells)), "utf-8")
    counts = prepare_corpus("folder", folder, tmp_path / "out", table=str(table), file_column="Datei")
    assert (counts["written"], counts["skipped"]) == (5, 0)
    rows = rows_of(tmp_path / "out")
    assert list(sorted(rows)) == sorted(["deep er/000017", "A 1.DCM", "größe.edf", "x.1.xml", "b.XML"])
    for row in rows.values():
        record = row_to_record(row)
        kept = [STANDARD_LEADS.index(lead) for lead in record.lead_names]
        assert {"I", "II", "V1", "V6"} <= set(record.lead_names)
        np.testing.assert_allclose(record.signal, signal[kept], atol=0.0051)  # EDF and DICOM round to their steps


def test_names_that_several_files_have(tmp_path):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    for name in ("2021/a", "2022/a", "2022/b"):
        write_wfdb(record, tmp_path / "raw" / name)
    rows = [{"record": name} for name in ("a", "2022/a", "b")]
    prepare_corpus("folder", tmp_path / "raw", tmp_path / "out", table=str(write_table(tmp_path / "table.csv", rows)))
    found = skipped(tmp_path / "out")
    assert sorted(rows_of(tmp_path / "out")) == ["2022/a", "2022/b"]
    assert found["a"][0] == "no file" and "'a' may be '2021/a' and '2022/a'. Write the path" in found["a"][1]
    assert found["2021/a"][0] == "no row"


def test_a_table_as_german_excel_writes_it(raw, tmp_path):
    """Semicolons, decimal commas, a byte order mark, columns of 0 and 1, empty rows, and cells in many spellings."""
    table = tmp_path / "table.csv"
    table.write_text(
        "\ufeffDatei;Pat-Nr;Befund;Vorhofflimmern;Ärger mit ST;Alter;Geschlecht;Gerät;;\r\n"
        'r0;0007;"Sinus; ja";1;0;63,5;w;A;;\r\n'
        "r1;0008;;0;;> 89;M;B;;\r\n"
        "r2;9.0;NaN;0,0;1,0;070Y;weiblich;A;;\r\n"
        "r3;;x;nein;ja;unbekannt;d;A;;\r\n"
        ";;;;;;;;;\r\n",
        "utf-8",
    )
    columns = {
        "file_column": "datei",
        "patient_column": "Pat-Nr",
        "text_column": "Befund",
        "label_columns": ["Vorhofflimmern", "A\u0308rger mit ST"],
        "source_column": "Gerät",
        "age_column": "Alter",
        "sex_column": "Geschlecht",
    }
    prepare_corpus("folder", raw, tmp_path / "out", table=str(table), **columns)
    rows = rows_of(tmp_path / "out")
    names = ("patient_id", "text", "labels", "age", "sex", "source")
    assert [tuple(rows[f"sub/r{number}"][name] for name in names) for number in range(4)] == [
        ("0007", "Sinus; ja", ["Vorhofflimmern"], 63.5, "female", "A"),
        ("0008", None, [], 90.0, "male", "B"),
        ("9", None, ["Ärger mit ST"], 70.0, "female", "A"),
        (None, "x", ["Ärger mit ST"], None, None, "A"),
    ]
    said = notes(tmp_path / "out")
    assert "Column Ärger mit ST: blank cells, which count as 0: 1." in said
    assert "Column Alter: cells that are not understood and left empty: 1 ('unbekannt')." in said
    assert "Column Geschlecht: cells that are not understood and left empty: 1 ('d')." in said
    assert "Rows without a label" not in said  # each has a 0 or a 1
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["sources"] == {"A": 3, "B": 1}


def test_columns_of_names(raw, tmp_path):
    values = ["AF", "af|LBBB", "", "none", "LBBB | AF", "AF"]
    rows = rows_with(rhythm=lambda number: values[number], diagnosis=lambda number: "1", spare=lambda number: "x")
    table = str(write_table(tmp_path / "table.csv", rows))
    columns = ["rhythm", "diagnosis"]
    prepare_corpus("folder", raw, tmp_path / "out", table=table, label_columns=columns, label_separator="|")
    labels = {record_id: row["labels"] for record_id, row in rows_of(tmp_path / "out").items()}
    assert [labels[f"sub/r{number}"] for number in range(6)] == [
        *(["AF", "1"], ["af", "LBBB", "1"], ["1"], ["1"], ["LBBB", "AF", "1"], ["AF", "1"]),
    ]
    assert "'AF' and 'af' are different labels." in notes(tmp_path / "out")
    prepare_corpus("folder", raw, tmp_path / "one", table=table, label_columns=["rhythm"], label_separator="|")
    assert "Rows without a label: 2 of 6." in notes(tmp_path / "one")
    assert "Columns of table.csv that are not used: spare." in notes(tmp_path / "out")


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        *(("63", 63), ("63.5", 63.5), ("63,5", 63.5), ("> 89", 90), (">89", 90), ("≥ 90", 90), ("90+", 90), ("0", 0)),
        *(
            ("063Y", 63),
            ("018M", 1.5),
            ("63 years", 63),
            ("63 Jahre", 63),
            ("151", None),
            ("-1", None),
            ("1959-3", None),
        ),
        *(("unknown", None), ("1e1", None), ("> 200", None), ("300", None)),
    ],
)
def test_ages(cell, age):
    assert age_of_cell(cell) == age


def test_one_file_in_twenty_is_unreadable(tmp_path):
    for number in range(40):
        write_record(tmp_path / "raw" / f"r{number:02d}", number)
    for number in (7, 31):
        (tmp_path / "raw" / f"r{number:02d}.hea").write_bytes(b"\xff\xfe")
    table = write_table(tmp_path / "table.csv", [{"record": f"r{number:02d}"} for number in range(40)])
    counts = prepare_corpus("folder", tmp_path / "raw", tmp_path / "out", table=str(table), num_proc=2)
    assert (counts["written"], counts["skipped"]) == (38, 2)
    assert {name: kind for name, (kind, _) in skipped(tmp_path / "out").items()} == dict.fromkeys(
        ("r07", "r31"), "unreadable"
    )


def test_into_the_folder_itself(raw, tmp_path):
    """The second time, the first dataset is not taken for recordings."""
    table = str(write_table(raw / "table.csv", rows_with()))
    for name in ("first", "second"):
        assert prepare_corpus("folder", raw, raw / name, table=table)["skipped"] == 0


def test_csv_and_npy_files_with_what_is_stated(tmp_path):
    """Beside another format, which keeps its own rate."""
    raw = tmp_path / "raw"
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    write_wfdb(record, raw / "w")
    counts = np.rint(record.signal * 1000)[:2, :2000]
    np.savetxt(raw / "a.csv", counts.T, fmt="%d", delimiter=",")
    with open(raw / "b.NPY", "wb") as file:
        np.save(file, counts)
    np.save(raw / "c.npy", np.zeros((3, 2000)))
    table = str(write_table(tmp_path / "table.csv", [{"file": name} for name in ("a", "b", "c", "w")]))
    how = {"sampling_rate": 250, "unit": "uV", "lead_names": ["I", "II"]}
    prepare_corpus("folder", raw, tmp_path / "out", table=table, **how)
    rows = rows_of(tmp_path / "out")
    assert {name: row["sampling_rate"] for name, row in rows.items()} == {"a.csv": 250, "b.NPY": 250, "w": 500}
    for name in ("a.csv", "b.NPY"):
        np.testing.assert_allclose(row_to_record(rows[name]).signal, counts / 1000, atol=1e-6)
    assert skipped(tmp_path / "out")["c.npy"][0] == "unreadable"
    prepare_corpus("folder", raw, tmp_path / "unstated", table=table)
    assert list(rows_of(tmp_path / "unstated")) == ["w"]
    assert "a.csv does not state its" in skipped(tmp_path / "unstated")["a.csv"][1]
    for name in ("a.csv", "b.NPY", "c.npy"):
        (raw / name).unlink()
    with pytest.raises(CorpusError, match="sampling_rate is for CSV and NPY files, and the folder holds none"):
        prepare_corpus("folder", raw, tmp_path / "other", table=table, **how)


def test_channels_that_are_named(tmp_path):
    """In every format, while other leads keep their names."""
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=500)
    one = replace(record, signal=record.signal[1:2], lead_names=("ECG",), gain=(1000.0,), baseline=(0,))
    write_wfdb(one, tmp_path / "raw" / "w")
    np.savetxt(tmp_path / "raw" / "c.csv", record.signal[1], header="ECG", comments="", fmt="%.3f")
    table = str(write_table(tmp_path / "table.csv", [{"file": "w"}, {"file": "c"}]))
    words = ["--sampling_rate", "500", "--unit", "mV", "--lead_names", "ECG=II"]
    assert main(["prepare", "folder", str(tmp_path / "raw"), str(tmp_path / "out"), "--table", table, *words]) == 0
    for row in rows_of(tmp_path / "out").values():
        assert row["lead_names"] == ["II"]
        np.testing.assert_allclose(row_to_record(row).signal[0], record.signal[1], atol=0.0011)


def test_tables_from_elsewhere_end_in_our_own_errors(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in ("a.dcm", "007.edf", "c.csv"):
        (tmp_path / "raw" / name).write_bytes(b"x")
    table = tmp_path / "t.csv"
    whole = 'file;patient_id;AF;labels;split;age\n007;1;1;"A; B";train;63,5\na;2.0;;;val;> 89\nc;;0;B;test;\n'
    pieces = ["", ";", ",", "\n", '"', "\0", "\t", "ß", "../", "\\", "9" * 400, "1e999"]
    random, outcomes = np.random.default_rng(0), Counter()
    for _ in range(400):
        text = list(whole)
        for _ in range(random.integers(1, 4)):
            text[random.integers(len(text))] = pieces[random.integers(len(pieces))]
        table.write_text("".join(text), encoding="utf-8")
        options = {"table": str(table), "label_columns": ["AF", "labels"]}
        try:
            entries = list(corpus_records("folder", tmp_path / "raw", **options))
            assert entries and all(isinstance(entry, SkippedRecord) for entry in entries)
            outcomes["read"] += 1
        except CorpusError as error:
            assert len(str(error)) < 3000
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 40
