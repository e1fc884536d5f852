# SPDX-License-Identifier: Apache-2.0
"""A tiny model with the processor of the tiny preset: 12 leads x 25 patches at 100 Hz."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoProcessor, BertConfig

from cgdmer import CGDMERConfig, CGDMERForZeroShot, ECGProcessor
from cgdmer.presets import preset_folder


def _tiny_config() -> CGDMERConfig:
    """Initial weights are large, so that different recordings and different prompts get different scores."""
    text_config = BertConfig(
        vocab_size=AutoConfig.from_pretrained(preset_folder("cgdmer-tiny")).text_config.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
        initializer_range=0.5,
    )
    ecg_config = {
        "sampling_rate": 100,
        "num_samples": 1000,
        "patch_length": 40,
        "tokenizer_channels": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "initializer_range": 0.5,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
    }
    return CGDMERConfig(
        ecg_config=ecg_config,
        text_config=text_config,
        mask_token_id=4,
        text_decoder_num_hidden_layers=1,
        projection_hidden_size=16,
        projection_size=8,
        score_scale=4.0,
        initializer_range=0.5,
    )


@pytest.fixture
def tiny_config() -> CGDMERConfig:
    """A configuration of one's own, which may be changed."""
    return _tiny_config()


@pytest.fixture(scope="session")
def tiny_processor() -> ECGProcessor:
    return AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny"))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory, tiny_processor) -> Path:
    """A saved `CGDMERForZeroShot` with random weights, its processor beside it."""
    folder = tmp_path_factory.mktemp("tiny_model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CGDMERForZeroShot(_tiny_config()).save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder
