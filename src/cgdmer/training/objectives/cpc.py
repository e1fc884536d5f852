# SPDX-License-Identifier: Apache-2.0
"""CPC (van den Oord et al., arXiv 1807.03748): tell from a record's past which segment comes next.

For ECGs: Mehari and Strodthoff (Comput. Biol. Med. 2022, arXiv 2103.12676).

Shapes: b records in this process, B in all of them, L leads, N patches per lead, P samples per patch, S segments of
G patches, D width of the encoder, C of the context.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.masking_utils import create_bidirectional_mask

from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel, masked_mean
from cgdmer.models.modeling_ecg_encoders import ECGResNetModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder
from cgdmer.models.objectives import gather_over_processes, rank_and_world_size
from cgdmer.training.objectives.base import Batch, Computed, Objective, precise
from cgdmer.training.objectives.tokens import is_complete, present_in

SEGMENT_SECONDS = 0.5  # rounded to whole patches, of which it has two at least
STEPS_AHEAD = 4
CONTEXT = 256


class CPC(Objective):
    """A recurrent network reads segments that were encoded one by one, so that nothing of the future can reach it.

    Raises:
        ConfigurationError: the window holds fewer than two segments.
    """

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        config = self.ecg_model.config
        # Two at least, since attention among the tokens of a ViT would otherwise have nothing to learn.
        self.patches = max(2, round(SEGMENT_SECONDS * config.sampling_rate / config.patch_length))
        self.segments = config.num_patches // self.patches
        if self.segments < 2:
            raise ConfigurationError(
                f"CPC predicts segments of {self.patches} patches from earlier ones, but the window has "
                f"{config.num_patches} patches. Choose a model with a longer window."
            )
        self.context = nn.GRU(self.hidden_size, CONTEXT, batch_first=True)
        steps = min(STEPS_AHEAD, self.segments - 1)
        self.predictors = nn.ModuleList(nn.Linear(CONTEXT, self.hidden_size, bias=False) for _ in range(steps))

    def compute(self, batch: Batch) -> Computed:
        segments_bSD, present_bS = self.encode_segments(batch)
        context_bSC, _ = self.context(segments_bSD)
        predicted = [predictor(context_bSC[:, :-step]) for step, predictor in enumerate(self.predictors, 1)]
        loss = info_nce(predicted, segments_bSD, present_bS)
        return Computed({"contrastive": loss}, masked_mean(segments_bSD, present_bS))

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}

    def encode_segments(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, S, D), the mean token of each segment, and (b, S) bool, whether all of it was recorded."""
        present_bLN = present_in(batch, self.ecg_model)
        present_bLSG = self._cut(present_bLN)
        present_bS = present_bLSG.any(dim=1).all(dim=-1)
        if isinstance(self.ecg_model, ECGResNetModel):
            return self._by_convolutions(batch["ecg_values"], present_bLN), present_bS
        return self._by_attention(batch, present_bLN, None if is_complete(batch) else present_bLSG), present_bS

    def _cut(self, columns: torch.Tensor) -> torch.Tensor:
        """(b, L, N, ...) -> (b, L, S, G, ...), without what is left at the end."""
        return columns[:, :, : self.segments * self.patches].unflatten(2, (self.segments, self.patches))

    def _by_convolutions(self, values_bLT: torch.Tensor, present_bLN: torch.Tensor) -> torch.Tensor:
        encoder = self.ecg_model
        patches_bLNP = values_bLT.unflatten(-1, (-1, encoder.config.patch_length))
        segments_bSLT = self._cut(patches_bLNP.masked_fill(~present_bLN[..., None], 0.0)).flatten(3).transpose(1, 2)
        hidden, _ = encoder.encode(segments_bSLT.flatten(0, 1).to(encoder.dtype), None, None)
        return hidden.mean(dim=1).unflatten(0, segments_bSLT.shape[:2])

    def _by_attention(
        self, batch: Batch, present_bLN: torch.Tensor, present_bLSG: torch.Tensor | None
    ) -> torch.Tensor:
        """Each segment by itself, at a random place in the window: its own would tell which segment it is."""
        encoder, values_bLT = self.ecg_model, batch["ecg_values"]
        if isinstance(encoder, LeadTimeEncoder):
            time_ND = encoder.tokenizer.time_embedding
            content_bLND = encoder.tokenizer(values_bLT).unflatten(1, (encoder.config.num_leads, -1)) - time_ND
        else:  # a ViT, with one token for all leads
            time_ND = encoder.time_embedding
            patches_bLNP = values_bLT.unflatten(-1, (-1, encoder.config.patch_length))
            patches_bLNP = patches_bLNP.masked_fill(~present_bLN[..., None], 0.0).to(encoder.dtype)
            content_bLND = encoder.projection(patches_bLNP.transpose(1, 2).flatten(2))[:, None]
            if present_bLSG is not None:
                present_bLSG = present_bLSG.any(dim=1, keepdim=True)
        first_bS = (batch["noise"][:, 0, : self.segments] * (len(time_ND) - self.patches + 1)).long()
        places_bSG = first_bS[..., None] + torch.arange(self.patches, device=first_bS.device)
        tokens_bSLGD = self._cut(content_bLND).transpose(1, 2) + F.embedding(places_bSG, time_ND)[:, :, None]
        hidden = encoder.dropout(tokens_bSLGD.flatten(2, 3).flatten(0, 1))
        attention_mask, valid = None, hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
        if present_bLSG is not None:
            valid = present_bLSG.transpose(1, 2).flatten(2).flatten(0, 1)
            valid = valid | ~valid.any(dim=1, keepdim=True)  # an absent one is left out later
            attention_mask = create_bidirectional_mask(encoder.config, hidden, valid)
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask)
        return masked_mean(encoder.norm(hidden), valid).unflatten(0, first_bS.shape)


def info_nce(predicted: list[torch.Tensor], segments_bSD: torch.Tensor, present_bS: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the right segment among all segments of the global batch (eq. 4), the same record's included.

    Averaged over the predictions of each record first, then over records.

    Args:
        predicted: for each number k of steps ahead, from 1: (b, S - k, D), of segments k and later.
        present_bS: False for segments that do not exist.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    b, count, _ = segments_bSD.shape
    rank, _ = rank_and_world_size()
    candidates = precise(gather_over_processes(segments_bSD)).flatten(0, 1)
    is_absent = ~gather_over_processes(present_bS.to(torch.uint8)).flatten().bool()
    numbers_bS = torch.arange(b * count, device=segments_bSD.device).unflatten(0, (b, count)) + rank * b * count
    total_b, counts_b = candidates.new_zeros(b), candidates.new_zeros(b)
    for step, ahead in enumerate(predicted, 1):
        with torch.autocast(ahead.device.type, enabled=False):
            logits = precise(ahead).flatten(0, 1) @ candidates.T
        target = numbers_bS[:, step:]
        # A missing target is left out below; here it must not make a loss infinite.
        logits = logits.masked_fill(is_absent, torch.finfo(logits.dtype).min)
        losses_bS = F.cross_entropy(logits, target.flatten(), reduction="none").view_as(target)
        total_b = total_b + losses_bS.masked_fill(~present_bS[:, step:], 0.0).sum(dim=1)
        counts_b = counts_b + present_bS[:, step:].sum(dim=1)
    return (total_b / counts_b.clamp(min=1)).mean()
