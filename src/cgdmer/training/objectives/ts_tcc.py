# SPDX-License-Identifier: Apache-2.0
"""TS-TCC (Eldele et al., IJCAI 2021, arXiv 2106.14112): one view's past predicts the other view's next moments.

Shapes: b records in this process, B in all of them, F moments of time, K moments predicted, D width of the encoder,
C of the context.
"""

import copy
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel, masked_mean
from cgdmer.models.objectives import gather_over_processes, rank_and_world_size
from cgdmer.models.transformer_layers import ECGLayer
from cgdmer.training.objectives.base import Batch, Computed, Objective, mlp, precise
from cgdmer.training.objectives.simclr import nt_xent
from cgdmer.training.objectives.tokens import by_time, number_of_moments
from cgdmer.training.objectives.views import TwoViews, jitter, permute, scale

MOST_PREDICTED = 10  # moments, and at most a third of the window
CONTEXT, LAYERS, HEADS, INNER = 128, 4, 4, 64  # the context's transformer
PROJECTION = (64, 32)
TEMPERATURE = 0.2  # of the contextual loss
WEIGHTS = {"temporal": 1.0, "contextual": 0.7}


class TSTCC(Objective):
    """A weak view (scaled) and a strong one (permuted, with noise), each of which predicts the other.

    Raises:
        ConfigurationError: the window is a single patch.
    """

    views: ClassVar = TwoViews((scale,), (permute, jitter))

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.moments = number_of_moments(self.ecg_model)
        if self.moments < 2:
            raise ConfigurationError("TS-TCC predicts later patches from earlier ones, but the window is one patch.")
        steps = max(1, min(MOST_PREDICTED, self.moments // 3))
        config = copy.copy(self.ecg_model.config)
        config._attn_implementation = "sdpa"  # flash attention takes no mask of this kind
        self.embedding = nn.Linear(self.hidden_size, CONTEXT)
        self.layers = nn.ModuleList(
            ECGLayer(config, CONTEXT, HEADS, INNER, "gelu", hidden_dropout=0.0, attention_dropout=0.0)
            for _ in range(LAYERS)
        )
        self.predictors = nn.ModuleList(nn.Linear(CONTEXT, self.hidden_size) for _ in range(steps))
        self.projector = mlp(CONTEXT, *PROJECTION)

    def compute(self, batch: Batch) -> Computed:
        outputs = [self.encode(batch, view) for view in ("first", "second")]
        sequences = [
            by_time(self.ecg_model, output, batch.get(f"{view}_patch_mask"))
            for output, view in zip(outputs, ("first", "second"), strict=True)
        ]
        features = [F.normalize(precise(hidden_bFD), dim=-1) for hidden_bFD, _ in sequences]
        now = self.moment(batch["noise"])
        contexts = [self.context(one).index_select(1, now)[:, 0] for one in features]
        later = now + torch.arange(1, len(self.predictors) + 1, device=now.device)
        temporal = torch.zeros((), device=now.device)
        for own, other in ((0, 1), (1, 0)):
            predicted_bKD = torch.stack([predictor(contexts[own]) for predictor in self.predictors], dim=1)
            target_bKD, present_bK = (part.index_select(1, later) for part in (features[other], sequences[other][1]))
            temporal = temporal + temporal_loss(predicted_bKD, target_bKD, present_bK)
        first, second = F.normalize(precise(self.projector(torch.cat(contexts))), dim=-1).chunk(2)
        contextual = nt_xent(first, second, TEMPERATURE)
        return Computed({"temporal": temporal, "contextual": contextual}, outputs[0].pooler_output)

    def loss_weights(self) -> dict[str, float]:
        return WEIGHTS

    def moment(self, noise_bLN: torch.Tensor) -> torch.Tensor:
        """(1,) int64: the last moment that is read. It is the same for all records, else it would tell them apart."""
        # A sum of uniform numbers modulo one is uniform too, and every process knows this one.
        uniform = gather_over_processes(noise_bLN[:, 0, 0].contiguous()).sum() % 1
        choices = self.moments - len(self.predictors)
        return (uniform * choices).long().clamp(max=choices - 1).view(1)

    def context(self, features_bFD: torch.Tensor) -> torch.Tensor:
        """(b, F, C): what a transformer makes of each moment and those before it."""
        hidden = self.embedding(features_bFD)
        before_FF = torch.ones(2 * [hidden.shape[1]], dtype=torch.bool, device=hidden.device).tril()
        for layer in self.layers:
            hidden = layer(hidden, before_FF[None, None])
        return hidden


def temporal_loss(predicted_bKD: torch.Tensor, target_bKD: torch.Tensor, present_bK: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of a record's moment among the same moment of all records of the global batch (eq. 2).

    Averaged over the moments of each record first, then over records.

    Args:
        present_bK: False for moments beyond a recording's end.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    b = len(predicted_bKD)
    rank, _ = rank_and_world_size()
    candidates_KDB = gather_over_processes(target_bKD).permute(1, 2, 0)
    is_absent_KB = ~gather_over_processes(present_bK.to(torch.uint8)).bool().T
    with torch.autocast(predicted_bKD.device.type, enabled=False):
        logits_KbB = precise(predicted_bKD).transpose(0, 1) @ candidates_KDB
    # A missing target is left out below; here it must not make a loss infinite.
    logits_KbB = logits_KbB.masked_fill(is_absent_KB[:, None], torch.finfo(logits_KbB.dtype).min)
    own_b = torch.arange(b, device=logits_KbB.device) + rank * b
    losses_bK = F.cross_entropy(logits_KbB.permute(1, 2, 0), own_b[:, None].expand_as(present_bK), reduction="none")
    return masked_mean(losses_bK[..., None], present_bK).mean()
