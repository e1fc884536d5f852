# SPDX-License-Identifier: Apache-2.0
"""MERL (Liu et al., ICML 2024, arXiv 2403.06659): contrast of ECGs and texts, and of two views of the ECG's feature.

Shapes: b records in this process, D width of the ECG encoder, U width of the views.
"""

import torch
from torch import nn
from torch.nn import functional as F

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.objectives import contrastive_loss
from cgdmer.training.objectives.base import Batch, Computed, precise
from cgdmer.training.objectives.two_towers import TwoTowers

TEMPERATURE = 0.07
DROPOUT, VIEW = 0.1, 256


class MERL(TwoTowers):
    """Cross-modal alignment (CMA), and uni-modal alignment (UMA) of what two linear heads with dropout make of one
    feature; signals are not augmented.

    Both losses are the two directions' cross-entropies in sum, as in the authors' code: twice `contrastive_loss`.
    Repeated findings are no negatives of CMA, as everywhere here (ours). UMA tells all records apart.
    """

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.views_of_feature = nn.ModuleList(
            nn.Sequential(nn.Linear(self.hidden_size, VIEW), nn.Dropout(DROPOUT)) for _ in range(2)
        )

    def compute(self, batch: Batch) -> Computed:
        pooled = self.encode(batch).pooler_output
        ecg, text = self.embeds(pooled, batch)
        own_ecg, *statements = self.pairs(ecg, text, batch)
        losses = {
            "cross_modal": 2 * contrastive_loss(own_ecg, text, TEMPERATURE, *statements),
            "uni_modal": self._uni_modal(pooled),
        }
        return Computed(losses, pooled, ecg, text)

    def _uni_modal(self, pooled_bD: torch.Tensor) -> torch.Tensor:
        first_bU, second_bU = (F.normalize(precise(view(pooled_bD)), dim=-1) for view in self.views_of_feature)
        return 2 * contrastive_loss(first_bU, second_bU, TEMPERATURE)

    def loss_weights(self) -> dict[str, float]:
        return {"cross_modal": 1.0, "uni_modal": 1.0}
