# SPDX-License-Identifier: Apache-2.0
"""JEPA for ECGs (Kim, arXiv 2410.08559): predict a slowly moving copy's tokens of what is hidden.

After I-JEPA for images (Assran et al., CVPR 2023, arXiv 2301.08243).

Shapes: b records in this process, L leads, N patches per lead (columns), Q hidden places, D width.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from cgdmer.models.ecg_decoder import ECGDecoder
from cgdmer.models.masking import gather_visible, mask_patches, most_visible
from cgdmer.models.modeling_base import ECGPreTrainedModel, masked_mean
from cgdmer.training.objectives.base import Batch, Computed, MomentumCopy, Objective, precise
from cgdmer.training.objectives.tokens import in_place, is_complete, present_in, refuse_other_than_lead_time

HIDDEN_SHARE = 0.65  # of the columns, in all leads: from the other leads at the same time, a token nearly follows
MOMENTUM = 0.99  # at the start; it rises to 1 with the progress. Kim's 0.996 is for a hundred times as many steps


class JEPA(Objective):
    """The encoder sees a third of each record, the copy all of it. Records are not compared with each other.

    Raises:
        ConfigurationError: the encoder has no tokens per lead.
    """

    contrasts: ClassVar = False

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        refuse_other_than_lead_time(self.ecg_model, "JEPA")
        config = self.ecg_model.config
        self.predictor = ECGDecoder(config)
        self.predictor.prediction = nn.Linear(config.decoder_hidden_size, self.hidden_size)
        self.predictor.apply(self.ecg_model._init_weights)
        self.teacher = MomentumCopy(encoder=self.ecg_model)
        self._num_visible = most_visible(config.num_leads, config.num_patches, "time", HIDDEN_SHARE, 0.0)

    def train(self, mode: bool = True) -> "JEPA":
        super().train(mode)
        self.teacher.eval()  # targets without dropout
        return self

    def compute(self, batch: Batch) -> Computed:
        hidden_bLN = mask_patches(batch["noise"], present_in(batch, self.ecg_model), "time", HIDDEN_SHARE)
        context = self.ecg_model(
            *(batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"), hidden_bLN),
            num_visible=self._num_visible if is_complete(batch) else None,
            return_dict=True,
        )
        places_bQ, valid_bQ = gather_visible(hidden_bLN.flatten(1), hidden_bLN[0].numel() - self._num_visible)
        predicted_bQD = self.predictor(
            context.last_hidden_state, context.visible_indices, context.visible_mask, places_bQ
        )
        error_bQD = F.smooth_l1_loss(precise(predicted_bQD), self.targets(batch, places_bQ), reduction="none")
        loss = masked_mean(error_bQD.mean(dim=-1, keepdim=True), valid_bQ).mean()
        return Computed({"prediction": loss}, context.pooler_output)

    @torch.no_grad()
    def targets(self, batch: Batch, places_bQ: torch.Tensor) -> torch.Tensor:
        """(b, Q, D): the copy's tokens at these places of the whole record, each with mean 0 and deviation 1."""
        teacher: Any = self.teacher.encoder
        whole = self.encode(batch, encoder=teacher)
        num_places = self.ecg_model.config.num_leads * self.ecg_model.config.num_patches
        tokens_bMD = in_place(precise(whole.last_hidden_state), whole.visible_indices, num_places)
        target_bQD = tokens_bMD.gather(1, places_bQ[..., None].expand(-1, -1, self.hidden_size))
        return F.layer_norm(target_bQD, target_bQD.shape[-1:])

    def loss_weights(self) -> dict[str, float]:
        return {"prediction": 1.0}

    def after_step(self) -> None:
        self.teacher.follow(MOMENTUM + (1 - MOMENTUM) * self.progress, encoder=self.ecg_model)
