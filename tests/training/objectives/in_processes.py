# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train one step of an objective on one batch; also what the tests compare it with.

    python in_processes.py FOLDER NAME RANK WORLD_SIZE

Reads FOLDER/batch.pt; process 0 writes FOLDER/result.pt. Everything is in double precision.
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
from models.tiny import only_losses, tiny_config, tiny_ecg_config, tiny_resnet_config, tiny_vit_config


def objective_on(name: str, encoder: str = "lead_time") -> Objective:
    """A method on a tiny encoder, in double precision; the same weights every time."""
    torch.manual_seed(0)
    method = objective_class(name)
    if method.takes_texts:
        options = {"lead_time": None, "vit": tiny_vit_config(), "resnet": tiny_resnet_config()}[encoder]
        more: dict[str, Any] = {} if options is None else {"ecg_config": options.to_dict()}
        config = tiny_config(**more, contrast_view="full", **only_losses("contrastive"))
        return method(CGDMERModel(config)).double()
    encoders: dict[str, Any] = {
        "lead_time": (CGDMERECGModel, tiny_ecg_config()),
        "vit": (ECGViTModel, tiny_vit_config()),
        "resnet": (ECGResNetModel, tiny_resnet_config()),
    }
    model_class, config = encoders[encoder]
    return method(model_class(config)).double()


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
    folder, name, rank, world_size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    batch = {key: value.chunk(world_size)[rank] for key, value in torch.load(folder / "batch.pt").items()}
    found = step(objective_on(name), batch)
    # As DDP does: averaged over processes.
    for values in found.values():
        for key, value in values.items():
            values[key] = torch.zeros(()) if value is None else value
            dist.all_reduce(values[key])
            values[key] /= world_size
    if rank == 0:
        torch.save(found, folder / "result.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
