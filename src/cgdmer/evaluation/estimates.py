# SPDX-License-Identifier: Apache-2.0
"""Metrics with 95 % intervals over patients, by linearization.

A metric is a smooth function of how much each record counts. Its derivative says what a record contributes, the sum
over a patient's records what the patient contributes, and the sum of the squares of these contributions is the
variance (the infinitesimal jackknife). Unlike draws of patients, this never loses a class whose few positives were not
drawn, and it does not repeat records, which raises the average precision. `benchmarks/coverage.py` measures how often
the intervals hold the value of the population.

Shapes: R records, P patients, C classes, S fits of a model, G groups of records with the same score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95

# The variance of what one patient contributes, as a share of value * (1 - value), which is the largest one possible.
# It stands in for the patient that a sample does not show: without it, classes with one positive would have no
# variance, and those with two half of it. About what records with normally distributed scores have.
_SPREAD = {"auroc": 0.25, "auprc": 0.5, "f1": 0.25, "sensitivity": 1.0, "specificity": 1.0}


@dataclass(frozen=True)
class Estimates:
    """One metric of C classes.

    Attributes:
        values: (C,), NaN where there is none.
        contributions: (P, C), the derivative of the values with respect to how much each patient counts.
        patients: (C,), on how many patients a value rests: those with positive records or those with negative ones.
        spread: see `_SPREAD`.
        excess: (C,), by how much a value exceeds on average that of the population, as far as the sample shows.
    """

    values: np.ndarray
    contributions: np.ndarray
    patients: np.ndarray
    spread: float
    excess: np.ndarray

    def mean_of(self, columns: Sequence[int] | np.ndarray) -> tuple[float, list[float]]:
        """The mean over these classes and its interval, both NaN if they have no value.

        The interval is Wilson's, as of a share with the same variance: it stays within 0 and 1 and holds the value.
        Its quantile is that of t with Satterthwaite's degrees of freedom. The low end is moved down by the excess.
        """
        columns = np.asarray(columns)[np.isfinite(self.values[np.asarray(columns)])]
        if not len(columns):
            return float("nan"), [float("nan")] * 2
        value, patients = float(self.values[columns].mean()), self.patients[columns]
        within = (patients * self.values[columns] + 0.5) / (patients + 1)  # never 0 or 1
        unseen = self.spread * within * (1 - within)
        seen = (self.contributions[:, columns] ** 2).sum(axis=0)
        variances = np.maximum(seen + unseen / patients**2, unseen / (2 * patients))
        variance = mean_variance(self.contributions[:, columns], variances - seen)
        records = within.mean() * (1 - within.mean()) / variance  # of a share with that variance
        t = stdtrit(degrees_of_freedom(variance, variances, patients), (1 + LEVEL) / 2)
        low, _ = _wilson(max(0.0, value - float(self.excess[columns].mean())), records, t)
        _, high = _wilson(value, records, t)
        return value, [min(max(0.0, low), value), max(min(1.0, high), value)]  # rounding can put ends just outside


def mean_variance(contributions: np.ndarray, unseen: np.ndarray) -> float:
    """The variance of a mean over classes, from (P, C) contributions and (C,) variances that do not show in them."""
    return float((contributions.mean(axis=1) ** 2).sum() + unseen.sum() / len(unseen) ** 2)


def degrees_of_freedom(variance: float, of_classes: np.ndarray, patients: np.ndarray) -> float:
    """Satterthwaite's, of the variance of a mean over classes: many, unless a few rare classes dominate it."""
    return float(variance**2 / ((of_classes / len(of_classes) ** 2) ** 2 / patients).sum())


def _wilson(share: float, records: float, t: float) -> tuple[float, float]:
    middle = share + t**2 / (2 * records)
    half = t * np.sqrt(share * (1 - share) / records + (t / (2 * records)) ** 2)
    return float((middle - half) / (1 + t**2 / records)), float((middle + half) / (1 + t**2 / records))


def estimates(
    labels: np.ndarray, by_fit: np.ndarray, patients: Sequence[str], thresholds: np.ndarray | None = None
) -> dict[str, Estimates]:
    """`auroc`, `auprc`, and (with thresholds) `f1`, `sensitivity`, and `specificity`, averaged over fits.

    Args:
        labels: (R, C) bool; each class has positive and negative records.
        by_fit: (S, R, C) scores, all finite.
        patients: one per record.
        thresholds: (S, C), the scores from which a record is called positive; NaN for a class without one.
    """
    _, patient_of_record = np.unique(np.asarray(patients), return_inverse=True)
    num_patients, num_classes = patient_of_record.max() + 1, labels.shape[1]
    metrics = ("auroc", "auprc") if thresholds is None else tuple(_SPREAD)
    values, excess = ({metric: np.zeros(num_classes) for metric in metrics} for _ in range(2))
    contributions = {metric: np.zeros((num_patients, num_classes)) for metric in metrics}
    for fit, scores in enumerate(by_fit):
        for column in range(num_classes):
            positive, of_class = labels[:, column], scores[:, column]
            found = _of_ranks(positive, of_class)
            if thresholds is not None:
                found |= _at_threshold(positive, of_class, thresholds[fit, column])
            for metric, (value, of_records, above) in found.items():
                values[metric][column] += value
                excess[metric][column] += above
                contributions[metric][:, column] += np.bincount(patient_of_record, of_records, num_patients)
    with_positives, with_negatives = (
        np.array([len(np.unique(patient_of_record[which])) for which in kind.T]) for kind in (labels, ~labels)
    )
    rests_on = dict.fromkeys(metrics, np.minimum(with_positives, with_negatives))
    rests_on |= {"sensitivity": with_positives, "specificity": with_negatives}
    fits = len(by_fit)
    return {
        metric: Estimates(
            *(values[metric] / fits, contributions[metric] / fits, rests_on[metric], _SPREAD[metric]),
            excess[metric] / fits,
        )
        for metric in metrics
    }


_Found = dict[str, tuple[float, np.ndarray, float]]  # value, (R,) derivative with respect to each record, excess


def _of_ranks(positive: np.ndarray, scores: np.ndarray) -> _Found:
    """AUROC, ties counted half, and average precision, ties taken together, as in scikit-learn."""
    _, group = np.unique(-scores, return_inverse=True)  # the highest score first
    all_G = np.bincount(group)
    positives_G = np.bincount(group, positive, len(all_G))
    negatives_G = all_G - positives_G
    positives, negatives = positives_G.sum(), negatives_G.sum()

    below_G = 1 - (np.cumsum(negatives_G) - negatives_G / 2) / negatives  # the share of negatives
    above_G = (np.cumsum(positives_G) - positives_G / 2) / positives  # the share of positives
    auroc = float(positives_G @ below_G / positives)
    of_auroc = np.where(positive, (below_G[group] - auroc) / positives, (above_G[group] - auroc) / negatives)

    hits_G, called_G = np.cumsum(positives_G), np.cumsum(all_G)
    precision_G = hits_G / called_G
    auprc = float(positives_G @ precision_G / positives)
    # One more record changes the precision at its score and at all lower ones.
    share_G = positives_G / called_G
    if_positive_G = precision_G - auprc + _from_here_on(share_G)
    of_auprc = np.where(positive, if_positive_G[group], 0) - _from_here_on(share_G * precision_G)[group]
    excess = float(positives_G @ _excess_of_precision(hits_G, called_G) / positives)
    return {"auroc": (auroc, of_auroc, 0.0), "auprc": (auprc, of_auprc / positives, excess)}


def _from_here_on(values_G: np.ndarray) -> np.ndarray:
    return np.cumsum(values_G[::-1])[::-1]


def _excess_of_precision(hits_G: np.ndarray, called_G: np.ndarray) -> np.ndarray:
    """By how much the precision at each score exceeds the one without the positive record itself.

    A positive record is among those called positive at its own score. In a large sample this makes no difference; the
    highest of three positives owes it all of its precision. Without it, the others stand for all: of the positives,
    `others` would be above, if they were found as often. A single positive has no others, and no excess is known.
    """
    positives = hits_G[-1]
    if positives < 2:
        return np.zeros_like(hits_G)
    others = (hits_G - 1).clip(0) * positives / (positives - 1)
    false = called_G - hits_G
    alone = np.divide(others, others + false, out=np.ones_like(hits_G), where=others + false > 0)
    return hits_G / called_G - alone


def _at_threshold(positive: np.ndarray, scores: np.ndarray, threshold: float) -> _Found:
    """F1, sensitivity, and specificity of calling records positive from the threshold on; NaN without one."""
    if np.isnan(threshold):
        nothing = (float("nan"), np.zeros(len(scores)), 0.0)
        return {"f1": nothing, "sensitivity": nothing, "specificity": nothing}
    called, hit = scores >= threshold, positive & (scores >= threshold)
    positives, negatives = positive.sum(), (~positive).sum()
    f1 = float(2 * hit.sum() / (positives + called.sum()))
    sensitivity, specificity = float(hit.sum() / positives), float((~positive & ~called).sum() / negatives)
    of_f1 = (2 * hit - f1 * (positive.astype(float) + called)) / (positives + called.sum())
    return {
        "f1": (f1, of_f1, 0.0),
        "sensitivity": (sensitivity, positive * (called - sensitivity) / positives, 0.0),
        "specificity": (specificity, ~positive * (~called - specificity) / negatives, 0.0),
    }


def mean_with_interval(values: np.ndarray, patients: Sequence[str], highest: float = 1.0) -> tuple[float, list[float]]:
    """The mean of (R,) values between 0 and `highest`, and its interval over patients."""
    names, patient_of_record = np.unique(np.asarray(patients), return_inverse=True)
    mean, count = float(values.mean()), len(names)
    if count < 2:
        return mean, [0.0, highest]
    contributions = np.bincount(patient_of_record, (values - mean) / len(values))
    half = stdtrit(count - 1, (1 + LEVEL) / 2) * np.sqrt((contributions**2).sum() * count / (count - 1))
    return mean, [max(0.0, mean - float(half)), min(highest, mean + float(half))]


def difference_of_means(first: Estimates, second: Estimates) -> tuple[float, list[float], float]:
    """How much the mean over classes of the first exceeds that of the second, its interval, and the two-sided p.

    Both are of the same records. Instead of the patient that a sample does not show (`_SPREAD`), the difference of
    each class itself counts as such: it is as large as one patient's by chance if the two are equally good.
    """
    by_class, contributions = first.values - second.values, first.contributions - second.contributions
    difference, seen = float(by_class.mean()), (contributions**2).sum(axis=0)
    unseen = by_class**2 / first.patients
    variance = mean_variance(contributions, unseen)
    if not variance:  # the same order of records, so nothing is left to chance
        return difference, [difference] * 2, float(difference == 0)
    freedom = degrees_of_freedom(variance, seen + unseen, first.patients)
    half = stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variance)
    p_value = 2 * stdtr(freedom, -abs(difference) / np.sqrt(variance))
    return difference, [difference - float(half), difference + float(half)], float(p_value)
