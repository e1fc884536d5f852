# SPDX-License-Identifier: Apache-2.0
"""HuBERT-ECG's encoder (medRxiv 2024.11.14.24317328) around transformers' HuBERT, written from its description.

Shapes: B batch, L leads, T samples, N patches of time, C samples that enter the network, F tokens, D width.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import HubertConfig, HubertModel
from transformers.models.hubert.modeling_hubert import HubertAttention, HubertEncoderLayer

from .configuration_hubert_ecg import HubertECGConfig
from .decimation import decimate
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification


class HubertECGModel(AllLeadsEncoder):
    """The leads in a row as one channel, decimated across their joints, and HuBERT on it.

    Joining and decimation are part of the model, because the filter runs across the joints, which no preprocessing of
    single leads could do. They are linear and have gradients. Tokens are places in the row of leads, of which every
    one counts in the mean.
    """

    config: HubertECGConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_hubert_ecg.HubertECGModel",
        "AutoModelForAudioClassification": "modeling_hubert_ecg.HubertECGForECGClassification",
    }
    _no_split_modules: ClassVar = ["HubertEncoderLayer", "ParametrizedConv1d"]
    _can_record_outputs: ClassVar = {"hidden_states": HubertEncoderLayer, "attentions": HubertAttention}

    def __init__(self, config: HubertECGConfig):
        super().__init__(config)
        inner = _hubert_config(config)
        inner._attn_implementation = config._attn_implementation
        self.hubert = HubertModel(inner)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.hubert.feature_extractor.conv_layers[0].conv

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        row_BC = self.joined(signal_BLT.float())
        return self.encode_row(row_BC.to(signal_BLT.dtype)), None

    def joined(self, signal_BLT: torch.Tensor) -> torch.Tensor:
        """The leads in a row, decimated: (B, C)."""
        return decimate(signal_BLT.flatten(1), self.config.decimation)

    def encode_row(self, row_BC: torch.Tensor) -> torch.Tensor:
        """The tokens (B, F, D) of what enters the network itself."""
        return self.hubert(row_BC, return_dict=True).last_hidden_state


def _hubert_config(config: HubertECGConfig) -> HubertConfig:
    """Without masks and dropped layers, which are for pretraining."""
    return HubertConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        hidden_act=config.hidden_act,
        hidden_dropout=config.hidden_dropout,
        activation_dropout=config.hidden_dropout,
        attention_dropout=config.attention_dropout,
        layer_norm_eps=config.layer_norm_eps,
        conv_dim=[config.conv_channels] * len(config.conv_kernels),
        conv_kernel=list(config.conv_kernels),
        conv_stride=list(config.conv_strides),
        num_conv_pos_embeddings=config.position_kernel,
        num_conv_pos_embedding_groups=config.position_groups,
        layerdrop=0.0,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        apply_spec_augment=False,
    )


class HubertECGForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature."""

    config: HubertECGConfig
    encoder_class = HubertECGModel
    auto_classes = HubertECGModel.auto_classes
