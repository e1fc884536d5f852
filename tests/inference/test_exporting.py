# SPDX-License-Identifier: Apache-2.0
"""The ONNX file against the pipeline, on real and simulated recordings; what `cgdmer export` refuses."""

import builtins
import copy
import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoProcessor, pipeline

from cgdmer import CGDMERConfig, CGDMERModel, ECGFeatureExtractor, ECGJEPAConfig, ECGRecord, STMEMConfig, read_wfdb
from cgdmer.commands import main
from cgdmer.families import Purpose, class_for
from cgdmer.inference import exporting
from cgdmer.inference.exporting import export_onnx
from cgdmer.models.configuration_ecg_encoders import ECGViTConfig
from cgdmer.models.errors import ECGInputError, ExportError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.presets import SHIPPED_MODEL, preset_folder
from cgdmer.simulation.cohort import simulate_cohort

LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "twelve.onnx"
    assert main(["export", "cgdmer-tiny-ptbxl", str(path), "--labels", *LABELS]) == 0
    return path


@pytest.fixture(scope="module")
def records() -> list[ECGRecord]:
    return list(islice(simulate_cohort(5, seed=8, sampling_rate=250), 5))


def with_leads(record: ECGRecord, names: list[str]) -> ECGRecord:
    rows = [record.lead_names.index(name) for name in names]
    return ECGRecord(record.signal[rows], record.sampling_rate, tuple(names))


def answers(path: Path, records: list[ECGRecord]) -> list[np.ndarray]:
    """Scores, logits, and embeddings, computed with nothing but the file and its metadata."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    rows = [STANDARD_LEADS.index(name) for name in json.loads(metadata["leads"])]
    extractor = ECGFeatureExtractor.from_dict(json.loads(metadata["preprocessing"]))
    ecg_values = extractor(records, return_tensors="np")["ecg_values"][:, rows]
    return session.run(["scores", "logits", "embeddings"], {"ecg_values": ecg_values})


def assert_as_the_pipeline(classify, path: Path, records: list[ECGRecord]) -> None:
    scores, logits, embeddings = answers(path, records)
    for row, record in enumerate(records):
        expected = {one["label"]: one["score"] for one in classify(record, candidate_labels=LABELS)}
        assert dict(zip(LABELS, scores[row].tolist(), strict=True)) == pytest.approx(expected, abs=1e-4)
        log_odds = {label: np.log(score / (1 - score)) for label, score in expected.items()}
        assert dict(zip(LABELS, logits[row].tolist(), strict=True)) == pytest.approx(log_odds, abs=1e-2)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), scores, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_scores_are_the_pipelines_in_batches_of_any_size(classify, exported, records, count):
    assert_as_the_pipeline(classify, exported, records[:count])
    assert np.ptp(answers(exported, records)[1], axis=0).min() > 0.5  # otherwise the comparison would prove little


def test_real_recordings(classify, exported, real_data):
    paths = sorted((real_data / "ptb-xl-subset" / "records500").rglob("*.hea"))[:4]
    assert_as_the_pipeline(classify, exported, [read_wfdb(path) for path in paths])


def test_metadata(exported, classify):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert json.loads(metadata["labels"]) == LABELS and json.loads(metadata["leads"]) == list(STANDARD_LEADS)
    assert (metadata["sampling_rate"], metadata["num_samples"]) == ("100", "1000")
    assert "Not a medical device" in metadata["note"]
    (given,) = model.graph.input
    sizes = [dimension.dim_param or dimension.dim_value for dimension in given.type.tensor_type.shape.dim]
    assert given.name == "ecg_values" and sizes == ["batch", 12, 1000]
    assert b"site-packages" not in exported.read_bytes() and str(Path.home()).encode() not in exported.read_bytes()


@pytest.mark.parametrize("config_class", [ECGJEPAConfig, STMEMConfig])
def test_an_encoder_that_leaves_out_absent_leads_does_so_in_the_file(config_class, records, tmp_path):
    config = config_class(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
    )
    torch.manual_seed(0)
    model = class_for(config, Purpose.CLASSIFICATION)(config).eval()
    model.save_pretrained(tmp_path / "model")
    window = {name: getattr(config, name) for name in ("sampling_rate", "num_samples", "patch_length")}
    extractor = ECGFeatureExtractor(**window)
    extractor.save_pretrained(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "few.onnx", leads=["V1", "V2"])
    few = [with_leads(record, ["V1", "V2"]) for record in records[:3]]
    inputs = extractor(few, return_tensors="pt")
    with torch.no_grad():
        expected, whole = model(**inputs).logits, model(inputs["ecg_values"]).logits
    np.testing.assert_allclose(answers(tmp_path / "few.onnx", few)[1], expected, atol=1e-4)
    assert (expected - whole).abs().max() > 1e-3, "the mask had no effect"


@pytest.mark.parametrize(
    ("encoder", "recorded", "leads"),
    [("CG-DMER", ["I", "II"], ["I", "II", "III", "aVR", "aVL", "aVF"]), ("ViT", ["V1"], ["V1"])],
)
def test_fewer_leads_with_either_kind_of_encoder(encoder, recorded, leads, records, tmp_path):
    """Derived limb leads belong to the file; an encoder that reads all leads at once takes absent ones as zeros."""
    config = CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))
    config.ecg_config.num_hidden_layers = 1
    if encoder == "ViT":
        names = ("sampling_rate", "num_samples", "patch_length", "hidden_size", "num_attention_heads")
        same = {name: getattr(config.ecg_config, name) for name in names}
        config.ecg_config = ECGViTConfig(**same, num_hidden_layers=1)
        config.contrast_view, config.ecg_reconstruction_loss_weight = "full", 0.0  # it cannot hide patches
    torch.manual_seed(0)
    model = CGDMERModel(config).eval()
    model.save_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny"))
    processor.save_pretrained(tmp_path / "model")
    path = tmp_path / "few.onnx"
    answer = export_onnx(tmp_path / "model", path, LABELS, recorded[::-1])
    metadata = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert answer["leads"] == leads == json.loads(metadata["leads"])
    assert json.loads(metadata["recorded_leads"]) == recorded
    few = [with_leads(record, recorded) for record in records[:3]]
    with torch.no_grad():
        expected = model(**processor(ecg=few, text=LABELS, return_tensors="pt"))
    _, logits, embeddings = answers(path, few)
    np.testing.assert_allclose(logits, expected.logits_per_ecg, atol=1e-4)
    np.testing.assert_allclose(embeddings, expected.ecg_embeds, atol=1e-4)


def test_weights_in_half_precision_make_a_file_in_single(classify, records, tmp_path):
    half = copy.deepcopy(classify.model).half()
    half.save_pretrained(tmp_path / "model")
    classify.processor.save_pretrained(tmp_path / "model")
    answer = export_onnx(tmp_path / "model", tmp_path / "half.onnx", LABELS)
    assert answer["difference"] <= 1e-4
    single = pipeline("zero-shot-ecg-classification", model=half.float(), processor=classify.processor)
    assert_as_the_pipeline(single, tmp_path / "half.onnx", records)


def test_a_file_that_differs_from_the_model_is_not_kept(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_write", lambda *arguments: shutil.copyfile(exported, arguments[-1]))
    assert export_onnx(SHIPPED_MODEL, tmp_path / "same.onnx", LABELS)["difference"] <= 1e-4
    with pytest.raises(ExportError, match="differs from the model by"):
        export_onnx(SHIPPED_MODEL, tmp_path / "model.onnx", LABELS[::-1])
    assert [path.name for path in tmp_path.iterdir()] == ["same.onnx"]


def test_refusals(tmp_path, monkeypatch, capsys):
    path = tmp_path / "model.onnx"
    with pytest.raises(ECGInputError, match="more than once"):
        export_onnx(SHIPPED_MODEL, path, ["a", "a"])
    with pytest.raises(ECGInputError, match="'X'"):
        export_onnx(SHIPPED_MODEL, path, ["a"], ["X"])
    with pytest.raises(ECGInputError, match="leads is empty"):
        export_onnx(SHIPPED_MODEL, path, ["a"], [])
    with pytest.raises(ExportError, match="absent is no folder"):
        export_onnx(SHIPPED_MODEL, tmp_path / "absent" / "model.onnx", ["a"])
    path.write_text("something else")
    assert main(["export", str(SHIPPED_MODEL), str(path), "--labels", "a"]) == 1
    assert "model.onnx exists" in capsys.readouterr().err and path.read_text() == "something else"
    found = builtins.__import__

    def without(name, *rest):
        if name == "onnxscript":
            raise ImportError(name, name=name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ExportError, match=r"onnxscript is not installed.*cgdmer\[export\]"):
        export_onnx(SHIPPED_MODEL, tmp_path / "other.onnx", LABELS)
