# SPDX-License-Identifier: Apache-2.0
"""Configurations of other ECG encoders, for comparisons: a transformer over time patches, and a residual network."""

from .configuration_all_leads import AllLeadsConfig, AllLeadsTransformerConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unless_multiple,
)

SAMPLES_PER_FRAME = 16  # of the residual network: a stride of 2 in the stem and in three of the four stages
PAPER, HUB_TAG = "for comparisons with CG-DMER, arXiv 2602.21154", "cg-dmer"


@checked
class ECGViTConfig(AllLeadsTransformerConfig):
    r"""A transformer whose tokens are time patches of all leads together.

    The defaults are the sizes of MERL's smallest such encoder (Liu et al., ICML 2024, arXiv 2403.06659).

    Args:
        sampling_rate, num_samples, patch_length, lead_order, and the transformer's options: see
            `AllLeadsTransformerConfig`.
        pool_before_norm (`bool`): the last normalization is of the mean over the tokens, as in MERL's released
            encoder, and not of each token.
    """

    model_type = "ecg_vit"
    paper, hub_tag = PAPER, HUB_TAG

    hidden_size: int = 192
    num_hidden_layers: int = 12
    num_attention_heads: int = 3
    intermediate_size: int = 768
    layer_norm_eps: float = 1e-6
    pool_before_norm: bool = False


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

    @property
    def num_frames(self) -> int:
        """Frames after the convolutions, each of which stands for `SAMPLES_PER_FRAME` samples."""
        return -(-self.num_samples // SAMPLES_PER_FRAME)
