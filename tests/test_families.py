# SPDX-License-Identifier: Apache-2.0
"""Every family through the same commands: pretrain, save, load without the package, classify, evaluate, publish."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoProcessor,
)
from transformers import pipeline as transformers_pipeline

import cgdmer
from cgdmer.commands import main
from cgdmer.data.storage import load_dataset_folder, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.families import Purpose, class_for, ecg_config_of, load_model, load_text_model
from cgdmer.hub.staging import stage_model
from cgdmer.models.errors import CGDMERError, ConfigurationError, ModelFolderError
from cgdmer.models.pretraining_base import PreTrainingMixin
from cgdmer.presets import preset_folder
from cgdmer.pretrain import parse_arguments
from cgdmer.simulation.cohort import simulate_cohort
from cgdmer.training import loop
from cgdmer.training.flops import step_flops
from cgdmer.training.loop import pretrain_model
from cgdmer.training.throughput import Throughput
from small_families import FAMILIES, small_config, write_small_preset

SOURCE = Path(cgdmer.__file__).parent
LABELS = ["atrial_fibrillation", "left_bundle_branch_block"]
RECORDING = {"sampling_rate": 250, "lead_names": ["I", "II", "V1"], "unit": "mV"}
everywhere = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "dataset"
    write_dataset(
        simulate_cohort(60, seed=3, sampling_rate=100), folder, splits=split_of_fold, description="Simulated."
    )
    return folder


def arguments(dataset: Path, preset: Path, output: Path, *more: str) -> list[str]:
    return [
        *("--dataset", str(dataset), "--config_name", str(preset), "--output_dir", str(output), "--report_to", "none"),
        *("--per_device_train_batch_size", "8", "--logging_steps", "1", "--max_train_steps", "2", *more),
    ]


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory) -> dict[str, Path]:
    """For each family, a folder after two pretraining steps, and a model finetuned from it next to it."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for family in FAMILIES:
        preset = write_small_preset(folder / f"{family}-preset", family)
        pretrain_model(parse_arguments(arguments(dataset, preset, folder / family, "--checkpointing_steps", "1")))
        asked = ["finetune", str(folder / family), "--dataset", str(dataset), "--labels", *LABELS]
        assert main([*asked, "--output_dir", str(folder / f"{family}-finetuned"), "--num_train_epochs", "1"]) == 0
        found[family] = folder / family
    return found


def finetuned(run: Path) -> Path:
    return run.with_name(f"{run.name}-finetuned")


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# Only a family's own code knows it.


def test_no_shared_code_names_a_family():
    """Only a family's own files and the lines that register it name its classes or model type."""
    names = {name for name in cgdmer.__all__ if re.match("CGDMER(?!Error)|CoReECG|MERIT", name)}
    types = {small_config(family).model_type for family in FAMILIES} - {"cgdmer"}  # which is the package's name too
    assert len(names) >= 3 * 4
    for path in SOURCE.rglob("*.py"):
        own = path.parent.name == "models" and path.stem.rsplit("_", 1)[-1] in FAMILIES
        # The figure of CoRe-ECG's importance may name its class.
        if own or path == SOURCE / "__init__.py" or path.stem == "frequency_importance":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            used = {getattr(node, "id", None), getattr(node, "attr", None)}
            used |= {alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)}
            assert not used & names, (path, used & names)
            is_compared = isinstance(node, ast.Compare)
            strings = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} if is_compared else set()
            assert not strings & types, (path, strings & types)


@everywhere
def test_a_familys_files_import_no_other_familys(family):
    others = "|".join(other for other in FAMILIES if other != family)
    for path in (SOURCE / "models").glob(f"*_{family}.py"):
        assert not re.search(rf"^\s*from \.\w+_({others}) import", path.read_text(), flags=re.MULTILINE)


# Pretraining.


@everywhere
def test_every_loss_of_a_step_is_logged_and_adds_up(runs, family):
    steps = [line for line in lines_of(runs[family]) if "loss" in line]
    model = AutoModelForPreTraining.from_pretrained(runs[family])
    weights, bounds = model.loss_weights(), [name for name in vars(model.output_class) if name.endswith("_bound")]
    assert len(bounds) == (2 if family == "merit" else 0)
    assert [line["step"] for line in steps] == [1, 2]
    for line in steps:
        parts = {name.removesuffix("_loss"): value for name, value in line.items() if name.endswith("_loss")}
        assert parts.keys() == weights.keys()
        total = sum(weights[name] * value for name, value in parts.items())
        assert line["loss"] == pytest.approx(total, rel=1e-5, abs=1e-6)
        assert bounds == [name for name in line if name.endswith("_bound")]
    assert any("validation_loss" in line for line in lines_of(runs[family]))
    assert list((runs[family] / "reconstructions").glob("*.png"))


@everywhere
def test_resuming_continues_the_same_curve(runs, dataset, tmp_path, family):
    preset = runs[family].with_name(f"{family}-preset")
    resumed = arguments(dataset, preset, tmp_path / "out", "--resume_from_checkpoint", str(runs[family] / "step_1"))
    pretrain_model(parse_arguments(resumed))
    first, second = (load_file(folder / "model.safetensors") for folder in (runs[family], tmp_path / "out"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@everywhere
def test_a_large_batch_in_chunks_gives_the_same_losses(runs, dataset, tmp_path, family):
    preset = runs[family].with_name(f"{family}-preset")
    pretrain_model(parse_arguments(arguments(dataset, preset, tmp_path / "out", "--contrastive_chunk_size", "3")))
    for plain, chunked in zip(lines_of(runs[family]), lines_of(tmp_path / "out"), strict=True):
        for name in plain:
            if name.endswith(("_loss", "_bound")) or name == "loss":
                # Untrained embeddings are almost equal before centering, so rounding shows.
                assert chunked[name] == pytest.approx(plain[name], rel=1e-3, abs=1e-4), name


@everywhere
def test_operations_of_a_runs_batches_are_counted(runs, dataset, tmp_path, family, monkeypatch):
    """As on a GPU, where each batch has masks, statements, and random numbers."""
    batches = []

    class Recording(Throughput):
        def count(self, batch):
            batches.append(batch)

    monkeypatch.setattr(loop, "Throughput", Recording)
    preset = runs[family].with_name(f"{family}-preset")
    pretrain_model(parse_arguments(arguments(dataset, preset, tmp_path / "out", "--max_train_steps", "1")))
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "out")
    shaping = ("ecg_values", "input_ids", "attention_mask", "distinct_texts", "text_index")
    bare = {name: tensor for name, tensor in batches[0].items() if name in shaping}
    assert len(bare) < len(batches[0])
    assert step_flops(model, batches[0]) == step_flops(model, bare) > 0


def test_text_options_are_refused_without_texts(dataset, runs, tmp_path):
    preset = runs["coreecg"].with_name("coreecg-preset")
    more = ("--text_source", "statements", "--wordings")
    with pytest.raises(ConfigurationError, match="on signals alone: leave out --wordings"):
        pretrain_model(parse_arguments(arguments(dataset, preset, tmp_path / "out", *more)))


def test_signals_alone_need_no_texts(runs, tmp_path):
    """CoRe-ECG trains on records without reports or statements; MERIT refuses them."""
    folder = tmp_path / "dataset"
    cohort = list(simulate_cohort(40, seed=4, sampling_rate=100))
    for record in cohort:
        object.__setattr__(record, "text", None)
        object.__setattr__(record, "statements", ())
    write_dataset(iter(cohort), folder, splits=split_of_fold, description="Simulated.")
    assert not any(load_dataset_folder(folder)["train"]["text"])
    preset = runs["coreecg"].with_name("coreecg-preset")
    answer = pretrain_model(parse_arguments(arguments(folder, preset, tmp_path / "run")))
    assert answer["steps"] == 2
    assert not list((tmp_path / "run").glob("tokenizer*"))
    with pytest.raises(CGDMERError, match="no record of the split has a 'text'"):
        pretrain_model(parse_arguments(arguments(folder, runs["merit"].with_name("merit-preset"), tmp_path / "other")))


# Evaluation and use.


@pytest.mark.slow
@everywhere
def test_evaluation_measures_what_the_family_supports(runs, dataset, tmp_path, family, capsys):
    asked = ["evaluate", str(runs[family]), "--dataset", str(dataset), "--tasks", "simulated", "--robustness"]
    assert main([*asked, "--splits", "validation", "test", "--output_dir", str(tmp_path)]) == 0
    printed, results = capsys.readouterr().out, json.loads((tmp_path / "simulated" / "results.json").read_text())
    takes_texts = load_model(runs[family]).takes_texts
    assert ("zero-shot" in results["measures"]) == takes_texts == ("zero-shot" in results["untrained"])
    assert "linear probe 100 %" in results["measures"] and (results["prompts"] is not None) == takes_texts
    assert ("takes no texts" in printed) != takes_texts
    report = (tmp_path / "simulated" / "report.md").read_text()
    assert ("## Calibration" in report) == takes_texts
    assert (tmp_path / "simulated" / "per_class.png").is_file() and (tmp_path / "simulated" / "roc.png").is_file()


def test_nothing_to_measure_is_reported(runs, dataset, capsys):
    asked = ["evaluate", str(runs["coreecg"]), "--dataset", str(dataset), "--tasks", "simulated"]
    assert main([*asked, "--skip_linear_probe"]) == 1
    assert "measure linear probes" in capsys.readouterr().err
    assert main([*asked, "--report_retrieval"]) == 1
    told = capsys.readouterr()
    assert "cannot rank reports" in told.err and "linear probe" not in told.out
    assert main([*asked, "--probed_feature", "embeds"]) == 1
    assert "has no embeds" in capsys.readouterr().err


@everywhere
def test_pipelines(runs, family):
    signal = np.random.default_rng(0).normal(size=(3, 2500))
    classify = transformers_pipeline("ecg-classification", model=str(finetuned(runs[family])))
    assert {row["label"] for row in classify(signal, **RECORDING)} == set(LABELS)
    embed = transformers_pipeline("ecg-embedding", model=str(runs[family]))
    found = embed(signal, **RECORDING)
    extractor = AutoFeatureExtractor.from_pretrained(runs[family])
    inputs = extractor(signal, **RECORDING, return_tensors="pt")
    with torch.no_grad():
        expected = load_model(runs[family]).eval().base_model(**inputs).pooler_output[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-6, rtol=1e-5)
    if load_model(runs[family]).takes_texts:
        score = transformers_pipeline("zero-shot-ecg-classification", model=str(runs[family]))
        assert len(score(signal, candidate_labels=["atrial fibrillation", "normal ECG"], **RECORDING)) == 2
    else:
        with pytest.raises(ModelFolderError, match="takes no texts"):
            load_text_model(runs[family])


@everywhere
def test_the_trained_model_is_published_and_its_card_says_what_is_ours(runs, tmp_path, family):
    from cgdmer.hub.cards import fill_card

    for source in (runs[family], finetuned(runs[family])):
        target = tmp_path / source.name
        target.mkdir()
        stage_model(source, target)
        assert (target / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
        assert (target / "tokenizer.json").exists() == (source == runs[family] and load_model(source).takes_texts)
        card = fill_card(source, "lab/model")
        paper = load_model(source).config.paper
        assert paper in card.text
        assert ("from the paper and what is ours" in card.text) == (family != "cgdmer")


# Without the package.


@pytest.fixture(scope="module")
def remote(runs, tmp_path_factory) -> dict:
    """The answers of a process that cannot import the package, for every folder."""
    home = tmp_path_factory.mktemp("home")
    inputs = {"ecg_values": torch.randn(2, 12, 1000, generator=torch.Generator().manual_seed(0))}
    asked = {"inputs": inputs, "labels": LABELS, "runs": {name: str(run) for name, run in runs.items()}}
    torch.save(asked, home / "asked.pt")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRANSFORMERS_CACHE")
    }
    environment |= {"HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules"), "HF_HUB_OFFLINE": "1"}
    script = Path(__file__).with_name("families_without_package.py")
    child = subprocess.run(
        [sys.executable, script, home], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return torch.load(home / "answered.pt", weights_only=False) | {"inputs": inputs, "home": home}


@everywhere
def test_a_folder_gives_the_same_without_the_package(remote, runs, family):
    run = runs[family]
    with torch.no_grad():
        encoder = AutoModel.from_pretrained(run).eval().base_model
        expected = encoder(**remote["inputs"]).pooler_output
        classifier = AutoModelForAudioClassification.from_pretrained(finetuned(run)).eval()
        logits = classifier(**remote["inputs"]).logits
    for saved_by in ("first", "again"):
        torch.testing.assert_close(remote[saved_by][family, "pooled"], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(remote[saved_by][family, "logits"], logits, atol=1e-6, rtol=1e-5)
        assert remote[saved_by][family, "pretraining"] == type(AutoModelForPreTraining.from_pretrained(run)).__name__
        assert ((family, "scores") in remote[saved_by]) == load_model(run).takes_texts
    if load_model(run).takes_texts:
        model, processor = load_text_model(run), AutoProcessor.from_pretrained(run)
        with torch.no_grad():
            scores = model(**remote["inputs"], **processor(text=LABELS, return_tensors="pt")).logits_per_ecg
        torch.testing.assert_close(remote["first"][family, "scores"], scores, atol=1e-5, rtol=1e-5)


@everywhere
def test_a_folder_holds_only_its_own_familys_code(remote, runs, family):
    own = {path.name for path in runs[family].glob("*.py")}
    assert own == {path.name for path in (remote["home"] / "again" / family).glob("*.py")}
    assert f"modeling_{family}.py" in own
    assert not {name for name in own for other in FAMILIES if other != family and name.endswith(f"_{other}.py")}


@everywhere
def test_every_auto_class_serves_every_folder(tmp_path, family):
    """Whatever class saved it: a classifier on the encoder, the encoder, and what else the class has."""
    config = small_config(family)
    ecg_config = ecg_config_of(config)
    savers = [class_for(config, purpose) for purpose in (Purpose.ENCODING, Purpose.PRETRAINING)]
    savers += [class_for(ecg_config, Purpose.ENCODING), class_for(ecg_config, Purpose.CLASSIFICATION)]
    for saver in savers:
        folder = tmp_path / saver.__name__
        saved = saver(ecg_config if saver.config_class is type(ecg_config) else config)
        saved.save_pretrained(folder)
        options = {"num_labels": 5, "problem_type": "regression", "hidden_dropout": 0.25}
        found = AutoModelForAudioClassification.from_pretrained(folder, ignore_mismatched_sizes=True, **options)
        assert type(found) is class_for(ecg_config, Purpose.CLASSIFICATION)
        assert (found.config.num_labels, found.config.problem_type) == (5, "regression")
        assert found.config.hidden_dropout == 0.25 and found.classifier.out_features == 5
        labels = {"id2label": {0: "no", 1: "yes", 2: "maybe"}, "label2id": {"no": 0, "yes": 1, "maybe": 2}}
        named = AutoModelForAudioClassification.from_pretrained(folder, ignore_mismatched_sizes=True, **labels)
        assert named.config.id2label == labels["id2label"] and named.classifier.out_features == 3
        wanted = saved.base_model.state_dict()
        for loaded in (found, named, AutoModel.from_pretrained(folder)):
            assert all(torch.equal(value, wanted[name]) for name, value in loaded.base_model.state_dict().items())
        if saver.config_class is type(config):
            purposes = ["AutoModelForPreTraining"] if issubclass(saver, PreTrainingMixin) else []
            purposes += ["AutoModelForZeroShotImageClassification"] if config.sub_configs else []
            for purpose in purposes:
                assert getattr(transformers, purpose).from_pretrained(folder).config.model_type == config.model_type


def test_no_classifier_on_an_encoder_of_another_type(tmp_path):
    options = {"contrast_view": "full", "ecg_reconstruction_loss_weight": 0.0}
    encoder = cgdmer.ECGViTConfig(sampling_rate=100, num_samples=1000, hidden_size=12, num_hidden_layers=1)
    whole = small_config("cgdmer").to_dict() | {"ecg_config": encoder.to_dict()} | options
    cgdmer.CGDMERModel(cgdmer.CGDMERConfig(**whole)).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="ECG encoder of type 'ecg_vit'"):
        AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=5)


# Presets.


@everywhere
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_presets_are_configurations_with_matching_input_preparation(family, size):
    folder = preset_folder(f"{family}-{size}")
    config = type(small_config(family)).from_pretrained(folder)
    extractor, ecg = AutoFeatureExtractor.from_pretrained(folder), ecg_config_of(config)
    for name in ("sampling_rate", "num_samples", "patch_length"):
        assert getattr(extractor, name) == getattr(ecg, name)
    assert not list(folder.glob("*.py")) and not list(folder.glob("*.safetensors"))
    tiny = preset_folder("cgdmer-tiny")
    if (folder / "tokenizer.json").is_file():
        assert (folder / "tokenizer.json").read_bytes() == (tiny / "tokenizer.json").read_bytes()
