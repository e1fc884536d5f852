# SPDX-License-Identifier: Apache-2.0
"""Whether scores mean what they say: of the records that are scored about 0.3, do three in ten have the finding?"""

import numpy as np
from sklearn.metrics import brier_score_loss

from cgdmer.evaluation.results import Reliability, ReliabilityBin

BINS = 10


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Scores against what came true, over all records and classes together.

    Args:
        labels: (R, C) bool.
        probabilities: (R, C), 0 to 1.

    Returns:
        `brier`, the mean squared difference, and `brier_of_prevalence`, that of a score that says for every record
        how often its class occurs among these; `expected_calibration_error`, the mean distance between score and
        share of positives over ten bins of equally many scores; and `bins`, a dict each: `mean_score`,
        `share_positive`, `scores`.
    """
    labels = np.asarray(labels, dtype=bool)
    wanted, said = labels.ravel(), np.asarray(probabilities, dtype=float).ravel()
    parts = [part for part in np.array_split(np.argsort(said, kind="stable"), BINS) if len(part)]
    bins: list[ReliabilityBin] = [
        {"mean_score": float(said[part].mean()), "share_positive": float(wanted[part].mean()), "scores": len(part)}
        for part in parts
    ]
    distance = sum(abs(said[part].mean() - wanted[part].mean()) * len(part) for part in parts) / len(wanted)
    prevalence = np.broadcast_to(labels.mean(axis=0), labels.shape).ravel()
    return {
        "brier": float(brier_score_loss(wanted, said)),
        "brier_of_prevalence": float(brier_score_loss(wanted, prevalence)),
        "expected_calibration_error": float(distance),
        "bins": bins,
    }
