# SPDX-License-Identifier: Apache-2.0
"""A linear probe of twelve vectors per record: the mean over the tokens of each lead.

Shapes: R records, L leads, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cgdmer.evaluation.linear_probe import LinearProbe, fit_linear_probe
from cgdmer.evaluation.readouts.readout import LabeledFeatures, Readout
from cgdmer.inference.embeddings import RecordFeatures, has_leads
from cgdmer.models.modeling_base import ECGPreTrainedModel


@dataclass(frozen=True)
class FittedPerLead:
    """Means and deviations (L, D) of the training records, and a probe of what they standardize."""

    mean_LD: np.ndarray
    deviation_LD: np.ndarray
    probe: LinearProbe

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"regularization": self.probe.strength}

    def scores(self, features: RecordFeatures) -> np.ndarray:
        return self.probe.scores(_standardized(features, self.mean_LD, self.deviation_LD))


class PerLead(Readout):
    """A lead that a record lacks is as the mean of this lead over the training records."""

    measure = "per-lead probe"
    further = ("per_lead",)

    def why_not(self, model: ECGPreTrainedModel) -> str:
        return "" if has_leads(model) else "the encoder's tokens belong to no lead"

    def fit(
        self, training: LabeledFeatures, validation: LabeledFeatures | None = None, seed: int = 0
    ) -> FittedPerLead:
        vectors_RLD = training.features.per_lead
        assert vectors_RLD is not None  # asked for
        counts_L = np.isfinite(vectors_RLD[:, :, :1]).sum(axis=0).clip(min=1)
        mean_LD = np.nansum(vectors_RLD, axis=0) / counts_L
        deviation_LD = np.sqrt(np.nansum(np.square(vectors_RLD - mean_LD), axis=0) / counts_L).clip(min=1e-8)
        seen = _standardized(training.features, mean_LD, deviation_LD)
        others = None
        if validation is not None:
            others = _standardized(validation.features, mean_LD, deviation_LD), validation.labels
        probe = fit_linear_probe(seen, training.labels, training.patients, others, seed)
        return FittedPerLead(mean_LD, deviation_LD, probe)


def _standardized(features: RecordFeatures, mean_LD: np.ndarray, deviation_LD: np.ndarray) -> np.ndarray:
    """(R, L * D), zeros for absent leads."""
    assert features.per_lead is not None  # asked for
    return np.nan_to_num((features.per_lead - mean_LD) / deviation_LD, copy=False).reshape(len(features.per_lead), -1)
