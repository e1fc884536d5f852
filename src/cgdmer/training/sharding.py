# SPDX-License-Identifier: Apache-2.0
"""Weights of which every process holds a part (FSDP2): whole for files and for one process, parts again when read."""

from collections.abc import Mapping
from typing import cast

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from cgdmer.families import Purpose, class_for
from cgdmer.models.modeling_base import ECGPreTrainedModel


def keep_word_embeddings_whole(model: torch.nn.Module) -> None:
    """Have the word embeddings stay whole until the backward pass; call it on the prepared model.

    Accelerate divides them as a unit of their own, which is made whole for looking up words and then divided again.
    But the vocabulary head multiplies by them later. A model that is not divided stays as it is.
    """
    if isinstance(model, FSDPModule):
        embeddings = cast(ECGPreTrainedModel, model).get_input_embeddings()
        if isinstance(embeddings, FSDPModule):
            embeddings.set_reshard_after_forward(False)


def as_whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as it would be without sharding, without graph. All processes call it together."""
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    # Parts that are kept in the CPU's memory are exchanged by way of the devices.
    return cast(DTensor, tensor.detach().to(tensor.device_mesh.device_type)).full_tensor()


def whole_on_cpu(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """All tensors as they would be without sharding; all processes call it together, and those that `keep` get them.

    One tensor at a time is whole on the device.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = as_whole(tensor)
        if keep:
            gathered[name] = full.cpu().contiguous()
    return gathered


def part_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that all processes hold, divided as `like` is; itself if `like` is not."""
    if not isinstance(like, DTensor):
        return tensor
    divided = distribute_tensor(
        tensor.to(like.device_mesh.device_type), like.device_mesh, like.placements, src_data_rank=None
    )
    return divided.to(like.device)


@torch.no_grad()
def load_parts(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set a model's weights and buffers, each process its parts, from whole tensors that all of them hold.

    Raises:
        ValueError: the names or shapes are not the model's.
    """
    own = model.state_dict()
    if own.keys() != tensors.keys():
        raise ValueError(f"expected other tensors; the first in question: {sorted(own.keys() ^ tensors.keys())[0]}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
        tensor.copy_(part_like(tensors[name], tensor))


def whole_model(accelerator: Accelerator, model: torch.nn.Module) -> ECGPreTrainedModel | None:
    """The trained model, for the main process to run and save by itself.

    All processes call it together. Where the weights are divided it is a copy, on the main process, and None on the
    others; else it is the model itself, unwrapped.
    """
    core: ECGPreTrainedModel = accelerator.unwrap_model(model)
    if not isinstance(core, FSDPModule):
        return core
    weights = whole_on_cpu(core.state_dict(), keep=accelerator.is_main_process)
    if not accelerator.is_main_process:
        return None
    copy = class_for(core.config, Purpose.PRETRAINING)(core.config)
    copy.load_state_dict(weights)
    return copy.to(accelerator.device)
