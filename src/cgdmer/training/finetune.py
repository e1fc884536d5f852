# SPDX-License-Identifier: Apache-2.0
"""Train a classifier on a user's own labels: the whole encoder, or a linear layer on the frozen one."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Required, TypedDict

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import dataset_summary
from cgdmer.data.storage import DatasetRecords, load_dataset_folder, row_to_record
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.report import without_nan, write_results_json
from cgdmer.evaluation.splits import refuse_shared_patients
from cgdmer.evaluation.statistics import measure
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of
from cgdmer.inference.embeddings import classifier_logits, embed_records
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_lead_time_encoder import LeadTimeClassifier
from cgdmer.presets import model_source
from cgdmer.training import run_summary
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.optimization import FiniteSteps, adamw, schedule
from cgdmer.training.pairs import EpochSampler

FEWEST_TRAINING_RECORDS = 10


class FinetuningResults(TypedDict, total=False):
    """What `finetune_model` measured.

    Attributes:
        labels: in the order of the model's outputs.
        validation, test: what `measure` returns, with `overlap`: how many of these records and of other records of
            their patients the model was pretrained on (None: it does not say). Absent where the dataset has no such
            split, or no label in it has both positive and negative records.
    """

    labels: Required[list[str]]
    validation: dict[str, Any]
    test: dict[str, Any]


class LabelledDataset(Dataset):
    """Rows of one split as model inputs with a row of zeros and ones for their labels.

    Of a recording longer than the model's window, one of the windows that pipelines cut is drawn from (seed, epoch,
    index), the likelier the more of it is new.
    """

    def __init__(
        self,
        split: datasets.Dataset,
        feature_extractor: ECGFeatureExtractor,
        label_names: Sequence[str],
        seed: int = 0,
    ):
        self.split, self.feature_extractor = split, feature_extractor
        rows = list(split.select_columns(["labels", "patient_id", "record_id"]))
        self.labels = np.array([[name in row["labels"] for name in label_names] for row in rows], dtype=bool)
        self.patients = [row["patient_id"] or row["record_id"] for row in rows]
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        inputs = self.feature_extractor(row_to_record(self.split[int(index)]), windows=True)
        weights = inputs["window_weights"]
        window = np.random.default_rng((self.seed, self.epoch, int(index))).choice(len(weights), p=weights)
        sample = {name: inputs[name][window] for name in self.feature_extractor.model_input_names}
        return {**sample, "labels": self.labels[index].astype(np.float32)}


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


def finetune_model(arguments: FinetuningArguments) -> FinetuningResults:
    """Train, save a folder that the pipeline `ecg-classification` loads, and measure on validation and test.

    Beside the weights stand `training_summary.json`, from which a card is filled in, and the fingerprints of all
    records that they were ever trained on.

    With `freeze_encoder` the classifier is the linear probe of the evaluation, its regularisation chosen on held-out
    training patients; else everything is trained with AdamW on binary cross-entropy, one sigmoid for each label.

    Returns:
        Also written to results.json: what is measured is what the pipeline answers, long recordings included.

    Raises:
        CorpusError: a patient is in two splits, or see `choose_labels`.
        TrainingError: training has diverged.
    """
    began = time.perf_counter()
    arguments = replace(arguments, model=model_source(arguments.model))
    set_seed(arguments.seed)
    splits = load_dataset_folder(arguments.dataset)
    pretrained_on = Fingerprints.of_model(arguments.model)
    label_names = choose_labels(splits["train"], arguments.labels)
    extractor = AutoFeatureExtractor.from_pretrained(arguments.model)
    parts = {name: LabelledDataset(splits[name], extractor, label_names, arguments.seed) for name in splits}
    refuse_shared_patients({f"the split {name}": part.patients for name, part in parts.items()})
    accelerator = Accelerator()
    model, steps = _classifier(arguments.model, label_names).to(accelerator.device), 0
    if arguments.freeze_encoder:
        _fit_classifier(model, parts["train"], arguments.seed)
    else:
        model, steps = _train(accelerator, model, parts["train"], arguments)
    results: FinetuningResults = {"labels": label_names}
    if accelerator.is_main_process:
        seconds = time.perf_counter() - began
        folder = Path(arguments.output_dir)
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        trained_on = Fingerprints.of(splits["train"])
        (trained_on if pretrained_on is None else trained_on | pretrained_on).save(folder)
        summary = _summary(accelerator, replace(arguments, labels=label_names), parts, steps)
        run_summary.write(folder, summary | {"seconds": seconds})
        results = without_nan(_measured(model, parts, label_names, pretrained_on, arguments.seed))
        write_results_json(folder / "results.json", results)
    return results


def _classifier(name: str, label_names: list[str]) -> LeadTimeClassifier:
    """A pretrained encoder with a classifier; one for other labels is replaced."""
    return class_for(ecg_config_of(config_of(name)), Purpose.CLASSIFICATION).from_pretrained(
        name,
        id2label=dict(enumerate(label_names)),
        label2id={label: index for index, label in enumerate(label_names)},
        problem_type="multi_label_classification",
        ignore_mismatched_sizes=True,
    )


def _measured(
    model: LeadTimeClassifier,
    parts: Mapping[str, LabelledDataset],
    label_names: list[str],
    pretrained_on: Fingerprints | None,
    seed: int,
) -> FinetuningResults:
    results: FinetuningResults = {"labels": label_names}
    for name in ("validation", "test"):
        part = parts.get(name)
        if part is None or not (part.labels.any(axis=0) & ~part.labels.all(axis=0)).any():
            continue
        records = DatasetRecords(part.split)
        logits = classifier_logits(model, part.feature_extractor, records, description=f"{name} records")
        overlap = None if pretrained_on is None else pretrained_on.overlap(part.split)
        results[name] = measure(part.labels, logits, label_names, part.patients, seed=seed) | {"overlap": overlap}
    return results


def _summary(
    accelerator: Accelerator, arguments: FinetuningArguments, parts: Mapping[str, LabelledDataset], steps: int
) -> dict[str, Any]:
    """See `run_summary`; no step is taken where the encoder is frozen."""
    batch = min(arguments.per_device_train_batch_size, len(parts["train"])) * accelerator.num_processes
    records = len(parts["train"]), len(parts.get("validation", ()))
    return {
        "command": run_summary.FINETUNE,
        "data": run_summary.of_dataset(arguments.dataset, dataset_summary(arguments.dataset), *records),
        "options": run_summary.of_options(arguments),
        "steps": steps,
        "samples": steps * batch,
        "resumed_at_step": 0,
        "processes": accelerator.num_processes,
        "device": run_summary.of_device(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "versions": run_summary.versions(),
        "earlier": run_summary.of_model(arguments.model),
    }


def _fit_classifier(model: LeadTimeClassifier, train: LabelledDataset, seed: int) -> None:
    """Write the linear probe's weights into the classifier."""
    records = DatasetRecords(train.split)
    features = embed_records(model, train.feature_extractor, records, description="training records").pooled
    probe = fit_linear_probe(features, train.labels, train.patients, seed=seed)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(probe.weights))
        model.classifier.bias.copy_(torch.from_numpy(probe.biases))


def _train(
    accelerator: Accelerator, model: LeadTimeClassifier, train: LabelledDataset, arguments: FinetuningArguments
) -> tuple[LeadTimeClassifier, int]:
    """The trained model, and how many steps it took."""
    batch_size = arguments.per_device_train_batch_size
    sampler = EpochSampler(len(train), arguments.seed)
    loader = DataLoader(train, min(batch_size, len(train)), sampler=sampler, collate_fn=_stack, drop_last=True)
    steps_per_epoch = len(loader) // accelerator.num_processes
    if not steps_per_epoch:
        raise ConfigurationError(f"{len(train)} training records do not fill a batch of {batch_size} on each process.")
    steps = arguments.num_train_epochs * steps_per_epoch
    optimizer = adamw(model, arguments.learning_rate, arguments.weight_decay)
    scheduler = schedule(accelerator, optimizer, "cosine", steps, num_warmup_steps=steps // 20)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    finite = FiniteSteps(optimizer.optimizer, accelerator.device, accelerator.scaler is not None)
    progress = tqdm(total=steps, desc="finetuning", unit="step", disable=not accelerator.is_main_process)
    model.train()
    for epoch in range(arguments.num_train_epochs):
        loader.set_epoch(epoch)
        sampler.set_epoch(epoch)
        train.set_epoch(epoch)
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            finite.judge(accelerator.clip_grad_norm_(model.parameters(), 1.0))
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            progress.update(1)
            progress.set_postfix(loss=f"{loss.item():.3f}", steps_left_out=finite.skipped())
    progress.close()
    return accelerator.unwrap_model(model), steps
