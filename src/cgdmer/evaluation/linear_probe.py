# SPDX-License-Identifier: Apache-2.0
"""A linear probe on frozen features: one regularised logistic regression a class."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C: larger is less regularised
HELD_OUT = 0.125  # share of the training patients that chooses between them


@dataclass(frozen=True)
class LinearProbe:
    """One linear function a class on raw features, and the strength that was chosen.

    Attributes:
        weights: (classes, width) float32.
        biases: (classes,) float32.
        strength: scikit-learn's C.
    """

    weights: np.ndarray
    biases: np.ndarray
    strength: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(records, classes) log odds."""
        return features @ self.weights.T + self.biases


def fit_linear_probe(features: np.ndarray, labels: np.ndarray, patients: list[str], seed: int = 0) -> LinearProbe:
    """Fit on training records; no other record takes part in any choice.

    Features are standardised with the training records' mean and deviation (folded into the weights returned). The
    strength of the regularisation, one for all classes, is the one with the highest macro AUROC on an eighth of the
    training patients, held out; then all training records are fitted with it.

    Args:
        features: (records, width).
        labels: (records, classes) bool. A class without positive records gets the score 0 everywhere.
        patients: one a record.
    """
    split = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    fitted, held_out = next(split.split(features, groups=patients))

    def held_out_auroc(strength: float) -> float:
        probe = _fit(features[fitted], labels[fitted], strength)
        return _macro_auroc(labels[held_out], probe.scores(features[held_out]))

    return _fit(features, labels, max(STRENGTHS, key=held_out_auroc))


def _fit(features: np.ndarray, labels: np.ndarray, strength: float) -> LinearProbe:
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-8)
    standardised = (features - mean) / deviation
    weights = np.zeros((labels.shape[1], features.shape[1]))
    biases = np.zeros(labels.shape[1])
    for column, wanted in enumerate(labels.T):
        if wanted.all() or not wanted.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=1000).fit(standardised, wanted)
        weights[column] = model.coef_[0] / deviation
        biases[column] = model.intercept_[0] - weights[column] @ mean
    return LinearProbe(weights.astype(np.float32), biases.astype(np.float32), strength)


def _macro_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    usable = labels.any(axis=0) & ~labels.all(axis=0)
    if not usable.any():
        return 0.5
    return float(np.mean([roc_auc_score(labels[:, c], scores[:, c]) for c in np.flatnonzero(usable)]))


__all__ = ["STRENGTHS", "LinearProbe", "fit_linear_probe"]
