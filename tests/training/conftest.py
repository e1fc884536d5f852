# SPDX-License-Identifier: Apache-2.0
"""A small simulated dataset and a preset small enough to train in seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoProcessor, BertConfig

from cgdmer import CGDMERConfig
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    write_dataset(
        simulate_cohort(60, seed=3, sampling_rate=100), folder, splits=split_of_fold, description="Simulated patients."
    )
    return folder


def write_small_preset(folder: Path, **options) -> Path:
    """cgdmer-tiny's processor with a model of width 16; `options` override the configuration."""
    tiny = preset_folder("cgdmer-tiny")
    vocabulary = CGDMERConfig.from_pretrained(tiny).text_config.vocab_size
    config = CGDMERConfig(
        ecg_config={
            "sampling_rate": 100,
            "num_samples": 1000,
            "patch_length": 40,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        text_config=BertConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ).to_dict(),
        **{"mask_token_id": 4, "projection_size": 16, "projection_hidden_size": 16, **options},
    )
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("config.json"))
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_preset(tmp_path_factory) -> Callable[..., Path]:
    """Call it with configuration options; each call makes a folder."""
    return lambda **options: write_small_preset(tmp_path_factory.mktemp("preset") / "small", **options)


@pytest.fixture(scope="session")
def small_preset(make_preset) -> Path:
    return make_preset()


@pytest.fixture(scope="session")
def processor(small_preset):
    return AutoProcessor.from_pretrained(small_preset)


@pytest.fixture(scope="session")
def train_split(cohort_folder):
    return load_dataset_folder(cohort_folder)["train"]
