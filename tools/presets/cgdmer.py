# SPDX-License-Identifier: Apache-2.0
from small_models import small_ecg_options, small_text_options
from transformers import PreTrainedTokenizerFast

from cgdmer import CGDMERConfig
from presets import Presets


def presets(tokenizer: PreTrainedTokenizerFast) -> Presets:
    yield "cgdmer-tiny", _small(tokenizer, width=128, layers=4, heads=4), tokenizer
    yield "cgdmer-small", _small(tokenizer, width=256, layers=6, heads=4), tokenizer
    yield "cgdmer-base", CGDMERConfig(text_model_name="ncbi/MedCPT-Query-Encoder"), None


def _small(tokenizer: PreTrainedTokenizerFast, width: int, layers: int, heads: int) -> CGDMERConfig:
    """CG-DMER for a few thousand to a hundred thousand pairs."""
    return CGDMERConfig(
        ecg_config=small_ecg_options(width, layers, heads) | {"mask_ratio": 0.7},
        mask_token_id=tokenizer.mask_token_id,
        text_decoder_num_hidden_layers=1,
        contrast_view="masked_ecg",
        # At this size, weights of 1 for the other losses make the alignment several times slower.
        ecg_reconstruction_loss_weight=0.02,
        text_reconstruction_loss_weight=0.02,
        orthogonality_loss_weight=0.1,
        siglip_loss_weight=0.005,
        # In a small batch, many texts match many ECGs: a milder start than one match in a thousand.
        siglip_initial_bias=-2.0,
        **small_text_options(tokenizer, width, heads),
    )
