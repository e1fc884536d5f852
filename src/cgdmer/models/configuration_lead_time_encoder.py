# SPDX-License-Identifier: Apache-2.0
"""Configuration of the encoder over lead-time tokens and of its decoder, which the families share."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_checks import drop_registered_pipelines, refuse_below_one, refuse_unknown_keys
from .errors import ConfigurationError

MASK_STRATEGIES = ("uniform", "time", "lead", "dual")


@strict
class LeadTimeEncoderConfig(PreTrainedConfig):
    r"""Tokens, masking, encoder and the decoder that reconstructs masked patches.

    A family's own configuration of its ECG branch inherits from this one, with defaults and options of its own.

    Args:
        sampling_rate (`int`): rate of the model's input in Hz.
        num_samples (`int`): samples a lead in the model's window; the window lasts `num_samples / sampling_rate` s.
        patch_length (`int`): samples a patch; must divide `num_samples`.
        tokenizer_channels (`int`): channels of the three convolutions that see one patch each; a multiple of 4.
        tokenizer_stride (`int`): stride of the first of them, in samples.
        raw_patch (`bool`): also give the linear map the patch as it is. Group normalisation removes the amplitude of
            a patch, which hypertrophy and low voltage are defined by. Ours.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): dropout in the encoder and the decoder.
        mask_strategy (`str`): `"uniform"` (the same number in every lead, positions independent), `"time"` (whole
            columns), `"lead"` (whole leads), `"dual"` (columns and leads).
        mask_ratio (`float`): share of a lead's patches (`uniform`), of the columns (`time`, `dual`) or of the leads
            (`lead`) that is masked.
        lead_mask_ratio (`float`): share of the leads masked by `dual`, beside the columns.
        decoder_hidden_size, decoder_num_hidden_layers, decoder_num_attention_heads, decoder_intermediate_size: the
            decoder, joint over leads and time.
        normalize_patches (`bool`): reconstruct each patch with its own mean removed and its own standard deviation
            set to one (as in masked autoencoders). Ours.
    """

    base_config_key = "ecg_config"
    # For model cards: the family's paper, and its tag on the Hub.
    paper: ClassVar[str] = ""
    hub_tag: ClassVar[str] = ""

    num_leads: int = 12
    sampling_rate: int = 500
    num_samples: int = 5000
    patch_length: int = 50
    tokenizer_channels: int = 8
    tokenizer_stride: int = 8
    raw_patch: bool = True
    hidden_size: int = 768
    num_hidden_layers: int = 8
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    mask_strategy: str = "uniform"
    mask_ratio: float | int = 0.75
    lead_mask_ratio: float | int = 0.2
    decoder_hidden_size: int = 256
    decoder_num_hidden_layers: int = 4
    decoder_num_attention_heads: int = 4
    decoder_intermediate_size: int = 1024
    normalize_patches: bool = True

    def __post_init__(self, **kwargs):
        refuse_unknown_keys(self, kwargs)
        drop_registered_pipelines(kwargs)
        if self.num_leads != 12:
            raise ConfigurationError(
                f"num_leads is {self.num_leads}; the input always has the twelve standard leads (`lead_mask` says "
                "which of them are there)."
            )
        refuse_below_one(self, "sampling_rate", "num_samples", "patch_length", "tokenizer_channels")
        for part in ("", "decoder_"):
            sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
            refuse_below_one(self, *(part + size for size in sizes))
        if self.num_samples % self.patch_length:
            raise ConfigurationError(
                f"patch_length ({self.patch_length}) must divide num_samples ({self.num_samples})."
            )
        for width, heads in (
            ("hidden_size", "num_attention_heads"),
            ("decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigurationError(f"{width} ({getattr(self, width)}) must be a multiple of {heads}.")
        if self.tokenizer_channels % 4:
            raise ConfigurationError(f"tokenizer_channels ({self.tokenizer_channels}) must be a multiple of 4.")
        if self.mask_strategy not in MASK_STRATEGIES:
            raise ConfigurationError(
                f"mask_strategy is {self.mask_strategy!r}; expected one of {', '.join(MASK_STRATEGIES)}."
            )
        for name in ("mask_ratio", "lead_mask_ratio", "hidden_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; expected at least 0 and less than 1.")
        super().__post_init__(**kwargs)

    @property
    def num_patches(self) -> int:
        """Patches a lead."""
        return self.num_samples // self.patch_length

    @property
    def hides_patches(self) -> bool:
        """Whether the mask hides any patch of a whole record (see `masking.mask_patches`)."""
        hidden = [self.mask_ratio * (self.num_leads if self.mask_strategy == "lead" else self.num_patches)]
        if self.mask_strategy == "dual":
            hidden.append(self.lead_mask_ratio * self.num_leads)
        return max(hidden) + 1e-4 >= 1  # as they are rounded there: 1 / 49 * 49 is below 1
