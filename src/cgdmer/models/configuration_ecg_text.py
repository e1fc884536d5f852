# SPDX-License-Identifier: Apache-2.0
"""What the configurations of all families with an ECG tower and a text tower share."""

from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .configuration_checks import (
    checked,
    drop_registered_pipelines,
    refuse_below_one,
    refuse_other_than,
    refuse_unknown_keys,
    refuse_unless_fraction,
    refuse_unless_positive,
    refuse_unless_weight,
)
from .errors import ConfigurationError, shown
from .foreign_keys import hides_part_of


@checked
class ECGTextConfig(PreTrainedConfig):
    r"""Two towers, how their features are pooled and projected, and how a cosine becomes a score.

    Args:
        ecg_config (a configuration or `dict`): the ECG branch, of one of the family's own types.
        text_config (`PreTrainedConfig` or `dict` with a `model_type`): any BERT-like encoder. The default has the
            sizes of `ncbi/MedCPT-Query-Encoder` (BERT base).
        text_model_name (`str`): Hub id or folder of the tokenizer, for a preset without one.
        text_pooling (`str`): `"pooler"` (the encoder's `pooler_output`, as in MERL), `"mean"` over the tokens, the
            `"first_token"`, or the `"last_token"` of a family that closes padded texts with one.
        projection_hidden_size, projection_size (`int`): the two-layer heads.
        temperature (`float`): fixed temperature of the contrastive loss.
        score_scale, score_bias (`float`): a score is sigmoid(score_scale * cosine + score_bias). `cgdmer.pretrain`
            fits both on the validation records.
    """

    sub_configs: ClassVar = {"text_config": AutoConfig}
    # For model cards: the family's paper, and its tag on the Hub.
    paper: ClassVar[str] = ""
    hub_tag: ClassVar[str] = ""
    # By model_type; the first is the default.
    ecg_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {}

    # Passed as a configuration, a dict, or None; a configuration afterwards.
    ecg_config: Any = None
    text_config: Any = None
    text_model_name: str | None = None
    text_pooling: str = "pooler"
    projection_hidden_size: int = 256
    projection_size: int = 256
    projection_dropout: float | int = 0.0
    temperature: float | int = 0.07
    score_scale: float | int = 10.0
    score_bias: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        refuse_unknown_keys(self, kwargs)
        drop_registered_pipelines(kwargs)
        self.ecg_config = self._ecg_config()
        self.text_config = self._text_config()
        refuse_other_than(self, "text_pooling", "pooler", "mean", "first_token", "last_token")
        refuse_unless_positive(self, "temperature")
        refuse_unless_fraction(self, "projection_dropout")
        refuse_below_one(self, "projection_hidden_size", "projection_size")
        refuse_unless_weight(self, "initializer_range")
        super().__post_init__(**kwargs)

    def _ecg_config(self) -> PreTrainedConfig:
        given, types = self.ecg_config, " or ".join(map(repr, self.ecg_configs))
        default = next(iter(self.ecg_configs))
        if given is None:
            return self.ecg_configs[default]()
        if isinstance(given, dict):
            model_type = given.get("model_type", default)
            if not isinstance(model_type, str) or model_type not in self.ecg_configs:
                raise ConfigurationError(f"ecg_config has model_type {shown(model_type)}; expected {types}.")
            return self.ecg_configs[model_type](**given)
        if getattr(given, "model_type", None) not in self.ecg_configs:
            raise ConfigurationError(f"ecg_config is {given!r}; expected a configuration of type {types}, or a dict.")
        return given

    def _text_config(self) -> PreTrainedConfig:
        given = self.text_config
        if given is None:
            return CONFIG_MAPPING["bert"]()
        if isinstance(given, dict):
            options = dict(given)
            model_type = options.pop("model_type", None)
            if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
                raise ConfigurationError(
                    f"text_config has model_type {shown(model_type)}, which transformers does not know. Name a "
                    "BERT-like encoder, such as 'bert'."
                )
            config_class = CONFIG_MAPPING[model_type]
            for key in options:
                if hides_part_of(config_class, key):
                    raise ConfigurationError(f"text_config has {shown(key)}, which is no option of {model_type!r}.")
            return config_class(**options)
        if not isinstance(given, PreTrainedConfig):
            raise ConfigurationError(
                f"text_config is {given!r}; expected a configuration, or a dict with a model_type."
            )
        return given

    @property
    def aligns(self) -> bool:
        """Whether any loss pulls ECG and text embeddings together."""
        raise NotImplementedError

    @property
    def contrasts(self) -> bool:
        """Whether any loss compares the records of a batch."""
        return self.aligns

    def take_from_tokenizer(self, tokenizer) -> None:
        """Before a new model is built, note what it must know about the tokenizer. By default, nothing."""

    def check_tokenizer(self, tokenizer) -> None:
        """Raise a ConfigurationError if the tokenizer belongs to another model."""
        vocabulary = self.text_config.vocab_size
        if len(tokenizer) > vocabulary:
            raise ConfigurationError(
                f"the tokenizer has {len(tokenizer)} tokens, but the text tower knows {vocabulary}: they do not "
                "belong together. Pass the folder or Hub id that has both as --text_model_name_or_path."
            )
