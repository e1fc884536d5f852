# SPDX-License-Identifier: Apache-2.0
"""Measure further claims of the CoRe-ECG and MERIT papers on the models that run.py trained.

    python examples/comparison/further.py --dataset ptbxl --output_dir WORK --splits validation test \
        --csv examples/comparison/further.csv --rows random_init full coreecg merit \
        --shifted csn=csn cpsc2018=cpsc2018 georgia=georgia

- `fewer leads` (CoRe-ECG): a linear probe on the superclasses, trained and tested with 6, 3, 2 leads, or 1 lead.
- `few labels` (CoRe-ECG): the whole encoder, fine-tuned for the superclasses on 5% of the training patients.
- `shift` (MERIT): PTB-XL's rhythm classes in records of other hospitals, zero-shot and with a probe fitted on PTB-XL.
  Their SNOMED CT codes are mapped to the SCP codes with the same meaning. A class that a corpus lacks is left out.

A row, seed, and kind of measurement that is already in the CSV file is skipped, so the command resumes after a kill.
"""

import argparse
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
from accelerate import PartialState
from run import add_lines, figures_of, read_lines
from supervised import SUPERVISED, dataset_of_classes, evaluate_classifier, labels_in_training

from cgdmer.data.storage import load_dataset_folder
from cgdmer.data.wordings import load_wordings
from cgdmer.evaluation.evaluate_task import evaluate_task
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.robustness import LEAD_SUBSETS
from cgdmer.evaluation.splits import pooled, repaired_splits
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.tasks import get_task
from cgdmer.families import extractor_of, load_model, load_processor
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.ecg_record import keep_leads
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.finetune import finetune_model

COLUMNS = ["row", "seed", "kind", "task", "measure", "macro_auroc", "interval_low", "interval_high"]
COLUMNS += ["frequent_classes", "frequent_macro_auroc"]
SUPERCLASSES, RHYTHMS = get_task("ptbxl-super"), get_task("ptbxl-rhythm")
SHARE = 0.05
EPOCHS = 40  # over the few records: about 200 steps of 32

Measures = list[tuple[str, str, dict[str, Any]]]  # task, measure, what `measure` returns


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="that of run.py")
    parser.add_argument("--output_dir", required=True, type=Path, help="that of run.py")
    parser.add_argument(
        "--csv", required=True, type=Path, help="the results, one line per row, seed, kind, and measure"
    )
    parser.add_argument("--rows", nargs="+", required=True, help="rows whose models are measured")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--shifted", nargs="+", default=[], help="prepared corpora with SNOMED CT codes: NAME=FOLDER")
    parser.add_argument("--splits", nargs="+", default=["test"], help="splits to test on, pooled")
    options = parser.parse_args(arguments)
    splits = load_dataset_folder(options.dataset)
    for row in options.rows:
        for model in sorted((options.output_dir / row).glob("seed_*/model")):
            seed = int(model.parent.name.removeprefix("seed_"))
            for kind in options.kinds:
                key = {"row": row, "seed": str(seed), "kind": kind}
                if any(line | key == line for line in read_lines(options.csv)):
                    print(f"{row}, seed {seed}, {kind}: in {options.csv} already")
                    continue
                print(f"{row}, seed {seed}: {kind}", flush=True)
                lines = []
                for task, name, result in KINDS[kind](model, splits, seed, options):
                    lines.append((row, seed, kind, task, name, *figures_of(result)))
                add_lines(options.csv, COLUMNS, lines)


def fewer_leads(folder: Path, splits: datasets.DatasetDict, seed: int, options: argparse.Namespace) -> Measures:
    model = load_model(folder).to(PartialState().device)
    extractor = extractor_of(load_processor(folder, model))
    parts = repaired_splits(splits, SUPERCLASSES)
    train, test = (pooled(parts, names, SUPERCLASSES) for names in (("train",), options.splits))
    found = []
    for name, leads in LEAD_SUBSETS.items():
        features = [
            embed_records(model, extractor, replace(part, change=partial(keep_leads, leads=leads)), description=name)
            for part in (train, test)
        ]
        probe = fit_linear_probe(features[0].pooled, train.labels, train.patients, seed=seed)
        scores = probe.scores(features[1].pooled)[None]
        result = measure(test.labels, scores, SUPERCLASSES.class_names, test.patients)
        found.append((SUPERCLASSES.name, f"linear probe, {name}", result))
    return found


def few_labels(folder: Path, splits: datasets.DatasetDict, seed: int, options: argparse.Namespace) -> Measures:
    """For one seed, all rows use the same patients. Nothing is chosen on other records. As elsewhere, training and
    testing use only records that have a superclass."""
    dataset = options.output_dir / f"few_labels_{seed}"
    if not dataset.is_dir():
        train = repaired_splits(splits, SUPERCLASSES)["train"]
        patients = np.unique(train.patients)
        chosen = set(np.random.default_rng(seed).choice(patients, round(SHARE * len(patients)), replace=False))
        few = train.rows.select([row for row, patient in enumerate(train.patients) if patient in chosen])
        dataset_of_classes(datasets.DatasetDict({"train": few}), [SUPERCLASSES], dataset)
    how = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 32, "seed": seed}
    output = folder.parent / "few_labels"
    finetune_model(FinetuningArguments(str(folder), str(dataset), str(output), labels_in_training(dataset), **how))
    evaluation = evaluate_classifier(output, splits, SUPERCLASSES, options.splits, SUPERVISED)
    shutil.rmtree(output)
    return [(SUPERCLASSES.name, f"fine-tuned on {SHARE:.0%}", evaluation.results["measures"][SUPERVISED])]


def shift(folder: Path, splits: datasets.DatasetDict, seed: int, options: argparse.Namespace) -> Measures:
    model = load_model(folder).to(PartialState().device)
    processor, found = load_processor(folder, model), []
    how: dict[str, Any] = {"fractions": (1.0,), "untrained": False, "seed": seed}
    with TemporaryDirectory() as kept:  # the training records are the same each time
        for given in options.shifted:
            name, _, place = given.partition("=")
            foreign = load_dataset_folder(place)
            records = datasets.concatenate_datasets([part.map(as_scp_codes) for part in foreign.values()])
            parts = datasets.DatasetDict({"train": splits["train"], "test": records})
            results = evaluate_task(model, processor, parts, RHYTHMS, cache=EmbeddingCache(kept), **how).results
            found += [(f"{RHYTHMS.name}, {name}", measure, result) for measure, result in results["measures"].items()]
    return found


def as_scp_codes(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "labels": [load_wordings().finding(label) for label in row["labels"]]}


KINDS: dict[str, Callable[..., Measures]] = {"fewer leads": fewer_leads, "few labels": few_labels, "shift": shift}

if __name__ == "__main__":
    main()
