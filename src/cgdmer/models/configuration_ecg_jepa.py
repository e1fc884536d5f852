# SPDX-License-Identifier: Apache-2.0
"""Configuration of ECG-JEPA's encoder (Kim)."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)

_EIGHT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the other four are combinations of I and II


@checked
class ECGJEPAConfig(AllLeadsConfig):
    r"""A transformer over the patches of eight leads, with the sizes of the released model as defaults.

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`. None as order: the eight leads
            I, II, and V1 to V6.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): its dropout.
    """

    model_type = "ecg_jepa"
    paper, hub_tag = "arXiv 2410.08559", "ecg-jepa"

    sampling_rate: int = 250
    num_samples: int = 2500
    patch_length: int = 50
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.lead_order is None:
            self.lead_order = list(_EIGHT_LEADS)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        refuse_unless_multiple(self, "hidden_size", "num_attention_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")
