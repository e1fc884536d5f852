# SPDX-License-Identifier: Apache-2.0
"""The tasks that models are evaluated on: their classes, the labels that belong to each class, and their prompts."""

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from cgdmer.evaluation.label_tables import (
    CPSC2018_CLASS_OF,
    CSN_ACRONYMS_OF,
    PTBXL_FORM_OF,
    PTBXL_RHYTHM_OF,
    PTBXL_SUBCLASS_OF,
    PTBXL_SUPERCLASS_OF,
)
from cgdmer.evaluation.prompt_sets import PROMPT_SETS, load_prompts
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.simulation.conditions import CONDITIONS

DEFAULT_TASKS = ("ptbxl-super",)
OWN_LABELS = "labels"  # the name of the task that is made from a dataset's own labels
FEWEST_RECORDS = 10  # of a label that is not asked for by name


@dataclass(frozen=True)
class Task:
    """A multi-label classification task on a prepared dataset.

    Attributes:
        name: as in `--tasks`.
        class_names: in the order of every label matrix, which is that of the released test files (for `ptbxl-all`, of
            the corpus's table).
        classes_of: the classes for a record's labels; labels without a class are ignored.
        own_prompts: the wordings, for a task that is not in the packaged sets of prompts.
        keeps_unlabeled: whether a record without a class is negative for all of them, instead of having no part.
    """

    name: str
    class_names: tuple[str, ...]
    classes_of: Callable[[Iterable[str]], Iterable[str]]
    own_prompts: Mapping[str, tuple[str, ...]] | None = None
    keeps_unlabeled: bool = False

    def label_matrix(self, labels_of_records: Iterable[Iterable[str]]) -> np.ndarray:
        """(records, classes) bool. Unless `keeps_unlabeled`, a record whose row is all False has no part."""
        return self.matrix_of_classes(self.classes_of(labels) for labels in labels_of_records)

    def matrix_of_classes(self, classes_of_records: Iterable[Iterable[str]]) -> np.ndarray:
        """(records, classes) bool from the classes of each record, in any order."""
        rows = [set(classes) for classes in classes_of_records]
        matrix = np.array([[name in row for name in self.class_names] for row in rows], dtype=bool)
        return matrix.reshape(len(rows), len(self.class_names))

    def prompts(self, source: str | os.PathLike[str] = "ensemble") -> list[tuple[str, ...]]:
        """The wordings of each class, in the order of `class_names`.

        Args:
            source: as in `load_prompts`. A task with `own_prompts` uses them for every packaged set.

        Raises:
            ConfigurationError: as in `load_prompts`.
        """
        if self.own_prompts is not None and source in PROMPT_SETS:
            prompts: Mapping[str, tuple[str, ...]] = self.own_prompts
        else:
            prompts = load_prompts(source, self.name, self.class_names)
        return [prompts[name] for name in self.class_names]


def _by_code(name: str, class_names: str, class_of: Mapping[str, str]) -> Task:
    """A task in which each code belongs to at most one class; for PTB-XL, whatever its likelihood."""
    return Task(
        name,
        tuple(class_names.split()),
        lambda labels: {class_of[label] for label in labels if label in class_of},
    )


_CSN_CLASSES = (
    "AQW UW SR WPW 2AVB AT VB ARS STTC SA STE VPB TWO STTU ALS APB 2AVB1 PRIE CCR CR AF AVB QTIE LBBB VEB SVT RBBB "
    "1AVB STDD MI AFIB TWC PWC ERV RVH LVH ST JEB"
)

TASKS = {
    task.name: task
    for task in (
        _by_code("ptbxl-super", "HYP NORM MI CD STTC", PTBXL_SUPERCLASS_OF),
        _by_code(
            "ptbxl-sub",
            "AMI LAFB/LPFB LVH STTC IMI SEHYP CRBBB WPW LAO/LAE NORM ISC AVB RAO/RAE LMI ISCI ISCA NST CLBBB ILBBB "
            "IRBBB PMI RVH IVCD",
            PTBXL_SUBCLASS_OF,
        ),
        _by_code(
            "ptbxl-form",
            "PAC DIG HVOLT STD LPR QWAVE VCLVH NDT TAB LOWT ABQRS LNGQT PRC(S) NT STE NST PVC INVT LVOLT",
            PTBXL_FORM_OF,
        ),
        _by_code("ptbxl-rhythm", "SVARR BIGU STACH SARRH SBRAD TRIGU AFIB SR SVTAC PSVT AFLT PACE", PTBXL_RHYTHM_OF),
        _by_code(
            "ptbxl-all",
            "NDT NST_ DIG LNGQT NORM IMI ASMI LVH LAFB ISC_ IRBBB 1AVB IVCD ISCAL CRBBB CLBBB ILMI LAO/LAE AMI ALMI "
            "ISCIN INJAS LMI ISCIL LPFB ISCAS INJAL ISCLA RVH ANEUR RAO/RAE EL WPW ILBBB IPLMI ISCAN IPMI SEHYP INJIN "
            "INJLA PMI 3AVB INJIL 2AVB ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) "
            "SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU",
            {code: code for code in (*PTBXL_SUPERCLASS_OF, *PTBXL_FORM_OF, *PTBXL_RHYTHM_OF)},
        ),
        _by_code("cpsc2018", "AFIB VPC NORM 1AVB CRBBB STE PAC CLBBB STD", CPSC2018_CLASS_OF),
        # By exact code: AFIB is not also AF, nor AVB also VB, as in the released label columns. Other codes, such as
        # sinus bradycardia, have no class.
        _by_code(
            "csn",
            _CSN_CLASSES,
            {
                code: acronym
                for code, acronyms in CSN_ACRONYMS_OF.items()
                for acronym in acronyms
                if acronym in _CSN_CLASSES.split()
            },
        ),
        Task(
            "simulated",
            tuple(CONDITIONS),
            lambda labels: labels,
            own_prompts={key: condition.prompts for key, condition in CONDITIONS.items()},
        ),
    )
}


def get_task(name: str) -> Task:
    """Look up a task by name.

    Raises:
        ConfigurationError: there is no task of that name.
    """
    if name not in TASKS:
        raise ConfigurationError(
            f"there is no task {name!r}. Tasks: {', '.join(TASKS)}; and {OWN_LABELS}, made from the dataset's labels."
        )
    return TASKS[name]


def task_of_labels(dataset: datasets.DatasetDict, wanted: Sequence[str] | None = None) -> Task:
    """The task `labels`, which asks for a dataset's own labels, as `finetune` does.

    A record without any of them is negative for all. The prompt of a label is its name.

    Args:
        dataset: a prepared dataset.
        wanted: the labels; None: all with at least ten records.

    Raises:
        CorpusError: no record has a label, or no label is frequent enough.
    """
    return _task_of(choose_labels(dataset.values(), wanted, "record"))


def task_of_classifier(
    dataset: datasets.DatasetDict, known: Sequence[str], wanted: Sequence[str] | None = None
) -> Task:
    """The task `labels` for a classifier: those of its labels that the dataset has.

    Args:
        dataset: a prepared dataset.
        known: the classifier's labels.
        wanted: some of them; None: all.

    Raises:
        ConfigurationError: the classifier does not know one that is wanted.
        CorpusError: the dataset has none of them.
    """
    for label in wanted or ():
        if label not in known:
            close = difflib.get_close_matches(label, known, n=1)
            nearest = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(f"the classifier has no label {label!r}.{nearest} It has: {', '.join(known)}.")
    counts = Counter(
        label for rows in dataset.values() for row in rows.select_columns("labels") for label in row["labels"]
    )
    labels = [label for label in wanted or known if counts[label]]
    if not labels:
        raise CorpusError(
            f"no record has a label of the classifier, which knows {', '.join(wanted or known)}. The dataset's most "
            f"frequent labels are: {', '.join(label for label, _ in counts.most_common(20)) or 'none'}."
        )
    return _task_of(labels)


def _task_of(labels: Sequence[str]) -> Task:
    return Task(
        OWN_LABELS,
        tuple(labels),
        lambda labels: labels,
        own_prompts={label: (label.replace("_", " "),) for label in labels},
        keeps_unlabeled=True,
    )


def choose_labels(splits: Iterable[datasets.Dataset], wanted: Iterable[str] | None, counted: str) -> list[str]:
    """The labels requested, else all that are frequent enough, sorted.

    Args:
        splits: the records that are counted.
        counted: what each of them is, for messages.

    Raises:
        CorpusError: no record has a requested label, or no label has at least ten records.
    """
    counts = Counter(label for rows in splits for row in rows.select_columns(["labels"]) for label in row["labels"])
    known = [label for label, _ in counts.most_common(20)]
    listed = f"The most frequent labels are: {', '.join(known)}." if known else "There are no labels at all."
    if wanted:
        wanted = list(dict.fromkeys(wanted))
        for label in wanted:
            if not counts[label]:
                raise CorpusError(f"no {counted} has the label {label!r}. {listed}")
        return wanted
    frequent = sorted(label for label, count in counts.items() if count >= FEWEST_RECORDS)
    if not frequent:
        found = f"; the most frequent is {known[0]!r}, with {counts[known[0]]}" if known else ""
        raise CorpusError(f"no label has {FEWEST_RECORDS} {counted}s{found}. Choose labels with --labels.")
    return frequent
