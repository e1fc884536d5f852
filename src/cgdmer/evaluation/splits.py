# SPDX-License-Identifier: Apache-2.0
"""Which records of a dataset belong to a task, in which split, and with which labels.

A prepared dataset has splits of its own. A folder of CSV files in the layout of the MERL benchmark
(https://github.com/cheliu-computation/MERL-ICML2024, `finetune/data_split`) can replace them: one file per split, with
a row per record and, after a few other columns, a column per class.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path, PurePosixPath

import datasets
import numpy as np

from cgdmer.data.fingerprints import Fingerprints, Overlap
from cgdmer.data.storage import SPLITS, DatasetRecords
from cgdmer.evaluation.label_tables import CSN_ACRONYMS_OF
from cgdmer.evaluation.tasks import Task
from cgdmer.files.tables import csv_lines
from cgdmer.models.errors import ConfigurationError, CorpusError

_ENDINGS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_LABELS = {"0": False, "1": True, "0.0": False, "1.0": True}
_LARGEST_FILE = 2**26  # bytes, all held in memory; 20,000 records of 100 classes take a twentieth of it
_ENOUGH_POSITIVES = 10  # columns with fewer are not compared with the dataset's labels
_CSN_CODE_OF = {acronym: code for code, acronyms in CSN_ACRONYMS_OF.items() for acronym in acronyms}


@dataclass(frozen=True)
class LabeledRows(DatasetRecords):
    """Some records of a dataset with their labels for one task (n records, C classes).

    Attributes:
        labels: (n, C) bool.
        patients: one per record, as `patients_of` names them.
        unlabeled: the number of records left out because they belong to no class of the task.
        absent: the number of records that a split file lists and the dataset lacks.
    """

    labels: np.ndarray
    patients: list[str] = field(repr=False)
    unlabeled: int = 0
    absent: int = 0

    def keep(self, chosen: np.ndarray) -> "LabeledRows":
        """Only some of the records.

        Args:
            chosen: (n,) bool.
        """
        numbers = np.flatnonzero(chosen)
        patients = [self.patients[number] for number in numbers]
        return replace(self, rows=self.rows.select(numbers), labels=self.labels[chosen], patients=patients)


@dataclass(frozen=True)
class _Layout:
    """How the split files of a task are named, and which columns they have besides the labels.

    Attributes:
        stems: the file names before `_train.csv`; case and the kind of dash do not matter.
        record_column: the column with the id of the record, or with a file of that name.
        columns: every column that is not a class.
        first_label: the position of the first class.
    """

    stems: tuple[str, ...]
    record_column: str
    columns: tuple[str, ...]
    first_label: int


def _ptbxl_layout(list_column: str) -> _Layout:
    return _Layout(
        stems=(f"ptbxl_{list_column}", f"ptbxl_{list_column.removesuffix('_class')}"),
        record_column="ecg_id",
        columns=("ecg_id", "patient_id", "strat_fold", "filename_lr", "filename_hr", list_column),
        first_label=6,
    )


_LAYOUTS = {
    "ptbxl-super": _ptbxl_layout("super_class"),
    "ptbxl-sub": _ptbxl_layout("sub_class"),
    "ptbxl-form": _ptbxl_layout("form"),
    "ptbxl-rhythm": _ptbxl_layout("rhythm"),
    "ptbxl-all": _ptbxl_layout("all"),
    "cpsc2018": _Layout(
        stems=("icbeb", "cpsc2018"),
        record_column="filename",
        columns=("patient_id", "ecg_id", "filename", "validation", "age", "sex", "scp_codes"),
        first_label=7,
    ),
    "csn": _Layout(
        stems=("chapman", "csn"), record_column="ecg_path", columns=("ecg_path", "age", "diagnose"), first_label=3
    ),
}


@dataclass(frozen=True)
class SplitFile:
    """One split file as it was read.

    Attributes:
        path: for messages.
        header: the names of the columns.
        table: the fields, one list per row.
        layout: the layout of its task.
    """

    path: Path
    header: list[str]
    table: list[list[str]] = field(repr=False)
    layout: _Layout = field(repr=False)

    def column(self, name: str) -> list[str]:
        if name not in self.header:
            raise CorpusError(f"{self.path}: there is no column {name!r}. Columns: {', '.join(self.header)}.")
        position = self.header.index(name)
        return [row[position].strip() for row in self.table]

    def record_ids(self) -> list[str]:
        # Without the ending of a file name, and without the decimals of a number as pandas may write it (17.0).
        return [PurePosixPath(field).stem for field in self.column(self.layout.record_column)]

    def labels(self, positions: Sequence[int]) -> np.ndarray:
        """(rows, positions) bool: the fields of these columns, which must be 0 or 1."""
        matrix = np.zeros((len(self.table), len(positions)), dtype=bool)
        for number, row in enumerate(self.table):
            for place, position in enumerate(positions):
                text = row[position].strip()
                if text not in _LABELS:
                    raise CorpusError(
                        f"{self.path}: column {self.header[position]!r} holds {text!r} in row {number + 1}; a label "
                        "is 0 or 1."
                    )
                matrix[number, place] = _LABELS[text]
        return matrix


def repaired_splits(
    splits: datasets.DatasetDict, task: Task, split_files: str | os.PathLike[str] | None = None
) -> dict[str, LabeledRows]:
    """The records of each split with exact labels. Records without a label of the task are left out and counted.

    Args:
        splits: a prepared dataset.
        split_files: a folder of split files; without it, the splits and labels of the dataset are used.

    Raises:
        CorpusError: as `read_split_files`.
    """
    if split_files is not None:
        return read_split_files(split_files, splits, task)
    return {
        name: labeled_rows(
            rows,
            task.label_matrix(row["labels"] for row in rows.select_columns("labels")),
            keep_unlabeled=task.keeps_unlabeled,
        )
        for name, rows in splits.items()
    }


def labeled_rows(
    rows: datasets.Dataset, labels: np.ndarray, *, absent: int = 0, keep_unlabeled: bool = False
) -> LabeledRows:
    """The rows that have a label or, with `keep_unlabeled`, all; `labels` is (rows, classes) bool."""
    kept = np.arange(len(labels)) if keep_unlabeled else np.flatnonzero(labels.any(axis=1))
    chosen = rows if len(kept) == len(rows) else rows.select(kept)
    return LabeledRows(chosen, labels[kept], patients_of(chosen), unlabeled=len(labels) - len(kept), absent=absent)


def patients_of(rows: datasets.Dataset) -> list[str]:
    """The patient of each record, or the id of the record if its patient is unknown."""
    return [row["patient_id"] or row["record_id"] for row in rows.select_columns(["patient_id", "record_id"])]


def pooled(parts: Mapping[str, LabeledRows], names: Sequence[str], task: Task) -> LabeledRows:
    """Several splits as one.

    Raises:
        CorpusError: a split does not exist, or no record belongs to a class of the task.
    """
    for name in names:
        if name not in parts:
            raise CorpusError(f"the dataset has no split {name!r}. It has {', '.join(parts)}.")
    chosen = [parts[name] for name in names]
    labels = np.concatenate([part.labels for part in chosen])
    if not labels.any():
        raise CorpusError(
            f"no record of {', '.join(names)} has a label of the task {task.name}. Does it belong to this corpus? "
            "For the dataset's own labels: --tasks labels."
        )
    return LabeledRows(
        datasets.concatenate_datasets([part.rows for part in chosen]),
        labels,
        [patient for part in chosen for patient in part.patients],
        unlabeled=sum(part.unlabeled for part in chosen),
        absent=sum(part.absent for part in chosen),
        change=chosen[0].change,
    )


def named_labels(file: SplitFile, task: Task) -> np.ndarray:
    """(rows, classes) bool, each class from the column of its name, wherever that column is.

    In the files of CSN, the column `diagnose` lists the acronyms of each record. If it is there, the labels are made
    from it: the released label columns were made by substring search (AVB has a 1 under VB).

    Raises:
        CorpusError: a class has no column or several, a column is neither a class nor part of the layout, or a field
            is not valid; the message names file, column, and row.
    """
    for name in task.class_names:
        if file.header.count(name) != 1:
            raise CorpusError(
                f"{file.path}: the class {name!r} of the task {task.name} has {file.header.count(name)} columns; "
                f"expected one. Columns: {', '.join(file.header)}."
            )
    unknown = [name for name in file.header if name not in (*task.class_names, *file.layout.columns)]
    if unknown:
        raise CorpusError(
            f"{file.path}: column {unknown[0]!r} is neither a class of the task {task.name} nor part of its layout "
            f"({', '.join(file.layout.columns)}). Remove or rename it."
        )
    if "diagnose" not in file.header:
        return file.labels([file.header.index(name) for name in task.class_names])
    classes = []
    for number, diagnose in enumerate(file.column("diagnose")):
        acronyms = [acronym.strip() for acronym in diagnose.split(",") if acronym.strip()]
        for acronym in acronyms:
            if acronym not in _CSN_CODE_OF:
                raise CorpusError(
                    f"{file.path}: column 'diagnose' holds {acronym!r} in row {number + 1}, which is not an "
                    "acronym of CSN's table ConditionNames_SNOMED-CT.csv."
                )
        classes.append(task.classes_of(_CSN_CODE_OF[acronym] for acronym in acronyms))
    return task.matrix_of_classes(classes)


def read_split_files(
    folder: str | os.PathLike[str],
    splits: datasets.DatasetDict,
    task: Task,
    labels_as_released: Callable[[SplitFile, Task], np.ndarray] | None = None,
) -> dict[str, LabeledRows]:
    """The records that a folder of split files lists, from all splits of a dataset, in the order of the files.

    The files may be in subfolders. They are named `<stem>_train.csv`, `<stem>_val.csv`, and `<stem>_test.csv`, where
    the stem is that of the released files (`ptbxl_super_class`, `icbeb`, `chapman`, ...) or the name of the task.
    Records are found by id: PTB-XL's `ecg_id`, or the file name in CPSC2018's `filename` and CSN's `ecg_path`.

    Labels are read by `named_labels` and compared with those of the dataset. A column is refused if it has at least
    ten positives, more than half of which contradict the records' own labels; this finds columns under the wrong name.
    Records without a label are left out.

    Args:
        folder: the CSV files.
        splits: a prepared dataset.
        labels_as_released: reads the labels of a file in another way. They are not compared, and all records are kept.

    Raises:
        ConfigurationError: the task has no split files.
        CorpusError: a file is absent, exists more than once, or cannot be read; a record or a patient is listed in two
            splits; the dataset has no record of a split; or the labels are wrong (see `named_labels`).
    """
    files = {split: _read(path, _layout(task)) for split, path in _find(Path(folder), task).items()}
    _refuse_shared({split: file.record_ids() for split, file in files.items()}, files, "record")
    if all("patient_id" in file.header for file in files.values()):
        patients = {
            split: [field.removesuffix(".0") for field in file.column("patient_id") if field]
            for split, file in files.items()
        }
        _refuse_shared(patients, files, "patient")

    everything = datasets.concatenate_datasets(list(splits.values()))
    known = list(everything.select_columns(["record_id", "labels"]))
    row_of = {row["record_id"]: number for number, row in enumerate(known)}
    if len(row_of) < len(known):
        raise CorpusError(
            "several records of the dataset have the same id, so split files cannot tell them apart. Prepare it again."
        )
    parts = {}
    for split, file in files.items():
        record_ids = file.record_ids()
        labels = (labels_as_released or named_labels)(file, task)
        listed = np.array([row_of.get(record_id, -1) for record_id in record_ids])
        present = listed >= 0
        if not present.any():
            raise CorpusError(
                f"{file.path}: the dataset holds none of the {len(listed)} records in column "
                f"{file.layout.record_column!r} (the first is {record_ids[0]!r}). Is it a dataset of another corpus?"
            )
        labels = labels[present]
        if labels_as_released is None:
            _compare(file, task, labels, task.label_matrix(known[row]["labels"] for row in listed[present]))
        parts[split] = labeled_rows(
            everything.select(listed[present]),
            labels,
            absent=int((~present).sum()),
            keep_unlabeled=labels_as_released is not None,
        )
    _refuse_shared({split: part.patients for split, part in parts.items()}, files, "patient")
    return parts


def _layout(task: Task) -> _Layout:
    if task.name not in _LAYOUTS:
        raise ConfigurationError(f"the task {task.name} has no split files. Tasks with them: {', '.join(_LAYOUTS)}.")
    return _LAYOUTS[task.name]


def _find(folder: Path, task: Task) -> dict[str, Path]:
    """The file of each split."""
    stems = {stem.replace("-", "_") for stem in (*_layout(task).stems, task.name)}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.csv")):
        stem, _, ending = path.stem.lower().replace("-", "_").rpartition("_")
        if stem not in stems or ending not in _ENDINGS:
            continue
        split = _ENDINGS[ending]
        if split in found:
            raise CorpusError(
                f"{folder}: both {found[split]} and {path} are the split {split} of the task {task.name}."
            )
        found[split] = path
    for ending in ("train", "val", "test"):
        if _ENDINGS[ending] not in found:
            raise CorpusError(
                f"{folder} holds no split file of the task {task.name} for {_ENDINGS[ending]}. Expected one of "
                f"{', '.join(f'{stem}_{ending}.csv' for stem in sorted(stems))}, in that folder or below."
            )
    return {split: found[split] for split in SPLITS}


def _read(path: Path, layout: _Layout) -> SplitFile:
    lines = csv_lines(path, "Fetch the split files again.", _LARGEST_FILE)
    header, *table = [fields for _, fields in lines] or [[]]
    header = [name.strip() for name in header]
    if not table:
        raise CorpusError(f"{path} holds no records.")
    for number, row in enumerate(table):
        if len(row) != len(header):
            raise CorpusError(f"{path}: row {number + 1} has {len(row)} fields; the header has {len(header)}.")
    return SplitFile(path, header, table, layout)


def refuse_shared_patients(patients_of_splits: Mapping[str, Iterable[str]]) -> None:
    """Refuse splits that have a patient in common; their names are used in the message.

    Raises:
        CorpusError: two splits share a patient.
    """
    sets = {name: set(patients) for name, patients in patients_of_splits.items()}
    for first, second in combinations(sets, 2):
        if shared := sets[first] & sets[second]:
            raise CorpusError(f"{len(shared)} patients are in {first} and in {second}. Split by patient.")


def overlap_with_training(
    trained_on: Fingerprints | None, test_rows: datasets.Dataset, allowed: bool
) -> Overlap | None:
    """The test records that a model was pretrained on; None if that is not known.

    Raises:
        CorpusError: there are some, or there are other records of their patients, and that is not `allowed`.
    """
    overlap = None if trained_on is None else trained_on.overlap(test_rows)
    if overlap and any(overlap.values()) and not allowed:
        patients = overlap["patients"]
        others = "whether on their patients is not known" if patients is None else f"and on the patients of {patients}"
        raise CorpusError(
            f"the model was pretrained on {overlap['records']} of the {len(test_rows)} test records, {others}. "
            "Test on others, or allow the overlap (--allow_overlap) and say so."
        )
    return overlap


def _refuse_shared(ids_of: Mapping[str, Iterable[str]], files: Mapping[str, SplitFile], what: str) -> None:
    """Refuse a record that is listed twice, or a patient with records in two splits."""
    split_of: dict[str, str] = {}
    for split, ids in ids_of.items():
        for one in ids if what == "record" else dict.fromkeys(ids):
            if one in split_of:
                raise CorpusError(
                    f"{what} {one!r} is listed in {files[split_of[one]].path} and again in {files[split].path}. "
                    f"Keep each {what} in one split."
                )
            split_of[one] = split


def _compare(file: SplitFile, task: Task, labels: np.ndarray, own: np.ndarray) -> None:
    for name, listed, agreed in zip(task.class_names, labels.sum(axis=0), (labels & own).sum(axis=0), strict=True):
        if listed >= _ENOUGH_POSITIVES and 2 * agreed < listed:
            raise CorpusError(
                f"{file.path}: column {name!r} says that {listed} records of the dataset belong to this class; by "
                f"their own labels, only {agreed} do. Were the columns shifted or renamed?"
            )
