# SPDX-License-Identifier: Apache-2.0
"""Whatever precision encoders run in, losses that compare views are computed in single precision."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from cgdmer.training.objectives.astcl import patient_prediction
from cgdmer.training.objectives.barlow_twins import cross_correlation
from cgdmer.training.objectives.byol import negative_cosine
from cgdmer.training.objectives.clocs import patient_contrast
from cgdmer.training.objectives.moco_v3 import key_loss
from cgdmer.training.objectives.simclr import nt_xent

PATIENTS = torch.tensor([1, 2, 3, 1, 2, 4])
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "simclr": lambda first, second: nt_xent(first, second, 0.1),
    "byol": negative_cosine,
    "barlow_twins": cross_correlation,
    "moco_v3": lambda first, second: key_loss(first, second, 0.2),
    "clocs": lambda first, second: patient_contrast([first, second], PATIENTS, 0.1),
    "astcl": lambda first, second: patient_prediction(first, second, PATIENTS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_does_not_change_a_loss(name):
    generator = torch.Generator().manual_seed(0)
    first, second = (F.normalize(1 + 0.02 * torch.randn(6, 32, generator=generator), dim=1) for _ in range(2))
    expected = LOSSES[name](first, second)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](first, second)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
