# SPDX-License-Identifier: Apache-2.0
"""The labels of the most similar training records, which needs no fitting.

Shapes: R records, C classes, D feature width, K neighbors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.neighbors import NearestNeighbors as Neighbors

from cgdmer.evaluation.readouts.readout import LabeledFeatures, Readout, chosen_on_others
from cgdmer.evaluation.statistics import auroc_by_column
from cgdmer.inference.embeddings import RecordFeatures

COUNTS = (5, 10, 20, 50, 100, 200)  # of neighbors
_USUAL_COUNT = 50  # if none can be chosen
_TEMPERATURE = 0.07  # of the cosine: a neighbor that is closer by 0.07 counts e times as much


@dataclass(frozen=True)
class FittedNeighbors:
    """The training records, as unit vectors of standardized features, and the number of neighbors that vote.

    Attributes:
        mean, deviation: (D,) of the training records.
        labels: (R, C) bool of the training records.
        count: K.
    """

    readout: Readout
    mean: np.ndarray
    deviation: np.ndarray
    neighbors: Neighbors = field(repr=False)
    labels: np.ndarray = field(repr=False)
    count: int = _USUAL_COUNT

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"neighbors": self.count}

    def scores(self, features: RecordFeatures) -> np.ndarray:
        """(R, C), the share of the neighbors that have the label, weighted by similarity."""
        return next(iter(self.scores_by_count(features, (self.count,)).values()))

    def scores_by_count(self, features: RecordFeatures, counts: tuple[int, ...]) -> dict[int, np.ndarray]:
        """As `scores`, for several numbers of neighbors; of fewer training records, all vote."""
        most = min(max(counts), len(self.labels))
        vectors = _directions(self.readout.vectors(features), self.mean, self.deviation)
        distances_RK, rows_RK = self.neighbors.kneighbors(vectors, most)
        weights_RK = np.exp(-distances_RK / _TEMPERATURE)  # the cosine is 1 - distance
        found = {}
        for count in counts:
            weights, voters_RKC = weights_RK[:, :count], self.labels[rows_RK[:, :count]]
            votes_RC = np.einsum("rk,rkc->rc", weights, voters_RKC)
            found[count] = votes_RC / weights.sum(axis=1, keepdims=True)
        return found


class NearestNeighbors(Readout):
    measure = "nearest neighbors"

    def fit(
        self, training: LabeledFeatures, validation: LabeledFeatures | None = None, seed: int = 0
    ) -> FittedNeighbors:
        count = chosen_on_others(training, validation, seed, self._best_count, _USUAL_COUNT)
        return replace(self._fit(training), count=count)

    def _fit(self, training: LabeledFeatures) -> FittedNeighbors:
        vectors = self.vectors(training.features)
        mean, deviation = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), 1e-8)
        neighbors = Neighbors(algorithm="brute", metric="cosine").fit(_directions(vectors, mean, deviation))
        return FittedNeighbors(self, mean, deviation, neighbors, training.labels)

    def _best_count(self, training: LabeledFeatures, validation: LabeledFeatures) -> int:
        by_count = self._fit(training).scores_by_count(validation.features, COUNTS)
        return max(COUNTS, key=lambda count: np.nanmean(auroc_by_column(validation.labels, by_count[count])))


def _directions(vectors: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standardized features, whose lengths do not matter."""
    return (vectors - mean) / deviation
