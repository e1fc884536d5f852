# SPDX-License-Identifier: Apache-2.0
"""Configuration of the encoder of ECG-FM, MELP, and D-BETA: convolutions and a transformer, like wav2vec 2.0's."""

from .configuration_all_leads import AllLeadsConfig
from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_other_than,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)
from .errors import ConfigurationError


@checked
class ECGWav2VecConfig(AllLeadsConfig):
    r"""Convolutions over all leads together, and a transformer over their outputs, like wav2vec 2.0's for speech.

    The defaults are ECG-FM's (JAMIA Open 2025, arXiv 2408.05178), which takes windows of 5 s.

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`. The network has no patches.
        conv_layers, conv_channels (`int`): convolutions, each of which halves the length, and their channels.
        token_size (`int`): width of the transformer, and of the feature unless `pooling` is `"queries"`.
        num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the transformer.
        hidden_dropout, attention_dropout (`float`): its dropout.
        layer_norm_eps (`float`): of all normalizations.
        position_kernel, position_groups (`int`): the convolution that tells tokens where they are.
        pooling (`str`): the feature of a record. `"mean"` of the tokens (ECG-FM); `"class_token"`, a learned token in
            front of them (D-BETA); or `"queries"`, what learned queries find in them, averaged (MELP).
        num_queries, query_size, num_query_heads (`int`): for `"queries"`: how many, the width of each, which is the
            feature's, and attention heads.
    """

    model_type = "ecg_wav2vec"
    paper, hub_tag = "the encoder of ECG-FM, arXiv 2408.05178, MELP, arXiv 2506.21803, and D-BETA", "ecg-fm"

    num_samples: int = 2500
    conv_layers: int = 4
    conv_channels: int = 256
    token_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-5
    position_kernel: int = 128
    position_groups: int = 16
    pooling: str = "mean"
    num_queries: int = 14
    query_size: int = 256
    num_query_heads: int = 8

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "conv_layers", "conv_channels", "token_size", "num_hidden_layers")
        refuse_below_one(self, "num_attention_heads", "intermediate_size", "position_kernel", "position_groups")
        refuse_below_one(self, "num_queries", "query_size", "num_query_heads")
        refuse_unless_multiple(self, "token_size", "num_attention_heads")
        refuse_unless_multiple(self, "token_size", "position_groups")
        refuse_unless_multiple(self, "query_size", "num_query_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")
        refuse_other_than(self, "pooling", "mean", "class_token", "queries")
        if self.num_samples < self.samples_per_token:
            raise ConfigurationError(
                f"conv_layers is {self.conv_layers}, so that one token takes {self.samples_per_token} samples, but "
                f"num_samples is {self.num_samples}."
            )

    @property
    def hidden_size(self) -> int:
        """Width of the feature."""
        return self.query_size if self.pooling == "queries" else self.token_size

    @property
    def samples_per_token(self) -> int:
        samples: int = 2**self.conv_layers
        return samples
