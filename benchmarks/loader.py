# SPDX-License-Identifier: Apache-2.0
"""ECGs per second of the pretraining loader, compared with `wfdb` and with the speed of training.

    OMP_NUM_THREADS=2 python benchmarks/loader.py PTB_XL_DIR WORK_DIR [--num_records 320]

Prepares PTB-XL at both its rates in WORK_DIR, once. On one core, it compares the loader at the dataset's own rate (500
Hz for cgdmer-base's feature extractor, 100 Hz for cgdmer-tiny's) with `wfdb.rdsamp` on the same records. Then it
compares two loader workers with a training step of cgdmer-tiny, all branches, on the number of threads that the
machine line shows. Targets: five times `wfdb`, and three times the training step.
"""

import argparse
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core means one core

import torch
import wfdb
from machine import best_seconds, print_figures
from torch.utils.data import DataLoader, Subset
from transformers import AutoFeatureExtractor, AutoTokenizer

from cgdmer import CGDMERConfig
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining
from cgdmer.presets import preset_folder
from cgdmer.training.pairs import PairCollator, PairDataset

EXTRACTORS = {500: "cgdmer-base", 100: "cgdmer-tiny"}
SUFFIXES = {500: "_hr", 100: "_lr"}
BATCH_SIZE = 64


def pairs_of(ptbxl: Path, work: Path, rate: int) -> PairDataset:
    folder = work / f"ptbxl{rate}"
    if not folder.is_dir():
        prepare_corpus("ptb-xl", ptbxl, folder, sampling_rate=rate)
    extractor = AutoFeatureExtractor.from_pretrained(preset_folder(EXTRACTORS[rate]))
    return PairDataset(load_dataset_folder(folder)["train"], extractor)


def loader_of(pairs: PairDataset, indices: list[int], num_workers: int) -> DataLoader:
    collate = PairCollator(AutoTokenizer.from_pretrained(preset_folder("cgdmer-tiny")))
    return DataLoader(
        Subset(pairs, indices),
        BATCH_SIZE,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def exhaust(loader: DataLoader) -> None:
    deque(loader, maxlen=0)


def read_files(ptbxl: Path, pairs: PairDataset, indices: list[int], rate: int) -> Callable[[], None]:
    files = {path.stem: path.with_suffix("") for path in (ptbxl / f"records{rate}").rglob("*.hea")}
    names = pairs.split.select(indices)["record_id"]
    paths = [files[f"{int(name):05d}{SUFFIXES[rate]}"] for name in names]

    def read() -> None:
        for path in paths:
            wfdb.rdsamp(str(path))

    return read


def training_step(batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    model = CGDMERForPreTraining(CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))).train()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)

    def step() -> None:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--num_records", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count = options.num_records
    order = torch.Generator().manual_seed(0)
    figures: dict[str, float] = {}
    for rate in EXTRACTORS:
        pairs = pairs_of(options.ptbxl, options.work, rate)
        indices = torch.randperm(len(pairs), generator=order)[:count].tolist()
        loader = loader_of(pairs, indices, num_workers=0)
        read = read_files(options.ptbxl, pairs, indices, rate)
        seconds = best_seconds({"loader": partial(exhaust, loader), "wfdb": read}, options.rounds)
        figures |= {f"{name}_{rate}hz_ecgs_per_second": len(indices) / taken for name, taken in seconds.items()}
        figures[f"loader_over_wfdb_{rate}hz"] = seconds["wfdb"] / seconds["loader"]
    # At the last rate, 100 Hz: an epoch with many batches, so that starting the workers does not count.
    many = torch.randperm(len(pairs), generator=order)[: 10 * count].tolist()
    two_workers = loader_of(pairs, many, num_workers=2)
    step = training_step(next(iter(loader)))
    contenders: dict[str, Callable] = {"loader": partial(exhaust, two_workers), "step": step}
    seconds = best_seconds(contenders, options.rounds, clock=time.perf_counter)  # workers have their own CPU clocks
    figures["loader_two_workers_ecgs_per_second"] = len(many) / seconds["loader"]
    figures["training_cgdmer-tiny_ecgs_per_second"] = BATCH_SIZE / seconds["step"]
    figures["two_workers_over_training"] = (
        figures["loader_two_workers_ecgs_per_second"] / figures["training_cgdmer-tiny_ecgs_per_second"]
    )
    print_figures(figures)


if __name__ == "__main__":
    main()
