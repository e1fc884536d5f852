# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import pytest
from PIL import Image

from cgdmer.simulation.conditions import CONDITIONS


@pytest.fixture(scope="module")
def short_demo(tmp_path_factory):
    """The answer of a demo as a user starts it, with every warning shown."""
    folder = tmp_path_factory.mktemp("short-demo") / "out"
    command = [sys.executable, "-W", "always", "-m", "cgdmer", "demo", "--output_dir", str(folder), "--json"]
    command += ["--num_patients", "120", "--num_train_epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "warning" not in done.stderr.lower(), done.stderr[-3000:]
    return folder, json.loads(done.stdout)


def test_the_demo_finishes_and_writes_its_answer(short_demo):
    folder, answer = short_demo
    written = json.loads((folder / "results.json").read_text())
    assert written == answer
    for name in ("zero_shot", "zero_shot_untrained"):
        low, high = written[name]["macro_auroc_interval"]
        assert 0 <= low <= written[name]["macro_auroc"] <= high <= 1
    assert {row["label"] for row in written["classified"]["scores"]} == {c.name for c in CONDITIONS.values()}
    assert written["training"]["steps"] > 0
    assert (folder / "model" / "model.safetensors").is_file()
    with Image.open(folder / "ecg.png") as picture:
        assert picture.width > 1500


@pytest.mark.slow
def test_the_demo_learns_what_the_prompts_mean(trained_demo):
    _, answer = trained_demo
    assert answer["zero_shot"]["macro_auroc"] >= 0.95
    assert 0.35 <= answer["zero_shot_untrained"]["macro_auroc"] <= 0.65
