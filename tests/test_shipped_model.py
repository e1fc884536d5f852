# SPDX-License-Identifier: Apache-2.0
"""The model that comes with the package: how it is stored, and that it works right after installation, offline."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoProcessor, pipeline

import cgdmer
from cgdmer import CGDMERModel
from cgdmer.commands import main
from cgdmer.corpora.preparing import prepare_corpus
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.evaluate_task import evaluate_task
from cgdmer.evaluation.measures import LINEAR_PROBE, ZERO_SHOT
from cgdmer.evaluation.tasks import get_task
from cgdmer.families import (
    config_of,
    load_feature_extractor,
    load_model,
    load_processor,
    load_scoring_pipeline,
    load_text_model,
)
from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import SHIPPED_MODEL, model_source
from cgdmer.simulation.cohort import simulate_cohort
from recordings import write_wfdb

README = Path(__file__).resolve().parents[1] / "README.md"
CARD = README.parent / "model_cards" / "cgdmer-tiny-ptbxl.md"
LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]


@pytest.fixture(scope="module")
def record():
    return next(iter(simulate_cohort(1, seed=0)))


def test_is_small_and_holds_weights_in_half_precision_without_code():
    files = {path.name: path.stat().st_size for path in SHIPPED_MODEL.iterdir()}
    assert sum(files.values()) <= 12e6
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt", ".pkl"))]
    with safe_open(SHIPPED_MODEL / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


def test_loads_in_single_precision():
    model = AutoModel.from_pretrained(SHIPPED_MODEL)
    assert type(model) is CGDMERModel
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_pipeline_uses_it_by_default(record):
    scores = pipeline("zero-shot-ecg-classification")(record, candidate_labels=LABELS)
    named = pipeline("zero-shot-ecg-classification", model=str(SHIPPED_MODEL))(record, candidate_labels=LABELS)
    assert scores == named
    assert sorted(row["label"] for row in scores) == LABELS
    assert len({row["score"] for row in scores}) == len(LABELS)


def test_knows_its_training_records_and_calibration():
    trained_on = Fingerprints.of_model(str(SHIPPED_MODEL))
    assert trained_on is not None
    # Two of the 3,365 records of PTB-XL are stored twice; 19,178 are simulated.
    assert len(trained_on.records) == 3363 + 19178 and trained_on.corpora == ("ptb-xl",)
    config = json.loads((SHIPPED_MODEL / "config.json").read_text())
    assert (config["score_scale"], config["score_bias"]) != (10.0, 0.0)  # the values without calibration


@pytest.mark.parametrize(
    "prompt",
    [
        "Wolff–Parkinson–White syndrome",
        "torsades de pointes",
        "ST elevation ≥ 0.2 mV in V2−V4",
        "hyperkalaemia, K⁺ 7.1 mmol/l",
        "patient's QTc > 500 ms?",
        "½ mV notch (Osborn wave) & bradycardia",
    ],
)
def test_the_tokenizer_can_spell_english_prompts(prompt):
    tokenizer = AutoProcessor.from_pretrained(SHIPPED_MODEL).tokenizer
    assert tokenizer.unk_token_id not in tokenizer(prompt).input_ids, tokenizer.tokenize(prompt)


def test_an_offset_of_the_electrodes_changes_no_score(record):
    classify = pipeline("zero-shot-ecg-classification")
    shifted = replace(record, signal=record.signal + np.linspace(-3, 3, 12, dtype=np.float32)[:, None])
    plain, moved = (
        {row["label"]: row["score"] for row in classify(one, candidate_labels=LABELS)} for one in (record, shifted)
    )
    assert moved == pytest.approx(plain, abs=1e-3)


def test_classify_needs_no_model(record, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_wfdb(record, tmp_path / "one")
    assert main(["classify", "one", "--labels", *LABELS]) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert len(printed) == 5 and printed[3].startswith("Measured on the signal: heart rate ")
    assert "Not a medical device" in printed[-1]
    assert {line.split("  ")[1].strip() for line in map(str.strip, printed[:3])} == set(LABELS)


def test_the_first_example_of_the_readme_prints_what_it_says():
    blocks = re.findall(r"```(python|text)\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (_, code), (kind, expected) = blocks[:2]
    assert kind == "text"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == expected


@pytest.mark.slow
def test_the_headline_is_measured_on_the_records_at_hand(real_data, tmp_path):
    """Folds 9 and 10, which were not used for training or any choice."""
    prepare_corpus("ptb-xl", real_data / "ptb-xl-subset", tmp_path / "ptbxl")
    model, processor = AutoModel.from_pretrained(SHIPPED_MODEL), AutoProcessor.from_pretrained(SHIPPED_MODEL)
    how = {"splits": ("validation", "test"), "fractions": (1.0,), "probed_feature": "embeds", "untrained": False}
    how["trained_on"] = Fingerprints.of_model(str(SHIPPED_MODEL))
    evaluation = evaluate_task(
        model, processor, load_dataset_folder(tmp_path / "ptbxl"), get_task("ptbxl-super"), **how
    )
    for name in (ZERO_SHOT, LINEAR_PROBE):
        result = evaluation.results["measures"][name]
        low, high = result["macro_auroc_interval"]
        for text in (README, CARD):
            assert f"| {result['macro_auroc']:.3f} ({low:.3f} to {high:.3f}) |" in text.read_text()


@pytest.mark.parametrize("name", ["cgdmer-tiny-ptxbl", "cgdmer-tiny-ptbxl2", "CGDMER-tiny-PTBXL", "cgdmer_tiny_ptbxl"])
def test_a_misspelled_name_is_not_asked_from_the_hub(name):
    for call in (cgdmer.model_path, model_source, config_of, load_model, load_scoring_pipeline):
        with pytest.raises(ConfigurationError, match="cgdmer-tiny-ptbxl"):
            call(name)
    assert model_source("gpt2") == "gpt2" and model_source("org/cgdmer-tiny-ptbx") == "org/cgdmer-tiny-ptbx"


def test_a_preset_is_no_model():
    with pytest.raises(ConfigurationError, match=r"is a preset, which has no weights.*cgdmer-tiny-ptbxl"):
        load_model("cgdmer-tiny")


def test_its_path_serves_transformers_and_every_function_takes_its_name():
    path = cgdmer.model_path("cgdmer-tiny-ptbxl")
    assert isinstance(path, str)
    model = AutoModel.from_pretrained(path)
    embed = pipeline("ecg-embedding", model=path)
    record = cgdmer.simulate_record(["atrial_fibrillation"], seed=1)
    assert embed(record).shape == (model.config.ecg_config.hidden_size,)
    for load in (load_model, load_text_model):
        loaded = load("cgdmer-tiny-ptbxl").state_dict()
        assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    assert isinstance(load_processor("cgdmer-tiny-ptbxl", model), cgdmer.ECGProcessor)
    assert load_feature_extractor("cgdmer-tiny-ptbxl").sampling_rate == 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", 0, torch.device("cuda")])
def test_a_gpu_that_is_not_there(device):
    path = cgdmer.model_path("cgdmer-tiny-ptbxl")
    for call in (
        lambda: load_scoring_pipeline(device=device),
        lambda: pipeline("ecg-embedding", model=path, device=device),
        lambda: pipeline("zero-shot-ecg-classification", model=path, device=device),
    ):
        with pytest.raises(ConfigurationError, match=r"device is 'cuda.*no GPU here.*pass .cpu"):
            call()
    with pytest.raises(ConfigurationError, match="device is 'gpu'; expected"):
        load_scoring_pipeline(device="gpu")
    for cpu in (-1, "cpu", None):
        assert pipeline("ecg-embedding", model=path, device=cpu).device.type == "cpu"
