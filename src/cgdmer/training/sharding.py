# SPDX-License-Identifier: Apache-2.0
"""Sharded weights (FSDP2): gathered for files and for use by one process, and sharded again when loaded."""

from collections.abc import Mapping
from typing import cast

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from cgdmer.families import Purpose, class_for
from cgdmer.models.modeling_base import ECGPreTrainedModel


def keep_word_embeddings_whole(model: torch.nn.Module) -> None:
    """Keep the word embeddings gathered until the backward pass; call it on the prepared model.

    Accelerate shards them as a unit of their own, which is gathered to look up words and then sharded again. But the
    vocabulary head needs them later. A model that is not sharded stays as it is.
    """
    if isinstance(model, FSDPModule):
        embeddings = cast(ECGPreTrainedModel, model).get_input_embeddings()
        if isinstance(embeddings, FSDPModule):
            embeddings.set_reshard_after_forward(False)


def as_whole(tensor: torch.Tensor) -> torch.Tensor:
    """The full tensor, without graph. All processes call it together."""
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    # Shards in the CPU's memory are exchanged via the devices.
    return cast(DTensor, tensor.detach().to(tensor.device_mesh.device_type)).full_tensor()


def whole_on_cpu(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """The full tensors, on the processes with `keep`. All processes call it together.

    Only one tensor at a time is gathered on the device.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = as_whole(tensor)
        if keep:
            gathered[name] = full.cpu().contiguous()
    return gathered


def part_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's shard of a tensor that all processes hold, if `like` is sharded; else the tensor itself."""
    if not isinstance(like, DTensor):
        return tensor
    divided = distribute_tensor(
        tensor.to(like.device_mesh.device_type), like.device_mesh, like.placements, src_data_rank=None
    )
    return divided.to(like.device)


@torch.no_grad()
def load_parts(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set each process's shards of a model's weights and buffers from full tensors that all processes hold.

    Raises:
        ValueError: names or shapes differ from the model's.
    """
    own = model.state_dict()
    if own.keys() != tensors.keys():
        raise ValueError(f"names differ from the model's; the first: {sorted(own.keys() ^ tensors.keys())[0]}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
        tensor.copy_(part_like(tensors[name], tensor))


def whole_model(accelerator: Accelerator, model: torch.nn.Module) -> ECGPreTrainedModel | None:
    """The trained model, for the main process to run and save on its own.

    All processes call it together. If the weights are sharded, the main process gets a copy and the others None; else
    all get the unwrapped model.
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
