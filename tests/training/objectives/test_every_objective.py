# SPDX-License-Identifier: Apache-2.0
"""Every objective: on two processes, losses and gradients are those of one; and it trains any encoder whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step

from cgdmer.training.objectives import OBJECTIVES

ONLY_LEAD_TIME = ("c_melt", "crt", "jepa")  # they hide tokens


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """All at once, because starting the processes takes longer than their steps."""
    folder = tmp_path_factory.mktemp("two_processes")
    torch.save({name: batch_for(name) for name in OBJECTIVES}, folder / "batches.pt")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).with_name("in_processes.py")), str(folder)]
    processes = [subprocess.Popen([*command, str(rank), "2"], env=environment) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return torch.load(folder / "results.pt")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_are_as_one(name, of_two):
    one = step(objective_on(name), batch_for(name))
    for kind in ("losses", "gradients"):
        assert one[kind]
        for key, value in one[kind].items():
            expected = torch.zeros(()) if value is None else value
            torch.testing.assert_close(of_two[name][kind][key], expected.to(of_two[name][kind][key]))


@pytest.mark.parametrize("encoder", ["lead_time", "vit", "resnet"])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ONLY_LEAD_TIME])
def test_every_encoder_is_trained_whole(name, encoder):
    """DDP refuses weights that no loss reaches."""
    found = step(objective_on(name, encoder), batch_for(name))
    assert all(value is not None and value.isfinite().all() for value in found["gradients"].values())
    assert found["losses"]["embedding_deviation"] > 0.01
