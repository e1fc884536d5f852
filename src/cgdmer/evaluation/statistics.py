# SPDX-License-Identifier: Apache-2.0
"""AUROC, AUPRC and F1 by class and over classes, with bootstrap intervals over patients; two models compared.

Shapes: R records, C classes, S seeds.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from cgdmer.models.errors import CorpusError

FEWEST_POSITIVES = 10  # classes with fewer are marked: their own figure says little
BOOTSTRAP_SAMPLES = 1000


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str],
    thresholds: np.ndarray | None = None,
    bootstrap_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """How well scores tell the records of each class from the others.

    The intervals are percentile bootstraps (95 %) over patients: all records of a patient are drawn together. In a
    draw in which a class has no positive or no negative record, that class is left out of the mean.

    Args:
        labels: (R, C) bool.
        scores: (R, C), any monotone score; (S, R, C) for a model fitted S times, whose figures are averaged.
        class_names: one a column.
        patients: one a record.
        thresholds: (C,) or (S, C), a record is called positive from this score on; chosen on other records
            (`best_thresholds`). Without them there is no F1; a class whose threshold is NaN has none.

    Returns:
        `macro_auroc`, `macro_auprc` and (with thresholds) `macro_f1`, each with `<name>_interval` (low, high);
        `records`, `patients`; `per_class`, a dict a class: `auroc`, `auprc`, `f1`, their intervals, `positives`,
        `few_positives`; `left_out`, the classes without both positive and negative records; and for several seeds
        `macro_auroc_by_seed`.

    Raises:
        CorpusError: no class has both.
    """
    labels = np.asarray(labels, dtype=bool)
    positives = labels.sum(axis=0)
    usable = (positives > 0) & (positives < len(labels))
    if not usable.any():
        raise CorpusError("no class has both positive and negative records: there is nothing to measure.")
    by_seed = np.asarray(scores)[..., usable]
    by_seed = by_seed if by_seed.ndim == 3 else by_seed[None]
    labels = labels[:, usable]
    cuts = None if thresholds is None else np.broadcast_to(thresholds, (len(by_seed), len(usable)))[:, usable]
    names = [name for name, kept in zip(class_names, usable, strict=True) if kept]

    def by_class(drawn: np.ndarray | slice) -> dict[str, np.ndarray]:
        wanted, found = labels[drawn], by_seed[:, drawn]
        values = {
            "auroc": np.mean([auroc_by_column(wanted, one) for one in found], axis=0),
            "auprc": np.mean([average_precision_by_column(wanted, one) for one in found], axis=0),
        }
        if cuts is not None:
            f1 = [f1_by_column(wanted, one, cut) for one, cut in zip(found, cuts, strict=True)]
            values["f1"] = np.mean(f1, axis=0)
        return values

    whole = by_class(slice(None))
    draws = [by_class(drawn) for drawn in draws_of_patients(patients, bootstrap_samples, seed)]
    result: dict[str, Any] = {"records": len(labels), "patients": len(set(patients))}
    if len(by_seed) > 1:
        result["macro_auroc_by_seed"] = [_mean(auroc_by_column(labels, one)) for one in by_seed]
    per_class: dict[str, dict[str, Any]] = {
        name: {"positives": int(count), "few_positives": bool(count < FEWEST_POSITIVES)}
        for name, count in zip(names, positives[usable], strict=True)
    }
    for metric, values in whole.items():
        drawn_values = np.array([draw[metric] for draw in draws])
        result[f"macro_{metric}"] = _mean(values)
        result[f"macro_{metric}_interval"] = _interval([_mean(row) for row in drawn_values])
        for column, name in enumerate(names):
            per_class[name][metric] = float(values[column])
            per_class[name][f"{metric}_interval"] = _interval(drawn_values[:, column])
    left_out = [name for name, kept in zip(class_names, usable, strict=True) if not kept]
    return {**result, "per_class": per_class, "left_out": left_out}


def paired_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: Sequence[str],
    bootstrap_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """By how much the macro AUROC of the first scores exceeds that of the second, on the same records.

    Both are measured on the same draws of patients, so what makes a draw easy or hard for both cancels.

    Args:
        labels: (R, C).
        first, second: (R, C); (S, R, C) for a model fitted S times, whose figures are averaged.
        patients: one a record.

    Returns:
        the two macro AUROCs `first` and `second`, their `difference`, its `interval` (95 %), and `p_value`:
        two-sided, the share of draws on the other side of zero, doubled (never below 2 / (draws + 1)).
    """
    labels = np.asarray(labels, dtype=bool)

    def area(scores: np.ndarray, drawn: np.ndarray | slice) -> float:
        by_seed = scores.reshape(-1, *labels.shape)
        return float(np.mean([_mean(auroc_by_column(labels[drawn], one[drawn])) for one in by_seed]))

    areas = area(first, slice(None)), area(second, slice(None))
    if np.isnan(areas).any():
        raise CorpusError("no class has both positive and negative records: there is nothing to compare.")
    draws = np.array(
        [area(first, drawn) - area(second, drawn) for drawn in draws_of_patients(patients, bootstrap_samples, seed)]
    )
    draws = draws[np.isfinite(draws)]
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p_value = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return {
        "first": areas[0],
        "second": areas[1],
        "difference": areas[0] - areas[1],
        "interval": _interval(draws),
        "p_value": float(p_value),
    }


def draws_of_patients(patients: Sequence[str], count: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of the records of as many patients as there are, drawn with replacement; `count` times."""
    _, patient_of_record = np.unique(np.asarray(patients), return_inverse=True)
    order = np.argsort(patient_of_record, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(patient_of_record))[:-1])
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([groups[patient] for patient in random.integers(len(groups), size=len(groups))])


def best_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(C,) the score with the highest F1 when everything from it on is called positive; NaN without positives.

    Choose it on validation records.
    """
    labels = np.asarray(labels, dtype=bool)
    order, ends = _descending(scores)
    hits = np.cumsum(np.take_along_axis(labels, order, axis=0), axis=0)
    called = np.arange(1, len(labels) + 1)[:, None]
    f1 = np.where(ends, 2 * hits / (called + labels.sum(axis=0)), -1.0)
    best = np.take_along_axis(np.asarray(scores, dtype=float), order, axis=0)
    thresholds = np.take_along_axis(best, f1.argmax(axis=0)[None], axis=0)[0]
    return np.where(labels.any(axis=0), thresholds, np.nan)


def auroc_by_column(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(C,) the same as scikit-learn's for each column, ties counted half; NaN where a class is missing.

    Written for speed: a thousand draws of thousands of records.
    """
    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    rank_sums = (rankdata(scores, axis=0) * labels).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (rank_sums - positives * (positives + 1) / 2) / (positives * negatives)


def average_precision_by_column(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(C,) the same as scikit-learn's for each column, tied scores taken together; NaN where a class is missing."""
    order, ends = _descending(scores)
    sorted_labels = np.take_along_axis(labels, order, axis=0)
    precision = np.cumsum(sorted_labels, axis=0) / np.arange(1, len(labels) + 1)[:, None]
    # Each record gets the precision at the last record with the same score.
    position = np.where(ends, np.arange(len(labels))[:, None], len(labels))
    last = np.minimum.accumulate(position[::-1], axis=0)[::-1]
    positives = labels.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (np.take_along_axis(precision, last, axis=0) * sorted_labels).sum(axis=0) / positives
    return np.where(positives < len(labels), area, np.nan)


def f1_by_column(labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(C,) F1 of calling everything from the threshold on positive; NaN where a class or its threshold is missing."""
    called = scores >= thresholds
    positives = labels.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * (labels & called).sum(axis=0) / (positives + called.sum(axis=0))
    return np.where(np.isnan(thresholds) | (positives == 0) | (positives == len(labels)), np.nan, f1)


def _descending(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, C) the order from the highest score down, and where in it the last of several equal scores stands."""
    order = np.argsort(-np.asarray(scores), axis=0, kind="stable")
    ordered = np.take_along_axis(np.asarray(scores), order, axis=0)
    ends = np.ones_like(order, dtype=bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    return order, ends


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _interval(values: Sequence[float] | np.ndarray) -> list[float]:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return [float("nan"), float("nan")]
    low, high = np.percentile(finite, [2.5, 97.5])
    return [float(low), float(high)]


__all__ = [
    "BOOTSTRAP_SAMPLES",
    "FEWEST_POSITIVES",
    "auroc_by_column",
    "average_precision_by_column",
    "best_thresholds",
    "draws_of_patients",
    "f1_by_column",
    "measure",
    "paired_difference",
]
