# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cgdmer.evaluation.statistics import _auroc_by_column, macro_auroc
from cgdmer.models.errors import CorpusError


def sample(records=400, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((records, classes)) < 0.3
    scores = labels + random.normal(size=labels.shape)
    return labels, scores, [f"class {number}" for number in range(classes)], [str(n) for n in range(records)]


def test_macro_is_the_mean_of_scikit_learns_areas():
    labels, scores, names, patients = sample()
    result = macro_auroc(labels, scores, names, patients, bootstrap_samples=50)
    areas = [roc_auc_score(labels[:, column], scores[:, column]) for column in range(3)]
    assert result["macro_auroc"] == pytest.approx(np.mean(areas))
    assert [row["auroc"] for row in result["per_class"].values()] == pytest.approx(areas)
    assert [row["positives"] for row in result["per_class"].values()] == labels.sum(axis=0).tolist()


def test_fast_areas_agree_with_scikit_learn_ties_included():
    labels, scores, *_ = sample(200)
    scores = np.round(scores, 1)
    expected = [roc_auc_score(labels[:, column], scores[:, column]) for column in range(3)]
    assert _auroc_by_column(labels, scores) == pytest.approx(expected)


def test_interval_covers_the_true_value_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    truth = 0.7602  # P(N(1, 1) > N(0, 1))
    covered = 0
    for draw in range(100):
        labels = random.random((300, 1)) < 0.4
        result = macro_auroc(
            labels, labels + random.normal(size=labels.shape), ["a"], [str(n) for n in range(300)], 200, seed=draw
        )
        low, high = result["interval"]
        covered += low <= truth <= high
    assert 88 <= covered <= 100


def test_records_of_one_patient_are_drawn_together():
    """Ten copies of every record tell no more than one: the interval must not shrink."""
    labels, scores, names, patients = sample(120)
    once = macro_auroc(labels, scores, names, patients, 400)
    copies = macro_auroc(np.repeat(labels, 10, 0), np.repeat(scores, 10, 0), names, list(np.repeat(patients, 10)), 400)
    width, width_of_copies = np.ptp(once["interval"]), np.ptp(copies["interval"])
    assert width_of_copies == pytest.approx(width, rel=0.15)
    assert copies["patients"] == 120


def test_classes_without_both_kinds_are_named_and_left_out():
    labels, scores, names, patients = sample()
    labels[:, 1] = False
    labels[:, 2] = True
    result = macro_auroc(labels, scores, names, patients, 20)
    assert result["left_out"] == ["class 1", "class 2"]
    assert result["macro_auroc"] == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))
    with pytest.raises(CorpusError, match="nothing to measure"):
        macro_auroc(labels[:, 1:], scores[:, 1:], names[1:], patients)


def test_classes_with_few_positives_are_marked():
    labels, scores, names, patients = sample()
    labels[:, 0] = np.arange(400) < 9
    labels[:, 1] = np.arange(400) < 10
    per_class = macro_auroc(labels, scores, names, patients, 20)["per_class"]
    assert [per_class[name]["few_positives"] for name in names[:2]] == [True, False]


def test_shifting_the_labels_by_one_column_is_noticed():
    labels, scores, names, patients = sample()
    right = macro_auroc(labels, scores, names, patients, 20)["macro_auroc"]
    shifted = macro_auroc(np.roll(labels, 1, axis=1), scores, names, patients, 20)["macro_auroc"]
    assert right > 0.7 > 0.6 > shifted
