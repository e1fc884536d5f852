# SPDX-License-Identifier: Apache-2.0
"""Where a run's batches come from: a prepared folder with random access, or a stream of shards."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder
from cgdmer.data.wordings import load_wordings
from cgdmer.data.workers import outlive_signals
from cgdmer.families import extractor_of
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.augmentation import Augmentation
from cgdmer.training.pairs import EpochSampler, PairCollator, PairDataset, tokenizer_of
from cgdmer.training.streaming import StreamedPairs, streaming_loader

WORKERS_BESIDE_A_GPU = 4  # a process, unless --dataloader_num_workers says otherwise
_VALIDATION_EPOCH = 2**31  # of whose draws validation is made, whatever the epoch


class TrainingLoader(Protocol):
    """Batches of this process, the same number on all."""

    @property
    def pairs(self) -> PairDataset | StreamedPairs: ...

    def __len__(self) -> int:
        """Batches an epoch."""

    def batches(self, epoch: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of an epoch after the first `done` ones."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the epoch and the number of batches done; JSON."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class RandomAccessLoader:
    """Batches of a dataset of which every record can be had at any time, in an order drawn from (seed, epoch)."""

    def __init__(
        self, pairs: PairDataset, collate: PairCollator, options: PretrainingArguments, accelerator: Accelerator
    ):
        self.pairs, self._accelerator = pairs, accelerator
        # Whole steps alone: accelerate makes one of what is left at an epoch's end, too, and of fewer batches.
        a_step = options.per_device_train_batch_size * accelerator.num_processes * options.gradient_accumulation_steps
        self._sampler = EpochSampler(len(pairs), options.seed, kept=len(pairs) // a_step * a_step)
        # A last, smaller batch would be filled up with records of the first one: the same pair twice, as negatives.
        loader = DataLoader(
            pairs,
            batch_size=options.per_device_train_batch_size,
            sampler=self._sampler,
            collate_fn=collate,
            num_workers=options.dataloader_num_workers or 0,
            worker_init_fn=outlive_signals,
            pin_memory=accelerator.device.type == "cuda",
            drop_last=True,
        )
        self._length = len(loader) // accelerator.num_processes
        self._loader = accelerator.prepare(loader)

    def __len__(self) -> int:
        return self._length

    def batches(self, epoch: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        loader = self._accelerator.skip_first_batches(self._loader, done) if done else self._loader
        # Accelerate's loader counts epochs by itself and tells either the sampler or the dataset: tell all three.
        loader.set_epoch(epoch)
        self._sampler.set_epoch(epoch)
        self.pairs.set_epoch(epoch)
        return iter(loader)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def training_and_validation(
    options: PretrainingArguments, processor, accelerator: Accelerator, noise_shapes: Mapping[str, tuple[int, ...]]
) -> tuple[TrainingLoader, DataLoader, PairDataset]:
    """The loader of the training split; that of the validation split, prepared, and its pairs.

    Args:
        processor: of the model; a feature extractor where it takes no texts.
        noise_shapes: see `PairMaker`.

    Raises:
        CorpusError, ConfigurationError: the dataset or one of its splits does not suffice for the options.
    """
    if options.dataloader_num_workers is None:
        options.dataloader_num_workers = 0 if accelerator.device.type == "cpu" else WORKERS_BESIDE_A_GPU
    extractor, collate = extractor_of(processor), PairCollator(tokenizer_of(processor))
    wordings = load_wordings() if options.wordings else None
    training: TrainingLoader
    if options.streaming:
        dataset = ShardedDataset(options.dataset)
        training = streaming_loader(options, dataset, extractor, collate, accelerator, noise_shapes)
        validation = dataset.validation()
    else:
        splits = load_dataset_folder(options.dataset)
        rows, validation = splits["train"], splits["validation"]
        if options.max_train_samples:
            rows = rows.select(range(min(options.max_train_samples, len(rows))))
        augmentation = Augmentation(options.lead_dropout, options.noise, options.gain)
        pairs = PairDataset(
            *(rows, extractor, options.text_source, options.texts_per_record, options.seed),
            augmentation=augmentation,
            wordings=wordings,
            noise_shapes=noise_shapes,
        )
        training = RandomAccessLoader(pairs, collate, options, accelerator)
    if len(training) < options.gradient_accumulation_steps:
        raise ConfigurationError(
            f"{training.pairs.describe()}: they do not fill one step of {options.per_device_train_batch_size} x "
            f"{accelerator.num_processes} processes x {options.gradient_accumulation_steps} accumulated batches. "
            "Lower --per_device_train_batch_size."
        )
    validation_pairs = PairDataset(
        *(validation, extractor, options.text_source),
        seed=options.seed,
        fixed_epoch=_VALIDATION_EPOCH,
        wordings=wordings,
        noise_shapes=noise_shapes,
    )
    if len(validation_pairs) < accelerator.num_processes:
        raise CorpusError(f"{options.dataset}: the validation split has fewer records than there are processes.")
    validation_loader = DataLoader(
        validation_pairs,
        batch_size=min(options.per_device_train_batch_size, len(validation_pairs) // accelerator.num_processes),
        collate_fn=collate,
        num_workers=options.dataloader_num_workers or 0,
        worker_init_fn=outlive_signals,
        pin_memory=accelerator.device.type == "cuda",
        drop_last=True,
        generator=torch.Generator(),  # draws from the global one would make a run that is stopped here another one
    )
    return training, accelerator.prepare(validation_loader), validation_pairs
