# SPDX-License-Identifier: Apache-2.0
"""What encoders share that look at all leads at once.

Shapes: B batch, L leads, T samples, N patches, K tokens, D width.
"""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_all_leads import AllLeadsConfig
from .errors import ConfigurationError, ECGInputError
from .keyword_arguments import refuse_unknown_arguments
from .leads import STANDARD_LEADS
from .modeling_base import ECGPreTrainedModel, check_ecg_values, masked_mean, present_patches


@dataclass
class AllLeadsEncoderOutput(BaseModelOutputWithPooling):
    """Output of an encoder of all leads.

    Args:
        last_hidden_state: (B, K, D), a token for each place in time or, if the architecture says so, in a lead.
        pooler_output: (B, D), the feature: as a rule the mean over the tokens that stand for what was recorded.
        visible_mask: (B, K), which those are; None: all.
        visible_indices: (B, K), which of the patches of all twelve leads (lead-major) each token represents, if the
            architecture has a token per lead and patch.
    """

    visible_mask: torch.Tensor | None = None
    visible_indices: torch.Tensor | None = None


class AllLeadsEncoder(ECGPreTrainedModel):
    """An encoder whose tokens are places in time; each architecture inherits from it and implements `encode`.

    It cannot leave out hidden patches. Absent leads, and samples beyond a recording's end, are set to zero; an
    architecture with a token per lead and patch can also leave them out. A record that has none of the leads that the
    network takes is refused.
    """

    config: AllLeadsConfig

    def encode(
        self, signal_BLT: torch.Tensor, lead_mask_BL: torch.Tensor | None, patch_mask_BN: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens (B, K, D), and a mask (B, K) of those that stand for what was recorded; None: all.

        Args:
            signal_BLT: the leads of `config.leads`, in that order.
            lead_mask_BL: which of these are present; None: all.
            patch_mask_BN: which patches are within the recording; None: all.
        """
        raise NotImplementedError

    def pool(self, hidden_BKD: torch.Tensor, mask_BK: torch.Tensor | None) -> torch.Tensor:
        """The feature (B, D) of a record: the mean over its tokens, unless the architecture has another."""
        return hidden_BKD.mean(dim=1) if mask_BK is None else masked_mean(hidden_BKD, mask_BK)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        ecg_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> AllLeadsEncoderOutput:
        r"""
        Args:
            ecg_values, lead_mask, patch_mask: see [`LeadTimeEncoder`].
        """
        refuse_unknown_arguments(kwargs, self.forward, self, ("bool_masked_pos",))
        config = self.config
        check_ecg_values(ecg_values, config)
        if kwargs.get("bool_masked_pos") is not None:
            raise ConfigurationError(
                f"an encoder of type {config.model_type!r} cannot hide patches (bool_masked_pos)."
            )
        if lead_mask is not None or patch_mask is not None:
            present_BLN = present_patches(ecg_values, lead_mask, patch_mask, config.num_patches)
            ecg_values = ecg_values.masked_fill(~present_BLN.repeat_interleave(config.patch_length, dim=2), 0.0)
        if config.lead_order is not None:
            rows = [STANDARD_LEADS.index(lead) for lead in config.lead_order]
            self._refuse_without_leads(lead_mask, rows)
            ecg_values = ecg_values[:, rows]
            lead_mask = None if lead_mask is None else lead_mask[:, rows]
        hidden, mask = self.encode(ecg_values.to(self.dtype), lead_mask, patch_mask)
        pooled = self.pool(hidden, mask)
        return AllLeadsEncoderOutput(
            last_hidden_state=hidden,
            pooler_output=pooled,
            visible_mask=mask,
            visible_indices=self._places(hidden) if self.tokens_have_leads else None,
        )

    def _places(self, hidden_BKD: torch.Tensor) -> torch.Tensor:
        patches = self.config.num_patches
        rows = torch.tensor([STANDARD_LEADS.index(lead) for lead in self.config.leads], device=hidden_BKD.device)
        places_K = (rows[:, None] * patches + torch.arange(patches, device=hidden_BKD.device)).flatten()
        return places_K.expand(hidden_BKD.shape[0], -1)

    def _refuse_without_leads(self, lead_mask: torch.Tensor | None, rows: list[int]) -> None:
        if lead_mask is None or torch.compiler.is_exporting() or bool(lead_mask[:, rows].any(dim=1).all()):
            return
        raise ECGInputError(
            f"a recording has none of the leads that this model takes ({', '.join(self.config.leads)}). Omit it."
        )
