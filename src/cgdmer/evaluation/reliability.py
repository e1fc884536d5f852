# SPDX-License-Identifier: Apache-2.0
"""Whether scores mean what they say: of the records that are scored about 0.3, do three in ten have the finding?"""

from typing import Any

import numpy as np
from sklearn.metrics import brier_score_loss

BINS = 10


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
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
    order = np.argsort(said, kind="stable")
    bins = [
        {"mean_score": float(said[part].mean()), "share_positive": float(wanted[part].mean()), "scores": len(part)}
        for part in np.array_split(order, BINS)
        if len(part)
    ]
    distance = sum(abs(one["mean_score"] - one["share_positive"]) * one["scores"] for one in bins) / len(wanted)
    prevalence = np.broadcast_to(labels.mean(axis=0), labels.shape).ravel()
    return {
        "brier": float(brier_score_loss(wanted, said)),
        "brier_of_prevalence": float(brier_score_loss(wanted, prevalence)),
        "expected_calibration_error": float(distance),
        "bins": bins,
    }
