# SPDX-License-Identifier: Apache-2.0
"""Operations of a training step, and the share of the machine's peak speed that the encoder reaches.

    OMP_NUM_THREADS=2 python benchmarks/flops.py [--config_name cgdmer-base] [--freeze_text_layers 6] [--batch_size 2]

torch counts the operations. The machine's peak is the rate of large matrix products in float32 on the same threads.
There are enough products to match the encoder's work, and they take turns with its forward and backward pass. Patches
are masked as in pretraining. Dropout does not count as work, so the encoder is timed without and with it. Target: 70%
without it.
"""

import argparse
from collections.abc import Callable

import torch
from machine import best_seconds, print_figures
from torch.utils.flop_counter import FlopCounterMode

from cgdmer import CGDMERConfig
from cgdmer.models.configuration_cgdmer import CGDMERECGConfig
from cgdmer.models.masking import mask_patches, most_visible
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining
from cgdmer.presets import preset_folder
from cgdmer.training.flops import step_flops
from cgdmer.training.setup import freeze_text_layers

PRODUCT_SIZE = 2048
RECORDS, TEXT_LENGTH = 8, 64


def flops_per_pair(config: CGDMERConfig, frozen_text_layers: int) -> float:
    """Operations of a training step per pair, with reports of 64 tokens."""
    with torch.device("meta"):
        model = CGDMERForPreTraining(config)
        ids = torch.empty(RECORDS, TEXT_LENGTH, dtype=torch.long)
        ecg_values = torch.empty(RECORDS, config.ecg_config.num_leads, config.ecg_config.num_samples)
    freeze_text_layers(model, frozen_text_layers)
    return step_flops(model, {"ecg_values": ecg_values, "input_ids": ids, "attention_mask": ids}) / RECORDS


def visible_tokens(config: CGDMERECGConfig) -> int:
    masking = (config.mask_strategy, config.mask_ratio, config.lead_mask_ratio)
    return most_visible(config.num_leads, config.num_patches, *masking)


def encoder_step(config: CGDMERECGConfig, batch_size: int, device: str, dropout: bool) -> Callable[[], None]:
    model = CGDMERECGModel(config).train(dropout).to(device)
    ecg_values = torch.randn(batch_size, config.num_leads, config.num_samples, device=device)
    noise = torch.rand(batch_size, config.num_leads, config.num_patches, device=device)
    present = torch.ones_like(noise, dtype=torch.bool)
    masked = mask_patches(noise, present, config.mask_strategy, config.mask_ratio, config.lead_mask_ratio)
    num_visible = visible_tokens(config)

    def step() -> None:
        model(ecg_values, bool_masked_pos=masked, num_visible=num_visible).pooler_output.sum().backward()
        model.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config_name", default="cgdmer-base")
    parser.add_argument(
        "--freeze_text_layers", type=int, default=0, help="frozen layers in the count of a training step"
    )
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="also print the five operations that take the longest")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    joint_config = CGDMERConfig.from_pretrained(preset_folder(options.config_name))
    config = joint_config.ecg_config
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    with FlopCounterMode(display=False) as counter:
        encoder_step(config, options.batch_size, "meta", dropout=False)()
    work = counter.get_total_flops()
    num_products = max(1, round(work / (2 * PRODUCT_SIZE**3)))
    contenders: dict[str, Callable] = {
        "matrix_product": lambda: [left @ right for _ in range(num_products)],
        "encoder": encoder_step(config, options.batch_size, device, dropout=False),
        "encoder_with_dropout": encoder_step(config, options.batch_size, device, dropout=True),
    }
    seconds = best_seconds(contenders, options.rounds)
    gigaflops = {
        name: (num_products * 2 * PRODUCT_SIZE**3 if name == "matrix_product" else work) / taken / 1e9
        for name, taken in seconds.items()
    }
    share = gigaflops["encoder"] / gigaflops["matrix_product"]
    figures = {
        "config_name": options.config_name,
        "batch_size": options.batch_size,
        "tokens": visible_tokens(config),
        "training_step_gigaflops_per_pair": flops_per_pair(joint_config, options.freeze_text_layers) / 1e9,
        "gigaflops_per_second": gigaflops,
        "share_of_matrix_product": share,
        "share_with_dropout": gigaflops["encoder_with_dropout"] / gigaflops["matrix_product"],
        "at_least_70_percent": share >= 0.7,
    }
    if options.profile:
        with torch.profiler.profile() as profile:
            contenders["encoder"]()
        costs = sorted(profile.key_averages(), key=lambda cost: -cost.self_cpu_time_total)
        total = sum(cost.self_cpu_time_total for cost in costs)
        figures["largest_costs"] = {cost.key: cost.self_cpu_time_total / total for cost in costs[:5]}
    print_figures(figures)


if __name__ == "__main__":
    main()
