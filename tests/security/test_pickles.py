# SPDX-License-Identifier: Apache-2.0
"""Pickles planted wherever a file comes from outside are refused with our own errors and never executed."""

import io
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.io
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, BertConfig, BertModel, pipeline

from cgdmer import CGDMERForZeroShot, CGDMERModel, ECGProcessor, read_wfdb
from cgdmer.data.fingerprints import FILE_NAME, Fingerprints
from cgdmer.data.shards import ShardedDataset
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.comparison import compare
from cgdmer.evaluation.prompt_sets import load_prompts
from cgdmer.evaluation.splits import read_split_files
from cgdmer.evaluation.tasks import get_task
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError, ModelFolderError, RecordFileError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.training.setup import load_text_tower

TEXT_TOWER = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that a planted pickle creates when it is unpickled."""
    return tmp_path / "executed"


@pytest.fixture(params=["pickle", "torch"])
def planted(request, mark) -> bytes:
    """A pickle, by itself and in a file by `torch.save`, that is known to work when unpickled."""
    buffer = io.BytesIO()
    if request.param == "pickle":
        pickle.dump(Planted(mark), buffer)
        pickle.loads(buffer.getvalue()).close()
    else:
        torch.save({"weight": Planted(mark)}, buffer)
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)["weight"].close()
    assert mark.exists()
    mark.unlink()
    return buffer.getvalue()


def refused(error: type[CGDMERError], mark: Path, what: Callable[[], object], *words: str) -> None:
    with pytest.raises(error) as refusal:
        what()
    for word in words:
        assert word in str(refusal.value)
    assert not mark.exists()


@pytest.fixture
def model_folder(tmp_path) -> Path:
    """The packaged model without its weights."""
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(SHIPPED_MODEL, tmp_path / "model", ignore=ignored))


def all_ways_to_load(folder: Path) -> list[Callable[[], object]]:
    return [
        lambda: CGDMERModel.from_pretrained(folder),
        lambda: AutoModel.from_pretrained(folder),
        lambda: pipeline("zero-shot-ecg-classification", model=str(folder)),
    ]


def test_a_model_with_pickled_weights_only(model_folder, planted, mark):
    for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pt", ".metadata"):
        (model_folder / name).write_bytes(planted)
    for load in all_ways_to_load(model_folder):
        refused(ModelFolderError, mark, load, "holds no weights", "safetensors")


def test_a_pickle_named_safetensors(model_folder, planted, mark):
    (model_folder / "model.safetensors").write_bytes(planted)
    for load in all_ways_to_load(model_folder):
        refused(ModelFolderError, mark, load, "damaged or in another format")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../model/pytorch_model.bin", "sub/x.safetensors"])
def test_an_index_that_names_a_pickle(model_folder, planted, mark, name):
    (model_folder / "pytorch_model.bin").write_bytes(planted)
    index = {"metadata": {"total_size": 4}, "weight_map": {"logit_scale": name}}
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for load in all_ways_to_load(model_folder):
        refused(ModelFolderError, mark, load, repr(name), "convert")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": 3}', b"[" * 10**5, b"\xff\xfe"])
def test_an_index_that_is_not_one(model_folder, content):
    (model_folder / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(ModelFolderError, match="not an index of weights"):
        CGDMERModel.from_pretrained(model_folder)


@pytest.mark.parametrize("options", [{"use_safetensors": False}, {"weights_only": False}])
def test_pickles_cannot_be_requested(planted, mark, options, model_folder):
    (model_folder / "pytorch_model.bin").write_bytes(planted)
    shutil.copy(Path(SHIPPED_MODEL) / "model.safetensors", model_folder)
    refused(ModelFolderError, mark, lambda: CGDMERForZeroShot.from_pretrained(model_folder, **options), "safetensors")


def test_a_configuration_that_names_a_pickle(model_folder, planted, mark):
    (model_folder / "adapter_model.bin").write_bytes(planted)
    shutil.copy(Path(SHIPPED_MODEL) / "model.safetensors", model_folder)
    path = model_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_weights": "adapter_model.bin"}))
    for load in all_ways_to_load(model_folder):
        refused(ConfigurationError, mark, load, "transformers_weights")


@pytest.fixture
def text_tower(tmp_path) -> Path:
    """A text model's configuration without weights."""
    BertConfig(**TEXT_TOWER, intermediate_size=32).save_pretrained(tmp_path / "text")
    return tmp_path / "text"


def test_a_text_tower_with_pickled_weights_only(text_tower, planted, mark):
    (text_tower / "pytorch_model.bin").write_bytes(planted)
    refused(ModelFolderError, mark, lambda: load_text_tower(None, str(text_tower)), str(text_tower), "convert it once")


def test_the_advice_on_converting_a_text_tower_works(text_tower, tmp_path, monkeypatch):
    """Run the command in the message on a harmless file."""
    torch.manual_seed(0)
    weights = BertModel(BertConfig.from_pretrained(text_tower)).state_dict()
    torch.save(weights, text_tower / "pytorch_model.bin")
    shutil.copy(Path(SHIPPED_MODEL) / "tokenizer.json", text_tower)
    shutil.copy(Path(SHIPPED_MODEL) / "tokenizer_config.json", text_tower)
    with pytest.raises(ModelFolderError) as refusal:
        load_text_tower(None, str(text_tower))
    command = str(refusal.value).split('python -c "')[1].split('" and name')[0]
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    converted = BertModel.from_pretrained(tmp_path / "converted", use_safetensors=True).state_dict()
    assert all(torch.equal(converted[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("trick", ["another name", "index", "configuration"])
def test_a_text_tower_with_a_hidden_pickle(text_tower, planted, mark, trick):
    if trick == "another name":
        (text_tower / "model.safetensors").write_bytes(planted)
    elif trick == "index":
        (text_tower / "pytorch_model.bin").write_bytes(planted)
        index = {"metadata": {}, "weight_map": {"pooler.dense.bias": "pytorch_model.bin"}}
        (text_tower / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        (text_tower / "adapter_model.bin").write_bytes(planted)
        path = text_tower / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_weights": "adapter_model.bin"}))
    refused(ModelFolderError, mark, lambda: load_text_tower(None, str(text_tower)), str(text_tower))


def test_fingerprints(tmp_path, planted, mark):
    (tmp_path / FILE_NAME).write_bytes(planted)
    refused(ModelFolderError, mark, lambda: Fingerprints.load(tmp_path / FILE_NAME), FILE_NAME)


def test_damaged_cached_embeddings_are_recomputed(tmp_path, planted, mark):
    """A cache does not raise an error: a file that is not its own is replaced."""
    model, processor = CGDMERModel.from_pretrained(SHIPPED_MODEL), ECGProcessor.from_pretrained(SHIPPED_MODEL)
    computed = EmbeddingCache(tmp_path).texts(model, processor, ["atrial flutter"])
    (kept,) = tmp_path.glob("*.safetensors")
    kept.write_bytes(planted)
    for _ in range(2):
        np.testing.assert_array_equal(EmbeddingCache(tmp_path).texts(model, processor, ["atrial flutter"]), computed)
        assert set(load_file(kept)) == {"embeds"} and not mark.exists()


def array_files(mark: Path) -> dict[str, bytes]:
    """Arrays of objects, in forms that numpy and scipy would unpickle or decompress."""
    files = {}
    for name, save in {"npy": np.save, "npz": np.savez_compressed}.items():
        buffer = io.BytesIO()
        save(buffer, np.array([Planted(mark)], dtype=object), allow_pickle=True)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"val": np.array([["a", 1.5]], dtype=object)}, do_compression=True)
    files["mat"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**9)})
    files["huge npy"] = buffer.getvalue()
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"val": np.zeros((12, 10**6))}, do_compression=True)  # 93 kB
    files["inflating mat"] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("val.npy", bytes(10**7))
    files["zip bomb"] = buffer.getvalue()
    return files


@pytest.mark.parametrize("kind", ["npy", "npz", "mat", "huge npy", "inflating mat", "zip bomb"])
def test_a_recording_is_bytes_and_nothing_else(tmp_path, mark, kind):
    """Also as a header, as the file of samples that a header names, and as the input of a pipeline."""
    content = array_files(mark)[kind]
    (tmp_path / "rec.hea").write_bytes(content)
    refused(RecordFileError, mark, lambda: read_wfdb(tmp_path / "rec"), "rec.hea")
    (tmp_path / "rec.hea").write_text("rec 1 500 5000\nrec.mat 16+24 1000/mV 16 0 0 0 0 I")
    (tmp_path / "rec.mat").write_bytes(content)
    refused(RecordFileError, mark, lambda: read_wfdb(tmp_path / "rec"), "rec.mat", "5000 samples")
    for name in ("rec.mat", "rec.npy", "rec.pkl"):
        (tmp_path / name).write_bytes(content)
        refused(RecordFileError, mark, lambda name=name: read_wfdb(tmp_path / name), "does not exist")


def with_pickled_type(planted: bytes) -> pa.Table:
    """A column whose type is a pickle, in a form that old versions of pyarrow unpickled when reading a schema."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": planted}
    return pa.table([pa.array([1])], schema=pa.schema([pa.field("record_id", pa.int64(), metadata=metadata)]))


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def test_a_prepared_dataset(tmp_path, planted, mark):
    folder = tmp_path / "dataset"
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"record_id": [1]})}).save_to_disk(folder)
    (arrow,) = (folder / "train").glob("*.arrow")
    arrow.write_bytes(planted)
    refused(CorpusError, mark, lambda: load_dataset_folder(folder), str(folder))
    write_arrow(with_pickled_type(planted), arrow)
    refused(CorpusError, mark, lambda: load_dataset_folder(folder), str(folder))


@pytest.mark.parametrize("trick", ["file", "type"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_shards(tmp_path, planted, mark, suffix, trick, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "shards"
    folder.mkdir()
    for split in ("train", "validation"):
        path = folder / f"{split}-00000-of-00001.{suffix}"
        if trick == "file":
            path.write_bytes(planted)
        else:
            write_table = pyarrow.parquet.write_table if suffix == "parquet" else write_arrow
            write_table(with_pickled_type(planted), path)
    refused(CorpusError, mark, lambda: ShardedDataset(str(folder)), str(folder))


def test_results_of_an_evaluation_and_user_tables(tmp_path, planted, mark):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "scores.parquet").write_bytes(planted)
    refused(CorpusError, mark, lambda: compare(tmp_path, tmp_path), str(tmp_path))
    (tmp_path / "results.json").write_bytes(planted)
    refused(CorpusError, mark, lambda: compare(tmp_path, tmp_path), "results.json")
    for ending in ("train", "val", "test"):
        (tmp_path / f"ptbxl_super_class_{ending}.csv").write_bytes(planted)
    task = get_task("ptbxl-super")
    refused(CorpusError, mark, lambda: read_split_files(tmp_path, datasets.DatasetDict(), task), "train.csv")
    (tmp_path / "prompts.json").write_bytes(planted)
    refused(
        ConfigurationError, mark, lambda: load_prompts(tmp_path / "prompts.json", task.name, task.class_names), "JSON"
    )


def test_nothing_of_the_package_can_unpickle():
    """No line of code calls or imports anything that would. (For checkpoints, see test_checkpoints.)"""
    modules = "pickle|dill|joblib|marshal|shelve|cloudpickle"
    words = rf"\b({modules})\.\w|\b(import|from) ({modules})\b|allow_pickle=True|weights_only=False"
    safe = r'file, allow_pickle=False|path, map_location="cpu", weights_only=True'
    words += rf"|\b(torch|np|numpy|scipy\.io)\.(load|loadmat)\((?!{safe})|(?<![\w.])(eval|exec)\("
    package = Path(__file__).resolve().parents[2] / "src" / "cgdmer"
    files = sorted(package.rglob("*.py"))
    assert len(files) > 50
    for path in files:
        found = re.search(words, path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found}"
    assert re.search(words, "x = torch.load(path)") and re.search(words, "import pickle")
