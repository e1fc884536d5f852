# SPDX-License-Identifier: Apache-2.0
"""One classifier for the classes of all tasks: trained from random weights, or finetuned from pretrained ones."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
from accelerate import PartialState
from transformers import AutoFeatureExtractor

from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.evaluation.splits import pooled, repaired_splits
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.tasks import Task
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of
from cgdmer.inference.embeddings import classifier_logits

SUPERVISED = "supervised"
FINETUNED = "finetuned"


def dataset_of_classes(splits: datasets.DatasetDict, tasks: Sequence[Task], folder: Path) -> Path:
    """Write the same records to a new folder, labeled with their classes in every task: `TASK CLASS`."""
    if not folder.is_dir():
        labeled = {}
        for name, rows in splits.items():
            labels = [
                [f"{task.name} {one}" for task in tasks for one in task.class_names if one in task.classes_of(codes)]
                for codes in rows["labels"]
            ]
            changed = {"labels": labels, "statements": [[] for _ in labels]}  # those said what the old labels mean
            for column, values in changed.items():
                rows = rows.remove_columns(column).add_column(column, values, feature=rows.features[column])
            labeled[name] = rows
        partial = folder.with_name(folder.name + ".part")
        datasets.DatasetDict(labeled).save_to_disk(partial)
        partial.rename(folder)
    return folder


def labels_in_training(dataset: Path) -> list[str]:
    rows = load_dataset_folder(dataset)["train"].select_columns("labels")
    return sorted({label for row in rows for label in row["labels"]})


def _classifier_class(folder: Path) -> type:
    return class_for(ecg_config_of(config_of(str(folder))), Purpose.CLASSIFICATION)


def evaluate_classifier(
    folder: Path, dataset: datasets.DatasetDict, task: Task, splits: Sequence[str], name: str
) -> Evaluation:
    """The classifier's own scores of a task's classes; a class without a training record scores 0 everywhere.

    Args:
        name: of the measure.
    """
    model = _classifier_class(folder).from_pretrained(folder).to(PartialState().device)
    test = pooled(repaired_splits(dataset, task), splits, task)
    logits = classifier_logits(model, AutoFeatureExtractor.from_pretrained(folder), test)
    columns = [model.config.label2id.get(f"{task.name} {one}") for one in task.class_names]
    scores = np.stack([np.zeros(len(test)) if c is None else logits[:, c] for c in columns], axis=1)[None]
    result = measure(test.labels, scores, task.class_names, test.patients)
    results = {"task": task.name, "protocol": "repaired", "splits": list(splits)}
    results |= {"measures": {name: result}}
    ids = list(test.rows["record_id"])
    return Evaluation(results, ids, test.patients, test.labels, {name: scores}, np.zeros((len(test), 0)))
