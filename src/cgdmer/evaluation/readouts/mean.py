# SPDX-License-Identifier: Apache-2.0
"""A linear probe of one vector per record: the mean over tokens or, if asked for, the vector compared with texts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cgdmer.evaluation.linear_probe import LinearProbe, fit_linear_probe
from cgdmer.evaluation.readouts.readout import LabeledFeatures, Readout
from cgdmer.inference.embeddings import RecordFeatures


@dataclass(frozen=True)
class FittedMean:
    readout: Readout
    probe: LinearProbe

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"regularization": self.probe.strength}

    def scores(self, features: RecordFeatures) -> np.ndarray:
        return self.probe.scores(self.readout.vectors(features))


class Mean(Readout):
    measure = "linear probe"

    def fit(self, training: LabeledFeatures, validation: LabeledFeatures | None = None, seed: int = 0) -> FittedMean:
        others = None if validation is None else (self.vectors(validation.features), validation.labels)
        vectors = self.vectors(training.features)
        return FittedMean(self, fit_linear_probe(vectors, training.labels, training.patients, others, seed))
