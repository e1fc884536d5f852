# SPDX-License-Identifier: Apache-2.0
"""How far a recording is from those of training: against a loop, on recordings, and in every answer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file, save_file

from cgdmer import read_wfdb
from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder
from cgdmer.families import extractor_of, load_model, load_processor
from cgdmer.inference import familiarity
from cgdmer.inference.familiarity import FILE_NAME, UNFAMILIAR, Familiarity
from cgdmer.inference.scorers import load_scorer
from cgdmer.inference.scoring import score_recordings
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb

WIDTH = 6


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Three groups of 100, as (300, 6)."""
    random = np.random.default_rng(0)
    return np.repeat(np.eye(3, WIDTH) * 5, 100, axis=0) + random.normal(size=(300, WIDTH))


@pytest.fixture(scope="module")
def fitted(features) -> Familiarity:
    found = Familiarity.fit(features[::2], features[1::2])
    assert found is not None
    return found


def noise_like(record, millivolts=0.3):
    return replace(record, signal=np.random.default_rng(0).normal(0, millivolts, record.signal.shape))


def test_the_share_is_that_of_a_loop(fitted, features):
    def distance(row):
        standard = (row / np.linalg.norm(row) - fitted.mean) / fitted.deviation
        return min(np.sqrt(((standard - center) ** 2).sum()) for center in fitted.centers)

    held_out = [distance(row) for row in features[1::2]]
    asked = np.concatenate([features[:20], 3 * features[:20], np.full((1, WIDTH), 100.0)])
    for row, share in zip(asked, fitted(asked), strict=True):
        as_far = sum(other >= distance(row) - 1e-6 for other in held_out)
        assert share == pytest.approx((as_far + 1) / (len(held_out) + 1), abs=1e-3)
    assert fitted(asked)[-1] == 1 / (len(held_out) + 1)


def test_recordings_like_those_of_training_get_every_share_equally_often(features):
    random = np.random.default_rng(1)
    of_all = []
    for _ in range(100):
        training, held_out, others = random.normal(size=(3, 400, WIDTH))
        of_all.append(Familiarity.fit(training, held_out)(others))
    for level in (0.02, 0.1, 0.5):
        assert np.mean(np.concatenate(of_all) <= level) == pytest.approx(level, abs=0.25 * level)


def test_no_center_is_a_single_recording(fitted, features):
    outlier = -np.ones((1, WIDTH))
    apart = Familiarity.fit(np.concatenate([features[::2], outlier]), features[1::2])
    unit = np.concatenate([features[::2], outlier])
    standard = (unit / np.linalg.norm(unit, axis=1, keepdims=True) - apart.mean) / apart.deviation
    assert all(np.abs(apart.centers - row).max(axis=1).min() > 0.01 for row in standard)
    assert apart.distances(outlier) > 3


def test_too_few_recordings_say_nothing(features):
    assert Familiarity.fit(features[:5], features) is None
    assert Familiarity.fit(features, features[:50]) is None


def test_is_saved_and_loaded(fitted, features, tmp_path):
    fitted.save(tmp_path)
    loaded = Familiarity.of_model(tmp_path, WIDTH)
    assert np.array_equal(loaded(features), fitted(features)) and loaded.digest() == fitted.digest()
    assert Familiarity.of_model(SHIPPED_MODEL.parent, WIDTH) is None


@pytest.mark.parametrize("damage", ["cut", "width", "nan", "order", "name", "kind", "scale"])
def test_a_damaged_file_is_refused(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    path = tmp_path / FILE_NAME
    arrays = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        arrays |= {
            "width": {"mean": np.zeros(2, np.float32)},
            "nan": {"centers": np.full_like(arrays["centers"], np.nan)},
            "order": {"held_out": arrays["held_out"][::-1].copy()},
            "name": {"others": np.zeros(2, np.float32)},
            "kind": {"centers": arrays["centers"].astype(np.int32)},
            "scale": {"deviation": np.zeros_like(arrays["deviation"])},
        }[damage]
        save_file(arrays, path)
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Familiarity.of_model(tmp_path, WIDTH)


def test_recordings_of_another_hospital_are_familiar_and_nonsense_is_not(real_data):
    scorer = load_scorer()
    paths = sorted((real_data / "csn-sample").glob("*.hea"))[:20]
    records = [read_wfdb(path.with_suffix("")) for path in paths]
    assert sum(scorer.familiarity_of(record) < UNFAMILIAR for record in records) <= 2
    assert all(scorer.familiarity_of(noise_like(record)) < UNFAMILIAR for record in records[:5])
    upright = [scorer.familiarity_of(record) for record in records]
    inverted = [scorer.familiarity_of(replace(record, signal=-record.signal)) for record in records]
    assert np.median(inverted) < 0.2 < np.median(upright)


def test_training_recordings_are_read_once_and_without_their_patients(tmp_path, dataset_folder):
    model = load_model(SHIPPED_MODEL)
    extractor = extractor_of(load_processor(SHIPPED_MODEL, model))
    split = load_dataset_folder(dataset_folder)["train"]
    assert familiarity.after_training(model, extractor, split) is None  # too few
    often = split.select(list(range(len(split))) * 40)
    assert familiarity.after_training(model, extractor, often, often) is None  # still the same few


def test_answers_say_it_and_abstain(tmp_path, capsys):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    write_wfdb(record, tmp_path / "all" / "one")
    write_wfdb(noise_like(record), tmp_path / "all" / "noise")
    command = ["classify", str(tmp_path / "all" / "noise"), "--labels", "normal ECG"]
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["familiarity"] < UNFAMILIAR and not answer["abstained"]
    assert answer["scores"][0]["score"] is not None
    assert main([*command, "--abstain", "0.02"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["?", "normal", "ECG"] and "No scores (--abstain)" in lines[1]
    assert any(line.startswith("Unlike the recordings that the model was trained on") for line in lines)
    assert main([*command, "--scores_only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["familiarity"] is None

    answer = score_recordings(tmp_path / "all", tmp_path / "plain.parquet", ["normal ECG"], num_proc=0)
    plain = pyarrow.parquet.read_table(tmp_path / "plain.parquet").to_pylist()
    assert answer["abstained"] == 0 and None not in [row["normal ECG"] for row in plain]
    answer = score_recordings(tmp_path / "all", tmp_path / "out.parquet", ["normal ECG"], abstain=0.02, num_proc=0)
    noise, one = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert answer["abstained"] == 1
    assert noise["normal ECG"] is None and noise["error"] is None and one["normal ECG"] == plain[1]["normal ECG"]
    assert noise["familiarity"] < 0.02 <= one["familiarity"]
    scorer = load_scorer()
    assert one["familiarity"] == pytest.approx(scorer.familiarity_of(read_wfdb(tmp_path / "all" / "one")), abs=1e-6)


def test_a_long_recording_is_as_familiar_as_its_windows(tmp_path):
    scorer = load_scorer()
    short = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    long = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100, duration=120)
    assert scorer.familiarity_of(long) > 0.1 and scorer.familiarity_of(short) > 0.1


def test_doubts_are_enough_to_abstain(tmp_path, capsys):
    record = simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100)
    write_wfdb(replace(record, signal=10 * record.signal), tmp_path / "large")
    assert main(["classify", str(tmp_path / "large"), "--labels", "normal ECG", "--abstain", "0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["abstained"] and answer["scores"][0]["score"] is None and answer["record_use"]["doubts"]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_has_to_be_one(tmp_path, share):
    with pytest.raises(ConfigurationError, match="abstain"):
        score_recordings(_one(tmp_path), tmp_path / "out.parquet", ["normal ECG"], abstain=share)


def test_a_model_that_does_not_know_its_training_recordings_says_so(tmp_path):
    source = _one(tmp_path)
    model = shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    (model / FILE_NAME).unlink()
    score_recordings(source, tmp_path / "all.parquet", ["normal ECG"], model, abstain=0, num_proc=0)
    assert pyarrow.parquet.read_table(tmp_path / "all.parquet")["familiarity"].to_pylist() == [None]
    with pytest.raises(ConfigurationError, match=FILE_NAME):
        score_recordings(source, tmp_path / "out.parquet", ["normal ECG"], model, abstain=0.05)


def _one(folder: Path) -> Path:
    write_wfdb(simulate_record(["sinus_rhythm"], seed=1, sampling_rate=100), folder / "all" / "one")
    return folder / "all"
