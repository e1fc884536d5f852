# SPDX-License-Identifier: Apache-2.0
"""Cost of the encoder's forward pass by the number of recorded leads: absent leads get no tokens.

    OMP_NUM_THREADS=2 python benchmarks/encoding_by_leads.py [--config_names cgdmer-tiny cgdmer-base] [--batch_size 8]

Weights are random and signals are noise; neither changes the time. Target: one lead costs at most a sixth of twelve.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from machine import best_seconds, print_figures

from cgdmer import CGDMERConfig
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.presets import preset_folder

LEADS = (12, 6, 3, 2, 1)


@torch.inference_mode()
def encode(model: CGDMERECGModel, ecg_values: torch.Tensor, num_leads: int) -> None:
    lead_mask = torch.zeros(ecg_values.shape[:2], dtype=torch.long, device=ecg_values.device)
    lead_mask[:, :num_leads] = 1
    patch_mask = lead_mask.new_ones(len(ecg_values), model.config.num_patches)
    model(ecg_values, lead_mask=lead_mask, patch_mask=patch_mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config_names", nargs="+", default=["cgdmer-tiny", "cgdmer-base"])
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures = {}
    for name in options.config_names:
        config = CGDMERConfig.from_pretrained(preset_folder(name)).ecg_config
        model = CGDMERECGModel(config).eval().to(device)
        ecg_values = torch.randn(options.batch_size, config.num_leads, config.num_samples, device=device)
        passes: dict[str, Callable] = {str(leads): partial(encode, model, ecg_values, leads) for leads in LEADS}
        seconds = best_seconds(passes, options.rounds)
        figures[name] = {
            "ecgs_per_second_by_leads": {leads: options.batch_size / taken for leads, taken in seconds.items()},
            "share_of_twelve_leads": {leads: taken / seconds["12"] for leads, taken in seconds.items()},
            "one_lead_within_a_sixth": seconds["1"] <= seconds["12"] / 6,
        }
    print_figures({"batch_size": options.batch_size, **figures})


if __name__ == "__main__":
    main()
