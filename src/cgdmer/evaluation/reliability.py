# SPDX-License-Identifier: Apache-2.0
"""Calibration: of the records that score about 0.3, do three in ten have the finding?"""

import numpy as np
from sklearn.metrics import brier_score_loss

from cgdmer.evaluation.results import Reliability, ReliabilityBin

BINS = 10


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Compare scores with labels, over all records and classes together.

    Args:
        labels: (R, C) bool.
        probabilities: (R, C), 0 to 1.

    Returns:
        `brier`, the mean squared difference; `brier_of_prevalence`, the same for scores that always equal the share of
        these records with the class; `expected_calibration_error`, the mean distance between score and share of
        positives over ten bins with equally many scores; and `bins`, each with `mean_score`, `share_positive`, and
        `scores`.
    """
    labels = np.asarray(labels, dtype=bool)
    wanted, scores = labels.ravel(), np.asarray(probabilities, dtype=float).ravel()
    parts = [part for part in np.array_split(np.argsort(scores, kind="stable"), BINS) if len(part)]
    bins: list[ReliabilityBin] = [
        {"mean_score": float(scores[part].mean()), "share_positive": float(wanted[part].mean()), "scores": len(part)}
        for part in parts
    ]
    distance = sum(abs(scores[part].mean() - wanted[part].mean()) * len(part) for part in parts) / len(wanted)
    prevalence = np.broadcast_to(labels.mean(axis=0), labels.shape).ravel()
    return {
        "brier": float(brier_score_loss(wanted, scores)),
        "brier_of_prevalence": float(brier_score_loss(wanted, prevalence)),
        "expected_calibration_error": float(distance),
        "bins": bins,
    }
