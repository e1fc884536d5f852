# SPDX-License-Identifier: Apache-2.0
"""Pretraining of CG-DMER (arXiv 2602.21154): masks, decoders and all losses of eq. 10.

Shapes: B batch, L leads, N patches per lead, P samples per patch, K masked tokens, E embedding width, S tokens per
report, H text width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple

from .configuration_cgdmer import CGDMERConfig
from .ecg_decoder import ECGDecoder
from .errors import ConfigurationError
from .masking import mask_report_tokens
from .modeling_base import check_ecg_values
from .modeling_cgdmer import CGDMERModel
from .modeling_ecg_text import NestedOutput
from .objectives import contrastive_loss, masked_token_loss, orthogonality_loss, siglip_loss
from .pretraining_base import ECGViews, PreTrainingMixin, with_each_text
from .text_decoder import MaskedTokenDecoder, VocabularyHead


@dataclass
class CGDMERForPreTrainingOutput(NestedOutput):
    """Each unweighted loss, and their weighted sum.

    Args:
        loss: weighted sum over the active branches.
        contrastive_loss, siglip_loss, ecg_reconstruction_loss, text_reconstruction_loss, orthogonality_loss: None
            when the weight is 0.
        ecg_reconstruction_r2: see `objectives.reconstruction_r2`; not a loss.
        reconstructed_patches: (B, L, N, P), with the ECG decoder only.
        bool_masked_pos: (B, L, N) bool, the masked patches; None if no branch needs masks.
        ecg_embeds, text_embeds: (B, E) unit vectors.
    """

    loss: torch.Tensor | None = None
    contrastive_loss: torch.Tensor | None = None
    siglip_loss: torch.Tensor | None = None
    ecg_reconstruction_loss: torch.Tensor | None = None
    text_reconstruction_loss: torch.Tensor | None = None
    orthogonality_loss: torch.Tensor | None = None
    ecg_reconstruction_r2: torch.Tensor | None = None
    reconstructed_patches: torch.Tensor | None = None
    bool_masked_pos: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


class CGDMERForPreTraining(PreTrainingMixin, CGDMERModel):
    """CG-DMER with its decoders and all losses (eq. 10, with the reconstruction of eq. 2 added).

    A loss weight of 0 in the configuration leaves out that branch: no weights, no computation. Parameters that a
    configuration does not use are frozen, so that DDP need not search for unused ones.
    """

    output_class = CGDMERForPreTrainingOutput

    def __init__(self, config: CGDMERConfig):
        super().__init__(config)
        if config.ecg_reconstruction_loss_weight > 0:
            self.ecg_decoder = ECGDecoder(self.ecg_model.config)
        if config.text_reconstruction_loss_weight > 0:
            if config.text_objective == "causal":
                self.text_decoder = MaskedTokenDecoder(config, self.text_model.config)
            self.vocabulary_head = VocabularyHead(config.text_config.hidden_size, config.text_config.vocab_size)
        if config.siglip_loss_weight > 0:
            # The base class's post_init has marked this module as initialized, so `_init_weights` comes too late.
            # Vectors of one number, because FSDP2 cannot shard scalars.
            self.siglip_log_scale = nn.Parameter(torch.tensor([math.log(config.siglip_initial_scale)]))
            self.siglip_bias = nn.Parameter(torch.tensor([float(config.siglip_initial_bias)]))
        self.post_init()
        self.freeze_unused_parameters()

    def resize_token_embeddings(self, new_num_tokens=None, *args, **kwargs):
        embeddings = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        if self.config.text_reconstruction_loss_weight > 0:
            self.vocabulary_head.resize(embeddings.num_embeddings)
        return embeddings

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaskedTokenDecoder):
            init.trunc_normal_(module.start, std=self.config.initializer_range)
        elif isinstance(module, VocabularyHead):
            init.zeros_(module.bias)
        elif module is self and self.config.siglip_loss_weight > 0:
            init.constant_(self.siglip_log_scale, math.log(self.config.siglip_initial_scale))
            init.constant_(self.siglip_bias, self.config.siglip_initial_bias)

    def freeze_unused_parameters(self) -> None:
        config = self.config
        if not config.uses_heads:
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
        distinct_texts: torch.Tensor | None = None,
        text_index: torch.Tensor | None = None,
        align: bool = True,
        embeds_only: bool = False,
        **kwargs,
    ) -> CGDMERForPreTrainingOutput:
        """See `PreTrainingMixin`. If an ECG has several texts, only the first is reconstructed and enters the
        orthogonality loss. Special tokens are never masked. A repeated text is encoded once, unless it is masked in
        several ways."""
        config = self.config
        check_ecg_values(ecg_values, config.ecg_config)
        if input_ids is None:
            self._refuse_to_go_without_texts()
        hides = config.ecg_reconstruction_loss_weight > 0 or config.contrast_view != "full"
        ecg = ECGViews(self.ecg_model, hides, ecg_values, lead_mask, patch_mask, noise, self.for_encoder(kwargs))
        texts = (input_ids, attention_mask, token_type_ids, special_tokens_mask)
        text = _TextViews(self, len(ecg_values), *texts, text_noise, distinct_texts, text_index)
        output = CGDMERForPreTrainingOutput(bool_masked_pos=ecg.masked)
        losses: dict[str, torch.Tensor] = {}

        # Embeddings come first: a pass that stops after them then draws the same dropout as a full pass.
        if config.uses_heads:
            ecg_pooled = ecg.encoded(hidden=config.contrast_view != "full").pooler_output
            text_pooled = text.pooled(hidden=config.contrast_view == "masked")
            ecg_shared, text_shared = self.ecg_shared_head(ecg_pooled), self.text_shared_head(text_pooled)
            output["ecg_embeds"] = F.normalize(ecg_shared.float(), dim=-1)
            output["text_embeds"] = F.normalize(text_shared.float(), dim=-1)
            if embeds_only:
                return output
            if config.orthogonality_loss_weight > 0:
                own_text, own_shared = text_pooled[text.first_rows], text_shared[text.first_rows]
                losses["orthogonality"] = orthogonality_loss(
                    self.ecg_specific_head(ecg_pooled), ecg_shared, self.text_specific_head(own_text), own_shared
                )
        if config.ecg_reconstruction_loss_weight > 0:
            restored = ecg.reconstructed(self.ecg_decoder, ecg_values, config.ecg_config.normalize_patches)
            output["reconstructed_patches"], losses["ecg_reconstruction"] = restored.patches, restored.loss
            output["ecg_reconstruction_r2"] = restored.r2
        if config.text_reconstruction_loss_weight > 0:
            losses["text_reconstruction"] = self._text_reconstruction_loss(text)
        if config.aligns and align:
            embeds = (output["ecg_embeds"], output["text_embeds"])
            losses.update(self.alignment_losses(*embeds, ecg_statement_ids, text_statement_ids))
        return self.with_losses(output, losses)

    def _refuse_to_go_without_texts(self) -> None:
        if self.config.uses_heads or self.config.text_reconstruction_loss_weight > 0:
            raise ConfigurationError(
                "input_ids is missing: this configuration trains on reports. To train on signals alone, set the "
                "contrastive, siglip, text_reconstruction, and orthogonality loss weights to 0."
            )

    def loss_weights(self) -> dict[str, float]:
        """As eq. 10 names them."""
        names = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")
        return {name: getattr(self.config, f"{name}_loss_weight") for name in names}

    def alignment_parameters(self) -> tuple[str, ...]:
        return ("siglip_log_scale", "siglip_bias") if self.config.siglip_loss_weight > 0 else ()

    def alignment_losses(
        self, first, second, ecg_statement_ids=None, text_statement_ids=None, parameters=None
    ) -> dict[str, torch.Tensor]:
        """`contrastive` and `siglip`, if the configuration has them, over the global batch."""
        config, losses = self.config, {}
        ecg_embeds, ecg_statement_ids = with_each_text(first, second, ecg_statement_ids)
        pairs, statements = (ecg_embeds, second), (ecg_statement_ids, text_statement_ids)
        if config.contrastive_loss_weight > 0:
            losses["contrastive"] = contrastive_loss(*pairs, config.temperature, *statements)
        if config.siglip_loss_weight > 0:
            log_scale, bias = parameters or (self.siglip_log_scale, self.siglip_bias)
            losses["siglip"] = siglip_loss(*pairs, log_scale.squeeze().exp(), bias.squeeze(), *statements)
        return losses

    def _text_reconstruction_loss(self, text: "_TextViews") -> torch.Tensor:
        outputs = text.corrupted()
        tokens_BK = text.input_ids[text.hidden_rows].gather(1, text.positions_BK)
        word_embeddings = self.text_model.get_input_embeddings()
        if self.config.text_objective == "causal":
            predicted = self.text_decoder(
                word_embeddings(tokens_BK),
                text.positions_BK,
                text.valid_BK,
                outputs.last_hidden_state,
                text.attention_mask[text.hidden_rows],
            )
        else:
            width = outputs.last_hidden_state.shape[-1]
            predicted = outputs.last_hidden_state.gather(1, text.positions_BK[..., None].expand(-1, -1, width))
        logits = self.vocabulary_head(predicted, word_embeddings.weight)
        return masked_token_loss(logits, tokens_BK, text.valid_BK)


class _TextViews:
    """A batch of reports with and without masked tokens; the masked ones are encoded once, when first needed."""

    def __init__(
        self,
        model: CGDMERForPreTraining,
        num_ecgs: int,
        input_ids,
        attention_mask,
        token_type_ids,
        special_tokens_mask,
        text_noise,
        distinct_texts,
        text_index,
    ):
        config = model.config
        self._model, self._token_type_ids = model, token_type_ids
        self._encoded: BaseModelOutputWithPooling | None = None
        self._distinct, self._index = distinct_texts, text_index
        self.input_ids, self.attention_mask = input_ids, attention_mask
        if input_ids is None:
            return
        self.first_rows = slice(None, None, len(input_ids) // num_ecgs)
        # One text per ECG is reconstructed, unless the embeddings come from corrupted texts anyway.
        self.hidden_rows = slice(None) if config.contrast_view == "masked" else self.first_rows
        if config.text_reconstruction_loss_weight == 0:
            return
        if attention_mask is None:
            self.attention_mask = torch.ones_like(input_ids)
        maskable = self.attention_mask.bool()
        if special_tokens_mask is not None:
            maskable = maskable & ~special_tokens_mask.bool()
        if text_noise is None:
            text_noise = torch.rand(input_ids.shape, device=input_ids.device)
        masked_BS, self.positions_BK, self.valid_BK = mask_report_tokens(
            text_noise[self.hidden_rows], maskable[self.hidden_rows], config.text_mask_ratio
        )
        self._corrupted = input_ids[self.hidden_rows].masked_fill(masked_BS, config.mask_token_id)

    def pooled(self, hidden: bool) -> torch.Tensor:
        """(texts, H), from the corrupted or the whole texts."""
        if hidden and self._model.config.text_reconstruction_loss_weight > 0:  # otherwise nothing is masked
            return self.corrupted().pooler_output
        texts = (self.input_ids, self.attention_mask, self._token_type_ids)
        return self._model.pooled_texts(*texts, self._distinct, self._index)

    def corrupted(self) -> BaseModelOutputWithPooling:
        """The text tower's output for the texts with masked tokens."""
        if self._encoded is None:
            masks = (self.attention_mask, self._token_type_ids)
            own = (None if each is None else each[self.hidden_rows] for each in masks)
            self._encoded = self._model.encode_text(self._corrupted, *own)
        return self._encoded
