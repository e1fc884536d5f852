# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from cgdmer.evaluation import linear_probe
from cgdmer.evaluation.linear_probe import STRENGTHS, few_records_per_class, fit_linear_probe, fraction_of_records
from cgdmer.models.errors import ConfigurationError


def sample(records=600, width=20, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(records, width)) * np.logspace(-2, 2, width) + 5
    weights = random.normal(size=(2, width)) / np.logspace(-2, 2, width)
    labels = (features - 5) @ weights.T + random.normal(size=(records, 2)) > 1
    return features, labels, [str(number // 2) for number in range(records)]


def test_equals_a_standardized_logistic_regression_of_the_strength_chosen():
    features, labels, patients = sample()
    probe = fit_linear_probe(features, labels, patients)
    assert probe.strength in STRENGTHS
    scaler = StandardScaler().fit(features)
    for column in range(2):
        model = LogisticRegression(C=probe.strength, max_iter=1000).fit(scaler.transform(features), labels[:, column])
        expected = model.decision_function(scaler.transform(features))
        np.testing.assert_allclose(probe.scores(features)[:, column], expected, rtol=1e-3, atol=1e-3)


def test_finds_what_is_there_and_nothing_in_noise():
    features, labels, patients = sample(2000)
    probe = fit_linear_probe(features[:1500], labels[:1500], patients[:1500])
    assert roc_auc_score(labels[1500:, 0], probe.scores(features[1500:])[:, 0]) > 0.9
    noise = np.random.default_rng(9).random(labels.shape) < 0.5
    blind = fit_linear_probe(features[:1500], noise[:1500], patients[:1500])
    assert roc_auc_score(noise[1500:, 0], blind.scores(features[1500:])[:, 0]) == pytest.approx(0.5, abs=0.07)


def test_a_class_without_positives_scores_zero():
    features, labels, patients = sample()
    labels[:, 1] = False
    assert not fit_linear_probe(features, labels, patients).scores(features)[:, 1].any()


def test_the_strength_is_chosen_on_the_validation_records_only():
    """Validation labels that only the strongest regularization fits: the choice must follow them."""
    features, labels, patients = sample()
    probes = {strength: linear_probe._fit(features, labels, strength) for strength in STRENGTHS}
    new = sample(seed=1)[0]
    for strength, wanted in probes.items():
        validation = (new, wanted.scores(new) > 0)
        assert fit_linear_probe(features, labels, patients, validation).strength == strength


def test_validation_records_are_never_fitted():
    features, labels, patients = sample()
    new, other, _ = sample(seed=1)
    probe = fit_linear_probe(features, labels, patients, (new, other))
    alone = linear_probe._fit(features, labels, probe.strength)
    np.testing.assert_array_equal(probe.weights, alone.weights)


def test_fractions_depend_on_their_seed_only():
    first = fraction_of_records(1000, 0.1, seed=3)
    assert len(first) == 100 == len(set(first)) and first.max() < 1000
    np.testing.assert_array_equal(first, fraction_of_records(1000, 0.1, seed=3))
    assert len(np.intersect1d(first, fraction_of_records(1000, 0.1, seed=4))) < 40
    assert fraction_of_records(7, 1.0, seed=0).tolist() == list(range(7))
    with pytest.raises(ConfigurationError, match="fraction"):
        fraction_of_records(7, 1.5, seed=0)


def test_few_shots_hold_that_many_of_each_class():
    random = np.random.default_rng(0)
    labels = random.random((500, 4)) < [0.4, 0.1, 0.02, 0.0]
    drawn = few_records_per_class(labels, shots=5, seed=1)
    counts = labels[drawn].sum(axis=0)
    assert (counts[:2] >= 5).all() and counts[2] == min(5, labels[:, 2].sum()) and counts[3] == 0
    assert labels[drawn].any(axis=1).all() and len(drawn) <= 15
