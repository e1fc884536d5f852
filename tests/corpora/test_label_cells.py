# SPDX-License-Identifier: Apache-2.0
"""Cells with several labels: read where the separator is stated, refused where they look like several."""

import pytest
from wfdb_files import write_record, write_table

from cgdmer.corpora.label_cells import check_label_cells, labels_of_cell
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import CorpusError


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        *(("AFIB;LVH", None), (" AFIB ; LVH; AFIB;", None), ("AFIB;LVH", ";"), ("AFIB,LVH", ","), ("AFIB, LVH", ",")),
        *(("AFIB|LVH", "|"), ("AFIB LVH", " "), ("AFIB \t LVH", " "), ("AFIB\tLVH", "\t"), ("AFIB + LVH", "+")),
        *(("['AFIB', 'LVH']", ","), ('["AFIB", "LVH"]', ","), ("(AFIB, LVH)", ","), ("[AFIB LVH]", " ")),
        *(("{AFIB|LVH}", "|"), ("AFIB and LVH", " and "), ("AFIB\nLVH", "\n"), ('"AFIB","LVH"', ",")),
    ],
)
def test_several_labels(cell, separator):
    assert labels_of_cell(cell, separator) == ("AFIB", "LVH")
    check_label_cells([cell, "AFIB", "LVH", "", "NORM"], separator, where="here")


@pytest.mark.parametrize("cell", ["", "  ", ";", " ; ;"])
def test_no_labels(cell):
    assert labels_of_cell(cell) == ()
    check_label_cells([cell], where="here")


@pytest.mark.parametrize(
    "name", ["ST depression", "PRC(S)", "RAO/RAE", "1AVB", "Wolff-Parkinson-White", "atrial fibrillation", "STE_", "~"]
)
def test_names_of_one_label(name):
    check_label_cells([name, "NORM", "LVH"], where="here")
    assert labels_of_cell(name) == (name,)


@pytest.mark.parametrize(
    "cell",
    [
        *("AFIB,LVH", "AFIB, LVH", "AFIB|LVH", "['AFIB', 'LVH']", '["AFIB"]', "[AFIB;LVH]", "(AFIB;LVH)", "AFIB\tLVH"),
        *("AFIB LVH", "426783006 164889003", "AFIB\nLVH", "{'NORM': 100.0}", "'AFIB';'LVH'", "NORM/SR", "NORM + x"),
        *("sinus rhythm and x", "x & sinus rhythm", "NORM - x", "SR;AFIB,LVH"),
    ],
)
def test_cells_that_look_like_several_labels_are_refused(cell):
    with pytest.raises(CorpusError, match=r"table\.csv, column labels: .* --label_separator ','") as refusal:
        check_label_cells(["NORM", "sinus rhythm", cell], where="table.csv, column labels")
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    ("cell", "separator"),
    [("AFIB;LVH", ","), ("AFIB|LVH", " "), ("AFIB|LVH", ";"), ("{'NORM': 1}; {", ";"), ("[A], [B", ","), ("A", "")],
)
def test_cells_that_contradict_the_stated_separator(cell, separator):
    with pytest.raises(CorpusError, match="--label_separator"):
        check_label_cells([cell], separator, where="here")


def test_a_stated_semicolon_allows_commas_and_codes():
    cells = ["Infarction, anterior; AFIB", "AFIB LVH", "AFIB"]
    check_label_cells(cells, ";", where="here")
    assert labels_of_cell(cells[0], ";") == ("Infarction, anterior", "AFIB")


def test_of_a_table(tmp_path):
    """The right labels reach the dataset, or nothing is written."""
    for number in range(4):
        write_record(tmp_path / "raw" / f"r{number}", number)
    cells = ["AFIB", "AFIB,LVH", "NORM,SR", ""]
    rows = [{"record": f"r{number}", "labels": cell, "split": "train"} for number, cell in enumerate(cells)]
    table = str(write_table(tmp_path / "table.csv", rows))
    out = tmp_path / "out"
    with pytest.raises(CorpusError, match=r"table\.csv, column labels: 'AFIB,LVH' looks like several labels"):
        prepare_corpus("folder", tmp_path / "raw", out, table=table)
    assert not out.exists()
    prepare_corpus("folder", tmp_path / "raw", out, table=table, label_separator=",")
    labels = load_dataset_folder(out)["train"]["labels"]
    assert list(labels) == [["AFIB"], ["AFIB", "LVH"], ["NORM", "SR"], []]
