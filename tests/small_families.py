# SPDX-License-Identifier: Apache-2.0
"""The smallest configuration of every family, for tests that run over all of them: 16 wide, at 100 Hz."""

import shutil
from pathlib import Path

import torch
from transformers import AutoFeatureExtractor, BertConfig, PreTrainedConfig

from cgdmer import CGDMERConfig, CoReECGConfig, MERITConfig
from cgdmer.families import Purpose, class_for, ecg_config_of
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


# By the problem type of a classifier.
CLASSIFIER_LABELS = {
    "multi_label_classification": ["atrial fibrillation", "AV block", "Schenkelblock, links"],
    "single_label_classification": ["normal", "abnormal", "unreadable"],
    "regression": ["age in years", "ejection fraction"],
}


def write_classifier(folder: Path, family: str, problem_type: str, labels: list[str] | None = None) -> Path:
    labels = labels or CLASSIFIER_LABELS[problem_type]
    """A classifier with random weights, whose scores differ between labels, with its feature extractor."""
    config = ecg_config_of(small_config(family))
    config.id2label, config.label2id = dict(enumerate(labels)), {name: row for row, name in enumerate(labels)}
    config.problem_type = problem_type
    torch.manual_seed(0)
    model = class_for(config, Purpose.CLASSIFICATION)(config).eval()
    model._drawn_weights = None
    with torch.no_grad():
        torch.nn.init.normal_(model.classifier.weight)
        model.classifier.bias += torch.linspace(-1, 1, len(labels)) * (30 if problem_type == "regression" else 1)
    model.save_pretrained(folder)
    AutoFeatureExtractor.from_pretrained(preset_folder(f"{family}-tiny")).save_pretrained(folder)
    return folder
