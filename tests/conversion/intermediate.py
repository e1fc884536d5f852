# SPDX-License-Identifier: Apache-2.0
"""Compare what parts of a network compute on the way, so that the first wrong one is found."""

import json
from typing import Any

import numpy as np
import torch

import released

TOLERANCE = released.TOLERANCE


def signal(shape: tuple[int, ...], rate: float) -> torch.Tensor:
    """What enters a network: (batch, leads, samples), or (batch, samples) for one lead without a name."""
    return torch.from_numpy(released.made_up_signal(list(shape), rate))


def expected(folder: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, and their description."""
    found = released.expected(folder)
    return found, json.loads(str(found.pop("spec")))


def relative_error(found: torch.Tensor, want: np.ndarray) -> float:
    return released.largest_difference(found.detach(), want)


def assert_equal_arrays(found: dict[str, torch.Tensor], want: dict[str, np.ndarray]) -> None:
    errors = {name: relative_error(array, want[name]) for name, array in found.items()}
    assert max(errors.values()) <= TOLERANCE, errors


def recorded(module: torch.nn.Module, into: dict[str, torch.Tensor], name: str, entering: bool = False) -> None:
    """Keep what a part of a model gives, or what enters it, at the next call."""

    def keep(_, inputs, output):
        into[name] = inputs[0] if entering else output

    module.register_forward_hook(keep)
