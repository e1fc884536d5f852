# SPDX-License-Identifier: Apache-2.0
"""What the package wrote and finds damaged, or made by somebody else, is refused with its own errors, or made again.

Each test changes random bytes and words of the files. See test_fuzzing for the amounts and the limits, and
test_files_beside_weights for what is published with a model.
"""

import copy
import json
import random as python_random
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from hostile import made_by, mutated
from test_fuzzing import amounts, fuzz, used_or_refused

from cgdmer.corpora import preparing
from cgdmer.corpora.corpus import CorpusRow
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder, record_to_row, row_to_record
from cgdmer.data.tally import Tally, summarize
from cgdmer.data.writing import open_shard, write_dataset
from cgdmer.evaluation import comparison
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.files.writing import write_json
from cgdmer.inference.embedding_cache import EmbeddingCache, Expected
from cgdmer.inference.growing_table import GrowingTable
from cgdmer.inference.scoring import read_labels
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError
from cgdmer.training.checkpoints import MANIFEST, Checkpoints, RunPosition, write_manifest

FULL = 20_000


def change_of(files: list[Path]) -> Callable[[Random], tuple[Path, bytes]]:
    """Draws one of the files, and its changed content."""
    contents = {path: path.read_bytes() for path in files}

    def change(random: Random) -> tuple[Path, bytes]:
        path = random.choice(files)
        return path, mutated(random, contents[path])

    return change


def changing(files: list[Path], examples: int, use: Callable[[], object]) -> None:
    """Fuzz files of a folder that is left as it is found: each example changes one of them."""
    original = {path: path.read_bytes() for path in files}

    def check(example: tuple[Path, bytes]) -> str:
        path, content = example
        path.write_bytes(content)
        try:
            return used_or_refused(use)
        finally:
            path.write_bytes(original[path])

    fuzz(check, made_by(change_of(files)), examples)


def record(number: int) -> ECGRecord:
    signal = np.sin(np.arange(400).reshape(2, 200) / (7 + number)).astype(np.float32)
    return ECGRecord(
        *(signal, 100.0, ("I", "II")),
        **{"record_id": f"r{number}", "patient_id": f"p{number}", "text": "Sinus rhythm.", "gain": (1000.0, 200.0)},
        **{"statements": ("Sinus rhythm.",), "labels": ("SR",), "age": 50.0, "sex": "female", "fold": 1},
    )


@pytest.fixture
def dataset(tmp_path) -> Path:
    folder = tmp_path / "dataset"
    splits = ("train", "validation")
    write_dataset(map(record, range(4)), folder, splits=lambda one: splits[int(one.record_id[1]) % 2], description="x")
    write_json(folder / "dataset_dict.json", {"splits": list(splits)})  # as fewer are opened sooner
    return folder


@amounts(FULL)
def test_dataset_folders(dataset, examples):
    files = [dataset / "dataset_dict.json", *sorted(dataset.glob("train/*"))]

    def use() -> None:
        for rows in load_dataset_folder(dataset).values():
            for row in rows:
                row_to_record(row)

    changing(files, examples, use)


@amounts(FULL)
def test_rows(examples):
    """Rows as somebody passes them, or as a stream gives them."""
    whole = record_to_row(record(0))
    odd: tuple[Any, ...] = (
        None,
        0,
        -1,
        2**31,
        2**62,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        b"",
        b"\0",
        [],
        [None],
    )
    odd += ([0.0, 0.0], [1e308, 1e308], ["I"], [[1]], {}, {"a": 1}, True, bytes(800), [2**40, 0], ("I", "II"), 10**400)

    def row(random: Random) -> dict[str, Any]:
        changed = copy.deepcopy(whole)
        for _ in range(random.choice((0, 1, 1, 1, 2))):
            changed[random.choice(sorted(changed))] = random.choice(odd)
        return changed

    fuzz(lambda changed: used_or_refused(lambda: row_to_record(changed)), made_by(row), examples)


@amounts(FULL, 200)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_shards(dataset, tmp_path, examples, suffix):
    shards = tmp_path / "shards"
    for split, rows in load_dataset_folder(dataset).items():
        path = shards / split / f"0.{suffix}"
        path.parent.mkdir(parents=True)
        if suffix == "parquet":
            rows.to_parquet(str(path))
        else:
            shutil.copy(dataset / split / "data-00000.arrow", path)

    def use() -> None:
        opened = ShardedDataset(str(shards))
        for row in opened.rows():
            row_to_record(row)

    changing([shards / "train" / f"0.{suffix}"], examples, use)


@pytest.fixture
def checkpoint(tmp_path) -> tuple[Path, Callable[[], object]]:
    """A checkpoint, and how it is loaded."""
    accelerator = Accelerator()
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    checkpoints = Checkpoints(accelerator, tmp_path)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    configuration = {"steps": 3, "model configuration": {"hidden_size": 3}}
    extra = {"loader": {"consumed": 3}, "steps left out": {}, "records left out": {"r1": "flat"}}
    parts = model, optimizer, scheduler
    folder = checkpoints.save("step_1", *parts, RunPosition(1, 0, 1), configuration, extra)

    def load() -> None:
        found = checkpoints.find(str(folder))
        assert found is not None
        checkpoints.load(found, *parts, configuration)
        optimizer.step()
        scheduler.step()

    return folder, load


@amounts(FULL)
def test_checkpoints(checkpoint, examples):
    """Also if its manifest has been made again, as somebody who wants it loaded would."""
    folder, load = checkpoint
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    manifest = folder / MANIFEST
    described = json.loads(whole[manifest])
    states = python_random.getstate(), np.random.get_state(), torch.get_rng_state()

    def check(example: tuple[Path, bytes]) -> str:
        path, content = example
        path.write_bytes(content)
        if path != manifest and len(content) % 8:
            manifest.unlink()
            write_manifest(folder, RunPosition(1, 0, 1), described["configuration"])
        try:
            return used_or_refused(load)
        finally:
            for one, content in whole.items():
                one.write_bytes(content)
            python_random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

    fuzz(check, made_by(change_of(sorted(whole))), examples)


@amounts(FULL)
def test_embedding_caches(tmp_path, examples):
    """A file that is not what was written is computed again."""
    shapes = {"pooled": (3, 4), "embeds": (3, 2)}
    cache, expected = EmbeddingCache(tmp_path), {name: Expected(shape) for name, shape in shapes.items()}
    arrays = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
    computed = []

    def compute() -> dict[str, np.ndarray]:
        computed.append(1)
        return arrays

    cache._kept(lambda: "key", compute, expected)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()

    def check(changed: bytes) -> str:
        path.write_bytes(changed)
        computed.clear()
        found = cache._kept(lambda: "key", compute, expected)
        assert {name: (one.shape, one.dtype) for name, one in found.items()} == {
            name: (shape, np.float32) for name, shape in shapes.items()
        }
        return "refused" if computed else "used"

    fuzz(check, made_by(lambda random: mutated(random, content)), examples)


@amounts(FULL)
def test_unfinished_datasets(tmp_path, examples):
    """A part that is not what was written is made again; the job of another folder is refused."""
    records = [record(number) for number in range(3)]
    rows = [CorpusRow(record_id=one.record_id, path=one.record_id, split="train") for one in records]
    job = preparing._Job("csn", {"sampling_rate": None}, tmp_path / "raw", tmp_path / "out.partial")
    preparing._open_partial(job, tmp_path / "out")
    part = next(preparing._parts(rows, [], []))
    tally = Tally()
    with open_shard(part.shard_path(job.folder)) as shard:
        for one in records[1:]:
            shard.write(record_to_row(one))
            tally.add(one)
    skipped = [("r0", "it does not exist", "absent")]
    report = {"fingerprint": part.fingerprint, "bytes": shard.num_bytes, "skipped": skipped, "tally": tally.counts}
    write_json(part.report_path(job.folder), report)
    assert preparing._report_of_finished_part(job, part) is not None
    files = [job.folder / "job.json", part.report_path(job.folder), part.shard_path(job.folder)]

    def use() -> None:
        preparing._open_partial(job, tmp_path / "out")
        kept = preparing._report_of_finished_part(job, part)
        if kept is None:
            raise CorpusError("it is made again")
        whole = Tally(kept["tally"])
        if whole.num_records:
            summarize({"train": whole})

    changing(files, examples, use)


@amounts(FULL)
def test_unfinished_tables(tmp_path, examples):
    """Rows that are not what was written are computed again; the rows of another job are refused."""
    target = tmp_path / "scores.parquet"
    schema = pa.schema([("record_id", pa.string()), ("AF", pa.float32()), ("error", pa.string())])
    job = {"version": "1", "labels": ["AF"], "model": "a" * 64, "embeddings": False}
    rows = pa.table({"record_id": ["a", "b"], "AF": [0.5, None], "error": [None, "flat"]}, schema)
    with GrowingTable(target, schema, job) as table:
        for _ in range(2):
            table.append(rows)
            table.flush()
    files = sorted(path for path in table.folder.iterdir() if path.name != "lock")
    contents = {path: path.read_bytes() for path in files}

    def use() -> None:
        with GrowingTable(target, schema, job) as table:
            if table.num_rows < 4:
                raise CorpusError("rows are computed again")
            list(table._groups())

    def check(example: tuple[Path, bytes]) -> str:
        path, content = example
        table.folder.mkdir(exist_ok=True)
        for one, whole in contents.items():
            one.write_bytes(content if one == path else whole)
        return used_or_refused(use)

    fuzz(check, made_by(change_of(files)), examples)


@amounts(FULL)
def test_scores_that_are_compared(tmp_path, examples):
    labels = np.array([[True, False], [False, True], [False, False]])
    scores = {"zero-shot": labels[None] / 2 + 0.1, "probe": np.stack([labels, ~labels]) / 3}
    ids = ["a", "b", "c"]
    evaluation = Evaluation({}, ids, ids, labels, scores, np.zeros((3, 2)))  # type: ignore[typeddict-item]
    comparison.write_scores(tmp_path / "scores.parquet", evaluation, ("AF", "SR"))
    write_json(tmp_path / "results.json", {"task": "simulated", "protocol": "repaired", "splits": ["test"]})
    (tmp_path / "left_out.csv").write_text("part,record,reason\ntest records,d,flat\n")
    changing(sorted(tmp_path.iterdir()), examples, lambda: comparison._read(tmp_path))


@amounts(FULL)
def test_files_of_labels(tmp_path, examples):
    path = tmp_path / "labels.txt"
    path.write_text("atrial fibrillation\nnormal ECG\n\nleft bundle branch block\n", encoding="utf-8")
    content = path.read_bytes()

    def check(example: bytes) -> str:
        path.write_bytes(example)

        def use() -> None:
            labels = read_labels(path)
            assert labels and all(label == label.strip() != "" for label in labels)

        return used_or_refused(use)

    def change(random: Random) -> bytes:
        return random.choice((mutated(random, content), b"\n \n", content * 2, content + b"\xff"))

    fuzz(check, made_by(change), examples)
