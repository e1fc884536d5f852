# SPDX-License-Identifier: Apache-2.0
"""Configuration of MELP (ICML 2025, arXiv 2506.21803), for released weights with its text tower."""

from typing import ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .configuration_checks import checked, refuse_below_one
from .configuration_ecg_text import ECGTextConfig
from .configuration_ecg_wav2vec import ECGWav2VecConfig
from .errors import ConfigurationError


@checked
class MELPConfig(ECGTextConfig):
    r"""An ECG encoder with learned queries, a BERT that reads from left to right, and a head on each.

    Args:
        ecg_config (`ECGWav2VecConfig` or `dict`): the ECG branch. MELP has 8 layers, takes 10 s, and pools by
            `"queries"`.
        text_config (`PreTrainedConfig` or `dict` with a `model_type`): the default has the sizes of
            `fuyingw/heart_bert`, and one token more.
        text_model_name, score_scale, score_bias: see `ECGTextConfig`. By default, a score rises with the cosine, but
            is no probability.
        text_pooling (`str`): MELP takes the `"last_token"`, see `MELPModel`.
        text_length (`int`): tokens of every text, with padding, before the last one.
        start_token_id, closing_token_id (`int`): of the tokens that the model puts first and last.
        projection_size (`int`): width of the space where embeddings are compared.
    """

    model_type = "melp"
    paper, hub_tag = "MELP, arXiv 2506.21803", "melp"
    sub_configs: ClassVar = {"ecg_config": ECGWav2VecConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = {ECGWav2VecConfig.model_type: ECGWav2VecConfig}

    text_pooling: str = "last_token"
    text_length: int = 127
    start_token_id: int = 30522
    closing_token_id: int = 2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "text_length")
        positions = getattr(self.text_config, "max_position_embeddings", self.text_length + 1)
        if self.text_length >= positions:
            raise ConfigurationError(
                f"text_length is {self.text_length}; with {positions} positions, the text tower takes one fewer at "
                "most."
            )
        for name in ("start_token_id", "closing_token_id"):
            if not 0 <= getattr(self, name) < self.text_config.vocab_size:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)}; expected one of the text tower's {self.text_config.vocab_size}."
                )

    def _ecg_config(self) -> PreTrainedConfig:
        if self.ecg_config is None:
            order = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
            return ECGWav2VecConfig(num_samples=5000, num_hidden_layers=8, pooling="queries", lead_order=order)
        return super()._ecg_config()

    def _text_config(self) -> PreTrainedConfig:
        if self.text_config is None:
            return CONFIG_MAPPING["bert"](vocab_size=30523, is_decoder=True, use_cache=False)
        return super()._text_config()

    @property
    def aligns(self) -> bool:
        return True
