# SPDX-License-Identifier: Apache-2.0
"""Intervals: contributions of patients against scikit-learn, and how often intervals hold the true value."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

from cgdmer.evaluation.estimates import difference_of_means, estimates, mean_with_interval
from cgdmer.evaluation.statistics import measure, paired_difference

CUT = 0.5


def specificity(labels, called, sample_weight):
    return recall_score(~labels, ~called, sample_weight=sample_weight)


REFERENCE = {
    "auroc": roc_auc_score,
    "auprc": average_precision_score,
    "f1": lambda labels, scores, sample_weight: f1_score(labels, scores >= CUT, sample_weight=sample_weight),
    "sensitivity": lambda labels, scores, sample_weight: recall_score(
        labels, scores >= CUT, sample_weight=sample_weight
    ),
    "specificity": lambda labels, scores, sample_weight: specificity(labels, scores >= CUT, sample_weight),
}


@pytest.mark.parametrize("metric", REFERENCE)
def test_a_contribution_is_what_changes_if_a_patient_counts_a_little_more(metric):
    random = np.random.default_rng(0)
    labels, patients = random.random((60, 2)) < 0.3, random.integers(20, size=60)
    by_fit = np.round(labels + random.normal(size=(2, 60, 2)), 1)  # with ties
    found = estimates(labels, by_fit, patients, np.full((2, 2), CUT))[metric]
    for row, patient in enumerate(np.unique(patients)):
        for column in range(2):
            ends = []
            for step in (-1e-4, 1e-4):
                weights = 1 + step * (patients == patient)
                of_fits = [
                    REFERENCE[metric](labels[:, column], one[:, column], sample_weight=weights) for one in by_fit
                ]
                ends.append(np.mean(of_fits))
            assert found.contributions[row, column] == pytest.approx((ends[1] - ends[0]) / 2e-4, abs=1e-6)


def test_a_frequent_class_has_the_variance_that_is_known_of_a_share():
    random = np.random.default_rng(0)
    labels, scores = random.random((4000, 1)) < 0.5, random.normal(size=(1, 4000, 1))
    value, (low, high) = estimates(labels, scores, np.arange(4000), np.zeros((1, 1)))["sensitivity"].mean_of([0])
    half = 1.96 * np.sqrt(value * (1 - value) / labels.sum())
    assert [low, high] == pytest.approx([value - half, value + half], abs=1e-3)


def rare_and_frequent(random, records=400, classes=24):
    """Labels, scores, two records of each patient, and the true values of classes from a few positives to a third.

    Scores of positive records are normal and higher by 1.8; errors are shared by patients and classes.
    """
    prevalences, quality = np.geomspace(0.006, 0.3, classes), 1.8
    patients = np.arange(records) // 2
    labels, noise = (
        0.7 * random.normal(size=(records // 2, classes))[patients]
        + 0.4 * random.normal(size=(records, 1))
        + np.sqrt(1 - 0.49 - 0.16) * random.normal(size=(records, classes))
        for _ in range(2)
    )
    labels = labels > ndtri(1 - prevalences)
    grid = np.linspace(-6, 9, 4000)[:, None]
    of_positives = np.exp(-((grid - quality) ** 2) / 2)
    found, false = prevalences * ndtr(quality - grid), (1 - prevalences) * ndtr(-grid)
    auprc = (of_positives * found / (found + false)).sum(axis=0) / of_positives.sum()
    truth = {"auroc": np.full(classes, ndtr(quality / np.sqrt(2))), "auprc": auprc}
    usable = labels.any(axis=0)
    labels, scores = labels[:, usable], (quality * labels + noise)[:, usable]
    return labels, scores, patients, {metric: values[usable] for metric, values in truth.items()}


def test_intervals_hold_the_value_of_the_population_about_as_often_as_they_say():
    """95 %, give or take what 200 samples can tell."""
    random, held = np.random.default_rng(0), {"auroc": [], "auprc": [], "auroc of classes": [], "p < 0.05": []}
    for _ in range(200):
        labels, scores, patients, truth = rare_and_frequent(random)
        found = estimates(labels, scores[None], patients)
        for metric, true in truth.items():
            _, (low, high) = found[metric].mean_of(range(len(true)))
            held[metric].append(low <= true.mean() <= high)
        ends = [found["auroc"].mean_of([column])[1] for column in range(len(truth["auroc"]))]
        held["auroc of classes"] += [
            low <= true <= high for (low, high), true in zip(ends, truth["auroc"], strict=True)
        ]
        own = [scores + 0.5 * random.normal(size=scores.shape) for _ in range(2)]  # two equally good models
        one, other = (estimates(labels, each[None], patients)["auroc"] for each in own)
        held["p < 0.05"].append(difference_of_means(one, other)[2] < 0.05)
    shares = {name: np.mean(one) for name, one in held.items()}
    assert 0.91 <= shares["auroc"] <= 0.985
    assert 0.86 <= shares["auprc"] <= 0.98  # about 0.91 with so many rare classes; 0.8 if the excess is ignored
    assert 0.92 <= shares["auroc of classes"] <= 0.98
    assert 0.01 <= shares["p < 0.05"] <= 0.09


@pytest.mark.parametrize("order", [1, 0, -1], ids=["right", "random", "wrong"])
def test_an_interval_holds_its_value_however_rare_the_classes(order):
    """Most of 70 classes have one to four positives, as in `ptbxl-all`; draws of patients often lack them."""
    random = np.random.default_rng(0)
    labels = np.zeros((300, 70), dtype=bool)
    for column in range(70):
        labels[random.choice(300, 1 + column % 4 if column < 60 else column, replace=False), column] = True
    scores = 30 * order * labels + random.normal(size=labels.shape)
    patients = [str(number // 2) for number in range(300)]
    names = [str(column) for column in range(70)]
    result = measure(labels, scores, names, patients, np.zeros(70))
    for part in (result, result["frequent"], *result["per_class"].values()):
        for name in [name for name in part if f"{name}_interval" in part]:
            low, high = part[f"{name}_interval"]
            assert 0 <= low <= part[name] <= high <= 1, name
            assert low < high, name
    assert np.ptp(result["per_class"]["0"]["auroc_interval"]) > 0.5, "one positive record says next to nothing"
    assert np.ptp(result["macro_auroc_interval"]) < 0.2, "but seventy classes say something"


def test_classes_with_the_same_records_say_no_more_than_one():
    labels, scores, patients, _ = rare_and_frequent(np.random.default_rng(0))
    labels, scores = np.repeat(labels[:, -1:], 5, axis=1), np.repeat(scores[:, -1:], 5, axis=1)
    for values in estimates(labels, scores[None], patients).values():
        alone, together = (np.ptp(values.mean_of(columns)[1]) for columns in ([0], range(5)))
        assert together == pytest.approx(alone, rel=0.05)


def test_a_class_that_rests_on_one_patient_does_not_narrow_the_mean():
    random = np.random.default_rng(0)
    labels = np.stack([np.arange(200) < 1, np.arange(200) < 100], axis=1)
    scores = labels + random.normal(size=labels.shape)
    found = estimates(labels, scores[None], np.arange(200))["auroc"]
    assert found.patients.tolist() == [1, 100]
    assert np.ptp(found.mean_of([0, 1])[1]) > 3 * np.ptp(found.mean_of([1])[1])


def test_average_precision_of_few_positives_is_higher_than_in_the_population_and_the_interval_knows():
    random = np.random.default_rng(0)
    labels = np.arange(1000) < 4
    few = np.mean([average_precision_score(labels, random.normal(size=1000)) for _ in range(300)])
    assert few > 0.006  # of a large sample it is 0.004
    excess = [
        estimates(labels[:, None], random.normal(size=(1, 1000, 1)), np.arange(1000))["auprc"].excess[0]
        for _ in range(300)
    ]
    assert np.mean(excess) == pytest.approx(few - 0.004, rel=0.5)


def test_p_is_below_a_twentieth_if_zero_is_outside_of_the_interval():
    random = np.random.default_rng(0)
    for step in np.linspace(0, 0.3, 20):
        labels, scores, patients, _ = rare_and_frequent(random)
        found = paired_difference(
            labels, scores + step * labels + 0.3 * random.normal(size=scores.shape), scores, patients
        )
        low, high = found["interval"]
        assert low < found["difference"] < high
        assert (found["p_value"] < 0.05) == (not low <= 0 <= high)


def test_the_interval_of_a_mean_is_over_patients():
    random = np.random.default_rng(0)
    held, narrow = [], []
    for _ in range(300):
        of_patients = np.repeat(random.uniform(0.2, 0.6, 40), 5)
        values = of_patients + random.uniform(-0.1, 0.1, 200)
        mean, (low, high) = mean_with_interval(values, [str(number // 5) for number in range(200)])
        assert mean == pytest.approx(values.mean())
        held.append(low <= 0.4 <= high)
        narrow.append(high - low < 0.12)
    assert 0.91 <= np.mean(held) <= 0.985 and all(narrow)
    assert mean_with_interval(values[:5], ["one"] * 5)[1] == [0.0, 1.0]
