# SPDX-License-Identifier: Apache-2.0
"""Configuration of encoders that look at all leads at once."""

from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_unknown_activation,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
)
from .configuration_lead_time_encoder import ECGWindowConfig
from .errors import ConfigurationError, shown
from .leads import STANDARD_LEADS


@checked
class AllLeadsConfig(ECGWindowConfig):
    """The window, and which leads the network takes. Each architecture's configuration inherits from this one.

    Args:
        sampling_rate, num_samples, patch_length: see `LeadTimeEncoderConfig`. The network itself may have no patches;
            then they are the entries of `patch_mask`.
        lead_order (`list[str]`, *optional*): the leads that the network takes, in its order, out of the twelve that
            the feature extractor returns. None: all, in the standard order.
    """

    lead_order: list[str] | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        order = self.lead_order
        if order is not None and (
            not order or len(set(order)) < len(order) or any(lead not in STANDARD_LEADS for lead in order)
        ):
            raise ConfigurationError(
                f"lead_order is {shown(order)}; expected names of standard leads, each once: "
                f"{', '.join(STANDARD_LEADS)}."
            )

    @property
    def leads(self) -> tuple[str, ...]:
        """The leads that the network takes, in its order."""
        return STANDARD_LEADS if self.lead_order is None else tuple(self.lead_order)


@checked
class AllLeadsTransformerConfig(AllLeadsConfig):
    """Of encoders of all leads that are transformers.

    Args:
        sampling_rate, num_samples, patch_length, lead_order: see `AllLeadsConfig`.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the transformer.
        hidden_dropout, attention_dropout (`float`): its dropout.
        layer_norm_eps (`float`): of its normalizations.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        refuse_unless_multiple(self, "hidden_size", "num_attention_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_fraction(self, "hidden_dropout", "attention_dropout")
