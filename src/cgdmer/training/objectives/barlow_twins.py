# SPDX-License-Identifier: Apache-2.0
"""Barlow Twins (Zbontar et al., ICML 2021, arXiv 2103.03230): each feature agrees with itself, and with no other.

Shapes: b records in this process, B in all of them, E width of the projection.
"""

from typing import ClassVar

import torch

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.objectives import gather_over_processes
from cgdmer.training.objectives.base import Batch, Computed, Objective, mlp, precise
from cgdmer.training.objectives.views import USUAL, TwoViews

REDUNDANCY = 5e-3  # lambda of eq. 1
SCALE = 0.025  # of the whole loss, which is a sum over features: so that it is about as large as other methods'
PROJECTION = 512  # the paper's 8192 is for batches of 2048


class BarlowTwins(Objective):
    """No negatives: the correlation matrix of two views' features is drawn toward the identity."""

    views: ClassVar = TwoViews(USUAL, USUAL)

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.projector = mlp(self.hidden_size, PROJECTION, PROJECTION, PROJECTION, norm_last=True)

    def compute(self, batch: Batch) -> Computed:
        pooled = [self.encode(batch, view).pooler_output for view in ("first", "second")]
        # One view at a time, so that each is standardized by itself.
        first, second = (precise(self.projector(one)) for one in pooled)
        correlations = cross_correlation(first, second)
        return Computed({"invariance": invariance(correlations), "redundancy": redundancy(correlations)}, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"invariance": SCALE, "redundancy": SCALE * REDUNDANCY}


def cross_correlation(first_bE: torch.Tensor, second_bE: torch.Tensor) -> torch.Tensor:
    """(E, E), over the global batch; the same in all processes (eq. 2).

    Args:
        first_bE, second_bE: this process's projections, paired by row, standardized over the global batch.
    """
    with torch.autocast(first_bE.device.type, enabled=False):
        mine_EE = first_bE.T @ second_bE / len(first_bE)
    return gather_over_processes(mine_EE[None]).mean(dim=0)


def invariance(correlations_EE: torch.Tensor) -> torch.Tensor:
    """How far each feature is from agreeing with itself: the first sum of eq. 1."""
    return (1 - correlations_EE.diagonal()).square().sum()


def redundancy(correlations_EE: torch.Tensor) -> torch.Tensor:
    """How far features are from telling different things: the second sum of eq. 1, without lambda."""
    itself = torch.eye(len(correlations_EE), dtype=torch.bool, device=correlations_EE.device)
    return correlations_EE.masked_fill(itself, 0.0).square().sum()
