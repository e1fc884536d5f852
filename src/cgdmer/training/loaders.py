# SPDX-License-Identifier: Apache-2.0
"""Where a run's batches come from: a prepared folder with random access, or a stream of shards."""

from collections.abc import Iterator, Mapping
from typing import Any

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
from cgdmer.training.objectives.views import Views
from cgdmer.training.pairs import EpochSampler, PairCollator, PairDataset, PairMaker, tokenizer_of
from cgdmer.training.streaming import StreamingLoader, streaming_loader

WORKERS_WITH_A_GPU = 4  # per process, unless --dataloader_num_workers says otherwise
_VALIDATION_EPOCH = 2**31  # validation always uses the draws of this epoch


class RandomAccessLoader:
    """Batches of a dataset with random access, in an order drawn from (seed, epoch).

    All processes give the same number of batches per epoch.
    """

    def __init__(
        self, pairs: PairDataset, collate: PairCollator, options: PretrainingArguments, accelerator: Accelerator
    ):
        self.pairs, self._accelerator = pairs, accelerator
        # Only whole steps: accelerate would also make a step of the few batches left at the end of an epoch.
        per_step = (
            options.per_device_train_batch_size * accelerator.num_processes * options.gradient_accumulation_steps
        )
        self._sampler = EpochSampler(len(pairs), options.seed, kept=len(pairs) // per_step * per_step)
        batch_size = options.per_device_train_batch_size
        loader = _loader(pairs, collate, options, accelerator, batch_size=batch_size, sampler=self._sampler)
        self._length = len(loader) // accelerator.num_processes
        self._loader = accelerator.prepare(loader)

    def __len__(self) -> int:
        return self._length

    def batches(self, epoch: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of an epoch, without the first `done` ones."""
        loader = self._accelerator.skip_first_batches(self._loader, done) if done else self._loader
        # Accelerate's loader counts epochs itself and tells either the sampler or the dataset; so tell all three.
        loader.set_epoch(epoch)
        self._sampler.set_epoch(epoch)
        self.pairs.set_epoch(epoch)
        return iter(loader)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the epoch and the number of batches done; JSON."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


TrainingLoader = RandomAccessLoader | StreamingLoader


def _loader(
    pairs: PairDataset, collate: PairCollator, options: PretrainingArguments, accelerator: Accelerator, **more: Any
) -> DataLoader:
    return DataLoader(
        pairs,
        collate_fn=collate,
        num_workers=options.dataloader_num_workers or 0,
        worker_init_fn=outlive_signals,
        pin_memory=accelerator.device.type == "cuda",
        drop_last=True,  # Accelerate fills up a smaller batch with records of the first: the same pair as a negative
        **more,
    )


def training_and_validation(
    options: PretrainingArguments,
    processor,
    accelerator: Accelerator,
    noise_shapes: Mapping[str, tuple[int, ...]],
    views: Views | None = None,
) -> tuple[TrainingLoader, DataLoader, PairDataset]:
    """The training loader, the prepared validation loader, and the validation pairs.

    Args:
        processor: of the model; a feature extractor if it takes no texts.
        noise_shapes, views: see `PairMaker`.

    Raises:
        CorpusError, ConfigurationError: the dataset cannot be used with these options.
    """
    if options.dataloader_num_workers is None:
        options.dataloader_num_workers = 0 if accelerator.device.type == "cpu" else WORKERS_WITH_A_GPU
    extractor, collate = extractor_of(processor), PairCollator(tokenizer_of(processor))
    making: dict[str, Any] = {
        "wordings": load_wordings() if options.wordings else None,
        "noise_shapes": noise_shapes,
        "views": views,
    }
    augmentation = Augmentation(options.lead_dropout, options.noise, options.gain)
    training: TrainingLoader
    if options.streaming:
        dataset = ShardedDataset(options.dataset)
        counts = dataset.label_counts() if options.text_source == "statements" else {}
        make_pair = PairMaker(
            *(extractor, options.text_source, counts, options.texts_per_record),
            augmentation=augmentation,
            **making,
        )
        training = streaming_loader(options, dataset, make_pair, collate, accelerator)
        validation = dataset.validation()
    else:
        splits = load_dataset_folder(options.dataset)
        rows, validation = splits["train"], splits["validation"]
        if options.max_train_samples:
            rows = rows.select(range(min(options.max_train_samples, len(rows))))
        pairs = PairDataset(
            *(rows, extractor, options.text_source, options.texts_per_record, options.seed),
            augmentation=augmentation,
            **making,
        )
        training = RandomAccessLoader(pairs, collate, options, accelerator)
    if len(training) < options.gradient_accumulation_steps:
        raise ConfigurationError(
            f"{training.pairs.describe()}: too few for one step of {options.per_device_train_batch_size} x "
            f"{accelerator.num_processes} processes x {options.gradient_accumulation_steps} accumulated batches. "
            "Lower --per_device_train_batch_size."
        )
    validation_pairs = PairDataset(
        *(validation, extractor, options.text_source),
        seed=options.seed,
        fixed_epoch=_VALIDATION_EPOCH,
        **making,
    )
    if len(validation_pairs) < accelerator.num_processes:
        raise CorpusError(f"{options.dataset}: the validation split has fewer records than there are processes.")
    validation_loader = _loader(
        *(validation_pairs, collate, options, accelerator),
        batch_size=min(options.per_device_train_batch_size, len(validation_pairs) // accelerator.num_processes),
        generator=torch.Generator(),  # else a run that is stopped here would draw twice, and resume as another run
    )
    return training, accelerator.prepare(validation_loader), validation_pairs
