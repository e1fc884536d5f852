# SPDX-License-Identifier: Apache-2.0
"""Released files with weights by a rule, and what the authors' networks make of them.

A folder of rivals/ holds the names and shapes of a released file's tensors (keys.json), and arrays that the authors'
own code computed from weights by this rule (expected.npz). No weight of theirs is in them.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

RIVALS = Path(__file__).with_name("rivals")
TOLERANCE = 1e-5  # of the largest magnitude; rounding makes less than 1e-6, the smallest wrong detail more


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a tensor, from its name and shape."""
    last = name.split(".")[-1]
    random = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(math.prod(shape))
    random = random.reshape(shape).astype(np.float32)
    if last == "original0":  # the gain of a weight norm
        return 1 + np.float32(0.1) * np.abs(random)
    if last.endswith("bias"):
        return np.float32(0.05) * random
    if last.endswith(("weight", "original1")):
        if len(shape) == 1:  # of a norm
            return 1 + np.float32(0.1) * random
        return np.float32(min(0.5, math.prod(shape[1:]) ** -0.5)) * random
    return np.float32(0.1) * random


def signal(shape: tuple[int, ...], rate: float) -> torch.Tensor:
    """What enters a network: (batch, leads, samples), or (batch, samples) for one lead without a name."""
    batch, samples = shape[0], shape[-1]
    leads = shape[1] if len(shape) == 3 else 1
    record, lead = np.arange(batch)[:, None, None], np.arange(leads)[None, :, None]
    seconds = np.arange(samples) / rate
    waves = 0.5 * np.sin(2 * np.pi * (1.2 + 0.1 * record) * seconds + 0.3 * lead)
    waves = waves + 0.2 * np.sin(2 * np.pi * 7 * seconds + 0.7 * lead) + 0.1 * np.sin(2 * np.pi * 25 * seconds)
    noise = 0.3 * np.random.RandomState(7).standard_normal((batch, leads, samples))
    return torch.from_numpy((noise + waves).astype(np.float32).reshape(shape))


def released_file(folder: str, path: Path) -> Path:
    """Write the file as it was released: safetensors if it is bare, else what torch.save writes."""
    keys = json.loads((RIVALS / folder / "keys.json").read_text())
    tied = keys.get("tied", {})
    tensors = {
        name: torch.from_numpy(np.asarray(fill(tied.get(name, name), tuple(shape)), dtype=np.float32))
        for name, (shape, _) in keys["tensors"].items()
    }
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({keys["container"]: tensors, "epoch": 1} if keys["container"] else tensors, path)
    return path


def expected(folder: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, and their description."""
    with np.load(RIVALS / folder / "expected.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return found, json.loads(str(found.pop("spec")))


def relative_error(found: torch.Tensor, want: np.ndarray) -> float:
    assert tuple(found.shape) == want.shape
    return float(np.abs(found.detach().numpy() - want).max() / np.abs(want).max())


def assert_equal_arrays(found: dict[str, torch.Tensor], want: dict[str, np.ndarray]) -> None:
    errors = {name: relative_error(array, want[name]) for name, array in found.items()}
    print(errors)
    assert max(errors.values()) <= TOLERANCE, errors


def recorded(module: torch.nn.Module, into: dict[str, torch.Tensor], name: str, entering: bool = False) -> None:
    """Keep what a part of a model gives, or what enters it, at the next call."""

    def keep(_, inputs, output):
        into[name] = inputs[0] if entering else output

    module.register_forward_hook(keep)
