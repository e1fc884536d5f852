# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train one step of each objective on its batch; also what tests compare it with.

    python in_processes.py FOLDER RANK WORLD_SIZE

Reads FOLDER/batches.pt, batches by the names of objectives; process 0 writes FOLDER/results.pt. Everything is in
double precision.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from cgdmer import CGDMERModel, ECGResNetModel, ECGViTModel
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.training.objectives import objective_class
from cgdmer.training.objectives.base import Objective
from models.tiny import (
    only_losses,
    tiny_config,
    tiny_config_with,
    tiny_ecg_config,
    tiny_resnet_config,
    tiny_vit_config,
)


def objective_on(name: str, encoder: str = "lead_time") -> Objective:
    """A method on a tiny encoder, in double precision, without dropout; the same weights every time."""
    torch.manual_seed(0)
    objective = _objective_on(objective_class(name), encoder).double()
    for module in objective.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return objective


def _objective_on(method: type[Objective], encoder: str) -> Objective:
    if method.takes_texts:
        config = tiny_config(contrast_view="full", **only_losses("contrastive"))
        if encoder != "lead_time":
            other = {"vit": tiny_vit_config(), "resnet": tiny_resnet_config()}[encoder]
            config = tiny_config_with(other, **only_losses("contrastive"))
        return method(CGDMERModel(config))
    encoders: dict[str, Any] = {
        "lead_time": (CGDMERECGModel, tiny_ecg_config()),
        "vit": (ECGViTModel, tiny_vit_config()),
        "resnet": (ECGResNetModel, tiny_resnet_config()),
    }
    model_class, config = encoders[encoder]
    return method(model_class(config))


def step(objective: Objective, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The loss, its parts, and the gradients of one batch."""
    objective.train()
    objective.zero_grad()
    outputs = objective(**batch)
    outputs.loss.backward()
    return {
        "losses": {key: value.detach() for key, value in outputs.items() if key.endswith(("loss", "deviation"))},
        "gradients": {key: weight.grad for key, weight in objective.named_parameters() if weight.requires_grad},
    }


def main() -> None:
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    batches = torch.load(folder / "batches.pt")
    results = {name: share(name, batch, rank, world_size) for name, batch in batches.items()}
    if rank == 0:
        torch.save(results, folder / "results.pt")
    dist.destroy_process_group()


def share(name: str, batch: dict[str, torch.Tensor], rank: int, world_size: int) -> dict[str, Any]:
    """The step of this process's part of the batch, averaged over processes, as DDP does."""
    batch = {key: value.chunk(world_size)[rank] for key, value in batch.items()}
    if "attention_mask" in batch:  # a loader pads to the longest of its own texts
        longest = int(batch["attention_mask"].sum(dim=1).max())
        for part in ("input_ids", "attention_mask", "special_tokens_mask", "text_noise"):
            batch[part] = batch[part][:, :longest]
    found = step(objective_on(name), batch)
    for values in found.values():
        for key, value in values.items():
            values[key] = torch.zeros(()) if value is None else value
            dist.all_reduce(values[key])
            values[key] /= world_size
    return found


if __name__ == "__main__":
    main()
