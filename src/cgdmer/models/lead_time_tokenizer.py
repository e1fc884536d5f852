# SPDX-License-Identifier: Apache-2.0
"""A token for every lead and patch (eq. 1): convolutions on the patch, a linear map, lead and time embeddings.

Shapes: B batch, L leads, T samples, N patches a lead, P samples a patch, D width.
"""

import torch
from torch import nn
from transformers import initialization as init


class PatchConvolutions(nn.Module):
    """Three convolutions, each with group normalisation and GELU, on one patch at a time: (.., P) -> (.., features).

    Every patch is normalised by itself, so that a token never depends on another patch, lead or record.
    """

    def __init__(self, patch_length: int, channels: int):
        super().__init__()
        sizes = [(1, 15, 8, 7), (channels, 3, 1, 1), (channels, 3, 1, 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, channels, kernel, stride, padding), nn.GroupNorm(4, channels), nn.GELU())
            for inputs, kernel, stride, padding in sizes
        )
        self.num_features = channels * ((patch_length - 1) // 8 + 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        hidden = patches.reshape(-1, 1, patches.shape[-1])
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden.reshape(*patches.shape[:-1], self.num_features)


class LeadTimeTokenizer(nn.Module):
    """Cut each lead in patches and make a token of each: W E[p_n] + temp_n + spa_l (eq. 1)."""

    def __init__(self, config):
        super().__init__()
        self.patch_length = config.patch_length
        self.patch_statistics = config.patch_statistics
        self.convolutions = PatchConvolutions(config.patch_length, config.tokenizer_channels)
        num_features = self.convolutions.num_features + (2 if config.patch_statistics else 0)
        self.projection = nn.Linear(num_features, config.hidden_size)
        self.lead_embedding = nn.Parameter(torch.zeros(config.num_leads, config.hidden_size))
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, config.hidden_size))

    def forward(self, ecg_values_BLT: torch.Tensor) -> torch.Tensor:
        patches_BLNP = ecg_values_BLT.unflatten(-1, (-1, self.patch_length)).to(self.projection.weight.dtype)
        features = self.convolutions(patches_BLNP)
        if self.patch_statistics:
            mean = patches_BLNP.mean(dim=-1, keepdim=True)
            # The floor (one microvolt squared, for input in millivolts) keeps the logarithm of a flat patch finite.
            log_deviation = 0.5 * torch.log(patches_BLNP.var(dim=-1, keepdim=True, unbiased=False) + 1e-6)
            features = torch.cat([features, mean, log_deviation], dim=-1)
        tokens_BLND = self.projection(features)
        return tokens_BLND + self.time_embedding + self.lead_embedding[:, None]


@torch.no_grad()
def init_lead_and_time_embeddings(lead_embedding_LD: torch.Tensor, time_embedding_ND: torch.Tensor) -> None:
    """Start values of the same size as the tokens they are added to (ours).

    Times start as sines and cosines, neighbours alike, and are learnt from there; leads start at random. From the usual
    deviation of 0.02 the decoder needs several times as many steps to find out which place is which.
    """
    init.normal_(lead_embedding_LD, std=0.5)
    patches, width = time_embedding_ND.shape
    frequencies = 1e-4 ** (torch.arange(0, width, 2, device=time_embedding_ND.device) / width)
    angles = torch.arange(patches, device=time_embedding_ND.device)[:, None] * frequencies
    init.copy_(time_embedding_ND, torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width])


__all__ = ["LeadTimeTokenizer", "init_lead_and_time_embeddings"]
