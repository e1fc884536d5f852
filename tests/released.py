# SPDX-License-Identifier: Apache-2.0
"""Released layouts with made-up weights, and what the authors' own code computes from them.

A folder in conversion/rivals/ has the names and shapes of a published file's tensors (keys.json) and outputs that were
measured with weights that depend on names and shapes alone (expected.npz), so no published weight is needed.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from cgdmer.models.leads import STANDARD_LEADS

RIVALS = Path(__file__).parent / "conversion" / "rivals"
TOLERANCE = 1e-5  # of the largest magnitude; a wrong epsilon moves some array by more


def made_up(name: str, shape: list[int]) -> np.ndarray:
    """The weights of a tensor, which only a right conversion puts in the right place."""
    last = name.split(".")[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "position_ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(np.int64)
    seed = zlib.crc32(name.encode())
    normal = np.random.RandomState(seed).standard_normal(math.prod(shape)).astype(np.float32).reshape(shape)
    scale, offset = np.float32(0.1), np.float32(0)
    if last == "running_var":
        normal, scale, offset = np.abs(normal), np.float32(0.5), np.float32(0.5)
    elif last in ("weight_g", "original0"):
        normal, offset = np.abs(normal), np.float32(1)
    elif last.endswith("bias"):
        scale = np.float32(0.05)
    elif last.endswith(("weight", "weight_v", "original1")):
        if len(shape) == 1:
            offset = np.float32(1)
        else:
            per_output = min(0.5, math.prod(shape[1:]) ** -0.5)
            scale = np.float32(per_output / 8 if name.endswith(".SelfAttention.q.weight") else per_output)
    return offset + scale * normal


def made_up_tensors(folder: str) -> dict[str, torch.Tensor]:
    keys = json.loads((RIVALS / folder / "keys.json").read_text())
    tied, tensors = keys.get("tied", {}), {}
    for name, (shape, dtype) in keys["tensors"].items():
        tensor = torch.from_numpy(np.array(made_up(tied.get(name, name), shape)))
        tensors[name] = tensor.to(getattr(torch, dtype))
    return tensors


def released_file(folder: str, place: Path) -> Path:
    """The file as it was published, with made-up weights, in a folder."""
    file = json.loads((RIVALS / folder / "keys.json").read_text())["file"]
    return write_released(folder, place / f"released{Path(file).suffix or '.pt'}")


def write_released(folder: str, path: Path) -> Path:
    keys, tensors = json.loads((RIVALS / folder / "keys.json").read_text()), made_up_tensors(folder)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({keys["container"]: tensors, "epoch": 1} if keys["container"] else tensors, path)
    return path


class Expected(dict[str, np.ndarray]):
    """The arrays of a folder. It remembers which were looked at, so that a test cannot forget one."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__(arrays)
        self.missed = set(arrays) - {"spec"}

    def __getitem__(self, name: str) -> np.ndarray:
        self.missed.discard(name)
        return super().__getitem__(name)


def expected(folder: str) -> Expected:
    with np.load(RIVALS / folder / "expected.npz") as arrays:
        return Expected(dict(arrays))


def rows_of(wanted: dict[str, np.ndarray], name: str) -> list[int]:
    """Which rows of a longer sequence an array has."""
    rows: list[int] = json.loads(str(wanted["spec"]))["rows"][name]
    return rows


def made_up_signal(shape: list[int], rate: float) -> np.ndarray:
    """(batch, leads, samples) or (batch, samples) float32: three sines and noise."""
    batch, leads, samples = shape if len(shape) == 3 else (shape[0], 1, shape[1])
    noise = np.random.RandomState(7).standard_normal((batch, leads, samples))
    b, c, t = np.ogrid[:batch, :leads, :samples]
    turns = 2 * np.pi * (t / rate)
    waves = 0.5 * np.sin(turns * (1.2 + 0.1 * b) + 0.3 * c) + 0.2 * np.sin(7 * turns + 0.7 * c)
    return (0.3 * noise + waves + 0.1 * np.sin(25 * turns)).astype(np.float32).reshape(shape)


def network_input(folder: str) -> torch.Tensor:
    spec = json.loads(str(expected(folder)["spec"]))
    return torch.from_numpy(made_up_signal(spec["input_shape"], spec["rate"]))


def as_twelve_leads(signal: torch.Tensor, leads: tuple[str, ...]) -> torch.Tensor:
    """(B, 12, T): the network's own leads at their places among the standard ones, others zero."""
    placed = torch.zeros(signal.shape[0], len(STANDARD_LEADS), signal.shape[-1])
    placed[:, [STANDARD_LEADS.index(lead) for lead in leads]] = signal
    return placed


def largest_difference(found: torch.Tensor | np.ndarray, wanted: np.ndarray) -> float:
    """As a share of the largest magnitude."""
    found = np.asarray(found)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def assert_same(found: torch.Tensor | np.ndarray, wanted: np.ndarray) -> None:
    assert largest_difference(found, wanted) <= TOLERANCE
