# SPDX-License-Identifier: Apache-2.0
"""Options shared by the tiny and small presets of all families."""

from typing import Any

from report_tokenizer import LONGEST_TEXT
from transformers import BertConfig, PreTrainedTokenizerFast


def small_ecg_options(width: int, layers: int, heads: int) -> dict[str, Any]:
    """10 s at 100 Hz, 12 x 25 patches of 0.4 s: for a few thousand to a hundred thousand records."""
    return {
        "sampling_rate": 100,
        "num_samples": 1000,
        "patch_length": 40,
        "tokenizer_channels": 16,
        "tokenizer_stride": 4,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "decoder_hidden_size": 128,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": heads,
        "decoder_intermediate_size": 256,
        "decoder_reach": 2,
    }


def small_text_options(tokenizer: PreTrainedTokenizerFast, width: int, heads: int) -> dict[str, Any]:
    """A text tower of two layers, and projection heads of the same width."""
    return {
        "text_config": BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=width**-0.5,
            max_position_embeddings=LONGEST_TEXT,
            pad_token_id=tokenizer.pad_token_id,
        ).to_dict(),
        "text_pooling": "mean",
        "projection_hidden_size": width,
        "projection_size": width,
    }
