# SPDX-License-Identifier: Apache-2.0
"""Configuration of HuBERT-ECG's encoder."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)
from .errors import ConfigurationError

_LEAST_SAMPLES = 200  # of all leads together after decimation: the convolutions need 170


@checked
class HubertECGConfig(AllLeadsConfig):
    r"""HuBERT of transformers on twelve leads in a row, with the sizes of the released small model as defaults.

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`. The network has no patches.
        decimation (`int`): every how manieth sample of the leads in a row enters the network.
        scale_leads (`bool`): bring each lead to -1..1 first.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the transformer.
        conv_channels (`int`), conv_kernels, conv_strides (`list[int]`): the convolutions before it.
        position_kernel, position_groups (`int`): the convolution that tells positions.
        hidden_dropout, attention_dropout (`float`): dropout of the transformer.
    """

    model_type = "hubert_ecg"
    paper, hub_tag = "medRxiv 2024.11.14.24317328", "hubert-ecg"

    sampling_rate: int = 500
    num_samples: int = 2500
    patch_length: int = 50
    decimation: int = 5
    scale_leads: bool = True
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-5
    conv_channels: int = 512
    conv_kernels: list[int] | tuple[int, ...] = (10, 3, 3, 2, 2)
    conv_strides: list[int] | tuple[int, ...] = (4, 2, 2, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        refuse_below_one(self, "decimation", "conv_channels", "position_kernel", "position_groups")
        refuse_unless_multiple(self, "hidden_size", "num_attention_heads")
        refuse_unless_multiple(self, "hidden_size", "position_groups")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")
        sizes = (*self.conv_kernels, *self.conv_strides)
        if len(self.conv_kernels) != len(self.conv_strides) or len(sizes) < 2 or min(sizes) < 1:
            raise ConfigurationError(
                f"conv_kernels ({self.conv_kernels}) and conv_strides ({self.conv_strides}) must be as many positive "
                "numbers each."
            )
        if len(self.leads) * self.num_samples // self.decimation < _LEAST_SAMPLES:
            raise ConfigurationError(
                f"the leads in a row have fewer than {_LEAST_SAMPLES} samples after decimation. Raise num_samples."
            )
