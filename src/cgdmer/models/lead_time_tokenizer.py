# SPDX-License-Identifier: Apache-2.0
"""One token per lead and patch (eq. 1): convolutions on the patch, a linear map, and lead and time embeddings.

Shapes: B batch, L leads, T samples, N patches per lead, M = L * N, P samples per patch, K tokens, D width.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init


class PatchConvolutions(nn.Module):
    """Three convolutions, each with group normalization and GELU, on one patch at a time: (.., P) -> (.., features).

    Each patch is normalized by itself, so a token never depends on another patch, lead, or record.
    """

    def __init__(self, patch_length: int, channels: int, stride: int):
        super().__init__()
        sizes = [(1, 15, stride, 7), (channels, 3, 1, 1), (channels, 3, 1, 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, channels, kernel, stride, padding), nn.GroupNorm(4, channels), nn.GELU())
            for inputs, kernel, stride, padding in sizes
        )
        self.num_features = channels * ((patch_length - 1) // stride + 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        hidden = patches.reshape(-1, 1, patches.shape[-1])
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden.reshape(*patches.shape[:-1], self.num_features)


class LeadTimeTokenizer(nn.Module):
    """Cuts each lead into patches and turns each one into a token: W E[p_n] + temp_n + spa_l (eq. 1)."""

    def __init__(self, config):
        super().__init__()
        self.patch_length = config.patch_length
        self.raw_patch = config.raw_patch
        self.convolutions = PatchConvolutions(config.patch_length, config.tokenizer_channels, config.tokenizer_stride)
        num_features = self.convolutions.num_features + (config.patch_length if config.raw_patch else 0)
        self.projection = nn.Linear(num_features, config.hidden_size)
        self.lead_embedding = nn.Parameter(torch.zeros(config.num_leads, config.hidden_size))
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, config.hidden_size))

    def forward(self, ecg_values_BLT: torch.Tensor, indices_BK: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, K, D) of the given patches; without `indices_BK`, of all L * N patches (lead by lead)."""
        patches_BMP = ecg_values_BLT.unflatten(-1, (-1, self.patch_length)).flatten(1, 2)
        patches_BMP = patches_BMP.to(self.lead_embedding.dtype)  # a quantized projection has none
        place_MD = (self.time_embedding + self.lead_embedding[:, None]).flatten(0, 1)
        if indices_BK is not None:
            patches_BMP = patches_BMP.gather(1, indices_BK[..., None].expand(-1, -1, self.patch_length))
            # Unlike indexing, its backward pass always adds in the same order, even on several cores.
            place_MD = F.embedding(indices_BK, place_MD)
        features = self.convolutions(patches_BMP)
        if self.raw_patch:
            features = torch.cat([features, patches_BMP], dim=-1)
        return self.projection(features) + place_MD


@torch.no_grad()
def init_lead_and_time_embeddings(lead_embedding_LD: torch.Tensor, time_embedding_ND: torch.Tensor) -> None:
    """Initial values as large as the tokens that they are added to (ours); all are learned from there.

    Time embeddings start as sines and cosines, with similar neighbors; lead embeddings are random. With the usual
    deviation of 0.02, the decoder needs several times as many steps to learn which place is which.
    """
    init.normal_(lead_embedding_LD, std=0.5)
    init_time_embedding(time_embedding_ND)


@torch.no_grad()
def init_time_embedding(time_embedding_ND: torch.Tensor) -> None:
    """Sines and cosines, with similar neighbors."""
    patches, width = time_embedding_ND.shape
    frequencies = 1e-4 ** (torch.arange(0, width, 2, device=time_embedding_ND.device) / width)
    angles = torch.arange(patches, device=time_embedding_ND.device)[:, None] * frequencies
    init.copy_(time_embedding_ND, torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width])
