# SPDX-License-Identifier: Apache-2.0
"""What holds for all methods that look at an encoder's tokens."""

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step

ENCODERS = ("lead_time", "vit", "resnet")
RUNS_ON = [
    ("crt", "lead_time"),
    ("jepa", "lead_time"),
    *((name, encoder) for name in ("cpc", "ts_tcc") for encoder in ENCODERS),
]


@pytest.mark.parametrize(("name", "encoder"), RUNS_ON)
def test_every_weight_gets_a_gradient(name, encoder):
    """DDP refuses weights without one."""
    found = step(objective_on(name, encoder), batch_for(name))
    assert all(torch.isfinite(loss) for loss in found["losses"].values())
    assert found["gradients"]
    assert [key for key, gradient in found["gradients"].items() if gradient is None] == []
