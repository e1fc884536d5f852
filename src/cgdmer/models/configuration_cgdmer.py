# SPDX-License-Identifier: Apache-2.0
"""Configuration of CG-DMER (Niu et al., ICASSP 2026, arXiv 2602.21154)."""

from typing import ClassVar

from transformers import AutoConfig

from .configuration_checks import (
    checked,
    refuse_below_one,
    refuse_other_than,
    refuse_to_restore_nothing,
    refuse_unless_positive,
    refuse_unless_weight,
)
from .configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from .configuration_ecg_text import ECGTextConfig
from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ConfigurationError

PAPER, HUB_TAG = "CG-DMER, arXiv 2602.21154", "cg-dmer"


@checked
class CGDMERECGConfig(LeadTimeEncoderConfig):
    r"""The ECG branch: tokens, masking, the encoder, and the decoder that reconstructs masked patches.

    The defaults are the paper's or, where it is silent, those of the closest prior work: 10 s at 500 Hz in 12 x 100
    patches of 50 samples, 75 % masked uniformly, 8 layers, 768 wide. For the options, see `LeadTimeEncoderConfig`.
    """

    model_type = "cgdmer_ecg"
    paper, hub_tag = PAPER, HUB_TAG


ECG_CONFIGS = {config.model_type: config for config in (CGDMERECGConfig, ECGViTConfig, ECGResNetConfig)}


@checked
class CGDMERConfig(ECGTextConfig):
    r"""The complete CG-DMER: an ECG branch, a BERT-like text branch, heads, and losses.

    A loss weight of 0 switches off that branch and its cost; the five variants of the paper's Table 3 are five
    configurations. Where the paper gives no value for a weight, it is ours (eq. 10 names them without values).

    Args:
        ecg_config (`CGDMERECGConfig` or `dict`): the ECG branch. For comparisons, also an `ECGViTConfig` or
            `ECGResNetConfig`, or a dict with their `model_type`; these encoders cannot hide patches.
        text_config, text_model_name, text_pooling, score_scale, score_bias: see `ECGTextConfig`.
        projection_hidden_size, projection_size, projection_dropout: the four heads of eq. 4.
        mask_token_id (`int`): id of the tokenizer's mask token.
        text_mask_ratio (`float`): masked share of a report's tokens (15 % in the paper).
        text_objective (`str`): `"causal"` (a small decoder predicts the masked tokens in order, as the paper words
            it) or `"mlm"` (a masked-language head on the encoder).
        text_decoder_num_hidden_layers (`int`): layers of the causal decoder.
        contrastive_loss_weight (`float`): weight of eqs. 7-9.
        ecg_reconstruction_loss_weight, text_reconstruction_loss_weight (`float`): weights of eqs. 2 and 3.
        orthogonality_loss_weight, siglip_loss_weight (`float`): weights of eqs. 5 and 6.
        temperature (`float`): fixed temperature of the contrastive loss (0.07 in the paper).
        siglip_initial_scale, siglip_initial_bias (`float`): initial scale and bias of the sigmoid loss; both are
            learned.
        contrast_view (`str`): what the embeddings are computed from. `"masked"`: the masked signal and the masked
            report, as for reconstruction. `"masked_ecg"`: the masked signal and the whole report; in a short text, a
            masked word is often the finding itself. `"full"`: a second pass of both without masks, at its own cost.
    """

    model_type = "cgdmer"
    paper, hub_tag = PAPER, HUB_TAG
    sub_configs: ClassVar = {"ecg_config": CGDMERECGConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = ECG_CONFIGS

    mask_token_id: int = 103
    text_mask_ratio: float = 0.15
    text_objective: str = "causal"
    text_decoder_num_hidden_layers: int = 2
    contrastive_loss_weight: float | int = 1.0
    ecg_reconstruction_loss_weight: float | int = 1.0
    text_reconstruction_loss_weight: float | int = 1.0
    orthogonality_loss_weight: float | int = 1.0
    siglip_loss_weight: float | int = 1.0
    siglip_initial_scale: float | int = 10.0
    siglip_initial_bias: float | int = -10.0
    contrast_view: str = "masked"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_other_than(self, "text_objective", "causal", "mlm")
        refuse_other_than(self, "contrast_view", "masked", "masked_ecg", "full")
        refuse_unless_positive(self, "siglip_initial_scale")
        if not 0 < self.text_mask_ratio <= 1:
            raise ConfigurationError(
                f"text_mask_ratio is {self.text_mask_ratio}; expected more than 0 and at most 1. "
                "To switch off report masking, set text_reconstruction_loss_weight to 0."
            )
        refuse_below_one(self, "text_decoder_num_hidden_layers")
        losses = ("contrastive", "ecg_reconstruction", "text_reconstruction", "orthogonality", "siglip")
        refuse_unless_weight(self, *(f"{name}_loss_weight" for name in losses))
        hides_patches = self.ecg_reconstruction_loss_weight > 0 or self.contrast_view != "full"
        if hides_patches:
            if self.ecg_config.model_type != CGDMERECGConfig.model_type:
                raise ConfigurationError(
                    f"an encoder of type {self.ecg_config.model_type!r} cannot hide patches. Set contrast_view to "
                    f"'full' (it is {self.contrast_view!r}) and ecg_reconstruction_loss_weight to 0 (it is "
                    f"{self.ecg_reconstruction_loss_weight})."
                )
            refuse_to_restore_nothing(self, self.ecg_config)

    @property
    def aligns(self) -> bool:
        return self.contrastive_loss_weight > 0 or self.siglip_loss_weight > 0

    @property
    def uses_heads(self) -> bool:
        return self.aligns or self.orthogonality_loss_weight > 0

    def take_from_tokenizer(self, tokenizer) -> None:
        """Note the id of the mask token."""
        self.mask_token_id = _mask_token_id(tokenizer)

    def check_tokenizer(self, tokenizer) -> None:
        super().check_tokenizer(tokenizer)
        if self.text_reconstruction_loss_weight > 0 and _mask_token_id(tokenizer) != self.mask_token_id:
            raise ConfigurationError(
                f"the tokenizer's mask token is {tokenizer.mask_token_id}, but the model's configuration says "
                f"{self.mask_token_id}: they do not belong together. Use the tokenizer that came with the model."
            )


def _mask_token_id(tokenizer) -> int:
    if tokenizer.mask_token_id is None:
        raise ConfigurationError("the tokenizer has no mask token; masked report reconstruction needs one.")
    return tokenizer.mask_token_id
