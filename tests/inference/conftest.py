# SPDX-License-Identifier: Apache-2.0
from itertools import islice
from pathlib import Path

import pytest
from transformers import pipeline

from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="session")
def classify():
    return pipeline("zero-shot-ecg-classification", model=str(SHIPPED_MODEL))


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory) -> Path:
    """Thirty records of simulated patients, with reports."""
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    records = islice(simulate_cohort(30, seed=5, sampling_rate=100), 30)
    write_dataset(records, folder, splits=split_of_fold, description="Simulated patients.")
    return folder
