# SPDX-License-Identifier: Apache-2.0
"""ST-MEM's encoder (Na et al., ICLR 2024, arXiv 2402.09450), written from its description.

Shapes: B batch, L leads, T samples, N patches per lead, P samples per patch, S = N + 2, D width.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask

from .configuration_st_mem import STMEMConfig
from .lead_time_tokenizer import init_time_embedding
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification
from .transformer_layers import pre_norm_layers


class STMEMModel(AllLeadsEncoder):
    """A transformer over the patches of all leads in a row, each lead between two separators.

    `last_hidden_state` (B, L * N, D) are the patches lead by lead, without separators, and not normalized: the norm
    comes after the mean over them. Absent leads, with their separators, and patches beyond the end are left out of
    attention and of the mean; `visible_mask` (B, L * N) says which patches remain.
    """

    config: STMEMConfig
    tokens_have_leads = True
    auto_classes: ClassVar = {
        "AutoModel": "modeling_st_mem.STMEMModel",
        "AutoModelForAudioClassification": "modeling_st_mem.STMEMForECGClassification",
    }

    def __init__(self, config: STMEMConfig):
        super().__init__(config)
        width = config.hidden_size
        self.patch_norm = nn.LayerNorm(config.patch_length, eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.patch_length, width)
        self.token_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.separator = nn.Parameter(torch.zeros(width))
        self.position_embedding = nn.Parameter(torch.zeros(config.num_patches + 2, width))
        self.lead_embedding = nn.Parameter(torch.zeros(len(config.leads), width))
        self.layers = pre_norm_layers(config)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.projection

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init_time_embedding(self.position_embedding)
            init.normal_(self.separator, std=self.config.initializer_range)
            init.normal_(self.lead_embedding, std=self.config.initializer_range)

    def embed(self, signal_BLT: torch.Tensor) -> torch.Tensor:
        """The tokens (B, L, S, D) that enter the first layer."""
        patches_BLNP = signal_BLT.unflatten(-1, (-1, self.config.patch_length))
        tokens = self.token_norm(self.projection(self.patch_norm(patches_BLNP)))
        separators = self.separator.expand(*tokens.shape[:2], 1, -1)
        tokens = torch.cat([separators, tokens, separators], dim=2)
        return tokens + self.position_embedding + self.lead_embedding[:, None]

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        tokens = self.embed(signal_BLT)
        hidden = tokens.flatten(1, 2)
        visible_BM, attention_mask = None, None
        if lead_mask_BL is not None or patch_mask_BN is not None:
            seen_BLS = torch.ones(tokens.shape[:3], dtype=torch.bool, device=tokens.device)
            if lead_mask_BL is not None:
                seen_BLS = seen_BLS & lead_mask_BL.bool()[..., None]
            if patch_mask_BN is not None:
                within_BS = nn.functional.pad(patch_mask_BN.bool(), (1, 1), value=True)
                seen_BLS = seen_BLS & within_BS[:, None]
            visible_BM = self._without_separators(seen_BLS)
            attention_mask = create_bidirectional_mask(self.config, hidden, seen_BLS.flatten(1))
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        return self._without_separators(hidden.unflatten(1, tokens.shape[1:3])), visible_BM

    @staticmethod
    def _without_separators(of_all: torch.Tensor) -> torch.Tensor:
        """(B, L, S, ..) -> (B, L * N, ..)."""
        return of_all[:, :, 1:-1].flatten(1, 2)

    def pool(self, hidden_BKD, mask_BK):
        return self.norm(super().pool(hidden_BKD, mask_BK))


class STMEMForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature."""

    config: STMEMConfig
    encoder_class = STMEMModel
    auto_classes = STMEMModel.auto_classes
