# SPDX-License-Identifier: Apache-2.0
"""What methods that look at an encoder's tokens need of it, beyond its one vector for a record.

Shapes: b records, L leads, N patches per lead (columns), M = L * N places, K tokens, D width.
"""

import torch

from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoder


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


def in_place(tokens_bKD: torch.Tensor, indices_bK: torch.Tensor, num_places: int) -> torch.Tensor:
    """(b, M, D): each token where it belongs, and zeros where there is none.

    Args:
        indices_bK: which of the M places each token represents.
    """
    b, _, width = tokens_bKD.shape
    places_bMD = tokens_bKD.new_zeros(b, num_places, width)
    return places_bMD.scatter(1, indices_bK[..., None].expand_as(tokens_bKD), tokens_bKD)
