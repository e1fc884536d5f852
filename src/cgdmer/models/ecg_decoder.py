# SPDX-License-Identifier: Apache-2.0
"""The decoder that restores masked patches from the visible tokens.

Shapes: B batch, L leads, N patches per lead (columns), M = L * N places, P samples per patch, K visible tokens,
Q places to restore, D encoder width, C decoder width.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .transformer_layers import ECGAttention, FeedForward


class ECGDecoder(nn.Module):
    """Each place to restore asks the visible tokens of the columns around it, and no other place (ours).

    The paper leaves the decoder open. In a masked autoencoder's usual one, all places attend to each other. On ten
    seconds, 300 tokens of which 210 know nothing, that restores nothing for as long as anybody has waited: an ECG's
    masked patch follows from the other leads at the same time, which are hard to find among so many. Cross-attention
    alone (Fu et al., arXiv 2401.14391), within `decoder_reach` columns, finds them within a few hundred steps. It also
    allows to restore only some of the masked places, which costs accordingly less.
    """

    def __init__(self, config):
        super().__init__()
        # A mask that differs between places is nothing for flash or flex attention.
        config = copy.copy(config)
        config._attn_implementation = "sdpa"
        width = config.decoder_hidden_size
        self.reach = config.decoder_reach
        self.embedding = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.lead_embedding = nn.Parameter(torch.zeros(config.num_leads, width))
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, width))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.prediction = nn.Linear(width, config.patch_length)

    def forward(
        self,
        visible_BKD: torch.Tensor,
        visible_indices_BK: torch.Tensor,
        visible_valid_BK: torch.Tensor,
        places_BQ: torch.Tensor,
    ) -> torch.Tensor:
        """Returns (B, Q, P).

        Args:
            visible_BKD: the encoder's last hidden states.
            visible_indices_BK: which of the L * N places each one represents.
            visible_valid_BK: False for the padding of records with fewer visible tokens.
            places_BQ: which of the L * N places to restore.
        """
        place_MC = (self.lead_embedding[:, None] + self.time_embedding).flatten(0, 1)
        visible_BKC = self.embedding(visible_BKD) + F.embedding(visible_indices_BK, place_MC)
        hidden = self.mask_token + F.embedding(places_BQ, place_MC)
        looks_at = self._looks_at(places_BQ, visible_indices_BK, visible_valid_BK)[:, None]
        for layer in self.layers:
            hidden = layer(hidden, visible_BKC, looks_at)
        return self.prediction(self.norm(hidden))

    def _looks_at(self, places_BQ, visible_indices_BK, visible_valid_BK) -> torch.Tensor:
        """(B, Q, K) bool: within reach. A place with nothing visible in reach looks at everything."""
        columns = len(self.time_embedding)
        valid_B1K = visible_valid_BK[:, None]
        if self.reach is None:
            return valid_B1K.expand(-1, places_BQ.shape[1], -1)
        apart_BQK = ((places_BQ % columns)[:, :, None] - (visible_indices_BK % columns)[:, None]).abs()
        near_BQK = (apart_BQK <= self.reach) & valid_B1K
        return near_BQK | (valid_B1K & ~near_BQK.any(dim=-1, keepdim=True))


class DecoderLayer(GradientCheckpointingLayer):
    """Cross-attention and a feed-forward network, each after a norm."""

    def __init__(self, config):
        super().__init__()
        width, heads = config.decoder_hidden_size, config.decoder_num_attention_heads
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.visible_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = ECGAttention(config, width, heads, config.attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(width, config.decoder_intermediate_size, config.hidden_act)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor, visible: torch.Tensor, looks_at: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(self.attention_norm(hidden_states), looks_at, self.visible_norm(visible))
        hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))
