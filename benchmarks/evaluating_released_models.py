# SPDX-License-Identifier: Apache-2.0
"""The features that `cgdmer evaluate` computes with a released model, compared with a plain loop.

    OMP_NUM_THREADS=1 python benchmarks/evaluating_released_models.py DATASET MODEL [--num_records 500]

DATASET is written by `cgdmer prepare`, MODEL by `cgdmer convert`. The plain loop takes one record after the other:
reads its row, prepares it, and runs the encoder on it. Target: at least as fast.
"""

import argparse

import numpy as np
import torch
from datasets import concatenate_datasets
from machine import best_seconds, print_figures
from tqdm import tqdm

from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.families import load_feature_extractor, load_model
from cgdmer.inference.embeddings import embed_records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("model")
    parser.add_argument("--num_records", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model, extractor = load_model(options.model).eval(), load_feature_extractor(options.model)
    rows = concatenate_datasets(list(load_dataset_folder(options.dataset).values()))
    records = DatasetRecords(rows.select(range(min(options.num_records, len(rows)))))
    features: dict[str, np.ndarray] = {}

    @torch.no_grad()
    def plain() -> None:
        found = []
        for number in tqdm(range(len(records)), desc="plain loop", unit="record"):
            inputs = extractor(records[number], return_tensors="pt")
            found.append(model(**inputs).pooler_output.numpy())
        features["plain"] = np.concatenate(found)

    def evaluated() -> None:
        features["evaluate"] = embed_records(model, extractor, records).pooled

    seconds = best_seconds({"evaluate": evaluated, "plain": plain}, options.rounds)
    apart = np.abs(features["plain"] - features["evaluate"]).max() / np.abs(features["plain"]).max()
    print_figures(
        {
            "records": len(records),
            "milliseconds_per_record": {name: 1e3 * one / len(records) for name, one in seconds.items()},
            "largest_difference_of_features": float(apart),
            "speed_of_the_plain_loop": seconds["plain"] / seconds["evaluate"],
            "at_least_as_fast": seconds["evaluate"] <= seconds["plain"],
        }
    )


if __name__ == "__main__":
    main()
