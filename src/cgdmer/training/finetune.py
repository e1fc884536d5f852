# SPDX-License-Identifier: Apache-2.0
"""Train a classifier on a user's own labels: the whole encoder, or a linear layer on a frozen one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Required, TypedDict

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm.auto import tqdm

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords, load_dataset_folder, row_to_record
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.report import without_nan, write_results_json
from cgdmer.evaluation.splits import refuse_shared_patients
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.tasks import choose_labels
from cgdmer.families import Purpose, class_for, config_of, ecg_config_of, load_feature_extractor
from cgdmer.inference import familiarity
from cgdmer.inference.embeddings import classifier_logits, embed_records, reasons
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_classifier import ECGEncoderForClassification
from cgdmer.presets import model_source
from cgdmer.training import left_out, run_summary
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.left_out import LeftOut
from cgdmer.training.optimization import FiniteSteps, adamw, schedule, shares_by_layer
from cgdmer.training.output_folder import claimed
from cgdmer.training.pairs import EpochSampler


class FinetuningResults(TypedDict, total=False):
    """What `finetune_model` measured.

    Attributes:
        labels: in the order of the model's outputs.
        left_out: how many records of all splits could not be used; `left_out.csv` names them. Absent if there are
            none.
        validation, test: what `measure` returns, with `overlap`: how many of these records, and of other records of
            their patients, the model was pretrained on (None: unknown or not checked). Absent if the dataset has no
            such split, or if no label in it has both positive and negative records.
    """

    labels: Required[list[str]]
    left_out: int
    validation: dict[str, Any]
    test: dict[str, Any]


class LabeledDataset(Dataset):
    """Rows of one split as model inputs, each with a vector of zeros and ones for its labels.

    For a recording longer than the model's window, one of the windows that pipelines use is drawn from (seed, epoch,
    index), with a probability proportional to the part of the recording that it adds.
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

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample of a record, or of another one in its place (see `cgdmer.training.left_out`)."""

        def make(index: int, random: np.random.Generator) -> dict[str, Any]:
            inputs = self.feature_extractor(row_to_record(self.split[index]), windows=True)
            weights = inputs["window_weights"]
            window = random.choice(len(weights), p=weights)
            sample = {name: inputs[name][window] for name in self.feature_extractor.model_input_names}
            return {**sample, "labels": self.labels[index].astype(np.float32)}

        def name(index: int) -> str:
            return self.split[index]["record_id"]

        return left_out.with_substitutes(make, name, int(index), len(self), (self.seed, self.epoch))


def collate_labeled(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of a `LabeledDataset`; `left_out` is there if records were left out."""
    named = [one for sample in samples for one in sample.pop(left_out.KEY, ())]
    batch = default_collate(samples)
    return {**batch, left_out.KEY: named} if named else batch


def finetune_model(arguments: FinetuningArguments) -> FinetuningResults:
    """Train, save a folder that the pipeline `ecg-classification` loads, and measure on validation and test.

    Next to the weights it writes `training_summary.json`, from which a card is filled in, the fingerprints of all
    records that the weights were ever trained on, and what those of this training look like to the model
    (`cgdmer.inference.familiarity`).

    With `freeze_encoder` the classifier is the linear probe of the evaluation, with its regularization chosen on
    held-out training patients. Otherwise everything is trained with AdamW on binary cross-entropy, one sigmoid per
    label.

    Returns:
        Also written to results.json. Measured are the pipeline's answers, also for long recordings.

    Raises:
        CorpusError: a patient is in two splits, or see `choose_labels`.
        TrainingError: training has diverged, another run is writing to `output_dir`, or it cannot be written.

    Example:
        >>> labels = ["sinus_rhythm", "atrial_fibrillation"]
        >>> arguments = cgdmer.FinetuningArguments("cgdmer-tiny-ptbxl", "ecgs", "mine", labels, freeze_encoder=True)
        >>> cgdmer.finetune_model(arguments)["labels"]
        ['sinus_rhythm', 'atrial_fibrillation']
    """
    began = time.perf_counter()
    arguments = replace(arguments, model=model_source(arguments.model))
    set_seed(arguments.seed)
    splits = load_dataset_folder(arguments.dataset)
    label_names = choose_labels([splits["train"]], arguments.labels, "training record")
    extractor = load_feature_extractor(arguments.model)
    parts = {name: LabeledDataset(splits[name], extractor, label_names, arguments.seed) for name in splits}
    refuse_shared_patients({f"the split {name}": part.patients for name, part in parts.items()})
    accelerator = Accelerator()
    with claimed(accelerator, Path(arguments.output_dir), "Then start again."):
        return _finetune(accelerator, arguments, parts, label_names, began)


def _finetune(
    accelerator: Accelerator,
    arguments: FinetuningArguments,
    parts: dict[str, LabeledDataset],
    label_names: list[str],
    began: float,
) -> FinetuningResults:
    pretrained_on, train = Fingerprints.of_model(arguments.model), parts["train"]
    model, steps, mine = _classifier(arguments.model, label_names).to(accelerator.device), 0, LeftOut()
    if arguments.freeze_encoder:
        _fit_classifier(model, train, arguments.seed, mine)
    else:
        model, steps = _train(accelerator, model, train, arguments, mine)
    of_training = LeftOut.of_all(accelerator, mine)
    results: FinetuningResults = {"labels": label_names}
    if accelerator.is_main_process:
        seconds = time.perf_counter() - began
        folder = Path(arguments.output_dir)
        model.save_pretrained(folder)
        train.feature_extractor.save_pretrained(folder)
        Fingerprints.of(train.split, pretrained_on).save(folder)
        held_out = None if "validation" not in parts else parts["validation"].split
        familiar = familiarity.after_training(model, train.feature_extractor, train.split, held_out)
        (folder / familiarity.FILE_NAME).unlink(missing_ok=True)  # of an earlier run
        if familiar is not None:
            familiar.save(folder)
        run_summary.write(
            folder,
            accelerator,
            replace(arguments, labels=label_names),
            command=run_summary.FINETUNE,
            records=(len(train), len(parts.get("validation", ()))),
            batch_size=min(arguments.per_device_train_batch_size, len(train)) * accelerator.num_processes,
            steps=steps,
            seconds=seconds,
            left_out=len(of_training.reasons),
        )
        everywhere = of_training  # and those of validation and test
        results = without_nan(_measured(model, parts, label_names, pretrained_on, arguments.seed, everywhere))
        if everywhere.reasons:
            results["left_out"] = len(everywhere.reasons)
            left_out.say(left_out.in_words(len(everywhere.reasons)))
        everywhere.write(folder)
        write_results_json(folder / "results.json", results)
    return results


def _classifier(name: str, label_names: list[str]) -> ECGEncoderForClassification:
    """A pretrained encoder with a classifier; an existing one for other labels is replaced."""
    return class_for(ecg_config_of(config_of(name)), Purpose.CLASSIFICATION).from_pretrained(
        name,
        id2label=dict(enumerate(label_names)),
        label2id={label: index for index, label in enumerate(label_names)},
        problem_type="multi_label_classification",
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
    )


def _measured(
    model: ECGEncoderForClassification,
    parts: Mapping[str, LabeledDataset],
    label_names: list[str],
    pretrained_on: Fingerprints | None,
    seed: int,
    noted: LeftOut,
) -> FinetuningResults:
    """Records that cannot be used are left out of the measures, and noted."""
    results: FinetuningResults = {"labels": label_names}
    for name in ("validation", "test"):
        part = parts.get(name)
        if part is None or not (part.labels.any(axis=0) & ~part.labels.all(axis=0)).any():
            continue
        logits = classifier_logits(
            *(model, part.feature_extractor, DatasetRecords(part.split)),
            description=f"{name} records",
            unusable="nan",
        )
        usable = _note_unusable(part, np.isfinite(logits).all(axis=1), noted)
        labels, patients = part.labels[usable], [part.patients[row] for row in np.flatnonzero(usable)]
        if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
            continue
        overlap = None if pretrained_on is None else pretrained_on.overlap(part.split)
        results[name] = measure(labels, logits[usable], label_names, patients) | {"overlap": overlap}
    return results


def _note_unusable(part: LabeledDataset, usable: np.ndarray, noted: LeftOut) -> np.ndarray:
    """Note the records that cannot be used; returns `usable` again."""
    found = reasons(DatasetRecords(part.split), part.feature_extractor, np.flatnonzero(~usable))
    noted.take_from({left_out.KEY: [(part.split[number]["record_id"], reason) for number, reason in found.items()]})
    return usable


def _fit_classifier(model: ECGEncoderForClassification, train: LabeledDataset, seed: int, noted: LeftOut) -> None:
    """Fit the linear probe and copy its weights into the classifier."""
    records = DatasetRecords(train.split)
    features = embed_records(model, train.feature_extractor, records, description="training records", unusable="nan")
    usable = _note_unusable(train, features.usable, noted)
    patients = [train.patients[row] for row in np.flatnonzero(usable)]
    probe = fit_linear_probe(features.pooled[usable], train.labels[usable], patients, seed=seed)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(probe.weights))
        model.classifier.bias.copy_(torch.from_numpy(probe.biases))


def _train(
    accelerator: Accelerator,
    model: ECGEncoderForClassification,
    train: LabeledDataset,
    arguments: FinetuningArguments,
    noted: LeftOut,
) -> tuple[ECGEncoderForClassification, int]:
    """The trained model, and the number of steps."""
    batch_size = arguments.per_device_train_batch_size
    sampler = EpochSampler(len(train), arguments.seed)
    loader = DataLoader(
        train, min(batch_size, len(train)), sampler=sampler, drop_last=True, collate_fn=collate_labeled
    )
    steps_per_epoch = len(loader) // accelerator.num_processes
    if not steps_per_epoch:
        raise ConfigurationError(
            f"{len(train)} training records do not fill a batch of {batch_size} on every process."
        )
    steps = arguments.num_train_epochs * steps_per_epoch
    shares = shares_by_layer(model, arguments.layer_decay)
    optimizer = adamw(model, arguments.learning_rate, arguments.weight_decay, shares)
    scheduler = schedule(accelerator, optimizer, "cosine", steps, num_warmup_steps=steps // 20)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    finite = FiniteSteps(optimizer.optimizer, accelerator.device, accelerator.scaler is not None)
    progress = tqdm(total=steps, desc="finetuning", unit="step", disable=not accelerator.is_main_process)
    model.train()
    for epoch in range(arguments.num_train_epochs):
        loader.set_epoch(epoch)
        sampler.set_epoch(epoch)
        train.set_epoch(epoch)
        for batch in noted.watched(loader):
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
