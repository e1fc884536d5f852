# SPDX-License-Identifier: Apache-2.0
"""Macro AUROC with a bootstrap interval over patients."""

from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from cgdmer.models.errors import CorpusError

FEWEST_POSITIVES = 10  # classes with fewer are marked: their own figure says little


def macro_auroc(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: list[str],
    patients: list[str],
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Area under the ROC curve for each class, and their mean with a 95 % interval.

    The interval is the percentile bootstrap over patients: all records of a patient are drawn together. In a draw in
    which a class has no positive or no negative record, that class is left out of the mean.

    Args:
        labels: (records, classes) bool.
        scores: (records, classes), any monotone score.
        class_names: one a column.
        patients: one a record.

    Returns:
        `macro_auroc`, `interval` (low, high), `per_class` (a dict a class: `auroc`, `positives`, `few_positives`) and
        `left_out`, the classes without both positive and negative records.

    Raises:
        CorpusError: no class has both.
    """
    labels = labels.astype(bool)
    positives = labels.sum(axis=0)
    usable = (positives > 0) & (positives < len(labels))
    if not usable.any():
        raise CorpusError("no class has both positive and negative records: there is nothing to measure.")
    per_class = {
        name: {
            "auroc": float(roc_auc_score(labels[:, column], scores[:, column])),
            "positives": int(positives[column]),
            "few_positives": bool(positives[column] < FEWEST_POSITIVES),
        }
        for column, name in enumerate(class_names)
        if usable[column]
    }
    _, patient_of_record = np.unique(np.asarray(patients), return_inverse=True)
    order = np.argsort(patient_of_record, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(patient_of_record))[:-1])
    random = np.random.default_rng(seed)
    means = []
    for _ in range(bootstrap_samples):
        drawn = np.concatenate([groups[patient] for patient in random.integers(len(groups), size=len(groups))])
        drawn_labels, drawn_scores = labels[drawn][:, usable], scores[drawn][:, usable]
        areas = _auroc_by_column(drawn_labels, drawn_scores)
        if np.isfinite(areas).any():
            means.append(np.nanmean(areas))
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "macro_auroc": float(np.mean([row["auroc"] for row in per_class.values()])),
        "interval": [float(low), float(high)],
        "records": len(labels),
        "patients": len(groups),
        "per_class": per_class,
        "left_out": [name for column, name in enumerate(class_names) if not usable[column]],
    }


def _auroc_by_column(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The same as scikit-learn's for each column, ties counted half, NaN where a class is missing; fast enough for a
    thousand draws."""
    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    rank_sums = (rankdata(scores, axis=0) * labels).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (rank_sums - positives * (positives + 1) / 2) / (positives * negatives)


__all__ = ["FEWEST_POSITIVES", "macro_auroc"]
