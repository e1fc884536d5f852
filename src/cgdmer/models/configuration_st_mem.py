# SPDX-License-Identifier: Apache-2.0
"""Configuration of ST-MEM's encoder."""

from .configuration_all_leads import AllLeadsTransformerConfig
from .configuration_checks import checked


@checked
class STMEMConfig(AllLeadsTransformerConfig):
    r"""A transformer over the patches of all leads, with the sizes of the released model as defaults.

    For the options, see `AllLeadsTransformerConfig`.
    """

    model_type = "st_mem"
    paper, hub_tag = "arXiv 2402.09450", "st-mem"

    sampling_rate: int = 250
    num_samples: int = 2250
    patch_length: int = 75
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    initializer_range: float = 0.02
