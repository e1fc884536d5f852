# SPDX-License-Identifier: Apache-2.0
"""Seconds and FLOP/s of a training step with all branches, with each one left out, and with reconstruction only.

    OMP_NUM_THREADS=2 python benchmarks/training_step.py [--config_name cgdmer-tiny] [--batch_size 64]
    python benchmarks/training_step.py --config_name cgdmer-base --batch_size 64 --bf16 --compile --profile  # GPU

Weights and inputs are random, with real sizes. AdamW is included. torch counts the operations
(`cgdmer.training.flops`). With `--bf16`, the share of the peak of a known GPU is printed as well.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from machine import best_seconds, print_figures

from cgdmer import CGDMERConfig
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining
from cgdmer.presets import preset_folder
from cgdmer.training.flops import peak_teraflops, step_flops
from cgdmer.training.optimization import adamw
from cgdmer.training.setup import compile_ecg_layers

BRANCHES = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")
PAIRS, EPOCHS = 780_000, 50  # MIMIC-IV-ECG, and the paper's number of epochs


def random_batch(config: CGDMERConfig, batch_size: int, text_length: int, device: str) -> dict[str, torch.Tensor]:
    """Pairs of twelve leads and a report that only its own ECG satisfies."""
    ecg = config.ecg_config
    ids = torch.randint(5, config.text_config.vocab_size, (batch_size, text_length))
    statements = torch.arange(1, batch_size + 1)[:, None]
    batch = {
        "ecg_values": torch.randn(batch_size, ecg.num_leads, ecg.num_samples),
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "ecg_statement_ids": statements,
        "text_statement_ids": statements,
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def step_of(model: CGDMERForPreTraining, batch: dict[str, torch.Tensor], bf16: bool, compiled: bool) -> Callable:
    """A step that takes loss weights. All variants share one model, because several may not fit on the device."""
    optimizer = adamw(model, learning_rate=1e-5, weight_decay=1e-5)
    if compiled:
        compile_ecg_layers(model)

    def step(loss_weights: dict[str, float]) -> None:
        for name, weight in loss_weights.items():
            setattr(model.config, name, weight)
        with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def variants_of(config: CGDMERConfig) -> dict[str, dict[str, float]]:
    """The loss weights with all branches, with all but one, and with reconstruction only."""
    weights = {f"{branch}_loss_weight": getattr(config, f"{branch}_loss_weight") for branch in BRANCHES}
    variants = {"all_branches": weights}
    for name, weight in weights.items():
        if weight > 0:
            variants[f"without_{name.removesuffix('_loss_weight')}"] = {**weights, name: 0.0}
    name = "ecg_reconstruction_loss_weight"
    variants["ecg_reconstruction_alone"] = {**dict.fromkeys(weights, 0.0), name: weights[name]}
    return variants


def largest_costs(step: Callable[[], None]) -> dict[str, float]:
    """Shares of the three operations that take the longest: of GPU time, or of CPU time without a GPU."""
    name = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    with torch.profiler.profile() as profile:
        step()
    costs = sorted(profile.key_averages(), key=lambda cost: -getattr(cost, name))
    total = sum(getattr(cost, name) for cost in costs)
    return {cost.key: getattr(cost, name) / total for cost in costs[:3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config_name", default="cgdmer-tiny")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--text_length", type=int, default=48, help="tokens per report")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true", help="also print the three largest costs")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    load = partial(CGDMERConfig.from_pretrained, preset_folder(options.config_name))
    model = CGDMERForPreTraining(load()).train().to(device)
    batch = random_batch(load(), options.batch_size, options.text_length, device)
    step = step_of(model, batch, options.bf16, options.compile)
    variants = variants_of(load())
    peak = peak_teraflops(torch.cuda.get_device_name()) if device == "cuda" and options.bf16 else None
    seconds = best_seconds({name: partial(step, weights) for name, weights in variants.items()}, options.rounds)
    figures: dict[str, Any] = {"options": {name: value for name, value in vars(options).items() if value}}
    for name, taken in seconds.items():
        with torch.device("meta"):
            variant = CGDMERForPreTraining(load(**variants[name]))
        work = step_flops(variant, batch)
        figures[name] = {
            "seconds": taken,
            "of_all_branches": taken / seconds["all_branches"],
            "gigaflops": work / 1e9,
            "gigaflops_per_second": work / taken / 1e9,
        }
        if peak is not None:
            figures[name]["share_of_peak"] = work / taken / peak / 1e12
    if options.profile:
        figures["largest_costs"] = largest_costs(partial(step, variants["all_branches"]))
    hours = PAIRS * EPOCHS / options.batch_size * seconds["all_branches"] / 3600
    figures["hours_for_50_epochs_of_780000_pairs"] = {"1_device": hours, "8_devices_at_best": hours / 8}
    print_figures(figures)


if __name__ == "__main__":
    main()
