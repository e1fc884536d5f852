# SPDX-License-Identifier: Apache-2.0
"""Metrics by class and over classes, with intervals over patients; two models compared.

Shapes: R records, C classes, S seeds, D draws of patients, G groups of records with the same score.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from cgdmer.evaluation.estimates import difference_of_means, estimates
from cgdmer.evaluation.results import Measured, PairedDifference
from cgdmer.models.errors import CorpusError

METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
FEWEST_POSITIVES = 10  # classes with fewer are marked: their own values say little
_MOST_CELLS = 2**22  # draws times records processed at a time: some 100 MB


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str],
    thresholds: np.ndarray | None = None,
) -> Measured:
    """Measure how well scores separate the records of each class from the others.

    The intervals (95 %) are over patients, whose records count together. They are for the values of the population
    that the patients are from, with the classes that are not left out (see `cgdmer.evaluation.estimates`).

    Args:
        labels: (R, C) bool.
        scores: (R, C), any monotone score; (S, R, C) for a model fitted S times, over which values are averaged.
        class_names: one per column.
        patients: one per record.
        thresholds: (C,) or (S, C), the scores from which a record is called positive, chosen on other records
            (`best_thresholds`). Without them there is no F1, sensitivity, or specificity; a class whose threshold is
            NaN has none.

    Returns:
        `macro_auroc`, `macro_auprc`, and (with thresholds) `macro_f1`, `macro_sensitivity`, and `macro_specificity`,
        each with `<name>_interval` (low, high); `records`, `patients`; `per_class`, a dict per class: the same metrics
        of the class, its `positives`, and `few_positives`; `frequent` (if any), the number of `classes` with at least
        ten positive records, and their `macro_auroc` with its interval; `left_out`, the classes without both positive
        and negative records; and for several fits `macro_auroc_by_seed`.

        The average precision of a few positives is higher than that of many: each positive record raises its own
        precision. So intervals of `auprc` reach further down than up.

    Raises:
        CorpusError: no class has both, or a score is not finite.
    """
    labels = np.asarray(labels, dtype=bool)
    positives = labels.sum(axis=0)
    usable = (positives > 0) & (positives < len(labels))
    if not usable.any():
        raise CorpusError("no class has both positive and negative records: there is nothing to measure.")
    if not np.isfinite(scores).all():
        raise CorpusError("some scores are not numbers, so records cannot be ranked by them.")
    by_seed = np.asarray(scores)[..., usable]
    by_seed = by_seed if by_seed.ndim == 3 else by_seed[None]
    labels = labels[:, usable]
    cuts = None if thresholds is None else np.broadcast_to(thresholds, (len(by_seed), len(usable)))[:, usable]
    names = [name for name, kept in zip(class_names, usable, strict=True) if kept]

    result: dict[str, Any] = {"records": len(labels), "patients": len(set(patients))}
    if len(by_seed) > 1:
        result["macro_auroc_by_seed"] = [float(auroc_by_column(labels, one).mean()) for one in by_seed]
    per_class: dict[str, dict[str, Any]] = {
        name: {"positives": int(count), "few_positives": bool(count < FEWEST_POSITIVES)}
        for name, count in zip(names, positives[usable], strict=True)
    }
    found = estimates(labels, by_seed, patients, cuts)
    for metric, values in found.items():
        result[f"macro_{metric}"], result[f"macro_{metric}_interval"] = values.mean_of(range(len(names)))
        for column, name in enumerate(names):
            per_class[name][metric], per_class[name][f"{metric}_interval"] = values.mean_of([column])
    frequent = np.flatnonzero(positives[usable] >= FEWEST_POSITIVES)
    if len(frequent):
        mean, ends = found["auroc"].mean_of(frequent)
        result["frequent"] = {"classes": len(frequent), "macro_auroc": mean, "macro_auroc_interval": ends}
    left_out = [name for name, kept in zip(class_names, usable, strict=True) if not kept]
    return cast(Measured, {**result, "per_class": per_class, "left_out": left_out})


def paired_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, patients: Sequence[str]
) -> PairedDifference:
    """The difference between the macro AUROCs of two models on the same records.

    What each patient contributes to the one is set against what they contribute to the other, so what makes a patient
    easy or hard for both cancels out.

    Args:
        labels: (R, C).
        first, second: (R, C); (S, R, C) for a model fitted S times, over which values are averaged.
        patients: one per record.

    Returns:
        The macro AUROCs `first` and `second`, their `difference`, its `interval` (95 %), and the two-sided `p_value`,
        which is below 0.05 if zero is outside of the interval.
    """
    labels = np.asarray(labels, dtype=bool)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise CorpusError("some scores are not numbers, so records cannot be ranked by them.")
    if not len(labels):
        raise CorpusError("there are no records to compare.")
    usable = labels.any(axis=0) & ~labels.all(axis=0)
    if not usable.any():
        raise CorpusError("no class has both positive and negative records: there is nothing to compare.")
    one, other = (
        estimates(labels[:, usable], scores.reshape(-1, *labels.shape)[..., usable], patients)["auroc"]
        for scores in (first, second)
    )
    difference, ends, p_value = difference_of_means(one, other)
    return {
        "first": float(one.values.mean()),
        "second": float(other.values.mean()),
        "difference": difference,
        "interval": ends,
        "p_value": p_value,
    }


def draws_of_patients(patients: Sequence[str], count: int, seed: int) -> np.ndarray:
    """(1 + D, R) how often each record counts: once in the first row, then in bootstrap draws of the patients, with
    replacement. All records of a patient are drawn together."""
    _, patient_of_record = np.unique(np.asarray(patients), return_inverse=True)
    num_patients = patient_of_record.max() + 1
    random = np.random.default_rng(seed)
    times = np.ones((1 + count, len(patient_of_record)), np.uint16)
    for draw in times[1:]:
        drawn = random.integers(num_patients, size=num_patients)
        draw[:] = np.bincount(drawn, minlength=num_patients)[patient_of_record]
    return times


def with_interval_of_draws(name: str, values_D: np.ndarray) -> dict[str, Any]:
    """A value and its 95 % interval under `name` and `<name>_interval`, wide enough to hold the value.

    Args:
        values_D: as by `draws_of_patients`: the value first, then those of draws; NaN where a draw has none.
    """
    value = float(values_D[0])
    low, high = np.nanpercentile(values_D[1:], (2.5, 97.5))
    return {name: value, f"{name}_interval": [min(value, float(low)), max(value, float(high))]}


def best_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(C,) the threshold with the highest F1, from which scores are called positive; NaN without positives.

    Choose it on validation records.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores)
    order = np.argsort(-scores, axis=0, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=0)
    ends = np.ones_like(order, dtype=bool)  # the last of several equal scores
    ends[:-1] = ordered[1:] != ordered[:-1]
    hits = np.cumsum(np.take_along_axis(labels, order, axis=0), axis=0)
    called = np.arange(1, len(labels) + 1)[:, None]
    f1 = np.where(ends, 2 * hits / (called + labels.sum(axis=0)), -1.0)
    thresholds = np.take_along_axis(ordered.astype(float), f1.argmax(axis=0)[None], axis=0)[0]
    return np.where(labels.any(axis=0), thresholds, np.nan)


def auroc_by_column(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(C,) the AUROC of each column as in scikit-learn, ties counted half; NaN without positives or negatives, or if a
    score is NaN.

    With `weights` (D, R), which say how often each record counts in each draw, (D, C). Each column is sorted only once
    for all draws, for speed.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores)
    weights_DR = np.ones((1, len(labels))) if weights is None else weights
    found = np.full((len(weights_DR), labels.shape[1]), np.nan)
    at_a_time = max(1, _MOST_CELLS // max(1, len(labels)))
    for column in range(labels.shape[1]):
        order = np.argsort(-scores[:, column], kind="stable")
        ordered = scores[order, column]
        if not len(ordered) or np.isnan(ordered).any():
            continue
        groups = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        for begin in range(0, len(weights_DR), at_a_time):
            all_DG = weights_DR[begin : begin + at_a_time, order].astype(float)
            positives_DG = all_DG * labels[order, column]
            if len(groups) < len(ordered):
                all_DG, positives_DG = (np.add.reduceat(one, groups, axis=1) for one in (all_DG, positives_DG))
            negatives_DG = all_DG - positives_DG
            above_DG = np.cumsum(positives_DG, axis=1) - positives_DG / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                found[begin : begin + at_a_time, column] = (negatives_DG * above_DG).sum(axis=1) / (
                    positives_DG.sum(axis=1) * negatives_DG.sum(axis=1)
                )
    return found[0] if weights is None else found
