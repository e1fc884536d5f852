# SPDX-License-Identifier: Apache-2.0
"""Configuration of D-BETA (Pham et al., ICML 2025, arXiv 2410.02131), for its released weights."""

from typing import ClassVar

from transformers import AutoConfig, PreTrainedConfig, T5Config

from .configuration_checks import checked
from .configuration_ecg_text import ECGTextConfig
from .configuration_ecg_wav2vec import ECGWav2VecConfig


@checked
class DBetaConfig(ECGTextConfig):
    r"""An ECG encoder with a class token, the encoder of a T5, and a head on each.

    Args:
        ecg_config (`ECGWav2VecConfig` or `dict`): the ECG branch. D-BETA has 8 layers, takes 10 s, and pools by
            `"class_token"`.
        text_config (`PreTrainedConfig` or `dict` with a `model_type`): the default has the sizes of
            `google/flan-t5-base`.
        text_model_name, score_scale, score_bias: see `ECGTextConfig`. By default, a score rises with the cosine, but
            is no probability.
        text_pooling (`str`): D-BETA takes the `"first_token"`.
        projection_size (`int`): width of the space where embeddings are compared.
    """

    model_type = "d_beta"
    paper, hub_tag = "D-BETA, arXiv 2410.02131", "d-beta"
    sub_configs: ClassVar = {"ecg_config": ECGWav2VecConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = {ECGWav2VecConfig.model_type: ECGWav2VecConfig}

    text_pooling: str = "first_token"
    projection_size: int = 768

    def _ecg_config(self) -> PreTrainedConfig:
        if self.ecg_config is None:
            return ECGWav2VecConfig(num_samples=5000, num_hidden_layers=8, pooling="class_token")
        return super()._ecg_config()

    def _text_config(self) -> PreTrainedConfig:
        if self.text_config is None:
            return T5Config(d_model=768, num_layers=12, num_heads=12, feed_forward_proj="gated-gelu")
        return super()._text_config()

    @property
    def aligns(self) -> bool:
        return True
