# SPDX-License-Identifier: Apache-2.0
"""SimSiam (Chen and He, CVPR 2021, arXiv 2011.10566): predict the other view's projection, without a moving copy."""

from typing import ClassVar

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.training.objectives.base import Batch, Computed, Objective, mlp
from cgdmer.training.objectives.byol import negative_cosine
from cgdmer.training.objectives.views import USUAL, TwoViews

PROJECTION = 512
BOTTLENECK = 128  # of the predictor: a quarter, as in the paper (2048 and 512)


class SimSiam(Objective):
    """No negatives and no copy: that no gradient reaches the target keeps it from collapsing."""

    views: ClassVar = TwoViews(USUAL, USUAL)

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.projector = mlp(self.hidden_size, PROJECTION, PROJECTION, PROJECTION, norm_last=True)
        self.predictor = mlp(PROJECTION, BOTTLENECK, PROJECTION)

    def compute(self, batch: Batch) -> Computed:
        pooled = [self.encode(batch, view).pooler_output for view in ("first", "second")]
        first, second = (self.projector(one) for one in pooled)
        loss = negative_cosine(self.predictor(first), second) + negative_cosine(self.predictor(second), first)
        return Computed({"prediction": 1 + loss / 2}, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"prediction": 1.0}
