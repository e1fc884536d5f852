# SPDX-License-Identifier: Apache-2.0
"""The protocol behind published tables, defects included. Use it to compare with those tables, and for nothing else.

MERL (ICML 2024, https://github.com/cheliu-computation/MERL-ICML2024) released the protocol, and later work inherited
it. This module reproduces its labels, splits, subsets, its cut of CPSC2018, its zeros for missing samples, and its
linear probe, and no more. Otherwise, records go through the model's own preprocessing (not MERL's scaling of each
record to 0 ... 1, nor its swap of aVL and aVF for models trained on MIMIC's order of leads). Zero-shot prompts are
those of this package, the probe runs in float32 on features computed once, and nothing is selected on validation
labels. Each defect is named where it is reproduced.
"""

import os
from dataclasses import replace

import datasets
import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from cgdmer.evaluation.label_tables import CSN_ACRONYMS_OF
from cgdmer.evaluation.splits import LabeledRows, SplitFile, labeled_rows, read_split_files, repaired_splits
from cgdmer.evaluation.statistics import auroc_by_column
from cgdmer.evaluation.tasks import Task
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError

PERCENTS = (1, 10, 100)  # of the training records, in the published tables

_TASKS = ("ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn")
_SEED = 42
# Columns 10 to 12 of ptbxl-sub in the released training file. In the other two files, they are ISC, AVB, RAO/RAE.
_SUB_TRAINING_ORDER = ("AVB", "RAO/RAE", "ISC")
_MICROVOLT = 1e-3  # in mV
_CPSC_SECONDS, _CPSC_PADDED_SECONDS = 5, 10  # 2,500 and 5,000 samples at 500 Hz


def published_splits(
    splits: datasets.DatasetDict, task: Task, split_files: str | os.PathLike[str] | None = None
) -> dict[str, LabeledRows]:
    """The records of each split with the published labels.

    With the released split files, these are the published rows. Without them, PTB-XL has the same rows by its folds.
    CPSC2018 and CSN are then split by the same recipe, but into other rows: the order of records that the released
    splits follow, and for CSN their selection, was not released.

    Args:
        splits: a prepared dataset.
        split_files: the folder of split files.

    Raises:
        ConfigurationError: the task is not one of the six published ones.
        CorpusError: as in `read_split_files`, or there are too few records to split.
    """
    if task.name not in _TASKS:
        raise ConfigurationError(f"the task {task.name} was not published. Published tasks: {', '.join(_TASKS)}.")
    if split_files is not None:
        # Rows without any label stay, as in the published protocol (CSN has two).
        parts = read_split_files(split_files, splits, task, labels_as_released=_positional_labels)
    elif task.name in ("cpsc2018", "csn"):
        parts = _random_splits(splits, task)
    else:
        parts = repaired_splits(splits, task)
        if task.name == "ptbxl-sub":
            parts["train"] = replace(parts["train"], labels=_in_training_order(parts["train"].labels, task))
    change = first_five_seconds if task.name == "cpsc2018" else missing_as_zero
    return {name: replace(part, change=change) for name, part in parts.items()}


def missing_as_zero(record: ECGRecord) -> ECGRecord:
    """Defect e: missing samples are zeros, which a model sees as a flat stretch. A lead without any others stays
    absent here, like every flat lead."""
    return replace(record, signal=np.nan_to_num(record.signal, nan=0.0))


def first_five_seconds(record: ECGRecord) -> ECGRecord:
    """Defect d: of CPSC2018's recordings (6 to 144 s), only the first 2,500 samples at 500 Hz are used, padded with as
    many zeros, so half of each input is constant. Done in seconds here, for datasets of any rate.

    The last sample is a microvolt: otherwise the feature extractor would recognize a filled end and cut it off.
    """
    kept = missing_as_zero(record).signal[:, : round(_CPSC_SECONDS * record.sampling_rate)]
    signal = np.zeros((len(kept), round(_CPSC_PADDED_SECONDS * record.sampling_rate)), dtype=record.signal.dtype)
    signal[:, : kept.shape[1]] = kept
    signal[:, -1] = _MICROVOLT
    return replace(record, signal=signal)


def published_subset(num_records: int, percent: int) -> np.ndarray:
    """Positions of the training records behind the published figures for 1 % and 10 %.

    They are drawn without regard to classes, so some classes have no positive record left.

    Raises:
        CorpusError: the share is less than one record.
    """
    if percent == 100:
        return np.arange(num_records)
    if num_records * percent < 100:
        raise CorpusError(f"{percent} % of {num_records} training records is less than one record.")
    chosen, _ = train_test_split(np.arange(num_records), train_size=percent / 100, random_state=_SEED)
    return chosen


def published_probes(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray
) -> dict[str, float]:
    """`published_probe` by percent of the training records ("1", "10", "100"), without shares below one record."""
    values = {}
    for percent in PERCENTS:
        if len(train_labels) * percent >= 100:
            rows = published_subset(len(train_labels), percent)
            values[str(percent)] = published_probe(
                train_features[rows], train_labels[rows], test_features, test_labels
            )
    return values


def published_probe(
    train_features: np.ndarray,
    train_labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    epochs: int = 100,
) -> float:
    """The macro AUROC that the published linear probe would print.

    One linear layer on the features as they are, Adam (learning rate 1e-3, weight decay 1e-4), batches of 16, binary
    cross-entropy, 100 epochs, one seed. Classes without positive or negative test records are left out of the mean.

    Args:
        train_features, test_features: (records, width).
        train_labels, test_labels: (records, classes) bool.

    Returns:
        The highest value over the epochs.
    """
    test = torch.as_tensor(test_features, dtype=torch.float32)
    rows = TensorDataset(
        torch.as_tensor(train_features, dtype=torch.float32), torch.as_tensor(train_labels, dtype=torch.float32)
    )
    by_epoch = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        probe = nn.Linear(train_features.shape[1], train_labels.shape[1])
        optimizer = torch.optim.Adam(probe.parameters(), lr=1e-3, weight_decay=1e-4)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[40], gamma=0.1)
        for _ in range(epochs):
            for features, labels in DataLoader(rows, batch_size=16, shuffle=True):
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(probe(features), labels).backward()
                optimizer.step()
                # Defect e: the schedule takes a step per iteration, and another at the end of each epoch. So the
                # milestone meant for epoch 40 comes after 40 steps, and the rest runs at a tenth of the rate.
                scheduler.step()
            scheduler.step()
            with torch.no_grad():
                by_epoch.append(float(np.nanmean(auroc_by_column(test_labels, probe(test).numpy()))))
    # Defect f: the best epoch is chosen on the test records themselves.
    return max(by_epoch)


def _positional_labels(file: SplitFile, task: Task) -> np.ndarray:
    """(rows, classes) bool: the label columns from the first one on, whatever their names.

    Defect a: three columns of ptbxl-sub are in another order in the training file than in the test file, so the probe
    is trained on AVB, RAO/RAE, and ISC where it is tested on ISC, AVB, and RAO/RAE. The classes take the names of the
    test file. Defect b: CSN's columns were made by substring search (see `_substring_classes`) and are used as is.
    """
    columns = file.header[file.layout.first_label :]
    if len(columns) != len(task.class_names):
        raise CorpusError(
            f"{file.path}: {len(columns)} columns follow column {file.layout.first_label}; the task {task.name} has "
            f"{len(task.class_names)} classes. This is not a released file."
        )
    if file.path.stem.endswith("test") and columns != list(task.class_names):
        raise CorpusError(
            f"{file.path}: its classes are {', '.join(columns)}; expected {', '.join(task.class_names)}, as in the "
            "released file."
        )
    return file.labels(range(file.layout.first_label, len(file.header)))


def _in_training_order(labels: np.ndarray, task: Task) -> np.ndarray:
    """Defect a without files: the training labels with their columns in the order of the released training file."""
    order = list(task.class_names)
    start = min(order.index(name) for name in _SUB_TRAINING_ORDER)
    order[start : start + len(_SUB_TRAINING_ORDER)] = _SUB_TRAINING_ORDER
    return labels[:, [task.class_names.index(name) for name in order]]


def _substring_classes(codes: list[str], task: Task) -> list[str]:
    """Defect b: CSN's labels were made by searching for the acronym of each class in the record's acronyms, joined by
    commas, so AFIB is also AF, every AVB is also VB, and LVQRSAL is also SA.

    A code with several acronyms uses the first, as the lists in the released files show.
    """
    joined = ",".join(CSN_ACRONYMS_OF[code][0] for code in codes if code in CSN_ACRONYMS_OF)
    return [name for name in task.class_names if name in joined]


def _random_splits(splits: datasets.DatasetDict, task: Task) -> dict[str, LabeledRows]:
    """Split by record: 80/20 into training and test, then 90/10 of the former into training and validation."""
    everything = datasets.concatenate_datasets(list(splits.values()))
    known = sorted(enumerate(everything.select_columns(["record_id", "labels"])), key=lambda row: row[1]["record_id"])
    everything = everything.select([number for number, _ in known])  # independent of its own splits
    labels_of_records = [row["labels"] for _, row in known]
    if task.name == "csn":
        labels = task.matrix_of_classes(_substring_classes(codes, task) for codes in labels_of_records)
    else:
        labels = task.label_matrix(labels_of_records)
    labeled = np.flatnonzero(labels.any(axis=1))
    if len(labeled) < 10:
        raise CorpusError(f"only {len(labeled)} records have a label of the task {task.name}: too few to split.")
    rest, test = train_test_split(labeled, test_size=0.2, random_state=_SEED)
    train, validation = train_test_split(rest, test_size=0.1, random_state=_SEED)
    unlabeled = len(labels) - len(labeled)
    chosen = {"train": train, "validation": validation, "test": test}
    parts = {name: labeled_rows(everything.select(rows), labels[rows]) for name, rows in chosen.items()}
    # Records without a label are in no split; they are counted with the test split, which is always measured.
    return {**parts, "test": replace(parts["test"], unlabeled=unlabeled)}
