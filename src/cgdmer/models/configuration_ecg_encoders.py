# SPDX-License-Identifier: Apache-2.0
"""Configurations of other ECG encoders, for comparisons: a transformer over time patches, and a residual network."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)

PAPER, HUB_TAG = "for comparisons with CG-DMER, arXiv 2602.21154", "cg-dmer"


@checked
class ECGViTConfig(AllLeadsConfig):
    r"""A transformer whose tokens are time patches of all leads together.

    The defaults are the sizes of MERL's smallest such encoder (Liu et al., ICML 2024, arXiv 2403.06659).

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): its dropout.
        pool_before_norm (`bool`): the last normalization is of the mean over the tokens, as in MERL's released
            encoder, and not of each token.
    """

    model_type = "ecg_vit"
    paper, hub_tag = PAPER, HUB_TAG

    hidden_size: int = 192
    num_hidden_layers: int = 12
    num_attention_heads: int = 3
    intermediate_size: int = 768
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-6
    pool_before_norm: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        refuse_unless_multiple(self, "hidden_size", "num_attention_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")


@checked
class ECGResNetConfig(AllLeadsConfig):
    r"""A residual network along time with the leads as channels (He et al., CVPR 2016, in one dimension).

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`. The network has no patches.
        hidden_size (`int`): channels of the last of four stages, each twice as wide as the one before; a multiple
            of 8.
        blocks_per_stage (`int`): residual blocks of two convolutions; 2 make a ResNet-18.
    """

    model_type = "ecg_resnet"
    paper, hub_tag = PAPER, HUB_TAG

    hidden_size: int = 512
    blocks_per_stage: int = 2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "blocks_per_stage")
        refuse_unless_multiple(self, "hidden_size", 8)
