# SPDX-License-Identifier: Apache-2.0
"""What a model is judged on: the classes of a task, the labels that make a record one of them, and its prompts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from cgdmer.data.ptbxl import ptbxl_superclasses
from cgdmer.data.simulation import CONDITIONS
from cgdmer.models.errors import ConfigurationError


@dataclass(frozen=True)
class Task:
    """A multi-label classification task on a prepared dataset.

    Attributes:
        name: as `--tasks` takes it.
        prompts: for each class its wordings; a class's embedding is the mean over them.
        classes_of: from a record's labels to the classes it belongs to.
    """

    name: str
    prompts: dict[str, tuple[str, ...]]
    classes_of: Callable[[Iterable[str]], Iterable[str]]

    @property
    def class_names(self) -> list[str]:
        return list(self.prompts)

    def label_matrix(self, labels_of_records: Iterable[Iterable[str]]) -> np.ndarray:
        """(records, classes) bool."""
        rows = [set(self.classes_of(labels)) for labels in labels_of_records]
        return np.array([[name in row for name in self.class_names] for row in rows], dtype=bool)


# Written for this package: the findings that make up each of the five diagnostic superclasses of PTB-XL.
PTBXL_SUPER_PROMPTS = {
    "NORM": ("normal ECG", "sinus rhythm, normal ECG"),
    "MI": (
        "myocardial infarction",
        "anterior myocardial infarction",
        "inferior myocardial infarction",
        "lateral myocardial infarction",
    ),
    "STTC": (
        "ischemic ST-T changes",
        "T wave abnormality",
        "non-specific ST depression",
        "non-diagnostic T abnormalities",
    ),
    "CD": (
        "bundle branch block",
        "fascicular block",
        "intraventricular conduction block",
        "first degree AV block",
    ),
    "HYP": ("left ventricular hypertrophy", "right ventricular hypertrophy", "atrial enlargement"),
}

TASKS = {
    task.name: task
    for task in (
        Task("ptbxl-super", PTBXL_SUPER_PROMPTS, ptbxl_superclasses),
        Task("simulated", {key: condition.prompts for key, condition in CONDITIONS.items()}, lambda labels: labels),
    )
}


def get_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in TASKS:
        raise ConfigurationError(f"there is no task {name!r}. Tasks: {', '.join(TASKS)}.")
    return TASKS[name]


__all__ = ["TASKS", "Task", "get_task"]
