# SPDX-License-Identifier: Apache-2.0
"""What is lost at a hospital that was left out: nothing if it is like the others, and what is planted if it is not."""

import json
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from cgdmer.commands import main
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.evaluate import evaluate_model
from cgdmer.evaluation.leave_one_out import PROBE, _measured, _probe_scores, _Rows, _training
from cgdmer.evaluation.measures import ZERO_SHOT
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort

WIDTH = 16


def rows_of(change=lambda hospital, features, held: (features, held), count=3000, seed=0):
    """Three hospitals with two findings that two of the features show."""
    random = np.random.default_rng(seed)
    hospital = np.array(["north", "south", "east"])[random.integers(3, size=count)]
    split = np.array(["train", "validation", "test"])[random.integers(3, size=count)]
    held = random.random((count, 2)) < 0.3
    features = random.normal(size=(count, WIDTH))
    features[:, :2] += 1.5 * held
    for name in np.unique(hospital):
        of = hospital == name
        features[of], held[of] = change(name, features[of], held[of])
    patients = np.array([f"p{number}" for number in range(count)])
    return _Rows(hospital, split, patients, held, features.astype(np.float32), None)


def lost_at(rows, hospital):
    away, home = (_probe_scores(rows, chosen, 0) for chosen in _training(rows, hospital))
    return _measured(rows, ["a", "b"], hospital, away, home, 0)


def test_nothing_is_lost_at_a_hospital_like_the_others():
    for hospital in ("north", "south", "east"):
        found = lost_at(rows_of(), hospital)
        assert found["findings"] == ["a", "b"]
        assert found["macro_auroc"] == pytest.approx(found["macro_auroc_elsewhere"], abs=0.04)
        assert abs(found["lost"]["ranking"]["value"]) < 0.01
        assert abs(found["lost"]["calibration"]["value"]) < 0.005
        for one in found["lost"].values():
            low, high = one["value_interval"]
            assert low <= one["value"] <= high


def test_other_features_lose_ranking():
    def change(name, features, held):
        if name == "east":
            features = features[
                :, [1, 0, *range(2, WIDTH)]
            ]  # what shows the one finding elsewhere shows the other here
        return features, held

    found = lost_at(rows_of(change), "east")["lost"]
    assert found["ranking"]["value_interval"][0] > 0.2


def test_a_shift_loses_calibration_and_thresholds_but_no_ranking():
    def change(name, features, held):
        return (features + 1.5 if name == "east" else features), held

    found = lost_at(rows_of(change), "east")["lost"]
    assert abs(found["ranking"]["value"]) < 0.01
    assert found["calibration"]["value_interval"][0] > 0.02
    assert found["thresholds"]["value_interval"][0] > 0.02


def test_a_hospital_without_training_records_has_no_probe_of_its_own():
    rows = rows_of()
    rows = replace(rows, split=np.where((rows.hospital == "east") & (rows.split == "train"), "other", rows.split))
    found = lost_at(rows, "east")
    assert found["lost"]["ranking"] is None and found["lost"]["calibration"] is not None
    few = replace(rows, hospital=np.where(np.arange(len(rows.hospital)) < 9, "tiny", rows.hospital))
    assert lost_at(few, "tiny") is None


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Two prepared datasets; in one, the records name two devices."""
    root, parts = tmp_path_factory.mktemp("hospitals"), ("train", "validation", "test")
    for seed, name in ((31, "north"), (32, "south")):
        cohort = islice(simulate_cohort(300, seed=seed, sampling_rate=100), 300)
        if name == "south":
            cohort = (replace(one, source=f"device {number % 2}") for number, one in enumerate(cohort))
        write_dataset(cohort, root / name, splits=lambda record: parts[record.fold % 3], description=name)
    return root


def test_a_model_is_measured_at_each_hospital(hospitals, tmp_path, capsys):
    command = ["evaluate", str(SHIPPED_MODEL), "--leave_out", "dataset", "--dataset", str(hospitals / "north")]
    command += ["--with_datasets", str(hospitals / "south"), "--output_dir", str(tmp_path), "--json"]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)["leave_out"]
    assert "--leave_out dataset" in answer["command"]
    found = answer["hospitals"]
    assert list(found) == ["north", "south"] and not any(row["unusable_records"] for row in found.values())
    for row in found.values():
        assert row[ZERO_SHOT]["macro_auroc"] > 0.9 and row[ZERO_SHOT]["lost"]["ranking"] is None
        assert row[PROBE]["macro_auroc"] > 0.9 and set(row[PROBE]["findings"]) <= set(row[ZERO_SHOT]["findings"])
    assert json.loads((tmp_path / "leave_out.json").read_text()) == answer


def test_sources_are_hospitals_too(hospitals):
    arguments = EvaluationArguments(str(SHIPPED_MODEL), str(hospitals / "south"), leave_out="source")
    assert set(evaluate_model(arguments)["leave_out"]["hospitals"]) == {"device 0", "device 1"}


def test_what_is_refused(hospitals, tmp_path):
    one = EvaluationArguments(str(SHIPPED_MODEL), str(hospitals / "north"), leave_out="dataset")
    with pytest.raises(CorpusError, match="only one hospital"):
        evaluate_model(one)
    copied = tmp_path / "another"
    shutil.copytree(hospitals / "north", copied)
    with pytest.raises(CorpusError, match="a recording is in north and in another"):
        evaluate_model(replace(one, with_datasets=[str(copied)]))
    with pytest.raises(CorpusError, match="have the same name"):
        evaluate_model(replace(one, with_datasets=[str(hospitals / "north")]))
    with pytest.raises(ConfigurationError, match="--leave_out"):
        evaluate_model(replace(one, leave_out=None, with_datasets=[str(hospitals / "south")]))
