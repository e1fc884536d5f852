# SPDX-License-Identifier: Apache-2.0
"""Metrics by class and over classes, with bootstrap intervals over patients; two models compared.

Shapes: R records, C classes, S seeds, D draws of the bootstrap, G groups of records with the same score.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

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
BOOTSTRAP_SAMPLES = 1000
_MOST_CELLS = 2**22  # draws times records processed at a time: some 100 MB


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str],
    thresholds: np.ndarray | None = None,
    bootstrap_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> Measured:
    """Measure how well scores separate the records of each class from the others.

    The intervals are percentile bootstraps (95 %) over patients: all records of a patient are drawn together. A class
    without positive or without negative records in a draw is left out of the mean of that draw.

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
        ten positive records, and their `macro_auroc` with its interval (a class with a few positives hardly varies
        between draws, or drops out, so intervals over all classes are narrower than they should be); `left_out`, the
        classes without both positive and negative records; and for several fits `macro_auroc_by_seed`.

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

    weights = draws_of_patients(patients, bootstrap_samples, seed)
    of_seeds = _of_seeds(labels, by_seed, cuts, weights)
    result: dict[str, Any] = {"records": len(labels), "patients": len(set(patients))}
    if len(by_seed) > 1:
        result["macro_auroc_by_seed"] = [_mean(one[0]) for one in of_seeds["auroc"]]
    per_class: dict[str, dict[str, Any]] = {
        name: {"positives": int(count), "few_positives": bool(count < FEWEST_POSITIVES)}
        for name, count in zip(names, positives[usable], strict=True)
    }
    for metric, values in of_seeds.items():
        whole, *draws = np.mean(values, axis=0)
        result[f"macro_{metric}"] = _mean(whole)
        result[f"macro_{metric}_interval"] = interval([_mean(draw) for draw in draws])
        for column, name in enumerate(names):
            per_class[name][metric] = float(whole[column])
            per_class[name][f"{metric}_interval"] = interval([draw[column] for draw in draws])
    frequent = positives[usable] >= FEWEST_POSITIVES
    if frequent.any():
        whole, *draws = map(_mean, np.mean(of_seeds["auroc"], axis=0)[:, frequent])
        result["frequent"] = {"classes": int(frequent.sum()), "macro_auroc": whole}
        result["frequent"]["macro_auroc_interval"] = interval(draws)
    left_out = [name for name, kept in zip(class_names, usable, strict=True) if not kept]
    return cast(Measured, {**result, "per_class": per_class, "left_out": left_out})


def _of_seeds(
    labels: np.ndarray, by_seed: np.ndarray, cuts: np.ndarray | None, weights: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """For each metric and seed, (1 + D, C) values, one row per draw; with cuts (S, C), also those at them."""
    found = {
        "auroc": [auroc_by_column(labels, one, weights) for one in by_seed],
        "auprc": [average_precision_by_column(labels, one, weights) for one in by_seed],
    }
    if cuts is not None:
        at_cuts = [at_thresholds(labels, one, cut, weights) for one, cut in zip(by_seed, cuts, strict=True)]
        found |= {metric: [one[metric] for one in at_cuts] for metric in at_cuts[0]}
    return found


def paired_difference(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    patients: Sequence[str],
    bootstrap_samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """The difference between the macro AUROCs of two models on the same records.

    Both are measured on the same draws of patients, so what makes a draw easy or hard for both cancels out.

    Args:
        labels: (R, C).
        first, second: (R, C); (S, R, C) for a model fitted S times, over which values are averaged.
        patients: one per record.

    Returns:
        The macro AUROCs `first` and `second`, their `difference`, its `interval` (95 %), and `p_value`, which is
        two-sided: twice the share of draws on the other side of zero (never below 2 / (draws + 1)).
    """
    labels = np.asarray(labels, dtype=bool)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise CorpusError("some scores are not numbers, so records cannot be ranked by them.")
    if not len(labels):
        raise CorpusError("there are no records to compare.")
    weights = draws_of_patients(patients, bootstrap_samples, seed)

    def areas(scores: np.ndarray) -> np.ndarray:
        """(1 + D,), one per draw."""
        by_seed = [auroc_by_column(labels, one, weights) for one in scores.reshape(-1, *labels.shape)]
        return np.mean([[_mean(draw) for draw in one] for one in by_seed], axis=0)

    of_first, of_second = areas(first), areas(second)
    if np.isnan(of_first[0]) or np.isnan(of_second[0]):
        raise CorpusError("no class has both positive and negative records: there is nothing to compare.")
    difference, draws = of_first[0] - of_second[0], (of_first - of_second)[1:]
    return {
        "first": float(of_first[0]),
        "second": float(of_second[0]),
        "difference": float(difference),
        "interval": interval(draws),
        "p_value": p_value(draws),
    }


def p_value(differences: np.ndarray) -> float:
    """Two-sided: twice the share of draws on the other side of zero. Draws that are NaN are left out."""
    finite = differences[np.isfinite(differences)]
    tail = min((finite <= 0).sum(), (finite >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(finite) + 1)))


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
    """(C,) the AUROC of each column as in scikit-learn, ties counted half; NaN without positives or negatives.

    With `weights` (D, R), which say how often each record counts in each draw, (D, C). Each column is sorted only once
    for all draws, for speed.
    """

    def area(positives_DG: np.ndarray, all_DG: np.ndarray) -> np.ndarray:
        negatives_DG = all_DG - positives_DG
        above_DG = np.cumsum(positives_DG, axis=1) - positives_DG / 2
        return (negatives_DG * above_DG).sum(axis=1) / (positives_DG.sum(axis=1) * negatives_DG.sum(axis=1))

    return _by_column(area, labels, scores, weights)


def average_precision_by_column(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """(C,) the average precision of each column as in scikit-learn, ties taken together; NaN as in `auroc_by_column`.

    `weights` are those of `auroc_by_column`.
    """

    def area(positives_DG: np.ndarray, all_DG: np.ndarray) -> np.ndarray:
        hits_DG, called_DG = np.cumsum(positives_DG, axis=1), np.cumsum(all_DG, axis=1)
        # Before the first record of a draw, nothing is called positive, and nothing counts.
        precision_DG = hits_DG / np.maximum(called_DG, 1)
        value = (precision_DG * positives_DG).sum(axis=1) / hits_DG[:, -1]
        return np.where(hits_DG[:, -1] < called_DG[:, -1], value, np.nan)

    return _by_column(area, labels, scores, weights)


def at_thresholds(
    labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """(C,) each: `f1`, `sensitivity`, and `specificity` of calling records positive from a threshold on.

    They are NaN without a threshold, and as in `auroc_by_column`, where `weights` are explained.
    """
    called = scores >= thresholds
    weights_DR = np.ones((1, len(labels))) if weights is None else weights
    at_a_time = max(1, _MOST_CELLS // max(1, len(labels)))
    parts: dict[str, list[np.ndarray]] = {"f1": [], "sensitivity": [], "specificity": []}
    for begin in range(0, len(weights_DR), at_a_time):
        drawn_DR = weights_DR[begin : begin + at_a_time].astype(float)
        total, positives, positive_calls = drawn_DR.sum(axis=1, keepdims=True), drawn_DR @ labels, drawn_DR @ called
        hits = drawn_DR @ (labels & called)
        negatives = total - positives
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                "f1": 2 * hits / (positives + positive_calls),
                "sensitivity": hits / positives,
                "specificity": (negatives - (positive_calls - hits)) / negatives,
            }
        unknown = np.isnan(thresholds) | (positives == 0) | (negatives == 0)
        for metric, values in found.items():
            parts[metric].append(np.where(unknown, np.nan, values))
    whole = {metric: np.concatenate(values) for metric, values in parts.items()}
    return {metric: values[0] for metric, values in whole.items()} if weights is None else whole


def _by_column(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """(C,), or (D, C) with weights: a metric of the number of positive records, and of all records, with each score
    (both (D, G), the highest score first). NaN for columns in which a score is NaN."""
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
            drawn_DR = weights_DR[begin : begin + at_a_time, order].astype(float)
            counted: tuple[np.ndarray, ...] = (drawn_DR * labels[order, column], drawn_DR)  # from here on (D, G)
            if len(groups) < len(ordered):
                counted = tuple(np.add.reduceat(one, groups, axis=1) for one in counted)
            with np.errstate(invalid="ignore", divide="ignore"):
                found[begin : begin + at_a_time, column] = metric(*counted)
    return found[0] if weights is None else found


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def interval(draws: Sequence[float] | np.ndarray) -> list[float]:
    """The low and high end of the 95 % interval. Draws that are NaN are left out; without draws both ends are NaN."""
    finite = np.asarray(draws, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return [float("nan"), float("nan")]
    low, high = np.percentile(finite, [2.5, 97.5])
    return [float(low), float(high)]
