# SPDX-License-Identifier: Apache-2.0
"""Configuration of the model's window, and of the encoder over lead-time tokens and its decoder."""

from typing import ClassVar

from transformers import PreTrainedConfig

from .configuration_checks import (
    checked,
    drop_registered_pipelines,
    refuse_below_one,
    refuse_other_than,
    refuse_unknown_activation,
    refuse_unknown_keys,
    refuse_unless_fraction,
    refuse_unless_multiple,
    refuse_unless_positive,
    refuse_unless_weight,
)
from .errors import ConfigurationError
from .units import HIGHEST_RATE, LONGEST_WINDOW


@checked
class ECGWindowConfig(PreTrainedConfig):
    """The window of every ECG encoder: see `LeadTimeEncoderConfig`."""

    base_config_key = "ecg_config"
    # For model cards: the family's paper, and its tag on the Hub.
    paper: ClassVar[str] = ""
    hub_tag: ClassVar[str] = ""

    num_leads: int = 12
    sampling_rate: int = 500
    num_samples: int = 5000
    patch_length: int = 50

    def __post_init__(self, **kwargs):
        refuse_unknown_keys(self, kwargs)
        drop_registered_pipelines(kwargs)
        if self.num_leads != 12:
            raise ConfigurationError(
                f"num_leads is {self.num_leads}; the input always has the twelve standard leads (`lead_mask` says "
                "which ones are present)."
            )
        refuse_below_one(self, "sampling_rate", "num_samples", "patch_length")
        if self.sampling_rate > HIGHEST_RATE or self.num_samples > LONGEST_WINDOW:
            raise ConfigurationError(
                f"the window has {self.num_samples} samples at {self.sampling_rate} Hz; expected at most "
                f"{LONGEST_WINDOW} at {HIGHEST_RATE:g} Hz."
            )
        if self.num_samples % self.patch_length:
            raise ConfigurationError(
                f"patch_length ({self.patch_length}) must divide num_samples ({self.num_samples})."
            )
        super().__post_init__(**kwargs)

    @property
    def num_patches(self) -> int:
        """Patches per lead."""
        return self.num_samples // self.patch_length


@checked
class LeadTimeEncoderConfig(ECGWindowConfig):
    r"""Tokens, masking, the encoder, and the decoder that reconstructs masked patches.

    Each family's ECG configuration inherits from this one and adds its own defaults and options.

    Args:
        sampling_rate (`int`): rate of the model's input in Hz.
        num_samples (`int`): samples per lead in the model's window, which lasts `num_samples / sampling_rate` s.
        patch_length (`int`): samples per patch; must divide `num_samples`.
        tokenizer_channels (`int`): channels of the three convolutions over each patch; a multiple of 4.
        tokenizer_stride (`int`): stride of the first convolution, in samples.
        raw_patch (`bool`): also feed the patch itself to the linear map. Group normalization removes a patch's
            amplitude, which defines hypertrophy and low voltage. Ours.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder.
        hidden_dropout, attention_dropout (`float`): dropout in the encoder and the decoder.
        mask_strategy (`str`): `"uniform"` (the same number in every lead, positions independent), `"time"` (whole
            columns), `"lead"` (whole leads), `"dual"` (columns and leads).
        mask_ratio (`float`): masked share of a lead's patches (`uniform`), of the columns (`time`, `dual`), or of the
            leads (`lead`).
        lead_mask_ratio (`float`): share of the leads that `dual` masks in addition to the columns.
        decoder_hidden_size, decoder_num_hidden_layers, decoder_num_attention_heads, decoder_intermediate_size: the
            decoder, see `ECGDecoder`.
        decoder_reach (`int`, *optional*): how many patches before and after a masked patch the decoder looks at, in
            all leads. With None, it looks at the whole window, from which a small model hardly learns to restore
            anything. Ours.
        decoder_share (`float`): share of the masked patches that a training step restores, drawn at random; in
            evaluation, all are. Ours.
        normalize_patches (`bool`): reconstruct each patch normalized to mean 0 and standard deviation 1, as in masked
            autoencoders, which rewards features without amplitude. By default, the error is in units of the record's
            own standard deviation. Ours.
    """

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
    decoder_reach: int | None = 5
    decoder_share: float | int = 0.25
    normalize_patches: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_below_one(self, "tokenizer_channels", "tokenizer_stride")
        refuse_unless_multiple(self, "tokenizer_channels", 4)
        for part in ("", "decoder_"):
            sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
            refuse_below_one(self, *(part + size for size in sizes))
            refuse_unless_multiple(self, f"{part}hidden_size", f"{part}num_attention_heads")
        refuse_unknown_activation(self, "hidden_act")
        refuse_unless_positive(self, "layer_norm_eps")
        refuse_unless_weight(self, "initializer_range")
        if self.decoder_reach is not None:
            refuse_below_one(self, "decoder_reach")
        if not 0 < self.decoder_share <= 1:
            raise ConfigurationError(f"decoder_share is {self.decoder_share}; expected more than 0 and at most 1.")
        refuse_other_than(self, "mask_strategy", "uniform", "time", "lead", "dual")
        refuse_unless_fraction(self, "mask_ratio", "lead_mask_ratio", "hidden_dropout", "attention_dropout")

    @property
    def hides_patches(self) -> bool:
        """Whether the mask hides any patch of a complete record (see `masking.mask_patches`)."""
        hidden = [self.mask_ratio * (self.num_leads if self.mask_strategy == "lead" else self.num_patches)]
        if self.mask_strategy == "dual":
            hidden.append(self.lead_mask_ratio * self.num_leads)
        return max(hidden) + 1e-4 >= 1  # the same rounding as there: 1 / 49 * 49 is below 1
