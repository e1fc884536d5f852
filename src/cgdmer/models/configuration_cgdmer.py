# SPDX-License-Identifier: Apache-2.0
"""Configuration of CG-DMER (Niu et al., ICASSP 2026, arXiv 2602.21154)."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, BertConfig, PreTrainedConfig

from .configuration_checks import drop_registered_pipelines, refuse_below_one, refuse_unknown_keys
from .configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from .errors import ConfigurationError

MASK_STRATEGIES = ("uniform", "time", "lead", "dual")


@strict
class CGDMERECGConfig(PreTrainedConfig):
    r"""The ECG branch: tokens, masking, encoder and the decoder that reconstructs masked patches.

    The defaults are the paper's, or the nearest prior work's where the paper is silent: 10 s at 500 Hz in 12 x 100
    patches of 50 samples, 75 % masked, 8 layers, 768 wide.

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
        mask_strategy (`str`): `"uniform"` (the same number in every lead, positions independent: the paper),
            `"time"` (whole columns), `"lead"` (whole leads), `"dual"` (columns and leads).
        mask_ratio (`float`): share of a lead's patches (`uniform`), of the columns (`time`, `dual`) or of the leads
            (`lead`) that is masked.
        lead_mask_ratio (`float`): share of the leads masked by `dual`, beside the columns.
        decoder_hidden_size, decoder_num_hidden_layers, decoder_num_attention_heads, decoder_intermediate_size: the
            decoder, joint over leads and time.
        normalize_patches (`bool`): reconstruct each patch with its own mean removed and its own standard deviation
            set to one (as in masked autoencoders). Ours; eq. 2 is silent.
    """

    model_type = "cgdmer_ecg"
    base_config_key = "ecg_config"

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


ECG_CONFIGS = {config.model_type: config for config in (CGDMERECGConfig, ECGViTConfig, ECGResNetConfig)}
_ECG_TYPES = " or ".join(map(repr, ECG_CONFIGS))


@strict
class CGDMERConfig(PreTrainedConfig):
    r"""The whole of CG-DMER: an ECG branch, a BERT-like text branch, heads and losses.

    Every loss weight of 0 switches its branch and its cost off; the five variants of the paper's Table 3 are five
    configurations. Weights are ours where the paper gives none (eq. 10 names them without values).

    Args:
        ecg_config (`CGDMERECGConfig` or `dict`): the ECG branch. For comparisons, also an `ECGViTConfig` or
            `ECGResNetConfig`, or a dict with their `model_type`: encoders that cannot hide patches.
        text_config (`PreTrainedConfig` or `dict` with a `model_type`): any BERT-like encoder. Default: the shape of
            `ncbi/MedCPT-Query-Encoder` (BERT base).
        text_model_name (`str`): Hub id or folder of the tokenizer, for a preset that does not carry one.
        text_pooling (`str`): `"pooler"` (the encoder's `pooler_output`, as in MERL) or `"mean"` over the tokens.
        mask_token_id (`int`): id of the tokenizer's mask token.
        text_mask_ratio (`float`): share of a report's tokens that is masked (15 % in the paper).
        text_objective (`str`): `"causal"` (a small decoder predicts the masked tokens in order: the paper's wording)
            or `"mlm"` (a masked-language head on the encoder).
        text_decoder_num_hidden_layers (`int`): layers of that causal decoder.
        projection_hidden_size, projection_size (`int`): the four two-layer heads of eq. 4.
        contrastive_loss_weight (`float`): weight of eqs. 7-9.
        ecg_reconstruction_loss_weight, text_reconstruction_loss_weight (`float`): weights of eqs. 2 and 3.
        orthogonality_loss_weight, siglip_loss_weight (`float`): weights of eqs. 5 and 6.
        temperature (`float`): fixed temperature of the contrastive loss (0.07 in the paper).
        siglip_initial_scale, siglip_initial_bias (`float`): where the sigmoid loss's learnable scale and bias start.
        contrast_view (`str`): what the embeddings are made from. `"masked"`: the masked signal and the corrupted
            report that are reconstructed. `"masked_ecg"`: the masked signal and the whole report; in a short text a
            masked word is often the finding itself. `"full"`: a second pass of both without masks, at its own cost.
        score_scale, score_bias (`float`): a score is sigmoid(score_scale * cosine + score_bias). `cgdmer.pretrain`
            fits both on the validation records.
    """

    model_type = "cgdmer"
    sub_configs: ClassVar = {"ecg_config": CGDMERECGConfig, "text_config": AutoConfig}

    # Given as a configuration, a dict or None; a configuration afterwards.
    ecg_config: Any = None
    text_config: Any = None
    text_model_name: str | None = None
    text_pooling: str = "pooler"
    mask_token_id: int = 103
    text_mask_ratio: float = 0.15
    text_objective: str = "causal"
    text_decoder_num_hidden_layers: int = 2
    projection_hidden_size: int = 256
    projection_size: int = 256
    projection_dropout: float | int = 0.0
    contrastive_loss_weight: float | int = 1.0
    ecg_reconstruction_loss_weight: float | int = 1.0
    text_reconstruction_loss_weight: float | int = 1.0
    orthogonality_loss_weight: float | int = 1.0
    siglip_loss_weight: float | int = 1.0
    temperature: float | int = 0.07
    siglip_initial_scale: float | int = 10.0
    siglip_initial_bias: float | int = -10.0
    contrast_view: str = "masked"
    score_scale: float | int = 10.0
    score_bias: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        refuse_unknown_keys(self, kwargs)
        drop_registered_pipelines(kwargs)
        if self.ecg_config is None:
            self.ecg_config = CGDMERECGConfig()
        elif isinstance(self.ecg_config, dict):
            model_type = self.ecg_config.get("model_type", CGDMERECGConfig.model_type)
            if model_type not in ECG_CONFIGS:
                raise ConfigurationError(f"ecg_config has model_type {model_type!r}; expected {_ECG_TYPES}.")
            self.ecg_config = ECG_CONFIGS[model_type](**self.ecg_config)
        if self.text_config is None:
            self.text_config = BertConfig()
        elif isinstance(self.text_config, dict):
            text_config = dict(self.text_config)
            model_type = text_config.pop("model_type", None)
            if model_type not in CONFIG_MAPPING:
                raise ConfigurationError(
                    f"text_config has model_type {model_type!r}, which transformers does not know. "
                    "Name a BERT-like encoder, for example 'bert'."
                )
            self.text_config = CONFIG_MAPPING[model_type](**text_config)
        if getattr(self.ecg_config, "model_type", None) not in ECG_CONFIGS:
            raise ConfigurationError(
                f"ecg_config is {self.ecg_config!r}; expected a configuration of type {_ECG_TYPES}, or a dict."
            )
        if not isinstance(self.text_config, PreTrainedConfig):
            raise ConfigurationError(
                f"text_config is {self.text_config!r}; expected a configuration, or a dict with a model_type."
            )
        for name, choices in (
            ("text_pooling", ("pooler", "mean")),
            ("text_objective", ("causal", "mlm")),
            ("contrast_view", ("masked", "masked_ecg", "full")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}.")
        for name in ("temperature", "siglip_initial_scale"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; expected a positive number.")
        if not 0 < self.text_mask_ratio <= 1:
            raise ConfigurationError(
                f"text_mask_ratio is {self.text_mask_ratio}; expected more than 0 and at most 1. "
                "text_reconstruction_loss_weight=0 switches the masking of reports off."
            )
        if not 0 <= self.projection_dropout < 1:
            raise ConfigurationError(
                f"projection_dropout is {self.projection_dropout}; expected at least 0 and less than 1."
            )
        refuse_below_one(self, "projection_hidden_size", "projection_size", "text_decoder_num_hidden_layers")
        for name in ("contrastive", "ecg_reconstruction", "text_reconstruction", "orthogonality", "siglip"):
            if getattr(self, f"{name}_loss_weight") < 0:
                raise ConfigurationError(f"{name}_loss_weight is negative. Use 0 to switch that loss off.")
        hides_patches = self.ecg_reconstruction_loss_weight > 0 or self.contrast_view != "full"
        if hides_patches and self.ecg_config.model_type != CGDMERECGConfig.model_type:
            raise ConfigurationError(
                f"an encoder of type {self.ecg_config.model_type!r} cannot hide patches. Set contrast_view to 'full' "
                f"(it is {self.contrast_view!r}) and ecg_reconstruction_loss_weight to 0 (it is "
                f"{self.ecg_reconstruction_loss_weight})."
            )
        super().__post_init__(**kwargs)

    @property
    def aligns(self) -> bool:
        """Whether any loss pulls ECG and text embeddings together."""
        return self.contrastive_loss_weight > 0 or self.siglip_loss_weight > 0


__all__ = ["CGDMERConfig", "CGDMERECGConfig"]
