# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from cgdmer.evaluation.linear_probe import STRENGTHS, fit_linear_probe


def sample(records=600, width=20, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(records, width)) * np.logspace(-2, 2, width) + 5
    weights = random.normal(size=(2, width)) / np.logspace(-2, 2, width)
    labels = (features - 5) @ weights.T + random.normal(size=(records, 2)) > 1
    return features, labels, [str(number // 2) for number in range(records)]


def test_equals_a_standardised_logistic_regression_of_the_strength_chosen():
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
