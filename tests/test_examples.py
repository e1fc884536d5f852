# SPDX-License-Identifier: Apache-2.0
"""Every example runs as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

from cgdmer import CGDMERConfig, CGDMERModel
from cgdmer.presets import preset_folder

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    CGDMERModel(CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))).save_pretrained(folder)
    AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("named", [True, False])
def test_classify_array(model_folder, named):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "classify_array.py"), *[str(model_folder)] * named],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 4 and "Not a medical device" in lines[-1]
    assert {line.split("%  ")[1] for line in lines[:3]} == {
        *("atrial fibrillation", "sinus rhythm", "left bundle branch block")
    }
