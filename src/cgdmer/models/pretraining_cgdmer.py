# SPDX-License-Identifier: Apache-2.0
"""Pretraining of CG-DMER (arXiv 2602.21154): masks, decoders and all losses of eq. 10.

Shapes: B batch, L leads, N patches a lead, P samples a patch, K selected tokens, E embedding width, S tokens of a
report, H text width, M statements a record at most.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import can_return_tuple

from .configuration_cgdmer import CGDMERConfig
from .ecg_decoder import ECGDecoder
from .errors import ConfigurationError
from .lead_time_tokenizer import init_lead_and_time_embeddings
from .masking import mask_patches, mask_report_tokens, most_visible
from .modeling_cgdmer import CGDMERModel, NestedOutput, check_ecg_values, present_patches
from .objectives import (
    contrastive_loss,
    masked_token_loss,
    orthogonality_loss,
    reconstruction_loss,
    siglip_loss,
)
from .text_decoder import MaskedTokenDecoder, VocabularyHead


@dataclass
class CGDMERForPreTrainingOutput(NestedOutput):
    """Every loss by itself, unweighted, and their weighted sum.

    Args:
        loss: weighted sum over the branches that are switched on.
        contrastive_loss, siglip_loss, ecg_reconstruction_loss, text_reconstruction_loss, orthogonality_loss: None
            when the weight is 0.
        reconstructed_patches: (B, L, N, P), with the ECG decoder only.
        bool_masked_pos: (B, L, N) bool, the patches that were masked; None where no branch needs masks.
        ecg_embeds, text_embeds: (B, E) unit vectors.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    siglip_loss: torch.Tensor | None = None
    ecg_reconstruction_loss: torch.Tensor | None = None
    text_reconstruction_loss: torch.Tensor | None = None
    orthogonality_loss: torch.Tensor | None = None
    reconstructed_patches: torch.Tensor | None = None
    bool_masked_pos: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


class CGDMERForPreTraining(CGDMERModel):
    """CG-DMER with its decoders and all losses (eq. 10, with the reconstruction of eq. 2 added).

    A loss weight of 0 in the configuration leaves out the branch: no weights, no computation. What a configuration
    leaves unused is frozen, so that DDP needs no search for unused parameters.
    """

    def __init__(self, config: CGDMERConfig):
        super().__init__(config)
        if config.ecg_reconstruction_loss_weight > 0:
            self.ecg_decoder = ECGDecoder(self.ecg_model.config)
        if config.text_reconstruction_loss_weight > 0:
            if config.text_objective == "causal":
                self.text_decoder = MaskedTokenDecoder(config, self.text_model.config)
            self.vocabulary_head = VocabularyHead(config.text_config.hidden_size, config.text_config.vocab_size)
        if config.siglip_loss_weight > 0:
            # The base class's post_init has marked this module as initialised: `_init_weights` comes too late here.
            self.siglip_log_scale = nn.Parameter(torch.tensor(math.log(config.siglip_initial_scale)))
            self.siglip_bias = nn.Parameter(torch.tensor(float(config.siglip_initial_bias)))
        self.post_init()
        self.freeze_unused_parameters()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, ECGDecoder):
            init_lead_and_time_embeddings(module.lead_embedding, module.time_embedding)
            init.trunc_normal_(module.mask_token, std=std)
        elif isinstance(module, MaskedTokenDecoder):
            init.trunc_normal_(module.start, std=std)
        elif isinstance(module, VocabularyHead):
            init.zeros_(module.bias)
        elif module is self and self.config.siglip_loss_weight > 0:
            init.constant_(self.siglip_log_scale, math.log(self.config.siglip_initial_scale))
            init.constant_(self.siglip_bias, self.config.siglip_initial_bias)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info=False, **kwargs):
        """As in the base class. Loading makes every parameter trainable again: the unused ones are frozen anew."""
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        model.freeze_unused_parameters()
        return (model, info) if output_loading_info else model

    def freeze_unused_parameters(self) -> None:
        """Switch off gradients of parts that no loss of this configuration reaches."""
        config = self.config
        if not config.aligns and config.orthogonality_loss_weight == 0:
            self.ecg_shared_head.requires_grad_(False)
            self.text_shared_head.requires_grad_(False)
            pooler = getattr(self.text_model, "pooler", None)
            if pooler is not None:
                pooler.requires_grad_(False)
            if config.text_reconstruction_loss_weight == 0:
                self.text_model.requires_grad_(False)
            if config.ecg_reconstruction_loss_weight == 0:
                self.ecg_model.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        special_tokens_mask: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        text_noise: torch.Tensor | None = None,
        ecg_statement_ids: torch.Tensor | None = None,
        text_statement_ids: torch.Tensor | None = None,
        **kwargs,
    ) -> CGDMERForPreTrainingOutput:
        r"""All losses of one batch; in several processes, over the global batch.

        Args:
            ecg_values, lead_mask, patch_mask: see [`CGDMERECGModel`].
            input_ids, attention_mask, token_type_ids, special_tokens_mask: the tokenized reports; special tokens are
                never masked.
            noise: (B, 12, N) uniform numbers that decide which patches are masked; drawn when None.
            text_noise: (B, S) likewise for report tokens.
            ecg_statement_ids, text_statement_ids: (B, M) int64, what holds for each ECG and what each text states; an
                ECG that satisfies another record's text is not its negative. See `objectives.satisfied_pairs`.
        """
        config = self.config
        ecg_config = config.ecg_config
        check_ecg_values(ecg_values, ecg_config)
        losses: dict[str, torch.Tensor] = {}
        output = CGDMERForPreTrainingOutput()

        if config.ecg_reconstruction_loss_weight > 0 or config.contrast_view != "full":
            present = present_patches(ecg_values, lead_mask, patch_mask, ecg_config.num_patches)
            if noise is None:
                noise = torch.rand(present.shape, device=ecg_values.device)
            masking = (ecg_config.mask_strategy, ecg_config.mask_ratio, ecg_config.lead_mask_ratio)
            output["bool_masked_pos"] = masked = mask_patches(noise, present, *masking)
            ecg_outputs = self.ecg_model(
                ecg_values,
                lead_mask=lead_mask,
                patch_mask=patch_mask,
                bool_masked_pos=masked,
                num_visible=most_visible(ecg_config.num_leads, ecg_config.num_patches, *masking),
                return_dict=True,
                **kwargs,
            )
            ecg_pooled = ecg_outputs.pooler_output

        if config.ecg_reconstruction_loss_weight > 0:
            output["reconstructed_patches"] = self.ecg_decoder(
                ecg_outputs.last_hidden_state, ecg_outputs.visible_indices, ecg_outputs.visible_mask, present
            )
            losses["ecg_reconstruction"] = reconstruction_loss(
                output["reconstructed_patches"], ecg_values, masked, ecg_config.normalize_patches
            )

        uses_text = config.aligns or config.text_reconstruction_loss_weight > 0 or config.orthogonality_loss_weight > 0
        if uses_text:
            if input_ids is None:
                raise ConfigurationError(
                    "input_ids is missing: this configuration trains on reports. Set the contrastive, siglip, "
                    "text_reconstruction and orthogonality loss weights to 0 to train on signals alone."
                )
            text_pooled, text_loss = self._text_branch(
                input_ids, attention_mask, token_type_ids, special_tokens_mask, text_noise
            )
            if text_loss is not None:
                losses["text_reconstruction"] = text_loss
            if config.contrast_view == "full":
                ecg_pooled = self.ecg_model(
                    ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs
                ).pooler_output
            losses.update(
                self._alignment_losses(ecg_pooled, text_pooled, ecg_statement_ids, text_statement_ids, output)
            )

        for name, value in losses.items():
            output[f"{name}_loss"] = value
        if losses:
            output["loss"] = sum(getattr(config, f"{name}_loss_weight") * value for name, value in losses.items())
        return output

    def _text_branch(self, input_ids, attention_mask, token_type_ids, special_tokens_mask, text_noise):
        """The pooled text (B, H) for alignment, and the loss of masked report reconstruction or None."""
        config = self.config
        if config.text_reconstruction_loss_weight == 0:
            return self.encode_text(input_ids, attention_mask, token_type_ids).pooler_output, None
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        maskable = attention_mask.bool()
        if special_tokens_mask is not None:
            maskable = maskable & ~special_tokens_mask.bool()
        if text_noise is None:
            text_noise = torch.rand(input_ids.shape, device=input_ids.device)
        masked_BS, positions_BK, valid_BK = mask_report_tokens(text_noise, maskable, config.text_mask_ratio)
        corrupted = input_ids.masked_fill(masked_BS, config.mask_token_id)
        outputs = self.encode_text(corrupted, attention_mask, token_type_ids)
        tokens_BK = input_ids.gather(1, positions_BK)
        word_embeddings = self.text_model.get_input_embeddings()
        if config.text_objective == "causal":
            predicted = self.text_decoder(
                word_embeddings(tokens_BK), positions_BK, valid_BK, outputs.last_hidden_state, attention_mask
            )
        else:
            width = outputs.last_hidden_state.shape[-1]
            predicted = outputs.last_hidden_state.gather(1, positions_BK[..., None].expand(-1, -1, width))
        logits = self.vocabulary_head(predicted, word_embeddings.weight)
        pooled = outputs.pooler_output
        if config.contrast_view != "masked":
            pooled = self.encode_text(input_ids, attention_mask, token_type_ids).pooler_output
        return pooled, masked_token_loss(logits, tokens_BK, valid_BK)

    def _alignment_losses(
        self, ecg_pooled, text_pooled, ecg_statement_ids, text_statement_ids, output
    ) -> dict[str, torch.Tensor]:
        config = self.config
        losses = {}
        ecg_shared, text_shared = self.ecg_shared_head(ecg_pooled), self.text_shared_head(text_pooled)
        if config.orthogonality_loss_weight > 0:
            losses["orthogonality"] = orthogonality_loss(
                self.ecg_specific_head(ecg_pooled), ecg_shared, self.text_specific_head(text_pooled), text_shared
            )
        output["ecg_embeds"] = F.normalize(ecg_shared.float(), dim=-1)
        output["text_embeds"] = F.normalize(text_shared.float(), dim=-1)
        if config.aligns:
            pairs = output["ecg_embeds"], output["text_embeds"]
            statements = ecg_statement_ids, text_statement_ids
            if config.contrastive_loss_weight > 0:
                losses["contrastive"] = contrastive_loss(*pairs, config.temperature, *statements)
            if config.siglip_loss_weight > 0:
                losses["siglip"] = siglip_loss(*pairs, self.siglip_log_scale.exp(), self.siglip_bias, *statements)
        return losses


__all__ = ["CGDMERForPreTraining", "CGDMERForPreTrainingOutput"]
