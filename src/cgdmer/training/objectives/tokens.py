# SPDX-License-Identifier: Apache-2.0
"""What methods that look at an encoder's tokens need of it, beyond its one vector for a record.

Shapes: b records, L leads, N patches per lead (columns), M = L * N places, K tokens, D width.
"""

import math
from typing import Any

import torch

from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel, present_patches
from cgdmer.models.modeling_ecg_encoders import ECGResNetModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder
from cgdmer.training.objectives.base import Batch

SAMPLES_PER_FRAME = 16  # of a ResNet


def refuse_other_than_lead_time(encoder: ECGPreTrainedModel, method: str) -> None:
    """
    Raises:
        ConfigurationError: the encoder has no tokens per lead.
    """
    if not isinstance(encoder, LeadTimeEncoder):
        raise ConfigurationError(
            f"{method} hides tokens, which an encoder of type {encoder.config.model_type!r} cannot. Choose a model "
            "whose ECG encoder has a token per lead and patch, such as --config_name cgdmer-tiny."
        )


def is_complete(batch: Batch) -> bool:
    """Whether nothing of any record is absent."""
    return "lead_mask" not in batch and "patch_mask" not in batch


def present_in(batch: Batch, encoder: ECGPreTrainedModel) -> torch.Tensor:
    """(b, L, N) bool: the lead was recorded and the patch lies within the recording."""
    masks = (batch.get("lead_mask"), batch.get("patch_mask"))
    return present_patches(batch["ecg_values"], masks[0], masks[1], encoder.config.num_patches)


def in_place(tokens_bKD: torch.Tensor, indices_bK: torch.Tensor, num_places: int) -> torch.Tensor:
    """(b, M, D): each token where it belongs, and zeros where there is none.

    Args:
        indices_bK: which of the M places each token represents.
    """
    b, _, width = tokens_bKD.shape
    places_bMD = tokens_bKD.new_zeros(b, num_places, width)
    return places_bMD.scatter(1, indices_bK[..., None].expand_as(tokens_bKD), tokens_bKD)


def number_of_moments(encoder: ECGPreTrainedModel) -> int:
    """How many moments `by_time` returns."""
    config = encoder.config
    if isinstance(encoder, ECGResNetModel):
        return math.ceil(config.num_samples / SAMPLES_PER_FRAME)
    moments: int = config.num_patches
    return moments


def by_time(
    encoder: ECGPreTrainedModel, output: Any, patch_mask_bN: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """An encoder's output as a sequence: columns, averaged over their leads, or frames of a ResNet.

    Args:
        output: for inputs with that `patch_mask`.

    Returns:
        (b, moments, D), and (b, moments) bool, False beyond a recording's end.
    """
    config, hidden = encoder.config, output.last_hidden_state
    moments = number_of_moments(encoder)
    if isinstance(encoder, LeadTimeEncoder):
        places = (output.visible_indices, config.num_leads * config.num_patches)
        valid = in_place(output.visible_mask[..., None].to(hidden.dtype), *places).unflatten(1, (-1, moments))
        sums = (in_place(hidden, *places).unflatten(1, (-1, moments)) * valid).sum(dim=1)
        hidden = sums / valid.sum(dim=1).clamp(min=1)
    present = hidden.new_ones(len(hidden), moments, dtype=torch.bool)
    if patch_mask_bN is not None:
        samples = torch.arange(moments, device=hidden.device) * math.ceil(config.num_samples / moments)
        present = patch_mask_bN[:, samples // config.patch_length].bool()
    return hidden, present
