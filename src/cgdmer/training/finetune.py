# SPDX-License-Identifier: Apache-2.0
"""Train a classifier on a user's own labels: the whole encoder, or a linear layer on the frozen one."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor, get_scheduler

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import dataset_summary
from cgdmer.data.storage import DatasetRecords, load_dataset_folder, row_to_record
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.report import without_nan, write_results_json
from cgdmer.evaluation.splits import refuse_shared_patients
from cgdmer.evaluation.statistics import measure
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_lead_time_encoder import LeadTimeClassifier
from cgdmer.presets import model_source
from cgdmer.training import run_summary
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.pairs import EpochSampler

FEWEST_TRAINING_RECORDS = 10


class LabelledDataset(Dataset):
    """Rows of one split as model inputs with a row of zeros and ones for their labels."""

    def __init__(self, split: datasets.Dataset, feature_extractor: ECGFeatureExtractor, label_names: Sequence[str]):
        self.split, self.feature_extractor = split, feature_extractor
        rows = list(split.select_columns(["labels", "patient_id", "record_id"]))
        self.labels = np.array([[name in row["labels"] for name in label_names] for row in rows], dtype=bool)
        self.patients = [row["patient_id"] or row["record_id"] for row in rows]

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        inputs = self.feature_extractor(row_to_record(self.split[int(index)]))
        return {**{name: value[0] for name, value in inputs.items()}, "labels": self.labels[index].astype(np.float32)}


def _stack(samples: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}


def choose_labels(split: datasets.Dataset, wanted: Iterable[str] | None) -> list[str]:
    """The labels to train on: those asked for, else all with at least ten training records.

    Raises:
        CorpusError: a label asked for is in no training record, or no label is frequent enough.
    """
    counts = Counter(label for row in split.select_columns(["labels"]) for label in row["labels"])
    if wanted:
        wanted = list(wanted)
        for label in wanted:
            if not counts[label]:
                known = ", ".join(name for name, _ in counts.most_common(20))
                raise CorpusError(f"no training record has the label {label!r}. The most frequent labels: {known}.")
        return wanted
    frequent = sorted(label for label, count in counts.items() if count >= FEWEST_TRAINING_RECORDS)
    if not frequent:
        raise CorpusError(f"no label has {FEWEST_TRAINING_RECORDS} training records; name the labels with --labels.")
    return frequent


def finetune_model(arguments: FinetuningArguments) -> dict[str, Any]:
    """Train, save a folder that the pipeline `ecg-classification` loads, and measure on validation and test.

    Beside the weights stand `training_summary.json`, from which a card is filled in, and the fingerprints of all
    records that they were ever trained on.

    With `freeze_encoder` the classifier is the linear probe of the evaluation, its regularisation chosen on held-out
    training patients; else everything is trained with AdamW on binary cross-entropy, one sigmoid a label.

    Returns:
        `labels`, and for `validation` and `test`, if the dataset has them, what `measure` returns, with `overlap`: how
        many of these records and of other records of their patients the model was pretrained on (None: it does not
        say). Also written to results.json.

    Raises:
        CorpusError: a patient is in two splits, or see `choose_labels`.
    """
    model_name, dataset, output_dir = model_source(arguments.model), arguments.dataset, arguments.output_dir
    seed = arguments.seed
    set_seed(seed)
    began = time.perf_counter()
    splits = load_dataset_folder(dataset)
    pretrained_on = Fingerprints.of_model(model_name)
    label_names = choose_labels(splits["train"], arguments.labels)
    extractor = AutoFeatureExtractor.from_pretrained(model_name)
    parts = {name: LabelledDataset(splits[name], extractor, label_names) for name in splits}
    refuse_shared_patients({f"the split {name}": part.patients for name, part in parts.items()})
    model = class_for(ecg_config_of(config_of(model_name)), Purpose.CLASSIFICATION).from_pretrained(
        model_name,
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
        problem_type="multi_label_classification",
        ignore_mismatched_sizes=True,  # a classifier for other labels is replaced
    )
    accelerator = Accelerator()
    model.to(accelerator.device)
    steps = 0
    if arguments.freeze_encoder:
        _fit_classifier(model, extractor, parts["train"], seed)
    else:
        model, steps = _train(
            accelerator,
            model,
            parts["train"],
            arguments.num_train_epochs,
            arguments.learning_rate,
            arguments.per_device_train_batch_size,
            arguments.weight_decay,
            seed,
        )
    results: dict[str, Any] = {"labels": label_names}
    if accelerator.is_main_process:
        seconds = time.perf_counter() - began
        model.save_pretrained(output_dir)
        extractor.save_pretrained(output_dir)
        trained_on = Fingerprints.of(splits["train"])
        (trained_on if pretrained_on is None else trained_on | pretrained_on).save(output_dir)
        options = run_summary.of_options(replace(arguments, model=model_name, labels=label_names))
        summary = _summary(accelerator, model_name, dataset, parts, options, steps)
        run_summary.write(Path(output_dir), summary | {"seconds": seconds})
        for name in [name for name in ("validation", "test") if name in parts]:
            part = parts[name]
            if (part.labels.any(axis=0) & ~part.labels.all(axis=0)).any():
                logits = predict(model, part)
                results[name] = measure(part.labels, logits, label_names, part.patients, seed=seed)
                overlap = None if pretrained_on is None else pretrained_on.overlap(part.split)
                results[name]["overlap"] = overlap
        results = without_nan(results)
        write_results_json(Path(output_dir) / "results.json", results)
    return results


def _summary(
    accelerator: Accelerator,
    model_name: str,
    dataset: str,
    parts: Mapping[str, LabelledDataset],
    options: Mapping[str, Any],
    steps: int,
) -> dict[str, Any]:
    """See `run_summary`; no step is taken where the encoder is frozen."""
    batch = min(options["per_device_train_batch_size"], len(parts["train"])) * accelerator.num_processes
    records = len(parts["train"]), len(parts.get("validation", ()))
    return {
        "command": run_summary.FINETUNE,
        "data": run_summary.of_dataset(dataset, dataset_summary(dataset), *records),
        "options": options,
        "steps": steps,
        "samples": steps * batch,
        "resumed_at_step": 0,
        "processes": accelerator.num_processes,
        "device": run_summary.of_device(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "versions": run_summary.versions(),
        "earlier": run_summary.of_model(model_name),
    }


def _fit_classifier(
    model: LeadTimeClassifier, extractor: ECGFeatureExtractor, train: LabelledDataset, seed: int
) -> None:
    """Write the linear probe's weights into the classifier."""
    records = DatasetRecords(train.split)
    features = embed_records(model, extractor, records, description="training records").pooled
    probe = fit_linear_probe(features, train.labels, train.patients, seed=seed)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(probe.weights))
        model.classifier.bias.copy_(torch.from_numpy(probe.biases))


def _train(accelerator, model, train, num_train_epochs, learning_rate, batch_size, weight_decay, seed):
    sampler = EpochSampler(len(train), seed)
    loader = DataLoader(
        train,
        batch_size=min(batch_size, len(train)),
        sampler=sampler,
        collate_fn=_stack,
        drop_last=True,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    steps_an_epoch = len(loader) // accelerator.num_processes
    if not steps_an_epoch:
        raise ConfigurationError(f"{len(train)} training records do not fill a batch of {batch_size} on each process.")
    steps = num_train_epochs * steps_an_epoch
    scheduler = get_scheduler(
        "cosine",
        optimizer,
        num_warmup_steps=steps // 20 * accelerator.num_processes,
        num_training_steps=steps * accelerator.num_processes,
    )
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    progress = tqdm(total=steps, desc="finetuning", unit="step", disable=not accelerator.is_main_process)
    model.train()
    for epoch in range(num_train_epochs):
        loader.set_epoch(epoch)
        sampler.set_epoch(epoch)
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            progress.update(1)
            progress.set_postfix(loss=f"{loss.item():.3f}")
    progress.close()
    return accelerator.unwrap_model(model), steps


@torch.no_grad()
def predict(model: LeadTimeClassifier, part: LabelledDataset, batch_size: int = 64) -> np.ndarray:
    """(records, labels) logits."""
    model.eval()
    logits = []
    for batch in DataLoader(part, batch_size=batch_size, collate_fn=_stack):
        batch.pop("labels")
        logits.append(model(**{name: value.to(model.device) for name, value in batch.items()}).logits.float().cpu())
    return torch.cat(logits).numpy()
