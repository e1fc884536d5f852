# SPDX-License-Identifier: Apache-2.0
from small_models import small_ecg_options, small_text_options
from transformers import PreTrainedTokenizerFast

from cgdmer import CGDMERConfig, ECGResNetConfig, ECGViTConfig
from presets import Presets


def presets(tokenizer: PreTrainedTokenizerFast) -> Presets:
    yield "cgdmer-tiny", _small(tokenizer, width=128, layers=4, heads=4), tokenizer
    yield "cgdmer-small", _small(tokenizer, width=256, layers=6, heads=4), tokenizer
    for suffix, encoder in (("resnet18", _resnet18()), ("vit", _vit(width=128, layers=4, heads=4))):
        yield (
            f"cgdmer-tiny-{suffix}",
            _with_encoder(encoder, _small(tokenizer, width=128, layers=4, heads=4)),
            tokenizer,
        )
    yield "cgdmer-base", CGDMERConfig(text_model_name="ncbi/MedCPT-Query-Encoder"), None


def _small(tokenizer: PreTrainedTokenizerFast, width: int, layers: int, heads: int) -> CGDMERConfig:
    """CG-DMER for a few thousand to a hundred thousand pairs."""
    return CGDMERConfig(
        ecg_config=small_ecg_options(width, layers, heads) | {"mask_ratio": 0.7},
        mask_token_id=tokenizer.mask_token_id,
        text_decoder_num_hidden_layers=1,
        contrast_view="masked_ecg",
        # So that short runs, such as the demo, align: these weights leave nearly all of the encoder's gradient to
        # contrast. docs/guides/pretrain.md has those with which reconstruction takes part.
        ecg_reconstruction_loss_weight=0.02,
        text_reconstruction_loss_weight=0.02,
        orthogonality_loss_weight=0.1,
        siglip_loss_weight=0.005,
        # In a small batch, many texts match many ECGs: a milder start than one match in a thousand.
        siglip_initial_bias=-2.0,
        **small_text_options(tokenizer, width, heads),
    )


def _with_encoder(encoder: ECGResNetConfig | ECGViTConfig, config: CGDMERConfig) -> CGDMERConfig:
    """For comparisons of methods: the same model with an encoder of that kind, which cannot hide patches."""
    changes = {"ecg_config": encoder, "contrast_view": "full", "ecg_reconstruction_loss_weight": 0.0}
    return CGDMERConfig(**config.to_dict() | changes)


def _resnet18() -> ECGResNetConfig:
    """With about as many weights as the encoder of the tiny preset."""
    return ECGResNetConfig(**_window(), hidden_size=192)


def _vit(width: int, layers: int, heads: int) -> ECGViTConfig:
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    wanted = (*sizes, "hidden_dropout", "attention_dropout")
    options = small_ecg_options(width, layers, heads)
    return ECGViTConfig(**_window(), **{name: options[name] for name in wanted})


def _window() -> dict[str, int]:
    options = small_ecg_options(128, 4, 4)
    return {name: options[name] for name in ("sampling_rate", "num_samples", "patch_length")}
