# SPDX-License-Identifier: Apache-2.0
"""The state of an optimizer and of random generators, as a checkpoint holds it, and checks of what one holds."""

import random
from typing import Any

import numpy as np
import torch

from cgdmer.training.sharding import part_like


def flattened(state: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """An optimizer's state as named tensors, and the settings of its parameter groups."""
    tensors = {
        f"{index}.{name}": tensor.contiguous()
        for index, values in state["state"].items()
        for name, tensor in values.items()
    }
    return tensors, state["param_groups"]


def unflattened(tensors: dict[str, torch.Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    # JSON has no tuples, but torch's optimizers expect the pair of betas to be one.
    groups = [{name: tuple(value) if name == "betas" else value for name, value in group.items()} for group in groups]
    return {"state": state, "param_groups": groups}


def refuse_unlike(found: Any, own: Any, place: str = "it") -> None:
    """Raise a ValueError unless a JSON value has the same shape as this run's own: torch takes any and fails later."""
    number = isinstance(own, (int, float)) and not isinstance(own, bool)
    if number:
        fits = isinstance(found, (int, float)) and not isinstance(found, bool)
    elif isinstance(own, dict):
        fits = isinstance(found, dict) and found.keys() == own.keys()
    elif isinstance(own, list):
        fits = isinstance(found, list) and len(found) == len(own)
    else:
        fits = type(found) is type(own)
    if not fits:
        raise ValueError(f"{place} is not as in this run")
    if isinstance(own, dict):
        for name in own:
            refuse_unlike(found[name], own[name], name)
    elif isinstance(own, list):
        for one, mine in zip(found, own, strict=True):
            refuse_unlike(one, mine, place)


def refuse_other_settings(found: Any, own: list[dict[str, Any]]) -> None:
    """Raise a ValueError unless an optimizer's groups are as in this run. Only the learning rate may have changed."""
    refuse_unlike(found, own)
    for group, mine in zip(found, own, strict=True):
        changed = [name for name in mine if name != "lr" and group[name] != mine[name]]
        if changed or not 0 <= group["lr"] < float("inf"):
            raise ValueError(f"{', '.join(changed) or 'lr'} of the optimizer is not as in this run")


def refuse_other_shapes(state: dict[int, dict[str, torch.Tensor]], optimizer) -> None:
    """Raise a ValueError unless each weight's state has the weight's shape, or is one number, and holds floats."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, values in state.items():
        for name, tensor in values.items():
            if tensor.shape != weights[index].shape and tensor.numel() != 1:
                raise ValueError(f"{name} of weight {index} has the shape {tuple(tensor.shape)}")
            if not tensor.is_floating_point():
                raise ValueError(f"{name} of weight {index} holds {tensor.dtype}")
            if name == "step" and not tensor.min() >= 0:
                raise ValueError(f"step of weight {index} is {tensor.min().item()}")


def shard_like_weights(state: dict[int, dict[str, torch.Tensor]], optimizer) -> None:
    """Give each process the part of the optimizer's state that belongs to its part of the weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, values in state.items():
        for name, tensor in values.items():
            if tensor.shape == weights[index].shape:
                values[name] = part_like(tensor, weights[index])


def random_states(device: torch.device) -> dict[str, Any]:
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    states = {"python": random.getstate(), "numpy": numpy_state, "torch": _hex(torch.get_rng_state())}
    if device.type != "cpu":
        states[device.type] = _hex(torch.get_device_module(device).get_rng_state())
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    numpy_state = states["numpy"]
    if numpy_state["bit_generator"] != "MT19937" or not 0 <= numpy_state["state"]["pos"] <= 624:
        raise ValueError("the state of numpy's generator is out of range")  # numpy would read beyond its buffer
    version, numbers, spare = states["python"]
    random.setstate((version, tuple(numbers), spare))
    key = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state({**states["numpy"], "state": {**states["numpy"]["state"], "key": key}})
    torch.set_rng_state(_unhex(states["torch"]))
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(_unhex(states[device.type]))


def _hex(state: torch.Tensor) -> str:
    return state.cpu().numpy().tobytes().hex()


def _unhex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
