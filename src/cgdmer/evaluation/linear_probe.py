# SPDX-License-Identifier: Apache-2.0
"""A linear probe on frozen features: one regularized logistic regression per class.

Shapes: R records, D features, C classes.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit

from cgdmer.evaluation.statistics import auroc_by_column
from cgdmer.models.errors import ConfigurationError

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C: larger means less regularization
HELD_OUT = 0.125  # share of the training patients held out to choose between them if there are no validation records
FEWEST_PATIENTS = 16  # with fewer, none are held out
_USUAL_STRENGTH = STRENGTHS[1]  # if none can be chosen


@dataclass(frozen=True)
class LinearProbe:
    """One linear function of raw features per class, and the strength that was chosen.

    Attributes:
        weights: (C, D) float32.
        biases: (C,) float32.
        strength: scikit-learn's C.
    """

    weights: np.ndarray
    biases: np.ndarray
    strength: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(R, C) log odds."""
        return features @ self.weights.T + self.biases


def fit_linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> LinearProbe:
    """Fit on training records, with a regularization strength, shared by all classes, that is chosen on other records.

    Features are standardized with the mean and deviation of the training records (folded into the weights). The one of
    `STRENGTHS` with the highest macro AUROC on the validation records is taken.

    Args:
        features: (R, D).
        labels: (R, C) bool. A class without positive records gets a score of 0 everywhere.
        patients: one per record.
        validation: features and labels of records of other patients. Without them, an eighth of the training patients
            is held out for the choice, after which all records are fitted. Of fewer than 16 patients none are held
            out, and nothing is chosen.
        seed: of the held-out patients.
    """
    if validation is not None:
        probes = [_fit(features, labels, strength) for strength in STRENGTHS]
        return _best(probes, *validation)
    parts = held_out_patients(patients, seed)
    if parts is None:
        return _fit(features, labels, _USUAL_STRENGTH)
    fitted, held_out = parts
    trials = [_fit(features[fitted], labels[fitted], strength) for strength in STRENGTHS]
    return _fit(features, labels, _best(trials, features[held_out], labels[held_out]).strength)


def held_out_patients(patients: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The numbers of the records to fit, and of those of the eighth of the patients that is held out for a choice.

    None if there are fewer than 16 patients.
    """
    if len(set(patients)) < FEWEST_PATIENTS:
        return None
    split = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    return next(split.split(np.zeros(len(patients)), groups=patients))


def fraction_of_records(count: int, fraction: float, seed: int) -> np.ndarray:
    """Sorted indices of a random `fraction` (above 0, up to 1) of `count` records, at least two."""
    if not 0 < fraction <= 1:
        raise ConfigurationError(f"the fraction of the training records is {fraction}; expected above 0 and up to 1.")
    wanted = max(2, round(fraction * count))
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def few_records_per_class(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Sorted indices of training records: for each class, `shots` random positive ones, or all if there are fewer.

    A record drawn for one class keeps all its labels, so frequent classes get more.
    """
    random = np.random.default_rng(seed)
    drawn = [random.permutation(np.flatnonzero(column))[:shots] for column in labels.T]
    return np.unique(np.concatenate(drawn))


def _fit(features: np.ndarray, labels: np.ndarray, strength: float) -> LinearProbe:
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-8)
    standardized = (features - mean) / deviation
    weights = np.zeros((labels.shape[1], features.shape[1]))
    biases = np.zeros(labels.shape[1])
    for column, wanted in enumerate(labels.T):
        if wanted.all() or not wanted.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=1000).fit(standardized, wanted)
        weights[column] = model.coef_[0] / deviation
        biases[column] = model.intercept_[0] - weights[column] @ mean
    return LinearProbe(weights.astype(np.float32), biases.astype(np.float32), strength)


def _best(probes: Sequence[LinearProbe], features: np.ndarray, labels: np.ndarray) -> LinearProbe:
    """The best by macro AUROC; the one of the usual strength if no class has both positive and negative records."""
    if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
        return next(probe for probe in probes if probe.strength == _USUAL_STRENGTH)
    return max(probes, key=lambda probe: np.nanmean(auroc_by_column(labels, probe.scores(features))))
