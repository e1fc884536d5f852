# SPDX-License-Identifier: Apache-2.0
"""Configuration of HuBERT-ECG's encoder."""

from .configuration_all_leads import AllLeadsTransformerConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unless_multiple,
)
from .errors import ConfigurationError

_LEAST_SAMPLES = 200  # of all leads together after decimation: the convolutions need 170


@checked
class HubertECGConfig(AllLeadsTransformerConfig):
    r"""HuBERT of transformers on twelve leads in a row, with the sizes of the released small model as defaults.

    Args:
        sampling_rate, num_samples, patch_length, lead_order, and the transformer's options: see
            `AllLeadsTransformerConfig`. The network has no patches.
        decimation (`int`): of the leads in a row, one sample out of this many enters the network.
        conv_channels (`int`), conv_kernels, conv_strides (`list[int]`): the convolutions before it.
        position_kernel, position_groups (`int`): the convolution that tells positions.
    """

    model_type = "hubert_ecg"
    paper, hub_tag = "medRxiv 2024.11.14.24317328", "hubert-ecg"

    sampling_rate: int = 500
    num_samples: int = 2500
    patch_length: int = 50
    decimation: int = 5
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    conv_channels: int = 512
    conv_kernels: list[int] | tuple[int, ...] = (10, 3, 3, 2, 2)
    conv_strides: list[int] | tuple[int, ...] = (4, 2, 2, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "decimation", "conv_channels", "position_kernel", "position_groups")
        refuse_unless_multiple(self, "hidden_size", "position_groups")
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
