# SPDX-License-Identifier: Apache-2.0
"""The decoder that restores masked patches from the visible tokens (masked autoencoder, joint over leads and time).

Shapes: B batch, L leads, N patches per lead, M = L * N, P samples per patch, K visible tokens, D encoder width,
C decoder width.
"""

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask

from .transformer_layers import pre_norm_layers


class ECGDecoder(nn.Module):
    """Visible tokens in, every patch out; masked places hold one learned token plus the place's embeddings."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width = config.decoder_hidden_size
        self.embedding = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.lead_embedding = nn.Parameter(torch.zeros(config.num_leads, width))
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, width))
        self.layers = pre_norm_layers(config, part="decoder_")
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.prediction = nn.Linear(width, config.patch_length)

    def forward(
        self,
        visible_BKD: torch.Tensor,
        visible_indices_BK: torch.Tensor,
        visible_valid_BK: torch.Tensor,
        present_BLN: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns (B, L, N, P).

        Args:
            visible_BKD: the encoder's last hidden states.
            visible_indices_BK: which of the L * N places each one represents.
            visible_valid_BK: False for the padding of records with fewer visible tokens.
            present_BLN: the patches that exist; others are never attended to. None: all exist.
        """
        batch, leads, patches = len(visible_BKD), len(self.lead_embedding), len(self.time_embedding)
        embedded_BKC = self.embedding(visible_BKD)
        filled_BMC = self.mask_token.to(embedded_BKC.dtype).expand(batch, leads * patches, -1)
        # A padding token points at some absent or masked place, which must keep the mask token.
        embedded_BKC = torch.where(visible_valid_BK[..., None], embedded_BKC, self.mask_token.to(embedded_BKC.dtype))
        filled_BMC = filled_BMC.scatter(1, visible_indices_BK[..., None].expand_as(embedded_BKC), embedded_BKC)
        place_MC = (self.lead_embedding[:, None] + self.time_embedding).flatten(0, 1)
        hidden = filled_BMC + place_MC
        attention_mask = None
        if present_BLN is not None:
            attention_mask = create_bidirectional_mask(self.config, hidden, present_BLN.flatten(1))
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        return self.prediction(self.norm(hidden)).unflatten(1, (leads, patches))
