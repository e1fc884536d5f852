# SPDX-License-Identifier: Apache-2.0
"""Configuration of encoders that look at all leads at once."""

from .configuration_checks import checked
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
