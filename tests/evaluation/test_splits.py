# SPDX-License-Identifier: Apache-2.0
import csv

import numpy as np
import pytest

from cgdmer.evaluation.label_tables import CSN_ACRONYMS_OF
from cgdmer.evaluation.splits import pooled, read_split_files, repaired_splits
from cgdmer.evaluation.tasks import get_task
from cgdmer.models.errors import ConfigurationError, CorpusError

PTBXL = ("ecg_id", "patient_id", "strat_fold", "filename_lr", "filename_hr")
STEMS = {"train": "train", "validation": "val", "test": "test"}
SUB = get_task("ptbxl-sub")
SUB_TRAINING_ORDER = [*SUB.class_names[:10], "AVB", "RAO/RAE", "ISC", *SUB.class_names[13:]]


def write_csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def change_csv(path, change):
    """Rewrite a file with the result of `change(header, rows)`."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    write_csv(path, *change(header, rows))


def write_ptbxl_files(folder, task, dataset, list_column, orders=None):
    """Write split files like the released ones: a folder per task, `sub_class` between paths and labels."""
    for split, rows in dataset.items():
        order = (orders or {}).get(split, task.class_names)
        table = []
        for row in rows.select_columns(["record_id", "patient_id", "labels"]):
            classes = set(task.classes_of(row["labels"]))
            if classes:
                known = (row["record_id"], f"{row['patient_id']}.0", "1", "lr", "hr", str(sorted(classes)))
                table.append([*known, *(int(name in classes) for name in order)])
        path = folder / "ptbxl" / list_column / f"ptbxl_{list_column}_{STEMS[split]}.csv"
        write_csv(path, [*PTBXL, list_column, *order], table)


@pytest.fixture
def sub_files(tmp_path, ptbxl_dataset):
    """The real rows in the released layout, where the training columns are in another order."""
    write_ptbxl_files(tmp_path, SUB, ptbxl_dataset, "sub_class", {"train": SUB_TRAINING_ORDER})
    return tmp_path


def sub_file(folder, split="train"):
    return folder / "ptbxl" / "sub_class" / f"ptbxl_sub_class_{STEMS[split]}.csv"


def test_columns_are_taken_by_name_whatever_their_order(sub_files, ptbxl_dataset):
    from_files = repaired_splits(ptbxl_dataset, SUB, sub_files)
    own = repaired_splits(ptbxl_dataset, SUB)
    for split, part in from_files.items():
        np.testing.assert_array_equal(part.labels, own[split].labels)
        assert part.rows["record_id"][:] == own[split].rows["record_id"][:]
        assert part.patients == own[split].patients
        assert (part.unlabeled, part.absent) == (0, 0)


def test_rows_are_found_in_whichever_split_of_the_dataset_they_are(sub_files, ptbxl_dataset):
    sub_file(sub_files, "train").rename(sub_files / "kept")
    sub_file(sub_files, "test").rename(sub_file(sub_files, "train"))
    (sub_files / "kept").rename(sub_file(sub_files, "test"))
    swapped, own = read_split_files(sub_files, ptbxl_dataset, SUB), repaired_splits(ptbxl_dataset, SUB)
    np.testing.assert_array_equal(swapped["train"].labels, own["test"].labels)
    np.testing.assert_array_equal(swapped["test"].labels, own["train"].labels)


@pytest.mark.parametrize("shift", [1, -1])
def test_planted_labels_shifted_by_one_column_are_refused(sub_files, ptbxl_dataset, shift):
    def shifted(header, rows):
        return header, [[*row[:6], *np.roll(row[6:], shift)] for row in rows]

    change_csv(sub_file(sub_files), shifted)
    with pytest.raises(CorpusError, match=r"ptbxl_sub_class_train\.csv: column .*shifted or renamed"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


def test_a_planted_header_in_the_order_of_the_other_file_is_refused(sub_files, ptbxl_dataset):
    """Defect a the other way around: the names are those of the test file, but the columns are not."""
    change_csv(sub_file(sub_files), lambda header, rows: ([*header[:6], *SUB.class_names], rows))
    with pytest.raises(CorpusError, match=r"column '(ISC|AVB|RAO/RAE)' says that"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


def test_a_planted_record_in_two_splits_is_refused(sub_files, ptbxl_dataset):
    line = sub_file(sub_files, "test").read_text(encoding="utf-8").splitlines()[1]
    with open(sub_file(sub_files, "validation"), "a", encoding="utf-8") as file:
        file.write(line)
    record = line.split(",")[0]
    with pytest.raises(CorpusError, match=rf"record '{record}' is listed in .*_val\.csv and again in .*_test\.csv"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


def test_a_planted_record_twice_in_one_split_is_refused(sub_files, ptbxl_dataset):
    change_csv(sub_file(sub_files), lambda header, rows: (header, [*rows, rows[5]]))
    with pytest.raises(CorpusError, match=r"record .* and again in .*_train\.csv"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


def test_a_planted_patient_in_two_splits_is_refused(sub_files, ptbxl_dataset):
    """It is found by the column of the files or, without that column, by that of the dataset."""

    def move_first_of_two(header, rows):
        taken.append(next(row for row in rows if sum(other[1] == row[1] for other in rows) > 1))
        return header, [row for row in rows if row is not taken[0]]

    taken = []
    change_csv(sub_file(sub_files), move_first_of_two)
    [moved] = taken
    order = [SUB_TRAINING_ORDER.index(name) for name in SUB.class_names]
    moved = [*moved[:6], *(moved[6 + place] for place in order)]
    change_csv(sub_file(sub_files, "test"), lambda header, rows: (header, [*rows, moved]))
    patient = moved[1].removesuffix(".0")
    message = rf"patient '{patient}' is listed in .*_train\.csv and again in .*_test\.csv"
    with pytest.raises(CorpusError, match=message):
        repaired_splits(ptbxl_dataset, SUB, sub_files)
    for split in STEMS:
        change_csv(
            sub_file(sub_files, split),
            lambda header, rows: ([header[0], *header[2:]], [[row[0], *row[2:]] for row in rows]),
        )
    with pytest.raises(CorpusError, match=message):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, rows: ([*header, "XYZ"], [[*row, 0] for row in rows]), "column 'XYZ' is neither a class"),
        (lambda header, rows: (header[:-1], [row[:-1] for row in rows]), "class 'IVCD' .* has 0 columns"),
        (lambda header, rows: ([*header, "IVCD"], [[*row, 0] for row in rows]), "class 'IVCD' .* has 2 columns"),
        (lambda header, rows: (["id", *header[1:]], rows), "column 'id' is neither|no column 'ecg_id'"),
        (lambda header, rows: (header, [[*rows[0][:-1], "2"], *rows[1:]]), "column 'IVCD' holds '2' in row 1"),
        (lambda header, rows: (header, [rows[0], rows[1][:-1]]), "row 2 has 28 fields; the header has 29"),
        (lambda header, rows: (header, []), "holds no records"),
        (lambda header, rows: (header, [["x" + row[0], *row[1:]] for row in rows]), "holds none of the .* 'ecg_id'"),
    ],
)
def test_files_that_make_no_sense_are_refused(sub_files, ptbxl_dataset, change, message):
    change_csv(sub_file(sub_files), change)
    with pytest.raises(CorpusError, match=message) as error:
        repaired_splits(ptbxl_dataset, SUB, sub_files)
    assert "ptbxl_sub_class_train.csv" in str(error.value)


def test_records_that_the_dataset_lacks_are_counted(sub_files, ptbxl_dataset):
    change_csv(sub_file(sub_files), lambda header, rows: (header, [["x" + rows[0][0], *rows[0][1:]], *rows[1:]]))
    part = repaired_splits(ptbxl_dataset, SUB, sub_files)["train"]
    assert part.absent == 1
    assert len(part) == len(repaired_splits(ptbxl_dataset, SUB)["train"]) - 1


def test_files_are_found_by_name_and_missed_by_name(sub_files, ptbxl_dataset):
    sub_file(sub_files).rename(sub_files / "ptbxl-sub_train.csv")
    sub_file(sub_files, "validation").rename(sub_files / "PTBXL_sub_validation.csv")
    assert set(repaired_splits(ptbxl_dataset, SUB, sub_files)) == set(STEMS)
    with pytest.raises(CorpusError, match=r"for train.*ptbxl_form_train\.csv"):
        repaired_splits(ptbxl_dataset, get_task("ptbxl-form"), sub_files)
    sub_file(sub_files, "validation").write_text((sub_files / "PTBXL_sub_validation.csv").read_text())
    with pytest.raises(CorpusError, match=r"both .* are the split validation"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)
    with pytest.raises(ConfigurationError, match="simulated has no split files"):
        repaired_splits(ptbxl_dataset, get_task("simulated"), sub_files)


def test_bytes_that_are_not_text(sub_files, ptbxl_dataset):
    sub_file(sub_files).write_bytes(b"ecg_id,\xff\xfe\n1,2\n")
    with pytest.raises(CorpusError, match=r"ptbxl_sub_class_train\.csv is not UTF-8 text"):
        repaired_splits(ptbxl_dataset, SUB, sub_files)


def test_cpsc2018_is_found_by_file_name(tmp_path, make_dataset):
    task = get_task("cpsc2018")
    dataset = make_dataset(
        [
            ("A0001", None, ["59118001"], "train"),
            ("A0005", None, ["164884008"], "train"),
            ("A5215", None, ["59118001", "284470004"], "test"),
        ]
    )
    header = ["patient_id", "ecg_id", "filename", "validation", "age", "sex", "scp_codes", *task.class_names]
    rows = {
        "train": ("7", "A5215", {"CRBBB", "PAC"}),
        "val": ("8", "A0001.hea", {"CRBBB"}),
        "test": ("9", "A0005", {"VPC"}),
    }
    for split, (number, filename, classes) in rows.items():
        known = [number, number, filename, "False", "61.0", "0", "{}"]
        labels = [int(name in classes) for name in task.class_names]
        write_csv(tmp_path / "icbeb" / f"icbeb_{split}.csv", header, [[*known, *labels]])
    parts = repaired_splits(dataset, task, tmp_path)
    assert {split: part.rows["record_id"][:] for split, part in parts.items()} == {
        **{"train": ["A5215"], "validation": ["A0001"], "test": ["A0005"]}
    }
    np.testing.assert_array_equal(parts["train"].labels, task.label_matrix([["59118001", "284470004"]]))


# For these lists: the positives in the released files, found by substring search, and the exact ones.
CSN_LISTS = {
    "JS24831": ("SB,STE,ERV", {"STE", "ERV", "ST"}, {"STE", "ERV"}),
    "JS09199": ("AF,AVB", {"AF", "AVB", "VB"}, {"AF", "AVB"}),
    "JS01817": ("SB,1AVB,STTC", {"VB", "STTC", "AVB", "1AVB", "ST"}, {"1AVB", "STTC"}),
    "JS06216": ("SB,APB,LVQRSAL", {"SA", "APB"}, {"APB"}),
    "JS01705": ("AFIB", {"AF", "AFIB"}, {"AFIB"}),
    "JS05999": ("SB,LVQRSAL", {"SA"}, set()),
}


def write_csn_files(folder, task, with_lists=True):
    for number, split in enumerate(("train", "val", "test")):
        rows = []
        for name, (diagnose, positives, _) in list(CSN_LISTS.items())[2 * number : 2 * number + 2]:
            known = [f"/chapman/WFDBRecords/18/186/{name}.mat", "12", diagnose][: 3 if with_lists else 2]
            rows.append([*known, *(int(label in positives) for label in task.class_names)])
        header = ["ecg_path", "age", "diagnose"][: 3 if with_lists else 2] + list(task.class_names)
        write_csv(folder / "chapman" / f"chapman_{split}.csv", header, rows)


@pytest.fixture
def csn_dataset(make_dataset):
    code_of = {acronyms[0]: code for code, acronyms in CSN_ACRONYMS_OF.items()}
    return make_dataset(
        (name, None, [code_of[acronym] for acronym in diagnose.split(",")], "train")
        for name, (diagnose, _, _) in CSN_LISTS.items()
    )


def test_csn_labels_are_rebuilt_from_the_exact_lists(tmp_path, csn_dataset):
    task = get_task("csn")
    write_csn_files(tmp_path, task)
    parts = repaired_splits(csn_dataset, task, tmp_path)
    found = {
        name: {label for label, positive in zip(task.class_names, row, strict=True) if positive}
        for part in parts.values()
        for name, row in zip(part.rows["record_id"], part.labels, strict=True)
    }
    assert found == {name: exact for name, (_, _, exact) in CSN_LISTS.items() if exact}
    assert parts["test"].unlabeled == 1
    own = repaired_splits(csn_dataset, task)["train"]
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts.values()]), own.labels)


def test_csn_acronyms_that_no_table_holds_are_refused(tmp_path, csn_dataset):
    write_csn_files(tmp_path, get_task("csn"))
    path = tmp_path / "chapman" / "chapman_val.csv"
    path.write_text(path.read_text().replace("1AVB", "1AVX"))
    change_csv(path, lambda header, rows: ([name.replace("1AVX", "1AVB") for name in header], rows))
    with pytest.raises(CorpusError, match=r"chapman_val\.csv: column 'diagnose' holds '1AVX' in row 1"):
        repaired_splits(csn_dataset, get_task("csn"), tmp_path)


def test_csn_files_without_lists_give_their_columns(tmp_path, csn_dataset):
    write_csn_files(tmp_path, get_task("csn"), with_lists=False)
    parts = repaired_splits(csn_dataset, get_task("csn"), tmp_path)
    assert sum(part.labels.sum() for part in parts.values()) == sum(len(row[1]) for row in CSN_LISTS.values())


def test_two_records_of_one_id_are_refused(tmp_path, make_dataset, sub_files):
    twice = make_dataset([("1", "1", ["NORM"], "train"), ("1", "2", ["NORM"], "test")])
    with pytest.raises(CorpusError, match="same id"):
        repaired_splits(twice, SUB, sub_files)


def test_pooling_adds_up(ptbxl_dataset):
    task = get_task("ptbxl-form")
    parts = repaired_splits(ptbxl_dataset, task)
    both = pooled(parts, ["validation", "test"], task)
    assert len(both) == len(parts["validation"]) + len(parts["test"]) == len(both.rows) == len(both.patients)
    assert both.unlabeled == parts["validation"].unlabeled + parts["test"].unlabeled > 0
    assert [record.record_id for record in both] == list(both.rows["record_id"])
