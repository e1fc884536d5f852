# SPDX-License-Identifier: Apache-2.0
"""One of two CPU processes that shard a model's weights (FSDP2); started by test_sharding.py with torchrun.

sharded_processes.py FOLDER
    trains on FOLDER/cases.pt, stops, resumes, and writes FOLDER/results.pt on the main process
sharded_processes.py --pretrain ARGUMENTS
    cgdmer.pretrain with these arguments
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType

from cgdmer import CGDMERConfig, CGDMERForPreTraining
from cgdmer.training.cached_gradients import backward_in_chunks
from cgdmer.training.checkpoints import Checkpoints, RunPosition
from cgdmer.training.sharding import keep_word_embeddings_whole, whole_model


def shard_on_cpu() -> None:
    """Accelerate offers FSDP only on GPUs: pretend that these processes are on GPUs, and use gloo."""
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    os.environ |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    os.environ |= {"FSDP_TRANSFORMER_CLS_TO_WRAP": "ECGLayer,BertLayer"}


class Run:
    """A model with the weights of a seed, and what trains it."""

    def __init__(self, case: dict, accelerator: Accelerator, folder: Path, seed: int):
        accelerator.free_memory()  # it clips the gradients of the last model only
        torch.manual_seed(seed)
        self.accelerator, self.case = accelerator, case
        model = CGDMERForPreTraining(CGDMERConfig.from_pretrained(case["preset"])).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        keep_word_embeddings_whole(self.model)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 / (1 + step))
        self.checkpoints = Checkpoints(accelerator, folder)
        self.parts = (self.model, self.optimizer, self.scheduler)

    def go(self, steps: range) -> list[float]:
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        losses = []
        for step in steps:
            batch = {name: rows.chunk(count)[rank] for name, rows in self.case["batches"][step].items()}
            if self.case["chunk_size"]:
                outputs = backward_in_chunks(self.accelerator, self.model, batch, self.case["chunk_size"])
            else:
                outputs = self.model(**batch)
                self.accelerator.backward(outputs.loss)
            self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            losses.append(self.accelerator.reduce(outputs.loss.detach(), "mean").item())
        return losses

    def weights(self) -> dict[str, torch.Tensor] | None:
        model = whole_model(self.accelerator, self.model)
        return None if model is None else model.state_dict()


def stop_and_resume(case: dict, accelerator: Accelerator, folder: Path) -> dict:
    run = Run(case, accelerator, folder, seed=0)
    losses = run.go(range(2))
    path = run.checkpoints.save("step_2", *run.parts, RunPosition(2, 0, 2), {"seed": 0})
    losses += run.go(range(2, 4))
    resumed = Run(case, accelerator, folder, seed=1)
    before = resumed.weights()
    resumed.checkpoints.load(path, *resumed.parts, {"seed": 0})
    losses_resumed = resumed.go(range(2, 4))
    mine = sum(weight.to_local().numel() for weight in run.model.parameters())
    return {
        "losses": losses,
        "losses_resumed": losses_resumed,
        "weights": run.weights(),
        "weights_before": before,
        "weights_resumed": resumed.weights(),
        "share": mine / sum(weight.numel() for weight in run.model.parameters()),
    }


def main() -> None:
    torch.set_num_threads(1)
    shard_on_cpu()
    if sys.argv[1] == "--pretrain":
        from cgdmer.pretrain import main as pretrain

        pretrain(sys.argv[2:])
        return
    folder = Path(sys.argv[1])
    accelerator = Accelerator(fsdp_plugin=FullyShardedDataParallelPlugin())
    cases = torch.load(folder / "cases.pt")
    results = {name: stop_and_resume(case, accelerator, folder / name) for name, case in cases.items()}
    if accelerator.is_main_process:
        torch.save(results, folder / "results.pt")


if __name__ == "__main__":
    main()
