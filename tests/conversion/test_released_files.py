# SPDX-License-Identifier: Apache-2.0
"""A file from outside is data: nothing in it is run, every tensor has a place, and a refusal writes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import save_file

from cgdmer.commands import main
from cgdmer.conversion.converting import convert
from cgdmer.conversion.register import kind_named, kinds
from cgdmer.corpora.register import CORPORA
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.evaluation.splits import overlap_with_training
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from released import expected, made_up_tensors, released_file

KIND = "clef-small"


class Touch:
    """Unpickled, it would call a function."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return made_up_tensors(KIND)


def refused(place: Path, content: object, match: str) -> None:
    path = place / "released.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelFolderError, match=match):
        convert(KIND, path, place / "model")
    assert [one.name for one in place.iterdir()] == ["released.pt"]


def test_nothing_is_run(tmp_path, tensors):
    for content in ({"state_dict": tensors, "config": Touch(tmp_path / "made")}, Touch(tmp_path / "made")):
        refused(tmp_path, content, "cannot be read as a checkpoint .*Nothing else in the file was run")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"text\n" * 1000])
def test_other_files_are_refused(tmp_path, content):
    refused(tmp_path, content, "cannot be read as a checkpoint")


def test_a_damaged_file_is_refused(tmp_path, tensors):
    torch.save({"state_dict": tensors}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "whole.pt").unlink()
    refused(tmp_path, whole[: len(whole) // 2], "cannot be read as a checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {"a": 1}},
        [torch.zeros(1)],
        {"a": torch.zeros(1).to_sparse()},
        {"a": torch.zeros(1).expand(2**40)},  # few numbers for many
    ],
)
def test_what_holds_no_tensors_by_name_is_refused(tmp_path, content):
    refused(tmp_path, content, "cannot be read as a checkpoint")


def test_every_tensor_has_a_place(tmp_path, tensors):
    name = "backbone.stage_list.2.block_list.1.conv1.conv.weight"
    missing = {key: one for key, one in tensors.items() if key != name}
    refused(tmp_path, missing, "has no weights for layers.3.conv1.weight")
    refused(tmp_path, {**tensors, "head.weight": torch.zeros(2)}, "1 tensors that this kind .*'head.weight'")
    more = {**tensors, name.replace("conv1", "conv9"): torch.zeros(2)}
    refused(tmp_path, more, "layers.3.conv9.conv.weight has no place")
    refused(tmp_path, {**tensors, name: tensors[name][:-1]}, "layers.3.conv1.weight has shape")
    refused(tmp_path, {**tensors, name: torch.full_like(tensors[name], torch.nan)}, "not all finite")
    refused(tmp_path, {"a": torch.zeros(3)}, "has no tensor backbone.stage_list.0")
    first = "backbone.first_conv.conv.weight"
    refused(tmp_path, {**tensors, first: torch.zeros(3)}, "expected more dimensions")


def test_sizes_beyond_any_model_are_refused(tmp_path, tensors):
    """A tensor that repeats one number takes no room in the file, but its shape asks for a network of that size."""
    huge = torch.zeros(1).expand(2**40, 1, 16)
    refused(tmp_path, {"state_dict": {**tensors, "backbone.first_conv.conv.weight": huge}}, "stored in full")


def test_small_tensors_cannot_ask_for_a_large_network(tmp_path, tensors):
    """Names alone say how many blocks there are. These would take 300 GB, and are compared without memory for them."""
    stage, size = "backbone.stage_list.0.block_list.", 8192
    named = {f"{stage}{block}.conv3.conv.weight": torch.zeros(size, 1, 1) for block in range(500)}
    first = {f"{stage}0.conv2.conv.weight": torch.zeros(size, size, 1)}
    of_stem = {name: one for name, one in tensors.items() if ".first_conv." in name}
    refused(tmp_path, {"state_dict": {**of_stem, **named, **first}}, "has no weights for|has shape")


def test_safetensors_are_read_too(tmp_path, tensors):
    save_file(tensors, tmp_path / "released.safetensors")
    assert convert(KIND, tmp_path / "released.safetensors", tmp_path / "model").config.hidden_size == 256


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelFolderError, match="exists already"):
        convert(KIND, released_file(KIND, tmp_path), tmp_path / "model")
    with pytest.raises(ModelFolderError, match="is no file"):
        convert(KIND, tmp_path / "none.pt", tmp_path / "other")
    with pytest.raises(ConfigurationError, match="Did you mean 'clef-small'"):
        convert("clef-smal", tmp_path / "none.pt", tmp_path / "other")


@pytest.mark.parametrize("name", kinds())
def test_every_kind_says_what_it_is(name):
    source = kind_named(name).source
    assert set(source.seen) <= set(CORPORA)
    for text in (source.paper, source.where, source.license_note, source.corpora):
        assert len(text) > 10


def test_the_command_and_what_a_model_has_seen(tmp_path, capsys):
    arguments = ["convert", KIND, str(released_file(KIND, tmp_path)), str(tmp_path / "model"), "--json"]
    assert not main(arguments)
    answer = json.loads(capsys.readouterr().out)
    assert answer["seen_corpora"] == ["mimic-iv-ecg"] and answer["weights"] == 443_184
    card = (tmp_path / "model" / "README.md").read_text()
    assert "arXiv 2512.02180" in card and "not a medical device" in card.lower()
    trained_on = Fingerprints.of_model(str(tmp_path / "model"))
    assert trained_on is not None and trained_on.corpora == ("mimic-iv-ecg",)
    rows = {"fingerprint": [1, 2], "patient_id": ["a", "b"]}
    seen, other = (of_corpus(rows, name) for name in ("mimic-iv-ecg", "ptb-xl"))
    assert overlap_with_training(trained_on, seen, allowed=False) is None
    assert overlap_with_training(trained_on, other, allowed=False) == {"records": 0, "patients": None}
    further = Fingerprints.of(other, trained_on)
    further.save(tmp_path)
    kept = Fingerprints.load(tmp_path / "training_records.safetensors")
    assert kept.overlap(seen) is None and kept.corpora == ("mimic-iv-ecg", "ptb-xl")


def of_corpus(rows: dict[str, list], name: str) -> datasets.Dataset:
    features = datasets.Features({"fingerprint": datasets.Value("int64"), "patient_id": datasets.Value("string")})
    return datasets.Dataset.from_dict(rows, info=datasets.DatasetInfo(dataset_name=name, features=features))


def test_a_folder_loads_without_the_package(tmp_path):
    """By the code that is saved with it."""
    convert(KIND, released_file(KIND, tmp_path), tmp_path / "model")
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from no_package import forbid_the_package; forbid_the_package()\n"
        "import torch; from transformers import AutoModel\n"
        "model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()\n"
        "print(type(model).__name__, tuple(model(torch.zeros(2, 12, 5000)).pooler_output.shape))"
    )
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, str(tmp_path / "model"), str(tests)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "Net1DModel (2, 256)"
    assert expected(KIND)["features"].shape == (2, 256)
