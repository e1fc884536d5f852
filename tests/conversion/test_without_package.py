# SPDX-License-Identifier: Apache-2.0
"""A converted folder computes what the authors' code does in a process that has no cgdmer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoFeatureExtractor

from cgdmer.conversion.converting import convert
from cgdmer.families import ecg_config_of
from cgdmer.models.leads import STANDARD_LEADS
from released import as_twelve_leads, assert_same, expected, network_input, released_file

# The released layout of each kind, and the name of its feature among the expected arrays.
KINDS = {
    "clef-small": ("clef-small", "features"),
    "merl-resnet18-encoder": ("merl-resnet18-encoder", "pooled"),
    "ecgfounder-12lead": ("ecgfounder-12lead", "features"),
    "merl-vit-tiny-encoder": ("merl-vit-tiny-encoder", "pooled"),
    "ecg-fm": ("ecg-fm-pretrained", "pooled"),
    "ecg-jepa": ("ecg-jepa", "pooled"),
    "st-mem": ("st-mem-encoder", "pooled"),
}
FAST = ("clef-small", "merl-resnet18-encoder")


@pytest.mark.parametrize(
    "kind",
    [kind if kind in FAST else pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.at_length]) for kind in KINDS],
)
def test_the_same_without_the_package(kind, tmp_path):
    layout, feature = KINDS[kind]
    model = convert(kind, released_file(layout, tmp_path), tmp_path / "model")
    config = ecg_config_of(model.config)
    np.save(tmp_path / "signal.npy", as_twelve_leads(network_input(layout), config.leads).numpy())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).parents[1] / "converted_without_package.py"
    words = [sys.executable, script, tmp_path / "model", tmp_path / "signal.npy", tmp_path / "features.npz"]
    child = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-4000:]
    with np.load(tmp_path / "features.npz") as found:
        assert_same(found["pooled"], expected(layout)[feature])
        recording = np.random.default_rng(0).standard_normal((12, 5000))
        extract = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
        here = extract(recording, sampling_rate=500, lead_names=STANDARD_LEADS, unit="mV", windows=True)
        np.testing.assert_array_equal(found["prepared"], here["ecg_values"])
