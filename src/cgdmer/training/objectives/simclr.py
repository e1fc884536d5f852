# SPDX-License-Identifier: Apache-2.0
"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709): two views of a record are alike, those of others are not.

Shapes: b records in this process, B in all of them, D width of the encoder, E of the projection.
"""

from typing import ClassVar

import torch
from torch.nn import functional as F

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.objectives import gather_over_processes, rank_and_world_size
from cgdmer.training.objectives.base import Batch, Computed, Objective, mlp, precise
from cgdmer.training.objectives.views import USUAL, TwoViews

TEMPERATURE = 0.1
PROJECTION = 128


class SimCLR(Objective):
    """NT-Xent on a projection with one hidden layer."""

    views: ClassVar = TwoViews(USUAL, USUAL)

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.projector = mlp(self.hidden_size, self.hidden_size, PROJECTION)

    def compute(self, batch: Batch) -> Computed:
        first, second = (self.encode(batch, view).pooler_output for view in ("first", "second"))
        # Together, so that batch normalization sees both views.
        projected = F.normalize(precise(self.projector(torch.cat([first, second]))), dim=-1)
        one, other = projected.chunk(2)
        return Computed({"contrastive": nt_xent(one, other, TEMPERATURE)}, first)

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}


def nt_xent(first_bE: torch.Tensor, second_bE: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of each view's partner among all 2 B - 1 other views of the global batch (eq. 1).

    Args:
        first_bE, second_bE: this process's unit vectors, paired by row.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    rank, _ = rank_and_world_size()
    b = len(first_bE)
    everything = torch.cat([gather_over_processes(first_bE), gather_over_processes(second_bE)])
    total = len(everything) // 2
    own = torch.arange(b, device=first_bE.device) + rank * b
    with torch.autocast(first_bE.device.type, enabled=False):  # half precision cannot tell close ones apart
        logits = torch.cat([first_bE, second_bE]) @ everything.T / temperature
    itself = torch.cat([own, own + total])
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(logits, torch.cat([own + total, own]))
