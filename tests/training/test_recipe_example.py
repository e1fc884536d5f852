# SPDX-License-Identifier: Apache-2.0
"""examples/cgdmer-tiny-ptbxl: how real and simulated records are put side by side."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.simulation.cohort import simulate_cohort

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "cgdmer-tiny-ptbxl"))

import mixed  # noqa: E402
import simulated  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Few "real" records, simulated ones, and both side by side."""
    folder = tmp_path_factory.mktemp("recipe")
    real = simulate_cohort(20, seed=1, sampling_rate=100)
    write_dataset(real, folder / "real", splits=split_of_fold, description="Stands for real records.")
    simulated.main(str(folder / "simulated"), "120")
    mixed.main(*(str(folder / name) for name in ("real", "simulated", "mixed")))
    return folder


def test_two_real_records_stand_beside_each_simulated_one(place):
    real, hearts, both = (load_dataset_folder(place / name) for name in ("real", "simulated", "mixed"))
    counts = Counter(both["train"]["record_id"])
    assert {counts[name] for name in hearts["train"]["record_id"]} == {1}
    (passes,) = {counts[name] for name in real["train"]["record_id"]}
    assert passes * len(real["train"]) == pytest.approx(2 * len(hearts["train"]), abs=len(real["train"]) / 2)
    assert both["validation"].to_dict() == real["validation"].to_dict()
