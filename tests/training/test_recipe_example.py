# SPDX-License-Identifier: Apache-2.0
"""examples/cgdmer-tiny-ptbxl: how real and simulated records are put side by side."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cgdmer.data.simulation import simulate_cohort
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset

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


def test_the_wall_of_an_old_infarction_is_where_its_q_waves_are(place):
    hearts, both = (load_dataset_folder(place / name)["train"] for name in ("simulated", "mixed"))
    before = {row["record_id"]: row for row in hearts}
    depth = {"AMI": [], "IMI": []}
    for row in both:
        known = before.get(row["record_id"])
        if known is None or "old_infarction" not in known["labels"]:
            assert known is None or row == known
            continue
        assert [{"AMI": "old_infarction", "IMI": "old_infarction"}.get(x, x) for x in row["labels"]] == known["labels"]
        assert {**row, "labels": None} == {**known, "labels": None}
        (code,) = set(row["labels"]) & {"AMI", "IMI"}
        record = row_to_record(row)
        leads = {name: record.signal[record.lead_names.index(name)] for name in ("V2", "V3", "III", "aVF")}
        negative = {name: -np.percentile(signal, 0.5) / np.ptp(signal) for name, signal in leads.items()}
        depth[code].append(negative["V2"] + negative["V3"] - negative["III"] - negative["aVF"])
    assert min(map(len, depth.values())) >= 5
    assert np.mean(depth["AMI"]) > np.mean(depth["IMI"]) + 0.2


def test_another_cohort_is_refused(place):
    row = next(row for row in load_dataset_folder(place / "simulated")["train"] if "old_infarction" in row["labels"])
    other = {**row, "sex": "male" if row["sex"] == "female" else "female"}
    with pytest.raises(ValueError, match="not simulated with seed 7"):
        mixed.tell_the_wall(other)
