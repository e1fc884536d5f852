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


# One phrase for each of the 44 diagnostic SCP statements, under the superclass that PTB-XL puts it in: a superclass is
# no word that reports use, but the set of its findings. Chosen over a few phrases a class on training fold 8 (0.868
# against 0.845 after 16 epochs on folds 1 to 7). The pretraining texts are drawn from the same statements.
PTBXL_SUPER_PROMPTS = {
    "NORM": ("normal ECG",),
    "MI": (
        "anterior myocardial infarction",
        "anteroseptal myocardial infarction",
        "anterolateral myocardial infarction",
        "lateral myocardial infarction",
        "inferior myocardial infarction",
        "inferolateral myocardial infarction",
        "inferoposterior myocardial infarction",
        "inferoposterolateral myocardial infarction",
        "posterior myocardial infarction",
        "subendocardial injury in anteroseptal leads",
        "subendocardial injury in anterolateral leads",
        "subendocardial injury in lateral leads",
        "subendocardial injury in inferior leads",
        "subendocardial injury in inferolateral leads",
    ),
    "STTC": (
        "non-diagnostic T abnormalities",
        "non-specific ST changes",
        "non-specific ischemic ST-T changes",
        "ischemic ST-T changes in anterior leads",
        "ischemic ST-T changes in anteroseptal leads",
        "ischemic ST-T changes in anterolateral leads",
        "ischemic ST-T changes in lateral leads",
        "ischemic ST-T changes in inferior leads",
        "ischemic ST-T changes in inferolateral leads",
        "ST-T changes compatible with ventricular aneurysm",
        "ST-T changes due to electrolyte disturbance or drug",
        "digitalis effect",
        "long QT interval",
    ),
    "CD": (
        "first degree AV block",
        "second degree AV block",
        "third degree AV block",
        "complete left bundle branch block",
        "incomplete left bundle branch block",
        "complete right bundle branch block",
        "incomplete right bundle branch block",
        "left anterior fascicular block",
        "left posterior fascicular block",
        "non-specific intraventricular conduction block",
        "Wolff-Parkinson-White syndrome",
    ),
    "HYP": (
        "left ventricular hypertrophy",
        "right ventricular hypertrophy",
        "septal hypertrophy",
        "left atrial overload or enlargement",
        "right atrial overload or enlargement",
    ),
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
