# SPDX-License-Identifier: Apache-2.0
"""The zero-shot-ecg-classification pipeline compared with the bare encoder on prepared tensors.

    OMP_NUM_THREADS=2 python benchmarks/pipeline_overhead.py [--config_name cgdmer-tiny] [--batch_size 32]

Inputs are records in memory and prompts: simulated recordings of twelve leads and ten seconds, and random weights.
Everything that the pipeline does beyond the encoder (features, prompts, scores, and the code of transformers around
them) is overhead. Target: at most 15%.
"""

import argparse

import torch
from machine import best_seconds, print_figures
from transformers import AutoProcessor, pipeline

from cgdmer import CGDMERConfig
from cgdmer.models.modeling_cgdmer import CGDMERForZeroShot
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config_name", default="cgdmer-tiny", help="a preset with its own tokenizer")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--num_records", type=int, default=500)
    parser.add_argument("--num_prompts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = preset_folder(options.config_name)
    processor = AutoProcessor.from_pretrained(folder)
    model = CGDMERForZeroShot(CGDMERConfig.from_pretrained(folder)).eval()
    rate = processor.feature_extractor.sampling_rate
    records = list(simulate_cohort(options.num_records, sampling_rate=rate))
    prompts = [f"finding number {number}" for number in range(options.num_prompts)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classify = pipeline("zero-shot-ecg-classification", model=model, processor=processor, device=device)
    features = processor(ecg=records, return_tensors="pt").to(device)
    batches = [
        {name: tensor[start : start + options.batch_size] for name, tensor in features.items()}
        for start in range(0, len(records), options.batch_size)
    ]

    @torch.inference_mode()
    def encode() -> None:
        for batch in batches:
            model.ecg_model(**batch)

    contenders = {
        "pipeline": lambda: classify(records, candidate_labels=prompts, batch_size=options.batch_size),
        "features": lambda: [processor(ecg=record) for record in records],
        "encoder": encode,
    }
    seconds = best_seconds(contenders, options.rounds)
    overhead = seconds["pipeline"] / seconds["encoder"] - 1
    print_figures(
        {
            "batch_size": options.batch_size,
            "milliseconds_per_ecg": {name: 1e3 * taken / len(records) for name, taken in seconds.items()},
            "overhead": overhead,
            "within_15_percent": overhead <= 0.15,
        }
    )


if __name__ == "__main__":
    main()
