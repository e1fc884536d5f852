# SPDX-License-Identifier: Apache-2.0
"""Configurations of other ECG encoders, for comparisons: a transformer over time patches, and a residual network."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_checks import drop_registered_pipelines, refuse_below_one, refuse_unknown_keys
from .errors import ConfigurationError


@strict
class _ECGEncoderConfig(PreTrainedConfig):
    """The model's window, as in `LeadTimeEncoderConfig`."""

    base_config_key = "ecg_config"
    paper: ClassVar[str] = "for comparisons with CG-DMER, arXiv 2602.21154"
    hub_tag: ClassVar[str] = "cg-dmer"

    num_leads: int = 12
    sampling_rate: int = 500
    num_samples: int = 5000
    patch_length: int = 50

    def __post_init__(self, **kwargs):
        refuse_unknown_keys(self, kwargs)
        drop_registered_pipelines(kwargs)
        if self.num_leads != 12:
            raise ConfigurationError(f"num_leads is {self.num_leads}; the input always has the twelve standard leads.")
        refuse_below_one(self, "sampling_rate", "num_samples", "patch_length")
        if self.num_samples % self.patch_length:
            raise ConfigurationError(
                f"patch_length ({self.patch_length}) must divide num_samples ({self.num_samples})."
            )
        super().__post_init__(**kwargs)

    @property
    def num_patches(self) -> int:
        """Patches of time."""
        return self.num_samples // self.patch_length


@strict
class ECGViTConfig(_ECGEncoderConfig):
    r"""A transformer whose tokens are patches of time over all leads together.

    The defaults are the sizes of MERL's smallest such encoder (Liu et al., ICML 2024, arXiv 2403.06659).

    Args:
        sampling_rate, num_samples, patch_length (`int`): see `LeadTimeEncoderConfig`.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): its dropout.
    """

    model_type = "ecg_vit"

    hidden_size: int = 192
    num_hidden_layers: int = 12
    num_attention_heads: int = 3
    intermediate_size: int = 768
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-6

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigurationError(f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads.")
        for name in ("hidden_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; expected at least 0 and less than 1.")


@strict
class ECGResNetConfig(_ECGEncoderConfig):
    r"""A residual network along time that takes the leads as channels (He et al., CVPR 2016, in one dimension).

    Args:
        sampling_rate, num_samples (`int`): see `LeadTimeEncoderConfig`.
        patch_length (`int`): samples a place of `patch_mask`; the network itself has no patches.
        hidden_size (`int`): channels of the last of four stages, of which each has twice those of the one before; a
            multiple of 8.
        blocks_per_stage (`int`): residual blocks of two convolutions; 2 make a ResNet-18.
    """

    model_type = "ecg_resnet"

    hidden_size: int = 512
    blocks_per_stage: int = 2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "blocks_per_stage")
        if self.hidden_size % 8:
            raise ConfigurationError(f"hidden_size ({self.hidden_size}) must be a multiple of 8.")
