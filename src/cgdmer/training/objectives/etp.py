# SPDX-License-Identifier: Apache-2.0
"""ETP (Liu et al., ICASSP 2024, arXiv 2309.07145): contrast of ECGs and texts, as in CLIP, and nothing else.

No code was released; what the paper leaves open (heads, temperature) is as in CG-DMER here.
"""

from cgdmer.models.objectives import contrastive_loss
from cgdmer.training.objectives.base import Batch, Computed
from cgdmer.training.objectives.two_towers import TwoTowers

TEMPERATURE = 0.07


class ETP(TwoTowers):
    """Symmetric cross-entropy over the global batch; repeated findings are no negatives, as everywhere here (ours)."""

    def compute(self, batch: Batch) -> Computed:
        pooled = self.encode(batch).pooler_output
        ecg, text = self.embeds(pooled, batch)
        own_ecg, *statements = self.pairs(ecg, text, batch)
        losses = {"contrastive": contrastive_loss(own_ecg, text, TEMPERATURE, *statements)}
        return Computed(losses, pooled, ecg, text)

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}
