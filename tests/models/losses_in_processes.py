# SPDX-License-Identifier: Apache-2.0
"""One of several processes that together compute the losses of one batch; run by test_objectives.py.

    python losses_in_processes.py FOLDER RANK WORLD_SIZE

Reads FOLDER/batch.pt; process 0 writes FOLDER/result.pt. It loads objectives.py by its path: torch alone starts fast.
"""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def load_objectives(path: str):
    spec = importlib.util.spec_from_file_location("objectives", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["objectives"] = module
    spec.loader.exec_module(module)
    return module


def losses_and_gradients(objectives, batch: dict, rank: int = 0, world_size: int = 1) -> tuple[dict, dict]:
    """This process's share: its losses, and the gradients of their sum with respect to the shared parameters."""
    parameters = {name: value.clone().requires_grad_() for name, value in batch["parameters"].items()}

    def share(tensor):
        return None if tensor is None else tensor.chunk(world_size)[rank]

    def unit(name):
        return torch.nn.functional.normalize(share(batch[name]) @ parameters[name], dim=-1)

    statements = share(batch["ecg_statement_ids"]), share(batch["text_statement_ids"])
    losses = {
        "contrastive": objectives.contrastive_loss(unit("ecg"), unit("text"), 0.3, *statements),
        "siglip": objectives.siglip_loss(
            unit("ecg"), unit("text"), parameters["log_scale"].exp(), parameters["bias"], *statements
        ),
    }
    sum(losses.values()).backward()
    return {name: loss.detach() for name, loss in losses.items()}, {name: p.grad for name, p in parameters.items()}


def gradient_beside_a_gather(objectives) -> torch.Tensor:
    """The gradient of a tensor that is merely added to a gathered one: ones, whatever the gather does with its own."""
    leaf = torch.zeros(3 * dist.get_world_size(), requires_grad=True)
    beside = 2 * leaf  # made before the gather, and so visited after it on the way back
    gathered = objectives.gather_over_processes(torch.ones(3, requires_grad=True))
    ((gathered + beside) * torch.ones_like(beside)).sum().backward()
    return leaf.grad / 2


def main() -> None:
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    batch = torch.load(folder / "batch.pt")
    objectives = load_objectives(batch["objectives"])
    results = []
    for case in batch["cases"]:
        losses, gradients = losses_and_gradients(objectives, case, rank, world_size)
        for value in (*losses.values(), *gradients.values()):
            dist.all_reduce(value)
            value /= world_size  # what DDP does with gradients, and a log with losses
        results.append((losses, gradients))
    beside = gradient_beside_a_gather(objectives)
    order = objectives.gather_over_processes(torch.tensor([rank * 2, rank * 2 + 1]))
    if rank == 0:
        torch.save({"cases": results, "beside": beside, "order": order}, folder / "result.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
