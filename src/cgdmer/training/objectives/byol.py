# SPDX-License-Identifier: Apache-2.0
"""BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733): predict a slowly moving copy's projection of the other view."""

import math
from typing import ClassVar

import torch
from torch.nn import functional as F

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.training.objectives.base import Batch, Computed, MomentumCopy, Objective, mlp, precise
from cgdmer.training.objectives.views import USUAL, TwoViews

MOMENTUM = 0.99  # at the start; it rises to 1 along a cosine. The paper's 0.996 is for a hundred times as many steps
HIDDEN, PROJECTION = 512, 128


class BYOL(Objective):
    """No negatives: the copy, the predictor, and batch normalization in the heads keep it from collapsing."""

    views: ClassVar = TwoViews(USUAL, USUAL)

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.projector = mlp(self.hidden_size, HIDDEN, PROJECTION)
        self.predictor = mlp(PROJECTION, HIDDEN, PROJECTION)
        self.target = MomentumCopy(encoder=self.ecg_model, projector=self.projector)

    def compute(self, batch: Batch) -> Computed:
        views = ("first", "second")
        pooled = [self.encode(batch, view).pooler_output for view in views]
        predicted = [self.predictor(self.projector(one)) for one in pooled]
        with torch.no_grad():
            targets = [
                self.target.projector(self.encode(batch, view, self.target.encoder).pooler_output) for view in views
            ]
        loss = negative_cosine(predicted[0], targets[1]) + negative_cosine(predicted[1], targets[0])
        return Computed({"prediction": 2 + loss}, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"prediction": 1.0}

    def after_step(self) -> None:
        self.target.follow(rising(MOMENTUM, self.progress), encoder=self.ecg_model, projector=self.projector)


def rising(momentum: float, progress: float) -> float:
    """From `momentum` at the start of the training to 1 at its end, along half a cosine."""
    return 1 - (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2


def negative_cosine(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Of each row, averaged; no gradient reaches the target."""
    return -F.cosine_similarity(precise(predicted), precise(target.detach()), dim=-1).mean()
