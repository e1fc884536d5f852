# SPDX-License-Identifier: Apache-2.0
"""The transformer over visible lead-time tokens shared by the package's own families.

Shapes: B batch, L leads, T samples, N patches per lead, M = L * N, K visible tokens, D encoder width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import ModelOutput
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ECGInputError
from .keyword_arguments import refuse_unknown_arguments
from .lead_time_tokenizer import LeadTimeTokenizer
from .masking import gather_visible
from .modeling_base import ECGPreTrainedModel, check_ecg_values, masked_mean, present_patches
from .transformer_layers import pre_norm_layers

ENCODER_ARGUMENTS = ("bool_masked_pos", "num_visible")  # of a `LeadTimeEncoder`, that other models pass on


@dataclass
class LeadTimeEncoderOutput(ModelOutput):
    """Output of the ECG encoder.

    Args:
        last_hidden_state: (B, K, D), tokens of the visible patches after the encoder's norm.
        pooler_output: (B, D), their mean; the feature for linear probes.
        visible_indices: (B, K), which of the L * N patches (lead-major) each token represents.
        visible_mask: (B, K) bool, False for the padding of records with fewer visible patches than others.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    visible_indices: torch.Tensor | None = None
    visible_mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class LeadTimeEncoder(ECGPreTrainedModel):
    """A transformer over the visible lead-time tokens; each family's encoder inherits from it."""

    config: LeadTimeEncoderConfig
    tokens_have_leads = True

    def __init__(self, config: LeadTimeEncoderConfig):
        super().__init__(config)
        self.tokenizer = LeadTimeTokenizer(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = pre_norm_layers(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.tokenizer.projection

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        ecg_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        bool_masked_pos: torch.Tensor | None = None,
        num_visible: int | None = None,
        **kwargs,
    ) -> LeadTimeEncoderOutput:
        r"""
        Args:
            ecg_values: (B, 12, T), from the feature extractor.
            lead_mask: (B, 12), 0 for a lead that was not recorded.
            patch_mask: (B, N), 0 for a patch beyond the recording's end.
            bool_masked_pos: (B, 12, N) bool, True for patches to hide; hidden and absent patches get no token.
            num_visible: the number of visible tokens, if it is known and the same for every record: saves a wait for
                the device, and the attention mask.
        """
        refuse_unknown_arguments(kwargs, self.forward, self)
        check_ecg_values(ecg_values, self.config)
        masks = (lead_mask, patch_mask, bool_masked_pos)
        needs_mask = num_visible is None and any(mask is not None for mask in masks)
        visible_BM = present_patches(ecg_values, lead_mask, patch_mask, self.config.num_patches)
        if bool_masked_pos is not None:
            visible_BM = visible_BM & ~bool_masked_pos
        visible_BM = visible_BM.flatten(1)
        if num_visible is None:
            num_visible = visible_BM.shape[1]
            # A number that depends on the data cannot be exported: then all tokens are kept, and hidden by the mask.
            if needs_mask and not torch.compiler.is_exporting():
                num_visible = int(visible_BM.sum(dim=1).max())
            if not num_visible:
                raise ECGInputError("lead_mask and patch_mask leave nothing of any recording. Omit such records.")
        if num_visible == visible_BM.shape[1]:
            indices_BK = torch.arange(num_visible, device=ecg_values.device).expand(ecg_values.shape[0], -1)
            hidden, valid_BK = self.tokenizer(ecg_values), visible_BM
        else:
            indices_BK, valid_BK = gather_visible(visible_BM, num_visible)
            hidden = self.tokenizer(ecg_values, indices_BK)
        hidden = self.dropout(hidden)
        attention_mask = None
        if needs_mask:
            attention_mask = create_bidirectional_mask(self.config, hidden, valid_BK)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        hidden = self.norm(hidden)
        return LeadTimeEncoderOutput(
            last_hidden_state=hidden,
            pooler_output=masked_mean(hidden, valid_BK),
            visible_indices=indices_BK,
            visible_mask=valid_BK,
        )
