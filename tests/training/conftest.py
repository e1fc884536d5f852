# SPDX-License-Identifier: Apache-2.0
"""A small simulated dataset and a preset small enough to train in seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoProcessor

from cgdmer import CGDMERConfig
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort
from small_families import ECG, text_config


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    write_dataset(
        simulate_cohort(60, seed=3, sampling_rate=100), folder, splits=split_of_fold, description="Simulated patients."
    )
    return folder


@pytest.fixture(scope="session")
def make_preset(tmp_path_factory) -> Callable[..., Path]:
    """Call it with configuration options; each call makes a folder."""

    def make(**options) -> Path:
        folder = tmp_path_factory.mktemp("preset") / "small"
        shutil.copytree(preset_folder("cgdmer-tiny"), folder, ignore=shutil.ignore_patterns("config.json"))
        # Wider than the smallest: rounding shows more in narrow heads, and tests compare losses across processes.
        wider = {"tokenizer_channels": 8, "decoder_hidden_size": 16, "decoder_intermediate_size": 32}
        sizes = {
            "ecg_config": ECG | wider,
            "text_config": text_config() | {"num_hidden_layers": 2},
            **{"projection_size": 16, "projection_hidden_size": 16},
        }
        CGDMERConfig(**{"mask_token_id": 4, **sizes, **options}).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def small_preset(make_preset) -> Path:
    return make_preset()


@pytest.fixture(scope="session")
def processor(small_preset):
    return AutoProcessor.from_pretrained(small_preset)


@pytest.fixture(scope="session")
def train_split(cohort_folder):
    return load_dataset_folder(cohort_folder)["train"]
