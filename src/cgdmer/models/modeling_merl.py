# SPDX-License-Identifier: Apache-2.0
"""MERL (Liu et al., ICML 2024, arXiv 2403.06659): zero-shot scores from its released weights.

Written from a description of what these weights compute; for training by MERL's losses, see the objective `merl`.

Shapes: B batch, F frames, C channels, E embedding width.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_merl import MERLConfig
from .modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from .modeling_ecg_text import ECGTextModel, ZeroShotMixin


class FramesHead(nn.Module):
    """The ECG head of the residual network: (B, F, C) -> (B, E), attention of one query to all frames.

    A learned query stands in front of the frames. It gets its position twice: it is stored with it, and all positions
    are added afterwards.
    """

    takes_tokens = True

    def __init__(self, config: MERLConfig):
        super().__init__()
        width = config.projection_size
        self.down = nn.Linear(config.ecg_config.hidden_size, width)
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + config.ecg_config.num_frames, width))
        self.attention = nn.MultiheadAttention(width, config.num_pool_heads, batch_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, frames_BFC: torch.Tensor, mask_BF: torch.Tensor | None) -> torch.Tensor:
        frames_BFE = self.down(frames_BFC)
        query_B1E = (self.query + self.positions[:, :1]).expand(frames_BFE.shape[0], -1, -1)
        tokens = torch.cat([query_B1E, frames_BFE], dim=1) + self.positions
        padding = None if mask_BF is None else ~F.pad(mask_BF.bool(), (1, 0), value=True)
        found, _ = self.attention(tokens[:, :1], tokens, tokens, key_padding_mask=padding, need_weights=False)
        return self.out(found[:, 0])


class FeatureHead(nn.Sequential):
    """The ECG head of the transformer: (B, C) -> (B, E)."""

    def __init__(self, config: MERLConfig):
        width = config.projection_size
        super().__init__(
            nn.Linear(config.ecg_config.hidden_size, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        )


class MERLModel(ECGTextModel):
    """Both towers and their heads: map ECGs and texts to unit vectors in one space."""

    config: MERLConfig
    ecg_models: ClassVar = {model.config_class.model_type: model for model in (ECGResNetModel, ECGViTModel)}
    auto_classes: ClassVar = {
        "AutoModel": "modeling_merl.MERLModel",
        "AutoModelForZeroShotImageClassification": "modeling_merl.MERLForZeroShot",
    }

    def __init__(self, config: MERLConfig):
        super().__init__(config)
        frames = config.ecg_config.model_type == ECGResNetModel.config_class.model_type
        self.ecg_head = FramesHead(config) if frames else FeatureHead(config)
        width = config.projection_size
        self.text_head = nn.Sequential(
            nn.Linear(config.text_config.hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FramesHead):
            for parameter in (module.query, module.positions):
                init.trunc_normal_(parameter, std=self.config.initializer_range)
        elif isinstance(module, nn.MultiheadAttention):
            init.xavier_uniform_(module.in_proj_weight)
            init.zeros_(module.in_proj_bias)

    def head_of(self, modality: str) -> nn.Module:
        return self.ecg_head if modality == "ecg" else self.text_head


class MERLForZeroShot(ZeroShotMixin, MERLModel):
    """Prompts in, one score per prompt out."""
