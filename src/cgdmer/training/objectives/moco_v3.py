# SPDX-License-Identifier: Apache-2.0
"""MoCo v3 (Chen, Xie, and He, ICCV 2021, arXiv 2104.02057): find the moving copy's key of the other view in the batch.

Shapes: b records in this process, B in all of them, E width of the projection.
"""

from typing import ClassVar

import torch
from torch.nn import functional as F

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_encoders import ECGViTModel
from cgdmer.models.objectives import gather_over_processes, rank_and_world_size
from cgdmer.training.objectives.base import Batch, Computed, MomentumCopy, Objective, mlp, precise
from cgdmer.training.objectives.byol import rising
from cgdmer.training.objectives.views import USUAL, TwoViews

TEMPERATURE = 0.2
MOMENTUM = 0.99  # at the start; it rises to 1 along a cosine
HIDDEN, PROJECTION = 512, 128


class MoCoV3(Objective):
    """Contrast with the keys of the batch; there is no queue any more.

    The linear map from patches to tokens of a ViT stays random, as in the paper, where its gradients were what made
    training unstable. Convolutions are trained.
    """

    views: ClassVar = TwoViews(USUAL, USUAL)

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        if isinstance(self.ecg_model, ECGViTModel):
            self.ecg_model.projection.requires_grad_(False)
        self.projector = mlp(self.hidden_size, HIDDEN, HIDDEN, PROJECTION, norm_last=True)
        self.predictor = mlp(PROJECTION, HIDDEN, PROJECTION, norm_last=True)
        self.target = MomentumCopy(encoder=self.ecg_model, projector=self.projector)

    def compute(self, batch: Batch) -> Computed:
        views = ("first", "second")
        pooled = [self.encode(batch, view).pooler_output for view in views]
        queries = [self.predictor(self.projector(one)) for one in pooled]
        with torch.no_grad():
            keys = [
                self.target.projector(self.encode(batch, view, self.target.encoder).pooler_output) for view in views
            ]
        loss = key_loss(queries[0], keys[1], TEMPERATURE) + key_loss(queries[1], keys[0], TEMPERATURE)
        return Computed({"contrastive": loss}, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}

    def after_step(self) -> None:
        self.target.follow(rising(MOMENTUM, self.progress), encoder=self.ecg_model, projector=self.projector)


def key_loss(queries_bE: torch.Tensor, keys_bE: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of each query's own key among the B keys of the global batch, times 2 tau (algorithm 1).

    Args:
        queries_bE, keys_bE: this process's, paired by row, of any length; no gradient reaches the keys.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    rank, _ = rank_and_world_size()
    own = torch.arange(len(queries_bE), device=queries_bE.device) + rank * len(queries_bE)
    keys_BE = gather_over_processes(F.normalize(precise(keys_bE.detach()), dim=-1))
    with torch.autocast(queries_bE.device.type, enabled=False):
        logits_bB = F.normalize(precise(queries_bE), dim=-1) @ keys_BE.T / temperature
    return 2 * temperature * F.cross_entropy(logits_bB, own)
