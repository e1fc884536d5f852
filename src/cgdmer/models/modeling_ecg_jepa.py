# SPDX-License-Identifier: Apache-2.0
"""ECG-JEPA's encoder (Kim, arXiv 2410.08559), written from its description; not the other method of this name.

Shapes: B batch, L leads, T samples, N patches per lead, K = L * N tokens (lead by lead), D width.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from .configuration_ecg_jepa import ECGJEPAConfig
from .lead_time_tokenizer import init_time_embedding
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification
from .transformer_layers import pre_norm_layers


class ECGJEPAModel(AllLeadsEncoder):
    """A transformer with a token per lead and patch, each of which sees its own lead and its own time only.

    Positions are added again before every layer. Absent leads and patches beyond the end are seen by no other token,
    and are not in the mean; `visible_mask` (B, K) says which tokens remain.
    """

    config: ECGJEPAConfig
    tokens_have_leads = True
    auto_classes: ClassVar = {
        "AutoModel": "modeling_ecg_jepa.ECGJEPAModel",
        "AutoModelForAudioClassification": "modeling_ecg_jepa.ECGJEPAForECGClassification",
    }
    # Neither takes a mask that differs from token to token.
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: ECGJEPAConfig):
        super().__init__(config)
        self.projection = nn.Linear(config.patch_length, config.hidden_size)
        places = len(config.leads) * config.num_patches
        # Never trained, but stored: a released file has its own.
        self.register_buffer("position_embedding", torch.zeros(places, config.hidden_size))
        self.layers = pre_norm_layers(config, qkv_bias=False)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.projection

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            leads, patches, width = len(self.config.leads), self.config.num_patches, self.config.hidden_size
            whole = self.position_embedding
            of_lead, of_time = whole.new_empty(leads, width // 2), whole.new_empty(patches, width - width // 2)
            init_time_embedding(of_lead)
            init_time_embedding(of_time)
            both = of_lead[:, None].expand(-1, patches, -1), of_time.expand(leads, -1, -1)
            init.copy_(whole, torch.cat(both, dim=-1).flatten(0, 1))

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        patches_BKP = signal_BLT.unflatten(-1, (-1, self.config.patch_length)).flatten(1, 2)
        hidden = self.projection(patches_BKP)
        present_BK = self._present(lead_mask_BL, patch_mask_BN)
        attention_mask = self._attention_mask(present_BK, hidden)
        for layer in self.layers:
            hidden = layer(hidden + self.position_embedding, attention_mask)
        return self.norm(hidden), present_BK

    def _present(self, lead_mask_BL: torch.Tensor | None, patch_mask_BN: torch.Tensor | None) -> torch.Tensor | None:
        """(B, K) bool; None: all."""
        present_BK = (
            None if lead_mask_BL is None else lead_mask_BL.bool().repeat_interleave(self.config.num_patches, 1)
        )
        if patch_mask_BN is not None:
            within_BK = patch_mask_BN.bool().repeat(1, len(self.config.leads))
            present_BK = within_BK if present_BK is None else present_BK & within_BK
        return present_BK

    def _attention_mask(self, present_BK: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor:
        """(B or 1, 1, K, K), to be added to the scores."""
        places = torch.arange(hidden.shape[1], device=hidden.device)
        lead, time = places // self.config.num_patches, places % self.config.num_patches
        seen = ((lead[:, None] == lead) | (time[:, None] == time))[None, None]
        if present_BK is not None:
            # A token that is left out still sees itself: with nothing to see, its values would not be numbers.
            seen = (seen & present_BK[:, None, None]) | (places[:, None] == places)
        return torch.zeros_like(seen, dtype=hidden.dtype).masked_fill(~seen, torch.finfo(hidden.dtype).min)


class ECGJEPAForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature."""

    config: ECGJEPAConfig
    encoder_class = ECGJEPAModel
    auto_classes = ECGJEPAModel.auto_classes
