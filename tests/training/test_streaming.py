# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from argparse import Namespace
from collections import Counter
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from pretraining_runs import changed_weights, metrics, pretrain

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.training.pairs import PairCollator, PairDataset, PairMaker
from cgdmer.training.streaming import StreamedPairs, StreamingLoader, WorkerPosition, _batches_per_epoch

SHARDS = 5


def write_shards(splits: datasets.DatasetDict, folder: Path, count: int = SHARDS) -> Path:
    """Named as by `push_to_hub`; in row groups of 4, so that blocks and shards do not coincide with them."""
    (folder / "data").mkdir(parents=True)
    for split, number in (("train", count), ("validation", 1)):
        for index in range(number):
            path = folder / "data" / f"{split}-{index:05d}-of-{number:05d}.parquet"
            splits[split].shard(number, index).to_parquet(str(path), batch_size=4)
    return folder


@pytest.fixture(scope="module")
def shards(cohort_folder, tmp_path_factory) -> Path:
    folder = write_shards(load_dataset_folder(cohort_folder), tmp_path_factory.mktemp("shards") / "parquet")
    shutil.copy(cohort_folder / "summary.json", folder)
    return folder


@pytest.fixture(scope="module")
def make_stream(shards, processor):
    def make(dataset=None, text_source="report", **options) -> StreamedPairs:
        dataset = dataset or ShardedDataset(str(shards))
        counts = dataset.label_counts() if text_source == "statements" else {}
        make_pair = PairMaker(processor.feature_extractor, text_source, counts)
        options = {"batch_size": 3, "seed": 4, "rows_per_block": 6, **options}
        return StreamedPairs(dataset, make_pair, PairCollator(processor.tokenizer), **options)

    return make


def rows_read(stream: StreamedPairs, worker: int, epoch: int) -> list[str]:
    return [row["record_id"] for row, _ in stream._rows(worker, WorkerPosition(epoch))]


def rest_of_epoch(loader: StreamingLoader):
    return loader.batches(0, loader.consumed % len(loader))


def take(loader: StreamingLoader, count: int) -> list[dict[str, torch.Tensor]]:
    """The next batches, over several epochs if necessary."""
    batches: list[dict[str, torch.Tensor]] = []
    while len(batches) < count:
        batches += islice(rest_of_epoch(loader), count - len(batches))
    return batches


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 1), (2, 2), (1, 5)])
def test_every_row_comes_once_per_epoch_in_a_new_order(cohort_folder, make_stream, world_size, workers):
    orders = []
    for epoch in (0, 1, 0):
        parts = [
            rows_read(make_stream(rank=rank, world_size=world_size, num_workers=workers), worker, epoch)
            for rank in range(world_size)
            for worker in range(workers)
        ]
        assert all(parts)
        orders.append([record for part in parts for record in part])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(load_dataset_folder(cohort_folder)["train"]["record_id"])


def test_blocks_are_consecutive_rows_in_another_order(cohort_folder, make_stream):
    """Against the plain shards, read in the drawn order, and cut into blocks that are each shuffled."""
    train = load_dataset_folder(cohort_folder)["train"]
    expected, plain = [], []
    for index in np.random.default_rng((4, 3)).permutation(SHARDS):
        shard = train.shard(SHARDS, index)["record_id"][:]
        for number, start in enumerate(range(0, len(shard), 6)):
            block = shard[start : start + 6]
            order = np.random.default_rng((4, 3, index, number)).permutation(len(block))
            expected += [block[position] for position in order]
            plain += block
    assert rows_read(make_stream(), 0, 3) == expected != plain


def test_a_batch_never_crosses_an_epoch(make_stream):
    """70 rows are 23 batches of three and one row left over, a different one every epoch."""
    made = []
    for _, (batch, _, position) in zip(range(2 * 23), make_stream(), strict=False):
        made.append((position.epoch, batch["noise"]))
    for epoch in (0, 1):
        noise = torch.cat([noise for number, noise in made if number == epoch])
        assert len(noise) == 69
        assert len({one.numpy().tobytes() for one in noise}) == 69


@pytest.mark.parametrize(("workers", "rank", "world_size"), [(0, 0, 1), (0, 1, 2), (2, 0, 1), (2, 1, 2)])
def test_resuming_gives_exactly_the_next_batches(make_stream, workers, rank, world_size):
    def make() -> StreamingLoader:
        stream = make_stream(rank=rank, world_size=world_size, num_workers=max(1, workers), text_source="statements")
        return StreamingLoader(stream, 10, num_workers=workers)

    loader, whole, states = make(), [], []
    for _ in range(3):  # nominal epochs, longer than a worker's own
        states.append(loader.state_dict())
        for batch in rest_of_epoch(loader):
            whole.append(batch)
            states.append(loader.state_dict())
        states.pop()
    assert len(whole) == 30 == loader.consumed
    assert max(position["epoch"] for position in loader.state_dict()["positions"]) >= 1
    # Odd and even, within and at the end of blocks, shards, and epochs. Starting workers takes a second.
    for stop in range(0, 30) if workers == 0 else (1, 10, 23):
        resumed = make()
        resumed.load_state_dict(json.loads(json.dumps(states[stop])))
        count = min(4, 30 - stop)
        assert all(map(equal, take(resumed, count), whole[stop : stop + count])), stop
        assert resumed.state_dict() == [*states, loader.state_dict()][stop + count]


def test_an_iteration_ends_with_the_nominal_epoch_also_after_a_restart(make_stream):
    loader = StreamingLoader(make_stream(), 5)
    assert len(list(loader.batches(0, 0))) == len(loader) == 5
    at_the_end = StreamingLoader(make_stream(), 5)
    at_the_end.load_state_dict(loader.state_dict())
    assert [len(list(at_the_end.batches(0, 5))), len(list(at_the_end.batches(1, 0)))] == [0, 5]
    take(loader, 3)
    resumed = StreamingLoader(make_stream(), 5)
    resumed.load_state_dict(loader.state_dict())
    assert [len(list(resumed.batches(1, 3))), len(list(resumed.batches(2, 0)))] == [2, 5]


def test_starting_workers_leaves_the_random_state_alone(make_stream):
    """Dropout draws from it, and a checkpoint restores it before the workers of the resumed run start."""
    before = torch.get_rng_state()
    take(StreamingLoader(make_stream(), 5), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_position_of_another_layout_is_refused(make_stream):
    state = StreamingLoader(make_stream(num_workers=2), 5).state_dict()
    with pytest.raises(ConfigurationError, match="workers = 2, this run has 1"):
        StreamingLoader(make_stream(), 5).load_state_dict(state)
    with pytest.raises(ConfigurationError, match="world_size = 1, this run has 2"):
        StreamingLoader(make_stream(num_workers=2, world_size=2), 5).load_state_dict(state)


def test_draws_depend_on_seed_epoch_and_record_alone(make_stream):
    """Not on the other shards, workers, and blocks."""

    def pairs_by_record(stream: StreamedPairs, epoch: int) -> dict[str, int]:
        drawn = {}
        for worker in range(stream.num_workers):
            start = WorkerPosition(epoch)
            records = (row["record_id"] for row, _ in stream._rows(worker, start))
            drawn.update(zip(records, (pair["text_seed"] for pair, _ in stream._pairs(worker, start)), strict=True))
        return drawn

    base = pairs_by_record(make_stream(), 1)
    assert len(set(base.values())) == len(base) == 70
    assert base == pairs_by_record(make_stream(num_workers=3, rows_per_block=100), 1)
    for other in (pairs_by_record(make_stream(), 2), pairs_by_record(make_stream(seed=5), 1)):
        assert other.keys() == base.keys()
        assert not set(other.values()) & set(base.values())


def test_random_access_draws_are_those_of_earlier_versions(cohort_folder, processor):
    """A checkpoint of an earlier version must continue its curve. The values are from before streaming."""
    train = load_dataset_folder(cohort_folder)["train"]
    expected = {
        4: (858777207877526758, 0.3471605181694031, "inverted t waves", -1.4399999380111694),
        7: (4097712133927825826, 0.6566450595855713, "sinus rhythm", -0.02499999850988388),
        0: (2747558370257041217, 0.22680449485778809, "st depression", 0.030000001192092896),
        11: (2171789839057805252, 0.2031117081642151, "1st degree atrioventricular block", 0.3999999761581421),
    }
    settings = processor.feature_extractor.to_dict() | {"normalization": "fixed"}  # as in the presets of that time
    pairs = PairDataset(train, type(processor.feature_extractor)(**settings), "statements", seed=5)
    pairs.set_epoch(2)
    for index, (text_seed, noise, text, first_values) in expected.items():
        sample = pairs[index]
        assert (sample["text_seed"], float(sample["noise"][3, 5]), sample["texts"][0]) == (text_seed, noise, text)
        assert float(sample["ecg_values"].reshape(-1)[7]) == pytest.approx(first_values, rel=1e-5)


def test_rows_without_a_text_are_skipped(cohort_folder, make_stream, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    some = splits["train"].map(
        lambda row, index: {"text": None if index % 3 else row["text"], "labels": []},
        with_indices=True,
        load_from_cache_file=False,
    )
    folder = write_shards(datasets.DatasetDict(train=some, validation=splits["validation"]), tmp_path / "some")
    stream = make_stream(ShardedDataset(str(folder)))
    texts = [pair["texts"][0] for pair, _ in stream._pairs(0, WorkerPosition())]
    assert Counter(texts) == Counter(text for text in some["text"] if text)
    # A finding without a count is the rarest, and causes no division by zero.
    uncounted = make_stream(ShardedDataset(str(folder)))
    uncounted.make_pair.text_source, uncounted.column = "statements", "statements"
    assert len(list(uncounted._pairs(0, WorkerPosition()))) == len(some)


def test_shards_without_a_full_batch_of_texts_are_refused(cohort_folder, make_stream, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    silent = splits["train"].map(lambda row: {"text": None}, load_from_cache_file=False)
    folder = write_shards(datasets.DatasetDict(train=silent, validation=splits["validation"]), tmp_path / "silent")
    with pytest.raises(CorpusError, match="'text', which a batch needs"):
        next(iter(make_stream(ShardedDataset(str(folder)))))
    with pytest.raises(CorpusError, match="do not hold 71 records"):
        next(iter(make_stream(batch_size=71)))
    assert len(next(iter(make_stream(batch_size=70)))[0]["noise"]) == 70


def test_a_worker_holds_one_block(make_stream, monkeypatch):
    """At most one block is read before the first pair is made, and no row is kept after its block."""
    stream = make_stream()
    sizes = []
    unpatched = datasets.IterableDataset.iter

    def counted(self, size, **options):
        for block in unpatched(self, size, **options):
            sizes.append(len(block["record_id"]))
            yield block

    monkeypatch.setattr(datasets.IterableDataset, "iter", counted)
    rows = stream._rows(0, WorkerPosition())
    for read in range(1, 15):  # 14 rows per shard, in blocks of 6, 6, and 2
        next(rows)
        assert sum(sizes[:-1]) < read <= sum(sizes)
    assert sizes == [6, 6, 2]


def test_fewer_shards_than_workers_are_refused(make_stream):
    make_stream(world_size=5)
    with pytest.raises(ConfigurationError, match=r"5 training shards .* 2 process.* 3 worker"):
        make_stream(world_size=2, num_workers=3)


# Opening


@pytest.mark.parametrize("layout", ["parquet", "prepared"])
def test_what_is_known_of_the_whole_is_that_of_random_access(cohort_folder, shards, layout):
    name = str(shards if layout == "parquet" else cohort_folder)
    dataset, plain = ShardedDataset(name), load_dataset_folder(cohort_folder)
    assert dataset.train.num_shards == (SHARDS if layout == "parquet" else 1)
    assert dataset.num_rows == len(plain["train"]) == 70
    assert dataset.label_counts() == Counter(label for labels in plain["train"]["labels"] for label in labels)
    assert dataset.validation()["record_id"][:] == plain["validation"]["record_id"][:]
    streamed, expected = dataset.fingerprints(), Fingerprints.of(plain["train"])
    np.testing.assert_array_equal(streamed.records, expected.records)
    assert streamed.overlap(plain["train"]) == expected.overlap(plain["train"]) == {"records": 70, "patients": 70}
    assert streamed.corpora == expected.corpora


def test_patients_are_those_of_the_corpus_not_of_the_folder(shards, cohort_folder, tmp_path):
    """Otherwise the check for overlap would not recognize a training patient."""
    shutil.copytree(shards, tmp_path / "copy")
    summary = json.loads((shards / "summary.json").read_text())
    (tmp_path / "copy" / "summary.json").write_text(json.dumps({**summary, "source": {"name": "ptb-xl"}}))
    named = ShardedDataset(str(tmp_path / "copy")).fingerprints()
    assert named.corpora == ("ptb-xl",)
    nameless = ShardedDataset(str(shards)).fingerprints()
    assert np.array_equal(named.records, nameless.records)
    split = load_dataset_folder(cohort_folder)["train"]
    assert nameless.overlap(split)["patients"] == 70 and named.overlap(split)["patients"] == 0


def test_findings_are_not_guessed_without_a_summary(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "bare", ignore=shutil.ignore_patterns("summary.json"))
    with pytest.raises(ConfigurationError, match="--text_source report"):
        ShardedDataset(str(tmp_path / "bare")).label_counts()


def test_what_is_no_dataset_of_this_package_is_refused(cohort_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no shards of the split 'train'"):
        ShardedDataset(str(tmp_path / "empty"))
    splits = load_dataset_folder(cohort_folder)
    less = datasets.DatasetDict({name: split.remove_columns("gain") for name, split in splits.items()})
    with pytest.raises(CorpusError, match="the split train lacks gain"):
        ShardedDataset(str(write_shards(less, tmp_path / "less")))
    half = write_shards(splits, tmp_path / "half")
    next((half / "data").glob("validation-*")).unlink()
    with pytest.raises(CorpusError, match="no shards of the split 'validation'"):
        ShardedDataset(str(half))
    damaged = write_shards(splits, tmp_path / "damaged")
    min((damaged / "data").glob("train-*")).write_bytes(b"PAR1 no more")
    with pytest.raises(CorpusError, match=r"damaged.*parquet cannot be read: .* Write the shards again"):
        ShardedDataset(str(damaged))
    with pytest.raises(CorpusError, match="no/such/dataset is neither"):
        ShardedDataset("no/such/dataset")


def test_a_nominal_epoch_is_whole_steps_of_all_processes():
    options = Namespace(
        dataset="d", per_device_train_batch_size=4, gradient_accumulation_steps=3, max_train_steps=None
    )
    assert _batches_per_epoch(70, options, world_size=2) == 2 * 3  # 24 rows per step
    assert _batches_per_epoch(23, options, world_size=2) == 0  # refused by `training_and_validation`
    with pytest.raises(ConfigurationError, match="--max_train_steps"):
        _batches_per_epoch(None, options, world_size=2)
    assert _batches_per_epoch(None, Namespace(**{**vars(options), "max_train_steps": 7}), world_size=2) == 21


# The whole command


def test_a_run_on_shards_resumes_bit_equal_and_knows_its_records(shards, cohort_folder, small_preset, tmp_path):
    def run(name: str, *more: str) -> Path:
        steps = ("--max_train_steps", "7", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2")
        return pretrain(shards, small_preset, tmp_path / name, "--streaming", *steps, *more)

    whole = run("whole", "--checkpointing_steps", "3")  # 4 steps per epoch: 3 is in the first, 6 in the second
    for step in (3, 6):
        resumed = run(f"from_{step}", "--resume_from_checkpoint", str(whole / f"step_{step}"))
        assert not changed_weights(whole, resumed)
    trained_on = Fingerprints.of_model(str(whole))
    assert trained_on is not None
    assert trained_on.overlap(load_dataset_folder(cohort_folder)["train"])["records"] == 70
    assert sum("validation_loss" in line for line in metrics(whole)) == 2
