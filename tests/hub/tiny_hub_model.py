# SPDX-License-Identifier: Apache-2.0
"""A model of 13,000 weights with the processor of the tiny preset: 12 leads x 25 patches at 100 Hz."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoProcessor, BertConfig

from cgdmer import CGDMERConfig, CGDMERForZeroShot
from cgdmer.presets import preset_folder

TINY_ECG = {
    "sampling_rate": 100,
    "num_samples": 1000,
    "patch_length": 40,
    "tokenizer_channels": 4,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.5,
}


def tiny_config() -> CGDMERConfig:
    """Initial weights are large, so that scores differ."""
    text_config = BertConfig(
        vocab_size=AutoConfig.from_pretrained(preset_folder("cgdmer-tiny")).text_config.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return CGDMERConfig(
        ecg_config=TINY_ECG,
        text_config=text_config,
        mask_token_id=4,
        projection_hidden_size=8,
        projection_size=8,
        score_scale=4.0,
    )


def save_model(folder: Path, seed: int = 0) -> Path:
    """A `CGDMERForZeroShot` with random weights and its processor."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CGDMERForZeroShot(tiny_config()).save_pretrained(folder)
    AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).save_pretrained(folder)
    return folder
