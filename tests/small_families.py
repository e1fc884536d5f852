# SPDX-License-Identifier: Apache-2.0
"""The smallest configuration of every family, for tests that run over all of them: 16 wide, at 100 Hz."""

import shutil
from pathlib import Path

from transformers import BertConfig, PreTrainedConfig

from cgdmer import CGDMERConfig, CoReECGConfig, MERITConfig
from cgdmer.presets import preset_folder

ECG = {
    "sampling_rate": 100,
    "num_samples": 1000,
    "patch_length": 40,
    "tokenizer_channels": 4,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
HEADS = {"projection_hidden_size": 12, "projection_size": 6}


def text_config() -> dict:
    """Of the vocabulary of cgdmer-tiny, whose tokenizer the small presets have."""
    return BertConfig(
        vocab_size=CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny")).text_config.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ).to_dict()


# Name of the preset whose processor it has -> configuration.
FAMILIES = {
    "cgdmer": lambda **options: CGDMERConfig(
        ecg_config=ECG, text_config=text_config(), mask_token_id=4, **HEADS | options
    ),
    "coreecg": lambda **options: CoReECGConfig(**ECG | HEADS | {"protected_to_hz": 20.0} | options),
    "merit": lambda **options: MERITConfig(ecg_config=ECG, text_config=text_config(), **HEADS | options),
}


def small_config(family: str, **options) -> PreTrainedConfig:
    return FAMILIES[family](**options)


def write_small_preset(folder: Path, family: str, **options) -> Path:
    """The family's tiny preset with a small configuration."""
    shutil.copytree(preset_folder(f"{family}-tiny"), folder, ignore=shutil.ignore_patterns("config.json"))
    small_config(family, **options).save_pretrained(folder)
    return folder
