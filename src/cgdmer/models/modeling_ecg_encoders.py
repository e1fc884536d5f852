# SPDX-License-Identifier: Apache-2.0
"""Other ECG encoders to replace CG-DMER's own, for comparisons of methods: ViT and ResNet, all leads at once.

See `AllLeadsEncoder` for what they have in common. `CGDMERConfig` refuses losses and views that need hidden patches.

Shapes: B batch, L leads, T samples, N patches of time, F frames after the convolutions, D width, C channels.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers.masking_utils import create_bidirectional_mask

from .configuration_ecg_encoders import SAMPLES_PER_FRAME, ECGResNetConfig, ECGViTConfig
from .lead_time_tokenizer import init_time_embedding
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification
from .transformer_layers import pre_norm_layers


class ECGViTModel(AllLeadsEncoder):
    """A transformer over time patches, like MERL's (Liu et al., ICML 2024, arXiv 2403.06659).

    Each token is a linear map of one patch of all leads together.
    """

    config: ECGViTConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_ecg_encoders.ECGViTModel",
        "AutoModelForAudioClassification": "modeling_ecg_encoders.ECGViTForECGClassification",
    }

    def __init__(self, config: ECGViTConfig):
        super().__init__(config)
        self.projection = nn.Linear(len(config.leads) * config.patch_length, config.hidden_size)
        self.time_embedding = nn.Parameter(torch.zeros(config.num_patches, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = pre_norm_layers(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.projection

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init_time_embedding(self.time_embedding)

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        patches_BNLP = signal_BLT.unflatten(-1, (-1, self.config.patch_length)).transpose(1, 2)
        hidden = self.dropout(self.projection(patches_BNLP.flatten(2)) + self.time_embedding)
        attention_mask = None
        if patch_mask_BN is not None:
            attention_mask = create_bidirectional_mask(self.config, hidden, patch_mask_BN.bool())
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        return hidden if self.config.pool_before_norm else self.norm(hidden), patch_mask_BN

    def pool(self, hidden_BKD, mask_BK):
        pooled = super().pool(hidden_BKD, mask_BK)
        return self.norm(pooled) if self.config.pool_before_norm else pooled


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalization, plus the input: (B, C, F) -> (B, channels, F / stride)."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != channels:
            self.shortcut = nn.Sequential(nn.Conv1d(inputs, channels, 1, stride, bias=False), nn.BatchNorm1d(channels))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        changed = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(hidden)))))
        return F.relu(changed + self.shortcut(hidden))


class ECGResNetModel(AllLeadsEncoder):
    """A residual network (He et al., CVPR 2016) along time with the leads as channels: 18 layers by default.

    Unlike the one for images, it does not pool after the stem.
    """

    config: ECGResNetConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_ecg_encoders.ECGResNetModel",
        "AutoModelForAudioClassification": "modeling_ecg_encoders.ECGResNetForECGClassification",
    }
    supports_gradient_checkpointing = False
    _can_record_outputs: ClassVar = {"hidden_states": ResidualBlock}

    def __init__(self, config: ECGResNetConfig):
        super().__init__(config)
        channels = config.hidden_size // 8
        self.stem = nn.Sequential(
            nn.Conv1d(len(config.leads), channels, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        )
        blocks: list[nn.Module] = []
        for stage in range(4):
            width = channels * 2**stage
            for block in range(config.blocks_per_stage):
                halves = stage > 0 and block == 0
                blocks.append(ResidualBlock(width // 2 if halves else width, width, stride=2 if halves else 1))
        self.layers = nn.ModuleList(blocks)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.stem[0]

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        hidden = self.stem(signal_BLT)
        for layer in self.layers:
            hidden = layer(hidden)
        frame_mask_BF = None
        if patch_mask_BN is not None:
            # All convolutions are symmetric: the middle of frame f is sample 16 f.
            frame_mask_BF = patch_mask_BN.repeat_interleave(self.config.patch_length, dim=1)[:, ::SAMPLES_PER_FRAME]
        return hidden.transpose(1, 2), frame_mask_BF


class ECGViTForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature."""

    config: ECGViTConfig
    encoder_class = ECGViTModel
    auto_classes = ECGViTModel.auto_classes


class ECGResNetForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature."""

    config: ECGResNetConfig
    encoder_class = ECGResNetModel
    auto_classes = ECGResNetModel.auto_classes
