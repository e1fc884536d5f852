# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one training step by batch size and `--contrastive_chunk_size`.

    python benchmarks/memory.py [--config_name cgdmer-tiny] [--batch_sizes 16 32 64] [--chunk_sizes 8 16]
    python benchmarks/memory.py --config_name cgdmer-base --batch_sizes 32 64 128 --chunk_sizes 16 32 --bf16  # GPU

Each line is a new process that makes one AdamW step on random inputs. It shows the peak resident memory (Linux) or, on
a GPU, the most memory that PyTorch allocated (within `--memory_fraction` of the device). Memory grows linearly, so for
each chunk size a line is fitted to the larger batch sizes and extrapolated to `--target`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from machine import print_figures
from training_step import random_batch

from cgdmer import CGDMERConfig
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining
from cgdmer.presets import preset_folder
from cgdmer.training.cached_gradients import backward_in_chunks


def peak_gigabytes(config_name: str, batch_size: int, chunk_size: int, bf16: bool, memory_fraction: float) -> float:
    """Peak memory of this process after one step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(memory_fraction)
    config = CGDMERConfig.from_pretrained(preset_folder(config_name))
    accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no")
    model = CGDMERForPreTraining(config).train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-5)
    model, optimizer = accelerator.prepare(model, optimizer)
    batch = random_batch(config, batch_size, text_length=48, device=device)
    if chunk_size:
        backward_in_chunks(accelerator, model, batch, chunk_size)
    else:
        accelerator.backward(model(**batch).loss)
    optimizer.step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    # Not getrusage: its peak includes the process that started this one.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e9


def in_fresh_process(arguments: list[str], batch_size: int, chunk_size: int) -> float | None:
    """Peak memory in gigabytes, or None if the step did not fit."""
    command = [
        sys.executable,
        __file__,
        *arguments,
        "--batch_sizes",
        str(batch_size),
        "--chunk_sizes",
        str(chunk_size),
    ]
    done = subprocess.run([*command, "--one"], capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode < 0 or "out of memory" in done.stderr:
        return None
    raise RuntimeError(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config_name", default="cgdmer-tiny")
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--chunk_sizes", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--target", type=int, default=512)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--memory_fraction", type=float, default=1.0, help="share of a GPU that others use too")
    parser.add_argument("--one", action="store_true", help="this process is one line of the table")
    options = parser.parse_args()
    if options.one:
        batch_size, chunk_size = options.batch_sizes[0], options.chunk_sizes[0]
        print(peak_gigabytes(options.config_name, batch_size, chunk_size, options.bf16, options.memory_fraction))
        return
    arguments = ["--config_name", options.config_name, "--memory_fraction", str(options.memory_fraction)]
    arguments += ["--bf16"] * options.bf16
    figures: dict[str, Any] = {"config_name": options.config_name, "bf16": options.bf16}
    for chunk_size in (0, *options.chunk_sizes):
        table = {size: in_fresh_process(arguments, size, chunk_size) for size in options.batch_sizes}
        fitting = {size: peak for size, peak in table.items() if peak is not None and size > chunk_size}
        line: dict[str, Any] = {"peak_gigabytes_by_batch_size": table}
        if len(fitting) > 1:
            per_record, at_none = np.polyfit(list(fitting), list(fitting.values()), 1)
            line["megabytes_per_record"] = 1e3 * float(per_record)
            line[f"gigabytes_at_{options.target}"] = float(at_none + per_record * options.target)
        figures[f"chunk_size_{chunk_size}" if chunk_size else "plain"] = line
    print_figures(figures)


if __name__ == "__main__":
    main()
