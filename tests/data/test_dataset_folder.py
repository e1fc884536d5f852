# SPDX-License-Identifier: Apache-2.0
"""A dataset's folder is data: it opens no other file, makes no request, and contradicts itself with our own error."""

import json
import os
import shutil
import socket
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from cgdmer.data.row_checks import check_rows
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import FEATURES, load_dataset_folder, record_to_row, row_to_record
from cgdmer.data.writing import write_dataset
from cgdmer.inference.given_records import ArrayDescription, given_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError


def record(number: int) -> ECGRecord:
    signal = np.sin(np.arange(400).reshape(2, 200) / (7 + number)).astype(np.float32)
    return ECGRecord(signal, 100.0, ("I", "II"), f"r{number}", labels=("SR",), gain=(1000.0, 200.0))


@pytest.fixture
def folder(tmp_path) -> Path:
    splits = ("train", "validation", "test")
    write_dataset(
        map(record, range(6)), tmp_path / "ecgs", splits=lambda one: splits[int(one.record_id[1]) % 3], description="x"
    )
    return tmp_path / "ecgs"


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(CorpusError, match=words) as refusal:
        load_dataset_folder(folder)
    assert len(str(refusal.value)) < 1000


def test_as_written(folder):
    for split in load_dataset_folder(folder).values():
        assert [row_to_record(row).record_id for row in split] and split.features == FEATURES
    # In a folder whose name means something to fsspec or to patterns.
    odd = folder.rename(folder.with_name("a::b [1]*"))
    assert load_dataset_folder(odd)["test"].num_rows == 2


@pytest.mark.parametrize("kind", ["Image", "Audio", "Video", "Pdf", "Array2D", "ClassLabel", "Translation", "os.path"])
def test_columns_that_decode_files(folder, monkeypatch, kind):
    def connect(*_):
        raise AssertionError("a request was made")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for split in ("train", "validation", "test"):
        path = folder / split / "dataset_info.json"
        features = json.loads(path.read_text())["features"]
        for feature in ({"_type": kind}, {"_type": "List", "feature": {"_type": kind}}, [{"_type": kind}], kind, None):
            edit(path, features=features | {"picture": feature})
            refused(folder, r"dataset_info\.json cannot be read: .*'picture'")
        edit(path, features=features)
    rows = load_dataset_folder(folder)["test"]
    urls = datasets.Dataset.from_dict({"picture": [{"path": "http://127.0.0.1:9/x.png", "bytes": None}] * len(rows)})
    urls = urls.cast_column("picture", datasets.Image())
    with pytest.raises(CorpusError, match="picture of type Image"):
        given_records(datasets.concatenate_datasets([rows, urls], axis=1), ArrayDescription())


@pytest.mark.parametrize(
    "name", ["../../secret.arrow", "/etc/passwd", "sub/x.arrow", "..", "", ".hidden", "a\\b", "http://x/y", "x" * 300]
)
def test_names_that_lead_out_of_the_folder(folder, tmp_path, name):
    shutil.copy(folder / "train" / "data-00000.arrow", tmp_path / "secret.arrow")
    edit(folder / "train" / "state.json", _data_files=[{"filename": name}])
    refused(folder, r"state\.json cannot be read: it holds the name")
    edit(folder / "train" / "state.json", _data_files=[{"filename": "data-00000.arrow"}], _fingerprint=name)
    refused(folder, r"state\.json cannot be read: it holds the name")
    edit(folder / "dataset_dict.json", splits=["train", name])
    refused(folder, r"dataset_dict\.json cannot be read: it holds the name")


@pytest.mark.parametrize("what", ["data-00000.arrow", "state.json", "dataset_info.json", "", "../dataset_dict.json"])
def test_links_out_of_the_folder(folder, tmp_path, what):
    inside = folder / "train" / what
    outside = tmp_path / "outside"
    shutil.move(inside.resolve(), outside)
    os.symlink(outside, folder / "train" if not what else inside.parent.resolve() / inside.name)
    refused(folder, "link that leads out of the dataset's folder")


def test_links_within_the_folder(folder):
    path = folder / "train" / "data-00000.arrow"
    path.rename(path.with_name("moved.arrow"))
    path.symlink_to("moved.arrow")
    assert load_dataset_folder(folder)["train"].num_rows == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_format_type": "torch"}, "_format_type"),
        ({"_format_type": "pandas"}, "_format_type"),
        ({"_data_files": []}, "0 files"),
        ({"_data_files": "x"}, "_data_files"),
        ({"_data_files": [{"filename": 3}]}, "filename"),
        ({"_fingerprint": 3}, "_fingerprint"),
    ],
)
def test_states_that_make_no_sense(folder, changes, words):
    edit(folder / "train" / "state.json", **changes)
    refused(folder, words)


def table(**columns) -> pa.Table:
    rows = [record_to_row(record(number)) for number in range(3)]
    for name, value in columns.items():
        rows[1][name] = value
    return pa.Table.from_pylist(rows, FEATURES.arrow_schema)


CONTRADICTIONS = {
    "signal": (None, b"", bytes(799), bytes(802)),
    "num_leads": (None, 0, -2, 3, 2**31 - 1, 257),
    "num_samples": (None, -200, 201, 2**31 - 1),
    "sampling_rate": (None, 0.0, -1.0, float("nan"), float("inf")),
    "gain": (None, [], [1.0], [0.0, 1.0], [1.0, float("nan")], [float("inf"), 1.0], [None, 1.0]),
    "baseline": (None, [0], [0, 0, 0], [None, 0]),
    "lead_names": (None, ["I"], ["I", None], ["I", "II", "III"]),
    "labels": (None, [None]),
    "statements": (None, [None], ["Sinus rhythm.", "Another."]),
    "record_id": (None,),
    "fingerprint": (None,),
}


@pytest.mark.parametrize("column", CONTRADICTIONS)
def test_rows_that_contradict_themselves(folder, column):
    """All rows are checked when the dataset is opened; a row by itself when it is used."""
    path = folder / "train" / "data-00000.arrow"
    for value in CONTRADICTIONS[column]:
        damaged = table(**{column: value})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, damaged.schema) as stream:
            stream.write_table(damaged)
        refused(folder, rf"train: row 1, record {'None' if column == 'record_id' else repr('r1')}: ")
        row = damaged.to_pylist()[1]
        if column not in ("record_id", "fingerprint"):
            with pytest.raises(CorpusError, match="The dataset is damaged"):
                row_to_record(row)
        with pytest.raises(CorpusError, match="X: row 1"):
            given_records(datasets.Dataset(damaged), ArrayDescription())


def test_many_rows_are_checked_fast_and_in_batches():
    rows = datasets.Dataset(pa.concat_tables([table()] * 2000 + [table(gain=[0.0, 1.0])]))
    with pytest.raises(CorpusError, match=r"here: row 6001, record 'r1': a gain is zero or no number"):
        check_rows(rows, "here")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused(folder, codec):
    """Kilobytes of them unfold to gigabytes."""
    whole = table()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    for path in (folder / "train" / "data-00000.arrow", folder / "validation" / "data-00000.arrow"):
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, whole.schema, options=options) as stream:
            stream.write_table(whole)
    refused(folder, "buffers are compressed")
    with pytest.raises(CorpusError, match="buffers are compressed"):
        ShardedDataset(str(folder))


def test_a_shard_that_unfolds_to_gigabytes(folder, tmp_path):
    rows = load_dataset_folder(folder)["train"]
    (tmp_path / "shards" / "train").mkdir(parents=True)
    path = tmp_path / "shards" / "train" / "0.parquet"
    repeated = pa.table({name: rows.data.column(name) for name in rows.column_names})
    zeros = pa.array([bytes(2**27)] * 2, pa.binary())
    repeated = repeated.set_column(repeated.column_names.index("signal"), "signal", zeros)
    pa.parquet.write_table(repeated, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 2**20
    with pytest.raises(CorpusError, match="unfolds to"):
        ShardedDataset(str(tmp_path / "shards"))


def test_columns_of_a_shard_that_datasets_cannot_describe(folder, tmp_path):
    """What is written beside the columns of an Arrow file is read by `datasets`, whose errors may be of any type."""
    rows = load_dataset_folder(folder)["train"].data.table
    described = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"signal": "text"}}})})
    path = tmp_path / "shards" / "train" / "0.arrow"
    path.parent.mkdir(parents=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, described.schema) as stream:
        stream.write_table(described)
    shutil.copytree(path.parent, tmp_path / "shards" / "validation")
    with pytest.raises(CorpusError, match="neither a folder of shards"):
        ShardedDataset(str(tmp_path / "shards"))


def test_links_and_odd_names_of_shards(folder, tmp_path):
    shards = tmp_path / "shards" / "train"
    shards.mkdir(parents=True)
    (shards / "0.arrow").symlink_to(folder / "train" / "data-00000.arrow")
    with pytest.raises(CorpusError, match="leads out of it"):
        ShardedDataset(str(tmp_path / "shards"))
    (shards / "0.arrow").unlink()
    shutil.copy(folder / "train" / "data-00000.arrow", shards / "zip::*.arrow")
    with pytest.raises(CorpusError, match="Rename it"):
        ShardedDataset(str(tmp_path / "shards"))


@pytest.mark.parametrize("X", [{"signal": [1], "gain": [1, 2]}, {"signal": 3}, {"signal": [b""]}])
def test_mappings_that_are_no_columns(X):
    with pytest.raises(CGDMERError):
        given_records(X, ArrayDescription())[0]
