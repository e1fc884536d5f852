# SPDX-License-Identifier: Apache-2.0
"""Pretraining pairs from a stream of shards, for corpora that are not on a local disk.

Each worker of each process reads whole shards, which are dealt out anew every epoch, and shuffles within blocks of
consecutive rows. An interrupted run would lose the contents of a shuffle buffer. A block can be read again, so that a
resumed run continues with exactly the next batch.

Workers do not wait for each other: each has its own epochs, and drops an incomplete batch at the end of each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.trained_findings import findings_of_counts
from cgdmer.data.wordings import load_wordings
from cgdmer.data.workers import outlive_signals
from cgdmer.files.hashing import seed_of
from cgdmer.models.errors import ConfigurationError, CorpusError, ECGInputError
from cgdmer.models.prompt_findings import Findings
from cgdmer.training import left_out
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.pairs import PairCollator, PairMaker, text_column

_ROWS_IN_IDENTITY = 16
ROWS_PER_BLOCK = 1000  # 120 MB of ten-second ECGs at 500 Hz, held once per worker


@dataclass(frozen=True)
class WorkerPosition:
    """Where a worker continues reading.

    Attributes:
        epoch: of the worker.
        shard: number of its shards of that epoch that are done.
        block: number of blocks of the next shard that are done.
        row: number of rows of the next block, in shuffled order, that are done.
    """

    epoch: int = 0
    shard: int = 0
    block: int = 0
    row: int = 0


@dataclass(eq=False)
class StreamedPairs(IterableDataset):
    """An endless stream of batches of pairs, each with its worker's number and the position after it.

    Attributes:
        dataset: its training shards are read.
        make_pair: turns a row into a pair; rows without a text of its kind are skipped, and
            those that cannot be used are left out and named in the next pair.
        collate: turns pairs into a batch.
        batch_size: pairs per batch.
        num_workers: workers of this process that share its shards, at least 1.
        rows_per_block: rows that a worker holds and shuffles.
        positions: where each worker begins.
        first_worker: the worker that makes the next batch.

    Raises:
        ConfigurationError: there are fewer shards than workers.
    """

    dataset: ShardedDataset
    make_pair: PairMaker
    collate: PairCollator
    batch_size: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    num_workers: int = 1
    rows_per_block: int = ROWS_PER_BLOCK
    first_worker: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.rows = self.dataset.train
        if self.rows.num_shards < self.world_size * self.num_workers:
            raise ConfigurationError(
                f"{self.rows.num_shards} training shards are too few for {self.world_size} process(es) with "
                f"{self.num_workers} worker(s) each: each worker reads whole shards. Lower --dataloader_num_workers "
                "or the number of processes, or write the dataset in more shards (push_to_hub has num_shards)."
            )
        self.column = text_column(self.make_pair.text_source)
        self.positions = [WorkerPosition()] * self.num_workers

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], int, WorkerPosition]]:
        info = get_worker_info()
        # A DataLoader always begins with its worker 0. After a restart, that one takes the role whose turn it is.
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
                    "--dataloader_num_workers, or choose the other text source. Records that cannot be used do not "
                    "count."
                )
            position = WorkerPosition(epoch=position.epoch + 1)

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first pairs of this process's first worker."""
        return [pair for pair, _ in islice(self._pairs(0, WorkerPosition()), count)]

    @property
    def num_records(self) -> int | None:
        """With or without a text; None if the dataset does not say."""
        return self.dataset.num_rows

    def describe(self) -> str:
        number = self.dataset.num_rows or "unknown number"
        return f"{number} for training (streamed from {self.rows.num_shards} shards)"

    def identity(self) -> dict[str, Any]:
        """What a resumed run recognizes its data by: the size, and the first records."""
        with self.dataset.reading():
            first = list(islice(self.rows.select_columns(["fingerprint"]), _ROWS_IN_IDENTITY))
            number = self.dataset.num_rows
        return {
            "rows": number,
            "shards": self.rows.num_shards,
            "first records": [row["fingerprint"] for row in first],
        }

    def findings(self) -> Findings:
        """What the texts name, with the number of records."""
        worded = self.make_pair.wordings is not None
        return findings_of_counts(self.dataset.label_counts(), load_wordings(), worded)

    def fingerprints(self, earlier: Fingerprints | None = None) -> Fingerprints:
        """Of all records of the split, with or without a text."""
        return self.dataset.fingerprints(earlier)

    def _batches(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, torch.Tensor], WorkerPosition]]:
        """The full batches of the rest of an epoch."""
        pairs = []
        for pair, position in self._pairs(worker, start):
            pairs.append(pair)
            if len(pairs) == self.batch_size:
                yield self.collate(pairs), position
                pairs = []

    def _pairs(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, Any], WorkerPosition]]:
        unnamed: list[tuple[str, str]] = []  # left out since the last pair
        for row, position in self._rows(worker, start):
            if self.column is None or row[self.column]:
                random = np.random.default_rng((self.seed, start.epoch, seed_of(row["record_id"].encode())))
                try:
                    pair = self.make_pair(row, random)
                except ECGInputError as error:
                    unnamed.append((row["record_id"], str(error)))
                    continue
                if unnamed:
                    pair[left_out.KEY], unnamed = unnamed, []
                yield pair, position

    def _rows(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, Any], WorkerPosition]]:
        """The rows of the rest of an epoch, and the position after each."""
        with self.dataset.reading():
            yield from self._rows_of_shards(worker, start)

    def _rows_of_shards(self, worker: int, start: WorkerPosition) -> Iterator[tuple[dict[str, Any], WorkerPosition]]:
        shards = self._shards(worker, start.epoch)
        for done in range(start.shard, len(shards)):
            position = start if done == start.shard else WorkerPosition(start.epoch, done)
            shard = self.rows.shard(num_shards=self.rows.num_shards, index=shards[done], contiguous=False)
            # `iter`, because plain iteration in a worker would split the shard among the workers again.
            # Not `skip`, which in datasets 4.4 infers column types again and fails if a value is missing.
            for block in islice(shard.iter(self.rows_per_block), position.block, None):
                draw = np.random.default_rng((self.seed, start.epoch, shards[done], position.block))
                order = draw.permutation(len(block["record_id"]))
                for number in range(position.row, len(order)):
                    row = {name: column[order[number]] for name, column in block.items()}
                    yield row, replace(position, row=number + 1)
                position = replace(position, block=position.block + 1, row=0)

    def _shards(self, worker: int, epoch: int) -> list[int]:
        """This worker's shards of an epoch. With fixed shards, rows of a worker with few would come more often."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows.num_shards)
        return order[self.rank * self.num_workers + worker :: self.world_size * self.num_workers].tolist()


@dataclass(eq=False)
class StreamingLoader:
    """Batches of a stream on a device, and the position in the stream.

    All processes give the same number of batches per nominal epoch, whatever their shards hold. Do not pass it to
    `accelerator.prepare`, as you would a `DataLoader`: it is divided among the processes already.

    Attributes:
        pairs: the stream of this process.
        batches_per_epoch: batches of each process in a nominal epoch.
        num_workers: processes that read ahead; with 0, this process reads.
        device: where batches go.
        consumed: batches given so far.
    """

    pairs: StreamedPairs
    batches_per_epoch: int
    num_workers: int = 0
    device: torch.device | str = "cpu"
    consumed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._positions = list(self.pairs.positions)
        self._batches: Iterator[Any] | None = None

    def __len__(self) -> int:
        return self.batches_per_epoch

    def batches(self, epoch: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of a nominal epoch, without the first `done` ones. The stream simply continues: `epoch` is
        ignored, and `load_state_dict` sets the position."""
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
            batch_size=None,  # the stream already yields batches
            num_workers=self.num_workers,
            worker_init_fn=outlive_signals,
            pin_memory=torch.device(self.device).type == "cuda",
            generator=torch.Generator(),  # else starting the workers would change the restored random state
        )
        return iter(loader)

    def state_dict(self) -> dict[str, Any]:
        """The position of this process, not counting batches that were read ahead; JSON."""
        return {
            **self._layout(),
            "consumed": self.consumed,
            "positions": [asdict(position) for position in self._positions],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a position, with exactly the next batch.

        Raises:
            ConfigurationError: the position belongs to another layout of shards, processes, and workers.
            ValueError: it is no position.
        """
        for name, mine in self._layout().items():
            if state.get(name) != mine:
                raise ConfigurationError(
                    f"the checkpoint's position in the stream has {name} = {state.get(name)}, this run has {mine}. "
                    "Resume with the same dataset, number of processes, batch size, and --dataloader_num_workers."
                )
        positions = [WorkerPosition(**position) for position in state["positions"]]
        numbers = [state["consumed"], *(number for position in positions for number in astuple(position))]
        if len(positions) != self.pairs.num_workers or not all(
            isinstance(number, int) and 0 <= number < 2**53 for number in numbers
        ):
            raise ValueError("its position in the stream is out of range")
        self.consumed, self._positions = state["consumed"], positions
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
    make_pair: PairMaker,
    collate: PairCollator,
    accelerator: Accelerator,
) -> StreamingLoader:
    """The training loader that the options describe, for this process.

    Raises:
        ConfigurationError: the dataset has too few shards or rows for the options.
    """
    pairs = StreamedPairs(
        *(dataset, make_pair, collate),
        batch_size=options.per_device_train_batch_size,
        seed=options.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        num_workers=max(1, options.dataloader_num_workers or 0),
    )
    with dataset.reading():
        num_rows = dataset.num_rows
    batches = _batches_per_epoch(num_rows, options, accelerator.num_processes)
    return StreamingLoader(pairs, batches, options.dataloader_num_workers or 0, accelerator.device)


def _batches_per_epoch(num_rows: int | None, options: PretrainingArguments, world_size: int) -> int:
    """Batches of each process in a nominal epoch: whole steps of all processes."""
    accumulated = options.gradient_accumulation_steps
    if num_rows is None:
        if not options.max_train_steps:
            raise ConfigurationError(
                f"{options.dataset} does not say how many training records it has, so the length of an epoch is "
                "unknown. Pass --max_train_steps."
            )
        return options.max_train_steps * accumulated
    return num_rows // (options.per_device_train_batch_size * world_size * accumulated) * accumulated
