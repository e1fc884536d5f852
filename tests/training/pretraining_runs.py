# SPDX-License-Identifier: Apache-2.0
"""Runs of `cgdmer.pretrain`, what they leave behind, and batches of random numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from cgdmer import CGDMERConfig
from cgdmer.pretrain import main


def random_batch(config: CGDMERConfig, records: int, seed: int, texts: int = 1) -> dict[str, torch.Tensor]:
    """ECGs with `texts` texts each of nine tokens, and the numbers that decide what is masked."""
    ecg, generator = config.ecg_config, torch.Generator().manual_seed(seed)
    shape = records * texts, 9
    return {
        "ecg_values": torch.randn(records, ecg.num_leads, ecg.num_samples, generator=generator),
        "input_ids": torch.randint(5, 50, shape, generator=generator),
        "attention_mask": torch.ones(shape, dtype=torch.long),
        "noise": torch.rand(records, ecg.num_leads, ecg.num_patches, generator=generator),
        "text_noise": torch.rand(shape, generator=generator),
    }


def options(dataset, preset, output, *more: str) -> list[str]:
    return [
        *("--dataset", str(dataset), "--config_name", str(preset), "--output_dir", str(output)),
        *("--learning_rate", "1e-3", "--logging_steps", "1", *more),
    ]


def pretrain(dataset, preset, output, *more: str) -> Path:
    main(options(dataset, preset, output, *more))
    return Path(output)


def on_cpus(*command: str) -> str:
    """Run Python with this command line; returns what it prints."""
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-20000:]
    return done.stdout


def in_two_processes(*command: str) -> None:
    on_cpus("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *command)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses_by_step(folder: Path) -> dict[int, dict[str, float]]:
    return {
        line["step"]: {name: value for name, value in line.items() if name.endswith("loss")}
        for line in metrics(folder)
        if "loss" in line
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed_weights(first: Path, second: Path) -> list[str]:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    return [name for name in one if not torch.equal(one[name], two[name])]
