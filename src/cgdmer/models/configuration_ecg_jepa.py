# SPDX-License-Identifier: Apache-2.0
"""Configuration of ECG-JEPA's encoder (Kim)."""

from .configuration_all_leads import AllLeadsTransformerConfig
from .configuration_checks import checked

_EIGHT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # the other four are combinations of I and II


@checked
class ECGJEPAConfig(AllLeadsTransformerConfig):
    r"""A transformer over the patches of eight leads, with the sizes of the released model as defaults.

    Without a `lead_order`, it takes I, II, and V1 to V6. For all options, see `AllLeadsTransformerConfig`.
    """

    model_type = "ecg_jepa"
    paper, hub_tag = "arXiv 2410.08559", "ecg-jepa"

    sampling_rate: int = 250
    num_samples: int = 2500
    patch_length: int = 50
    num_attention_heads: int = 16
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.lead_order is None:
            self.lead_order = list(_EIGHT_LEADS)
