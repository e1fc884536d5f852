# SPDX-License-Identifier: Apache-2.0
"""What training expects of every family's class for pretraining, and the masked and full views of a batch of ECGs.

Shapes: B batch, L leads, T samples, N patches per lead, E embedding width, M maximum statements per record, S tokens,
U distinct texts.
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from transformers.utils import ModelOutput

from .errors import ConfigurationError
from .keyword_arguments import refuse_unknown_arguments
from .masking import choose_masked, mask_patches, most_visible
from .modeling_base import present_patches
from .modeling_lead_time_encoder import LeadTimeEncoderOutput
from .objectives import reconstruction_loss, reconstruction_r2

# A batch holds the same for every family; each uses some of it.
_BATCH_ARGUMENTS = (
    *("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "distinct_texts", "text_index"),
    *("ecg_statement_ids", "text_statement_ids", "noise", "text_noise"),
)


class PreTrainingMixin:
    """For a family's class for pretraining, listed before its model class.

    Its `forward` computes all losses of one batch; with several processes, over the global batch. It takes a batch of
    `cgdmer.training.pairs` as keyword arguments. A family names only those that it uses:

    - `ecg_values`, `lead_mask`, `patch_mask`: see `LeadTimeEncoder`. Without masks, nothing waits for the device.
    - `input_ids`, `attention_mask`, `token_type_ids`, `special_tokens_mask`: the tokenized texts. Each ECG may have
      several, all ECGs the same number: (B * texts, S), the first ECG's first.
    - `distinct_texts` (U,) int64, the first row of each distinct text, and `text_index` int64, which of them each row
      is: a repeated text is encoded once.
    - `ecg_statement_ids`, `text_statement_ids`: (B, M) and (texts, M) int64, what holds for each ECG and what each
      text states. An ECG that satisfies another record's text is not its negative: see `objectives.satisfied_pairs`.
    - `noise`: (B, L, N) uniform numbers that decide which patches are masked; `text_noise`, shaped like `input_ids`,
      decides which tokens. Drawn when None.
    - `align`: False leaves the losses of `alignment_losses` to the caller, which also has the embeddings of the other
      parts of the batch (`training.cached_gradients`).
    - `embeds_only`: return only the compared embeddings, with the same dropout as a full pass.

    It returns an `output_class`: `loss`; each individual loss as `NAME_loss`, and other values to log as `NAME_bound`
    and `NAME_r2`, None if switched off; the two `compared` embeddings, unit vectors; and, if something is
    reconstructed, `reconstructed_patches` and `bool_masked_pos` for plots.

    If the configuration `contrasts`, `center_heads(batch)` is called once before training from random weights, with a
    few hundred records (ours). It shifts the heads so that the embeddings of the batch average to zero. Untrained
    towers map all records to nearly one direction (mean cosine 0.97 between ECGs, 0.91 between texts), which a
    contrastive loss on unit vectors needs hundreds of steps to undo.
    """

    output_class: ClassVar[type[ModelOutput]]
    # The outputs that `alignment_losses` compares, in its order. The first has one row per record.
    compared: ClassVar[tuple[str, str]] = ("ecg_embeds", "text_embeds")

    @property
    def contrasts(self) -> bool:
        """Whether any loss compares the records of a batch."""
        does: bool = self.config.contrasts  # type: ignore[attr-defined]
        return does

    @property
    def aligns(self) -> bool:
        """Whether ECGs are trained to be near their texts."""
        does: bool = self.config.aligns  # type: ignore[attr-defined]
        return does

    def for_encoder(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments that a `forward` passes on to the encoder, without those of other families.

        Raises:
            ECGInputError: one is unknown.
        """
        refuse_unknown_arguments(kwargs, self.forward, self, _BATCH_ARGUMENTS)  # type: ignore[attr-defined]
        return {name: value for name, value in kwargs.items() if name not in _BATCH_ARGUMENTS}

    def loss_weights(self) -> dict[str, float]:
        """The weight of each loss, by its name without `_loss`."""
        raise NotImplementedError

    def alignment_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that `alignment_losses` uses."""
        return ()

    def alignment_losses(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        ecg_statement_ids: torch.Tensor | None = None,
        text_statement_ids: torch.Tensor | None = None,
        parameters: tuple[torch.Tensor, ...] | None = None,
    ) -> dict[str, torch.Tensor]:
        """The losses that compare the records of the global batch, by name.

        Args:
            first, second: (B, E) and (texts, E), this process's `compared` embeddings. Each of an ECG's texts forms
                a pair with it; its other texts are not negatives.
            ecg_statement_ids, text_statement_ids: (B, M) and (texts, M) int64, see `objectives.satisfied_pairs`.
            parameters: used instead of this model's `alignment_parameters`.
        """
        return {}

    def freeze_unused_parameters(self) -> None:
        """Freeze the parts that no loss of the configuration reaches."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info=False, **kwargs):
        """As in the base class. Loading makes every parameter trainable, so unused ones are frozen again."""
        model, info = super().from_pretrained(  # type: ignore[misc]
            pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
        )
        model.freeze_unused_parameters()
        return (model, info) if output_loading_info else model

    def with_losses(
        self, output: Any, losses: dict[str, torch.Tensor], ecg_statement_ids: torch.Tensor | None = None
    ) -> Any:
        """The output with every loss, and their weighted sum if there is any."""
        for name, value in losses.items():
            output[f"{name}_loss"] = value
        if losses:
            output["loss"] = self.weighted(losses)
        return output

    def weighted(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of losses, of which there is at least one."""
        weights = self.loss_weights()
        total: Any = sum(weights[name] * value for name, value in losses.items())
        return total


def with_each_text(
    ecg_embeds: torch.Tensor, text_embeds: torch.Tensor, ecg_statement_ids: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Repeats each ECG's row once per text, so that rows are pairs; an ECG's texts are consecutive.

    Raises:
        ConfigurationError: there are several texts per ECG but no statements.
    """
    texts = len(text_embeds) // len(ecg_embeds)
    if texts == 1:
        return ecg_embeds, ecg_statement_ids
    if ecg_statement_ids is None:
        raise ConfigurationError(
            "several texts per ECG need ecg_statement_ids and text_statement_ids: without them, a text would "
            "count its ECG's other texts as negatives."
        )
    return ecg_embeds.repeat_interleave(texts, dim=0), ecg_statement_ids.repeat_interleave(texts, dim=0)


class ECGViews:
    """A batch of ECGs with and without hidden patches; each view is encoded once, when first needed.

    Args:
        encoder: the family's ECG encoder.
        hides: whether some branch hides patches.
        ecg_values, lead_mask, patch_mask: see `LeadTimeEncoder`.
        noise: (B, L, N) uniform numbers that decide which patches are masked; drawn when None.
        more: further keyword arguments of the encoder.

    Attributes:
        masked: (B, L, N) bool; None if nothing is hidden.
        present: (B, L, N) bool; None if all patches exist, or nothing is hidden.
    """

    def __init__(self, encoder, hides: bool, ecg_values, lead_mask, patch_mask, noise, more: dict[str, Any]):
        config = encoder.config
        self._encoder, self._more = encoder, more
        self._inputs = {"ecg_values": ecg_values, "lead_mask": lead_mask, "patch_mask": patch_mask}
        self._encoded: dict[bool, LeadTimeEncoderOutput] = {}
        self.present: torch.Tensor | None = None
        self.masked: torch.Tensor | None = None
        self._noise = noise
        self._num_visible: int | None = None
        if hides:
            self.present = present_patches(ecg_values, lead_mask, patch_mask, config.num_patches)
            if noise is None:
                self._noise = noise = torch.rand(self.present.shape, device=ecg_values.device)
            masking = (config.mask_strategy, config.mask_ratio, config.lead_mask_ratio)
            self.masked = mask_patches(noise, self.present, *masking)
            most = most_visible(config.num_leads, config.num_patches, *masking)
            self._num_restored = math.ceil((config.num_leads * config.num_patches - most) * config.decoder_share)
            if lead_mask is None and patch_mask is None:
                self._num_visible, self.present = most, None

    def encoded(self, hidden: bool) -> LeadTimeEncoderOutput:
        if hidden not in self._encoded:
            masks = {"bool_masked_pos": self.masked, "num_visible": self._num_visible} if hidden else {}
            self._encoded[hidden] = self._encoder(**self._inputs, **masks, return_dict=True, **self._more)
        return self._encoded[hidden]

    def reconstructed(
        self,
        decoder: nn.Module,
        target_BLT: torch.Tensor,
        normalize_patches: bool,
        tokens: torch.Tensor | None = None,
    ) -> "Reconstruction":
        """Patches decoded from the visible ones: in training a share of the masked ones, in evaluation all places.

        Args:
            tokens: (B, visible, width), what the decoder sees instead of the encoder's last hidden states.
        """
        assert self.masked is not None and self._noise is not None  # reconstruction always hides patches
        visible = self.encoded(hidden=True)
        restored = self.masked
        places_BQ = torch.arange(self.masked[0].numel(), device=self.masked.device).expand(len(self.masked), -1)
        if decoder.training and self._num_restored < places_BQ.shape[1]:
            places_BQ = choose_masked(self._noise, self.masked, self._num_restored)
            chosen = torch.zeros_like(self.masked).flatten(1).scatter(1, places_BQ, True)
            restored = restored & chosen.view_as(restored)
        tokens = visible.last_hidden_state if tokens is None else tokens
        decoded_BQP = decoder(tokens, visible.visible_indices, visible.visible_mask, places_BQ)
        patches = decoded_BQP.new_zeros(*self.masked.shape, decoded_BQP.shape[-1])
        patches = patches.flatten(1, 2).scatter(1, places_BQ[..., None].expand_as(decoded_BQP), decoded_BQP)
        patches = patches.view(*self.masked.shape, -1)
        against = (patches, target_BLT, restored, normalize_patches, self.present)
        return Reconstruction(patches, reconstruction_loss(*against), reconstruction_r2(*against))


class Reconstruction(NamedTuple):
    """Decoded patches.

    Attributes:
        patches: (B, L, N, samples per patch), zeros where a training step restores nothing.
        loss: see `objectives.reconstruction_loss`.
        r2: see `objectives.reconstruction_r2`.
    """

    patches: torch.Tensor
    loss: torch.Tensor
    r2: torch.Tensor
