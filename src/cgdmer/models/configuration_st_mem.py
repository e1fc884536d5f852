# SPDX-License-Identifier: Apache-2.0
"""Configuration of ST-MEM's encoder."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)


@checked
class STMEMConfig(AllLeadsConfig):
    r"""A transformer over the patches of all leads, with the sizes of the released model as defaults.

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): its dropout.
    """

    model_type = "st_mem"
    paper, hub_tag = "arXiv 2402.09450", "st-mem"

    sampling_rate: int = 250
    num_samples: int = 2250
    patch_length: int = 75
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        refuse_unless_multiple(self, "hidden_size", "num_attention_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")
