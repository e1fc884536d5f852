# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from cgdmer.evaluation import statistics
from cgdmer.evaluation.statistics import (
    auroc_by_column,
    best_thresholds,
    draws_of_patients,
    measure,
    paired_difference,
)
from cgdmer.models.errors import CorpusError


def sample(records=400, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((records, classes)) < 0.3
    scores = labels + random.normal(size=labels.shape)
    return labels, scores, [f"class {number}" for number in range(classes)], [str(n) for n in range(records)]


def test_macro_is_the_mean_of_scikit_learns_areas():
    labels, scores, names, patients = sample()
    result = measure(labels, scores, names, patients)
    areas = [roc_auc_score(labels[:, column], scores[:, column]) for column in range(3)]
    assert result["macro_auroc"] == pytest.approx(np.mean(areas))
    assert [row["auroc"] for row in result["per_class"].values()] == pytest.approx(areas)
    assert [row["positives"] for row in result["per_class"].values()] == labels.sum(axis=0).tolist()


def test_fast_areas_agree_with_scikit_learn_ties_included():
    labels, scores, *_ = sample(200)
    scores = np.round(scores, 1)
    expected = [roc_auc_score(labels[:, column], scores[:, column]) for column in range(3)]
    assert auroc_by_column(labels, scores) == pytest.approx(expected)


def per_class(result, metric):
    return [row[metric] for row in result["per_class"].values()]


def test_average_precision_agrees_with_scikit_learn_ties_included():
    labels, scores, names, patients = sample(200)
    for rounded in (scores, np.round(scores, 1), np.zeros_like(scores)):
        expected = [average_precision_score(labels[:, column], rounded[:, column]) for column in range(3)]
        assert per_class(measure(labels, rounded, names, patients), "auprc") == pytest.approx(expected)


def test_f1_agrees_with_scikit_learn_at_the_best_threshold_there_is():
    labels, scores, names, patients = sample(200)
    scores = np.round(scores, 1)
    thresholds = best_thresholds(labels, scores)
    found = per_class(measure(labels, scores, names, patients, thresholds), "f1")
    for column in range(3):
        wanted = [f1_score(labels[:, column], scores[:, column] >= cut) for cut in np.unique(scores[:, column])]
        assert found[column] == pytest.approx(max(wanted))
        assert found[column] == pytest.approx(f1_score(labels[:, column], scores[:, column] >= thresholds[column]))


def test_sensitivity_and_specificity_agree_with_counting():
    labels, scores, names, patients = sample(200)
    thresholds = np.array([0.5, np.nan, -0.2])
    result = measure(labels, scores, names, patients, thresholds)
    for column in (0, 2):
        called = scores[:, column] >= thresholds[column]
        positive = labels[:, column]
        assert per_class(result, "sensitivity")[column] == pytest.approx(called[positive].mean())
        assert per_class(result, "specificity")[column] == pytest.approx((~called)[~positive].mean())
    for metric in ("f1", "sensitivity", "specificity"):
        assert np.isnan([per_class(result, metric)[1], *per_class(result, f"{metric}_interval")[1]]).all()


def test_a_record_that_counts_twice_is_there_twice():
    labels, scores, _, patients = sample(200)
    scores = np.round(scores, 1)
    weights = draws_of_patients(patients, 20, seed=3)
    weights[5] *= ~labels[:, 1]  # a draw without a positive record of a class
    assert (weights[0] == 1).all() and (weights[1:].sum(axis=1) > 0).all()
    together = auroc_by_column(labels, scores, weights)
    for weight, found in zip(weights, together, strict=True):
        rows = np.repeat(np.arange(200), weight)
        assert found == pytest.approx(auroc_by_column(labels[rows], scores[rows]), nan_ok=True)
    assert np.isnan(together[5]).tolist() == [False, True, False]


def test_draws_that_do_not_fit_at_once_are_the_same(monkeypatch):
    labels, scores, _, patients = sample(150)
    weights = draws_of_patients(patients, 30, seed=0)
    at_once = auroc_by_column(labels, scores, weights)
    monkeypatch.setattr(statistics, "_MOST_CELLS", 7 * 150)
    assert np.array_equal(at_once, auroc_by_column(labels, scores, weights))


def test_a_draw_takes_all_records_of_as_many_patients_as_there_are():
    patients = [f"p{number % 40}" for number in range(100)]  # 20 of three records, 20 of two
    weights = draws_of_patients(patients, 50, seed=1)
    for draw in weights:
        of_patient = {patient: set(draw[np.array(patients) == patient]) for patient in set(patients)}
        assert all(len(counts) == 1 for counts in of_patient.values())
        assert sum(counts.pop() for counts in of_patient.values()) == 40


def test_a_score_that_is_not_a_number_is_refused():
    labels, scores, names, patients = sample(100)
    broken = scores.copy()
    broken[3, 1] = np.nan
    assert np.isnan(auroc_by_column(labels, broken)).tolist() == [False, True, False]
    with pytest.raises(CorpusError, match="not numbers"):
        measure(labels, broken, names, patients)
    with pytest.raises(CorpusError, match="not numbers"):
        paired_difference(labels, scores, broken, patients)


def test_frequent_classes_are_measured_by_themselves():
    labels, scores, names, patients = sample(300)
    labels[:, 1] = False
    labels[:9, 1] = True
    result = measure(labels, scores, names, patients)
    frequent = measure(labels[:, [0, 2]], scores[:, [0, 2]], names[:2], patients)
    assert result["frequent"] == {
        "classes": 2,
        "macro_auroc": pytest.approx(frequent["macro_auroc"]),
        "macro_auroc_interval": pytest.approx(frequent["macro_auroc_interval"]),
    }
    assert "frequent" not in measure(labels[:, 1:2], scores[:, 1:2], names[:1], patients)


def test_a_class_without_positives_on_validation_has_no_f1():
    labels, scores, names, patients = sample()
    validation = labels.copy()
    validation[:, 1] = False
    thresholds = best_thresholds(validation, scores)
    assert np.isnan(thresholds).tolist() == [False, True, False]
    result = measure(labels, scores, names, patients, thresholds)
    assert np.isnan(result["per_class"]["class 1"]["f1"])
    others = [result["per_class"][name]["f1"] for name in (names[0], names[2])]
    assert result["macro_f1"] == pytest.approx(np.mean(others))
    assert "macro_f1" not in measure(labels, scores, names, patients)


def test_figures_of_several_seeds_are_averaged():
    labels, scores, names, patients = sample()
    random = np.random.default_rng(3)
    several = np.stack([scores, scores + random.normal(size=scores.shape)])
    thresholds = np.stack([best_thresholds(labels, one) for one in several])
    together = measure(labels, several, names, patients, thresholds)
    alone = [measure(labels, one, names, patients, cut) for one, cut in zip(several, thresholds, strict=True)]
    for name in ("macro_auroc", "macro_auprc", "macro_f1"):
        assert together[name] == pytest.approx(np.mean([one[name] for one in alone]))
    assert together["macro_auroc_by_seed"] == pytest.approx([one["macro_auroc"] for one in alone])


def test_intervals_hold_their_figures():
    labels, scores, names, patients = sample()
    result = measure(labels, scores, names, patients, best_thresholds(labels, scores))
    for part in (result, *result["per_class"].values()):
        for name in [name for name in part if f"{name}_interval" in part]:
            low, high = part[f"{name}_interval"]
            assert low < part[name] < high, name


def test_a_real_difference_is_found_and_an_equal_model_is_not():
    labels, scores, _, patients = sample(800)
    random = np.random.default_rng(5)
    worse = labels + 2 * random.normal(size=labels.shape)
    found = paired_difference(labels, scores, worse, patients)
    areas = [auroc_by_column(labels, values).mean() for values in (scores, worse)]
    assert found["difference"] == pytest.approx(areas[0] - areas[1])
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["p_value"] < 0.01
    alike = labels + random.normal(size=labels.shape)
    assert paired_difference(labels, scores, alike, patients)["p_value"] > 0.05
    same = paired_difference(labels, scores, 2 * scores + 1, patients)
    assert (same["difference"], same["p_value"]) == (0.0, 1.0)


def test_pairing_takes_out_what_is_hard_for_both():
    """For two models that share most of their errors, unpaired intervals would overlap widely."""
    labels, scores, names, patients = sample(400)
    better = scores + 0.15 * labels
    found = paired_difference(labels, better, scores, patients)
    width = np.ptp(measure(labels, scores, names, patients)["macro_auroc_interval"])
    assert np.ptp(found["interval"]) < 0.4 * width
    assert found["interval"][0] > 0


def test_records_of_one_patient_count_together():
    """Ten copies of a record say no more than one: the interval must stay as it is."""
    labels, scores, names, patients = sample(120)
    once = measure(labels, scores, names, patients)
    copies = measure(np.repeat(labels, 10, 0), np.repeat(scores, 10, 0), names, list(np.repeat(patients, 10)))
    assert copies["macro_auroc_interval"] == pytest.approx(once["macro_auroc_interval"])
    assert copies["patients"] == 120


def test_classes_without_both_kinds_are_named_and_left_out():
    labels, scores, names, patients = sample()
    labels[:, 1] = False
    labels[:, 2] = True
    result = measure(labels, scores, names, patients)
    assert result["left_out"] == ["class 1", "class 2"]
    assert result["macro_auroc"] == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]))
    with pytest.raises(CorpusError, match="nothing to measure"):
        measure(labels[:, 1:], scores[:, 1:], names[1:], patients)


def test_classes_with_few_positives_are_marked():
    labels, scores, names, patients = sample()
    labels[:, 0] = np.arange(400) < 9
    labels[:, 1] = np.arange(400) < 10
    per_class = measure(labels, scores, names, patients)["per_class"]
    assert [per_class[name]["few_positives"] for name in names[:2]] == [True, False]


def test_shifting_the_labels_by_one_column_is_noticed():
    labels, scores, names, patients = sample()
    right = measure(labels, scores, names, patients)["macro_auroc"]
    shifted = measure(np.roll(labels, 1, axis=1), scores, names, patients)["macro_auroc"]
    assert right > 0.7 > 0.6 > shifted
