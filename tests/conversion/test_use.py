# SPDX-License-Identifier: Apache-2.0
"""Everything works on a converted folder: finetuning, evaluation, scoring, the ONNX file, and pushing."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from cgdmer.commands import main
from cgdmer.conversion.converting import convert
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from recordings import write_wfdb
from released import released_file

FOLDERS = {
    "ecg-fm": "ecg-fm-pretrained",
    "melp": "melp-encoder",
    "st-mem": "st-mem-encoder",
    "d-beta-encoder": "d-beta",
}
SMALL = ("clef-small", "merl-resnet18-encoder", "merl-vit-tiny-encoder")
LARGE = ("ecgfounder-12lead", "ecg-fm", "melp", "ecg-jepa", "st-mem", "hubert-ecg-small", "d-beta-encoder")
KINDS = [*SMALL, *(pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.at_length]) for kind in LARGE)]
LABELS = ["sinus_rhythm", "atrial_fibrillation"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "ecgs"
    cohort = simulate_cohort(60, seed=5, sampling_rate=100)
    write_dataset(cohort, folder, splits=split_of_fold, description="Simulated.")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_folder_is_like_any_other(kind, dataset, tmp_path, capsys):
    folder, mine, recordings = tmp_path / "model", tmp_path / "mine", tmp_path / "recordings"
    convert(kind, released_file(FOLDERS.get(kind, kind), tmp_path), folder)
    for number in range(2):
        write_wfdb(simulate_record(["sinus_rhythm"], seed=number), recordings / f"patient{number}")

    evaluating = ["evaluate", str(folder), "--dataset", str(dataset), "--tasks", "simulated", "--json"]
    assert main(evaluating) == 0
    probe = json.loads(capsys.readouterr().out)["simulated"]["measures"]["linear probe 100 %"]
    assert 0 <= probe["macro_auroc"] <= 1 and probe["records"] > 0

    finetuning = ["finetune", str(folder), "--dataset", str(dataset), "--output_dir", str(mine), "--labels", *LABELS]
    assert main([*finetuning, "--num_train_epochs", "1", "--freeze_encoder"]) == 0
    assert main(["score", str(recordings), str(tmp_path / "scores.parquet"), "--model", str(mine)]) == 0
    scores = pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pydict()
    assert all(0 < value < 1 for label in LABELS for value in scores[label]) and len(scores[LABELS[0]]) == 2

    capsys.readouterr()
    assert main(["export", str(mine), str(tmp_path / "model.onnx"), "--json"]) == 0
    assert (tmp_path / "model.onnx").stat().st_size > 0
    assert main(["push", str(mine), "lab/mine", "--dry_run"]) == 0
    assert "lab/mine" in capsys.readouterr().out
