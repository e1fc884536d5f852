# SPDX-License-Identifier: Apache-2.0
"""Configuration of MERL (Liu et al., ICML 2024, arXiv 2403.06659), for its released weights."""

from typing import ClassVar

from transformers import AutoConfig

from .configuration_checks import checked, refuse_below_one, refuse_unless_multiple
from .configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from .configuration_ecg_text import ECGTextConfig


@checked
class MERLConfig(ECGTextConfig):
    r"""An ECG encoder of all leads, a BERT, and the two heads with which MERL compares them.

    Args:
        ecg_config (`ECGResNetConfig`, `ECGViTConfig`, or `dict`): with the residual network, the ECG head attends to
            the frames; with the transformer, it maps the feature.
        text_config, text_model_name, text_pooling, score_scale, score_bias: see `ECGTextConfig`. MERL has no
            calibrated scores: by default, a score rises with the cosine, but is no probability.
        projection_size (`int`): width of the space where embeddings are compared.
        num_pool_heads (`int`): attention heads with which the residual network's frames are pooled.
    """

    model_type = "merl"
    paper, hub_tag = "MERL, arXiv 2403.06659", "merl"
    sub_configs: ClassVar = {"ecg_config": AutoConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = {config.model_type: config for config in (ECGResNetConfig, ECGViTConfig)}

    num_pool_heads: int = 4

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "num_pool_heads")
        refuse_unless_multiple(self, "projection_size", "num_pool_heads")

    @property
    def aligns(self) -> bool:
        return True
