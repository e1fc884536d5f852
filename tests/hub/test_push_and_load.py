# SPDX-License-Identifier: Apache-2.0
"""Pushed by this process over HTTP, and loaded by others that have only torch, transformers and scipy: from the Hub,
and without a network.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from accounts import OTHER, READER, WRITER
from bare_environment import make_environment
from huggingface_hub import CommitOperationAdd, HfApi
from tiny_hub_model import TINY_ECG, save_model
from transformers import AutoFeatureExtractor

from cgdmer import (
    CGDMERECGConfig,
    CGDMERForECGClassification,
    CGDMERForZeroShot,
    ECGFeatureExtractor,
    ECGProcessor,
)
from cgdmer.commands import main
from cgdmer.families import FAMILIES
from cgdmer.hub.publishing import push
from cgdmer.models import hub_folder
from cgdmer.presets import SHIPPED_MODEL

REPOSITORY = "lab/tiny-ecg"
PROMPTS = ["atrial fibrillation", "normal ECG"]


@pytest.fixture
def inputs(tmp_path) -> Path:
    signal = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    recording = {"ecg": signal, "sampling_rate": 500, "lead_names": leads, "unit": "mV"}
    torch.save({"recording": recording, "prompts": PROMPTS}, tmp_path / "inputs.pt")
    return tmp_path / "inputs.pt"


def without_origin(config: dict) -> dict:
    return {key: value for key, value in config.items() if key != "_name_or_path"}


@torch.no_grad()
def scores_of(folder: Path, inputs: Path) -> torch.Tensor:
    given = torch.load(inputs, weights_only=False)
    processor = ECGProcessor.from_pretrained(folder)
    batch = processor(**given["recording"], text=given["prompts"], return_tensors="pt")
    return CGDMERForZeroShot.from_pretrained(folder).eval()(**batch).scores


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """An interpreter with the packages that a card asks for, and no others."""
    return make_environment(tmp_path_factory.mktemp("elsewhere") / "venv", ["torch", "transformers", "scipy"])


def load(interpreter: Path, environment: dict[str, str], tmp_path: Path, inputs: Path, *revisions: str) -> dict:
    """The outputs of another process, by revision."""
    outputs = tmp_path / "outputs.pt"
    outputs.unlink(missing_ok=True)
    script = Path(__file__).with_name("load_from_hub.py")
    child = subprocess.run(
        [interpreter, script, REPOSITORY, inputs, outputs, *revisions],
        env={name: value for name, value in environment.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-4000:]
    results = torch.load(outputs, weights_only=False)
    assert results.keys() == set(revisions)
    return results


def test_loaded_elsewhere_then_offline_and_by_revision(to_hub, inputs, tmp_path, environment, elsewhere, capsys):
    """The model that comes with the package, and another one on a branch."""
    hub = to_hub
    assert main(["push", str(SHIPPED_MODEL), REPOSITORY, "--private", "--license", "mit"]) == 0
    assert hub.history(REPOSITORY)[0].oid in capsys.readouterr().out
    assert [commit.title for commit in hub.history(REPOSITORY)] == ["Upload model", "initial commit"]
    first = hub.history(REPOSITORY)[0].oid
    other = save_model(tmp_path / "other", seed=1)
    assert main(["push", str(other), REPOSITORY, "--revision", "next", "--commit_message", "Other weights"]) == 0

    expected, of_other = scores_of(SHIPPED_MODEL, inputs), scores_of(other, inputs)
    assert (expected - of_other).abs().max() > 0.01  # otherwise any model would pass
    loaded = load(elsewhere, environment(HF_TOKEN=WRITER), tmp_path, inputs, "main", "next", first)
    for revision, wanted in (("main", expected), ("next", of_other), (first, expected)):
        torch.testing.assert_close(loaded[revision]["scores"], wanted, atol=1e-6, rtol=1e-5)
        classified = {row["label"]: row["score"] for row in loaded[revision]["pipeline"]}
        assert [classified[prompt] for prompt in PROMPTS] == pytest.approx(wanted[0].tolist(), abs=1e-5)
    downloads = [request for request in hub.requests if request.kind == "lfs-download"]
    assert downloads
    assert not any(request.token for request in downloads)  # the token goes only to the Hub

    hub.stop()
    offline = load(elsewhere, environment(HF_HUB_OFFLINE="1"), tmp_path, inputs, "main")
    for name in ("batch", "logits", "scores"):
        torch.testing.assert_close(offline["main"][name], loaded["main"][name], atol=0, rtol=0)
    assert offline["main"]["pipeline"] == loaded["main"]["pipeline"]


def code_of_the_family() -> dict[str, bytes]:
    """CG-DMER's code; files of other families end in their names."""
    files = Path(hub_folder.__file__).parent.glob("*.py")
    modules = [module for family in FAMILIES for module in family]
    own = ("_cgdmer", "_ecg_encoders")
    others = tuple(f"_{module.split('_', 1)[1]}.py" for module in modules if not module.endswith(own))
    left_out = ("__init__.py", "decimation.py", *others)
    return {path.name: path.read_bytes() for path in files if not path.name.endswith(left_out)}


def test_what_is_pushed(to_hub, model_folder):
    """The folder of a run holds more than a model."""
    (model_folder / "training_arguments.json").write_text(json.dumps({"output_dir": str(model_folder)}))
    (model_folder / "metrics.jsonl").write_text("{}\n")
    (model_folder / "step_10").mkdir()
    (model_folder / "step_10" / "model.safetensors").write_bytes(b"of a checkpoint")
    (model_folder / "modeling_cgdmer.py").write_text("raise SystemExit  # of another version\n")
    push(model_folder, REPOSITORY)
    files = to_hub.files(REPOSITORY)
    code = code_of_the_family()
    assert {path: files[path] for path in code} == code
    assert files.keys() - code.keys() == {
        *(".gitattributes", "README.md", "config.json", "model.safetensors"),
        *("processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    }
    assert files["model.safetensors"] == (model_folder / "model.safetensors").read_bytes()
    saved = (model_folder / "config.json").read_text()
    assert json.loads(files["config.json"]) == json.loads(saved, object_hook=without_origin)


def test_what_is_pushed_of_the_shipped_model(to_hub):
    """Its folder holds and names no code; its weights are stored in half precision and stay so."""
    push(SHIPPED_MODEL, REPOSITORY)
    files = to_hub.files(REPOSITORY)
    assert files["model.safetensors"] == (SHIPPED_MODEL / "model.safetensors").read_bytes()
    assert "training_patients.private.safetensors" not in files
    assert files["training_records.safetensors"] == (SHIPPED_MODEL / "training_records.safetensors").read_bytes()
    config = json.loads(files["config.json"])
    for entry in (*config["auto_map"].values(), *(one["impl"] for one in config["custom_pipelines"].values())):
        module, name = entry.split(".")
        assert f"class {name}(" in files[f"{module}.py"].decode()


def test_a_classifier_with_its_feature_extractor(to_hub, tmp_path):
    model = CGDMERForECGClassification(CGDMERECGConfig(**TINY_ECG, id2label={0: "AFIB", 1: "NORM"}))
    model.save_pretrained(tmp_path / "classifier")
    ECGFeatureExtractor(100, 1000, 40).save_pretrained(tmp_path / "classifier")
    push(tmp_path / "classifier", REPOSITORY)
    loaded = CGDMERForECGClassification.from_pretrained(REPOSITORY, cache_dir=tmp_path / "cache")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)
    assert "AFIB, NORM" in to_hub.files(REPOSITORY)["README.md"].decode()


def test_files_of_an_earlier_push_are_deleted(to_hub, model_folder):
    """Shards, code, and results of other weights would be wrong; files of other people stay."""
    api = HfApi()
    api.create_repo(REPOSITORY)
    names = ["model-00001-of-00002.safetensors", "old_code.py", ".eval_results/old.yaml", "preprocessor_config.json"]
    names += ["vocab.txt", "special_tokens_map.json", "training_summary.json", "training_records.safetensors"]
    names += ["pytorch_model.bin", "pytorch_model.bin.index.json", "weights.pt", "weights.pth", "last.ckpt"]
    kept = ["notes.md", "tools/mine.py", "tools/weights.bin", "prompts.json"]
    everything = [CommitOperationAdd(name, b"old") for name in [*names, *kept]]
    api.create_commit(REPOSITORY, everything, commit_message="Before")
    push(model_folder, REPOSITORY)
    assert to_hub.files(REPOSITORY).keys() & {*names, *kept} == set(kept)
    assert len(to_hub.history(REPOSITORY)) == 3


def test_a_classifier_where_a_model_with_texts_was(to_hub, model_folder, tmp_path):
    """transformers would prefer the old processor, with its sampling rate."""
    push(model_folder, REPOSITORY)
    shape = {"sampling_rate": 50, "num_samples": 500, "patch_length": 20}
    config = CGDMERECGConfig(**TINY_ECG | shape, id2label={0: "AFIB", 1: "NORM"})
    CGDMERForECGClassification(config).save_pretrained(tmp_path / "classifier")
    ECGFeatureExtractor(50, 500, 20).save_pretrained(tmp_path / "classifier")
    push(tmp_path / "classifier", REPOSITORY)
    files = to_hub.files(REPOSITORY).keys()
    assert "preprocessor_config.json" in files
    assert not files & {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    loaded = AutoFeatureExtractor.from_pretrained(REPOSITORY, cache_dir=tmp_path / "cache")
    assert (loaded.sampling_rate, loaded.num_samples) == (50, 500)


def test_pushing_again_makes_no_commit(to_hub, model_folder):
    first, again = push(model_folder, REPOSITORY), push(model_folder, REPOSITORY)
    assert again["commit"] == first["commit"] == to_hub.history(REPOSITORY)[0].oid
    assert sum(request.kind == "commit" for request in to_hub.requests) == 1


def test_transformers_own_push_carries_the_code(to_hub, model_folder, tmp_path):
    model, processor = CGDMERForZeroShot.from_pretrained(model_folder), ECGProcessor.from_pretrained(model_folder)
    model.push_to_hub(REPOSITORY)
    processor.push_to_hub(REPOSITORY)
    files = to_hub.files(REPOSITORY)
    code = code_of_the_family()
    assert {path: files[path] for path in code} == code
    assert {"tokenizer.json", "processor_config.json"} <= files.keys()
    loaded = CGDMERForZeroShot.from_pretrained(REPOSITORY, cache_dir=tmp_path / "cache")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_saving_with_push_to_hub_carries_the_code(to_hub, model_folder, tmp_path):
    """Also into a folder that holds all of it already."""
    model = CGDMERForZeroShot.from_pretrained(model_folder)
    code = code_of_the_family()
    for repository in ("lab/first", "lab/again"):
        (tmp_path / "saved").mkdir(exist_ok=True)
        (tmp_path / "saved" / "mine.txt").write_text("not of the model")
        model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=repository)
        files = to_hub.files(repository)
        assert {path: files.get(path) for path in code} == code
        assert {"config.json", "model.safetensors"} <= files.keys()
        assert "mine.txt" not in files
    loaded = CGDMERForZeroShot.from_pretrained("lab/again", cache_dir=tmp_path / "cache")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_a_private_repository(to_hub, model_folder, tmp_path, monkeypatch):
    push(model_folder, REPOSITORY, private=True)
    push(model_folder, "lab/seen-by-all")
    monkeypatch.delenv("HF_TOKEN")
    CGDMERForZeroShot.from_pretrained("lab/seen-by-all", cache_dir=tmp_path / "anybody")
    with pytest.raises(OSError, match="private"):
        CGDMERForZeroShot.from_pretrained(REPOSITORY, cache_dir=tmp_path / "anybody")
    monkeypatch.setenv("HF_TOKEN", OTHER)
    with pytest.raises(OSError, match="private"):
        CGDMERForZeroShot.from_pretrained(REPOSITORY, cache_dir=tmp_path / "other")
    monkeypatch.setenv("HF_TOKEN", READER)
    CGDMERForZeroShot.from_pretrained(REPOSITORY, cache_dir=tmp_path / "member")
