# SPDX-License-Identifier: Apache-2.0
"""Pretraining pairs from a stream of shards, for corpora that do not lie on a local disk.

Each worker of each process reads whole shards, dealt out anew every epoch, and draws the order within blocks of
consecutive rows. A shuffle buffer would forget what it holds when a run is interrupted; a block is read again, so that
a resumed run goes on with exactly the batch that would have come.

Workers do not wait for one another: each has an epoch of its own, at whose end a batch that is not full is dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.wordings import load_wordings
from cgdmer.data.workers import outlive_signals
from cgdmer.files.hashing import seed_of
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.augmentation import Augmentation
from cgdmer.training.pairs import PairCollator, PairMaker, text_column

_ROWS_TO_KNOW = 16
ROWS_PER_BLOCK = 1000  # 120 MB of ten-second ECGs at 500 Hz, held once a worker


@dataclass(frozen=True)
class WorkerPosition:
    """Where a worker goes on reading.

    Attributes:
        epoch: the worker's own.
        shard: how many of its shards of that epoch are done.
        block: how many blocks of the next shard are done.
        row: how many rows of the next block, in their drawn order, are done.
    """

    epoch: int = 0
    shard: int = 0
    block: int = 0
    row: int = 0


class StreamedPairs(IterableDataset):
    """Batches of pairs without end, each with the number of the worker that made it and the position after it.

    Args:
        dataset: whose training shards are read.
        make_pair: of a row, which has a text of its kind: others are passed over.
        collate: pairs to a batch.
        batch_size: pairs in a batch.
        seed: of all draws.
        rank, world_size: of this process.
        num_workers: how many workers of this process share its shards, at least 1.
        rows_per_block: rows that one worker holds and permutes.

    Attributes:
        positions: of each worker, where iteration begins.
        first_worker: whose turn it is.

    Raises:
        ConfigurationError: there are fewer shards than workers.
    """

    def __init__(
        self,
        dataset: ShardedDataset,
        make_pair: PairMaker,
        collate: PairCollator,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 1,
        rows_per_block: int = ROWS_PER_BLOCK,
    ):
        rows = dataset.train
        if rows.num_shards < world_size * num_workers:
            raise ConfigurationError(
                f"{rows.num_shards} training shards are too few for {world_size} process(es) with {num_workers} "
                "worker(s) each, which read whole shards. Lower --dataloader_num_workers or the number of processes, "
                "or write the dataset in more shards (push_to_hub has num_shards)."
            )
        self.dataset, self.rows = dataset, rows
        self.make_pair, self.collate = make_pair, collate
        self.column = text_column(make_pair.text_source)
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size, self.num_workers = rank, world_size, num_workers
        self.rows_per_block = rows_per_block
        self.positions = [WorkerPosition()] * num_workers
        self.first_worker = 0

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], int, WorkerPosition]]:
        info = get_worker_info()
        # A DataLoader always begins with its worker 0: after a restart that one takes the part whose turn it is.
        worker = (self.first_worker + (info.id if info else 0)) % self.num_workers
        position = self.positions[worker]
        while True:
            start = position
            for batch, position in self._batches(worker, start):
                yield batch, worker, position
            if position == start == WorkerPosition(epoch=start.epoch):
                wanted = "" if self.column is None else f" with a {self.column!r}"
                raise CorpusError(
                    f"the shards of worker {worker} of process {self.rank} do not hold {self.batch_size} records"
                    f"{wanted}, which a batch needs. Lower --per_device_train_batch_size or "
                    "--dataloader_num_workers, or choose the other text source."
                )
            position = WorkerPosition(epoch=position.epoch + 1)

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first pairs of this process's first worker."""
        return [pair for pair, _ in islice(self._pairs(0, WorkerPosition()), count)]

    @property
    def num_records(self) -> int | None:
        """With or without a text, as far as the dataset says."""
        return self.dataset.num_rows

    def describe(self) -> str:
        """How many records there are, in words."""
        number = self.dataset.num_rows or "unknown number"
        return f"{number} for training (streamed from {self.rows.num_shards} shards)"

    def identity(self) -> dict[str, Any]:
        """By which a resumed run knows its data again: how much there is, and the records that come first."""
        first = islice(self.rows.select_columns(["fingerprint"]), _ROWS_TO_KNOW)
        return {
            "rows": self.dataset.num_rows,
            "shards": self.rows.num_shards,
            "first records": [row["fingerprint"] for row in first],
        }

    def fingerprints(self) -> Fingerprints:
        """Of all records of the split, with or without a text."""
        return self.dataset.fingerprints()

    def _batches(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, torch.Tensor], WorkerPosition]]:
        """The full batches of the rest of an epoch."""
        pairs = []
        for pair, position in self._pairs(worker, start):
            pairs.append(pair)
            if len(pairs) == self.batch_size:
                yield self.collate(pairs), position
                pairs = []

    def _pairs(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, Any], WorkerPosition]]:
        for row, position in self._rows(worker, start):
            if self.column is None or row[self.column]:
                random = np.random.default_rng((self.seed, start.epoch, seed_of(row["record_id"].encode())))
                yield self.make_pair(row, random), position

    def _rows(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, Any], WorkerPosition]]:
        """The rows of the rest of an epoch, and the position after each."""
        shards = self._shards(worker, start.epoch)
        for done in range(start.shard, len(shards)):
            position = start if done == start.shard else WorkerPosition(start.epoch, done)
            shard = self.rows.shard(num_shards=self.rows.num_shards, index=shards[done], contiguous=False)
            # `iter`, because a worker's plain iteration would divide the shard among the workers once more.
            # Not `skip`, which in datasets 4.4 infers the types of columns anew and fails where a value is absent.
            for block in islice(shard.iter(self.rows_per_block), position.block, None):
                draw = np.random.default_rng((self.seed, start.epoch, shards[done], position.block))
                order = draw.permutation(len(block["record_id"]))
                for number in range(position.row, len(order)):
                    row = {name: column[order[number]] for name, column in block.items()}
                    yield row, replace(position, row=number + 1)
                position = replace(position, block=position.block + 1, row=0)

    def _shards(self, worker: int, epoch: int) -> list[int]:
        """This worker's shards of an epoch. Dealt out anew: else rows of a worker with few would come oftener."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows.num_shards)
        return order[self.rank * self.num_workers + worker :: self.world_size * self.num_workers].tolist()


class StreamingLoader:
    """Batches of a stream on a device, and how far they were consumed.

    All processes give the same number of batches a nominal epoch, whatever their shards hold. Not to be given to
    `accelerator.prepare` as a `DataLoader` would: it is divided already.

    Args:
        pairs: the stream of this process.
        batches_per_epoch: how many batches a process gives in a nominal epoch.
        num_workers: processes that read ahead; 0 reads in this one.
        device: where batches go.
    """

    def __init__(
        self,
        pairs: StreamedPairs,
        batches_per_epoch: int,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
    ):
        self.pairs = pairs
        self.batches_per_epoch = batches_per_epoch
        self.device = torch.device(device)
        self.num_workers = num_workers
        self.consumed = 0
        self._positions = list(pairs.positions)
        self._batches: Iterator[Any] | None = None

    def __len__(self) -> int:
        return self.batches_per_epoch

    def batches(self, epoch: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of a nominal epoch after the first `done` ones. They come one after the other, whatever `epoch`
        says: where to go on is known from `load_state_dict`."""
        if self._batches is None:
            self._batches = self._read()
        for _ in range(self.batches_per_epoch - done):
            batch, worker, position = next(self._batches)
            self._positions[worker] = position
            self.consumed += 1
            yield send_to_device(batch, self.device, non_blocking=True)

    def _read(self) -> Iterator[Any]:
        self.pairs.positions = list(self._positions)
        self.pairs.first_worker = self.consumed % self.pairs.num_workers
        loader = DataLoader(
            self.pairs,
            batch_size=None,  # they are batches already
            num_workers=self.num_workers,
            worker_init_fn=outlive_signals,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else starting the workers would move the random state that is restored
        )
        return iter(loader)

    def state_dict(self) -> dict[str, Any]:
        """How far this process's batches were consumed, those read ahead not counted; JSON holds it without loss."""
        return {
            **self._layout(),
            "consumed": self.consumed,
            "positions": [asdict(position) for position in self._positions],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: the next batch is the one that would have come.

        Raises:
            ConfigurationError: the position is of another layout of shards, processes and workers.
        """
        for name, mine in self._layout().items():
            if state.get(name) != mine:
                raise ConfigurationError(
                    f"the checkpoint's position in the stream has {name} = {state.get(name)}, this run has {mine}. "
                    "Go on with the same dataset, number of processes, batch size and --dataloader_num_workers."
                )
        self.consumed = state["consumed"]
        self._positions = [WorkerPosition(**position) for position in state["positions"]]
        self._batches = None

    def _layout(self) -> dict[str, int]:
        pairs = self.pairs
        return {
            "shards": pairs.rows.num_shards,
            "rank": pairs.rank,
            "world_size": pairs.world_size,
            "workers": pairs.num_workers,
            "batch_size": pairs.batch_size,
            "rows_per_block": pairs.rows_per_block,
            "seed": pairs.seed,
        }


def streaming_loader(
    options: PretrainingArguments,
    dataset: ShardedDataset,
    feature_extractor,
    collate: PairCollator,
    accelerator: Accelerator,
    noise_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> StreamingLoader:
    """The training loader that the options describe, for this process of Accelerate's.

    Raises:
        ConfigurationError: the dataset's shards, rows or label counts do not suffice for the options.
        CorpusError: its labels do not.
    """
    counts = dataset.label_counts() if options.text_source == "statements" else {}
    pairs = StreamedPairs(
        dataset,
        PairMaker(
            *(feature_extractor, options.text_source, counts, options.texts_per_record),
            augmentation=Augmentation(options.lead_dropout, options.noise, options.gain),
            wordings=load_wordings() if options.wordings else None,
            noise_shapes=noise_shapes,
        ),
        collate,
        batch_size=options.per_device_train_batch_size,
        seed=options.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        num_workers=max(1, options.dataloader_num_workers or 0),
    )
    batches = _batches_per_epoch(dataset.num_rows, options, accelerator.num_processes)
    return StreamingLoader(pairs, batches, options.dataloader_num_workers or 0, accelerator.device)


def _batches_per_epoch(num_rows: int | None, options: PretrainingArguments, world_size: int) -> int:
    """How many batches a process gives in a nominal epoch: whole steps of all processes."""
    accumulated = options.gradient_accumulation_steps
    if num_rows is None:
        if not options.max_train_steps:
            raise ConfigurationError(
                f"{options.dataset} does not say how many training records it has, so that there are no epochs to "
                "count. Pass --max_train_steps."
            )
        return options.max_train_steps * accumulated
    steps = num_rows // (options.per_device_train_batch_size * world_size * accumulated)
    if steps == 0:
        raise ConfigurationError(
            f"{num_rows} training records do not fill one step of {options.per_device_train_batch_size} x "
            f"{world_size} processes x {accumulated} accumulated batches. Lower --per_device_train_batch_size."
        )
    return steps * accumulated
