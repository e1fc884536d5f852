# SPDX-License-Identifier: Apache-2.0
"""A saved folder loads with and without the package, and gives the same numbers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import (
    tiny_batch,
    tiny_config,
    tiny_config_with,
    tiny_ecg_config,
    tiny_processor,
    tiny_resnet_config,
    tiny_vit_config,
)
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    pipeline,
)

import cgdmer
from cgdmer import (
    CGDMERECGModel,
    CGDMERForECGClassification,
    CGDMERForPreTraining,
    CGDMERForZeroShot,
    CGDMERModel,
    ECGFeatureExtractor,
    ECGProcessor,
    ECGResNetModel,
    ECGViTModel,
)
from cgdmer.families import FAMILIES
from cgdmer.models.hub_folder import PIPELINES, HubFolderModel, model_code

JOINT_CLASSES = [CGDMERForZeroShot, CGDMERForPreTraining, CGDMERModel]
ECG_CLASSES = [CGDMERECGModel, CGDMERForECGClassification]
OTHER_ENCODERS = {ECGViTModel: tiny_vit_config, ECGResNetModel: tiny_resnet_config}
LABELS = {0: "AF", 1: "SR", 2: "LBBB"}
LEADS = ["II", "V1", "V5"]
# Ends of the names of files that CG-DMER does not need. The other encoders under its objectives are its own.
OTHER_FAMILIES = (
    "decimation.py",
    *(
        f"_{module.split('_', 1)[1]}.py"
        for family in FAMILIES
        for module in family
        if not module.endswith(("_cgdmer", "_ecg_encoders"))
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One folder per class, each with its processor or feature extractor."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for cls in (*JOINT_CLASSES, *ECG_CLASSES):
        joint = cls in JOINT_CLASSES
        config = tiny_config(score_bias=-1.0) if joint else tiny_ecg_config(id2label=LABELS)
        model = cls(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder / cls.__name__)
        processor = tiny_processor()
        (processor if joint else processor.feature_extractor).save_pretrained(folder / cls.__name__)
    for cls, make_config in OTHER_ENCODERS.items():
        cls(make_config()).save_pretrained(folder / cls.__name__)
        processor.feature_extractor.save_pretrained(folder / cls.__name__)
        joint_place = folder / f"CGDMERModel-{cls.__name__}"
        CGDMERModel(tiny_config_with(make_config())).save_pretrained(joint_place)
        processor.save_pretrained(joint_place)
    return folder


@pytest.fixture(scope="module")
def inputs() -> dict:
    signal = np.random.default_rng(0).normal(size=(3, 200))
    lead_mask = torch.ones(4, 12, dtype=torch.int64)
    lead_mask[1, 3:] = 0
    patch_mask = torch.ones(4, 8, dtype=torch.int64)
    patch_mask[2, 5:] = 0
    return {
        **tiny_batch(),
        "lead_mask": lead_mask,
        "patch_mask": patch_mask,
        "recording": {"ecg": signal, "sampling_rate": 64, "lead_names": LEADS, "unit": "mV"},
        "prompts": ["atrial fibrillation", "normal ecg"],
    }


@torch.no_grad()
def expected_outputs(folder: Path, inputs: dict) -> dict:
    """The outputs of the installed package, without any Auto class or flag."""
    signal = {name: inputs[name] for name in ("ecg_values", "lead_mask", "patch_mask")}
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    pretraining = {name: inputs[name] for name in ("noise", "text_noise", "special_tokens_mask")}
    array = inputs["recording"]["ecg"]
    arguments = {key: value for key, value in inputs["recording"].items() if key != "ecg"}
    outputs = {}
    for cls in JOINT_CLASSES:
        name, place = cls.__name__, folder / cls.__name__
        outputs[name, "AutoModel"] = CGDMERModel.from_pretrained(place).eval()(**signal, **texts).logits_per_ecg
        scorer = CGDMERForZeroShot.from_pretrained(place).eval()
        outputs[name, "zero-shot"] = scorer(**signal, **texts).scores
        processor = ECGProcessor.from_pretrained(place)
        outputs[name, "processor"] = dict(
            processor(**inputs["recording"], text=inputs["prompts"], return_tensors="pt")
        )
        classify = pipeline("zero-shot-ecg-classification", model=scorer, processor=processor)
        outputs[name, "pipeline"] = classify(array, candidate_labels=inputs["prompts"], **arguments)
        if cls is CGDMERForPreTraining:
            model = CGDMERForPreTraining.from_pretrained(place).eval()
            outputs[name, "pretraining"] = model(**signal, **texts, **pretraining).loss
    for cls in (*JOINT_CLASSES, *ECG_CLASSES, *OTHER_ENCODERS):
        encoder = cls.from_pretrained(folder / cls.__name__).base_model
        extractor = ECGFeatureExtractor.from_pretrained(folder / cls.__name__)
        embed = pipeline("ecg-embedding", model=encoder, feature_extractor=extractor)
        outputs[cls.__name__, "embedding"] = embed(array, **arguments)
    for cls in OTHER_ENCODERS:
        name = cls.__name__
        outputs[name, "AutoModel"] = cls.from_pretrained(folder / name).eval()(**signal).pooler_output
        model = CGDMERModel.from_pretrained(folder / f"CGDMERModel-{name}").eval()
        outputs[f"CGDMERModel-{name}", "AutoModel"] = model(**signal, **texts).logits_per_ecg
    for cls in ECG_CLASSES:
        name, place = cls.__name__, folder / cls.__name__
        outputs[name, "AutoModel"] = CGDMERECGModel.from_pretrained(place).eval()(**signal).pooler_output
        extractor = ECGFeatureExtractor.from_pretrained(place)
        outputs[name, "extractor"] = dict(extractor(**inputs["recording"], return_tensors="pt"))
    model = CGDMERForECGClassification.from_pretrained(place).eval()
    outputs[name, "classification"] = model(**signal).logits
    classify = pipeline("ecg-classification", model=model, feature_extractor=extractor)
    outputs[name, "pipeline"] = classify(array, **arguments)
    return outputs


# What is written.


@pytest.mark.parametrize("cls", [*JOINT_CLASSES, *ECG_CLASSES])
def test_the_folder_holds_every_source_file_of_the_family(folder, cls):
    """Every file that a file of the folder imports is there, and nothing from another family."""
    sources = {path.name: path for path in (Path(cgdmer.__file__).parent / "models").glob("*.py")}
    written = {path.name: path for path in (folder / cls.__name__).glob("*.py")}
    imported = {name for path in written.values() for name in re.findall(r"from \.(\w+) import", path.read_text())}
    assert {f"{name}.py" for name in imported} <= written.keys()
    assert {"modeling_cgdmer.py", "pretraining_cgdmer.py", "processing_ecg.py"} <= written.keys()
    own = {name for name in sources if not name.endswith(OTHER_FAMILIES)}
    assert written.keys() == own - {"__init__.py"}
    for name, path in written.items():
        assert path.read_bytes() == sources[name].read_bytes()


@pytest.mark.parametrize("cls", [*JOINT_CLASSES, *ECG_CLASSES])
def test_the_configuration_says_which_class_serves_what(folder, cls):
    config = json.loads((folder / cls.__name__ / "config.json").read_text())
    if cls in JOINT_CLASSES:
        assert config["auto_map"] == {
            "AutoConfig": "configuration_cgdmer.CGDMERConfig",
            "AutoFeatureExtractor": "feature_extraction_ecg.ECGFeatureExtractor",
            "AutoModel": "modeling_cgdmer.CGDMERModel",
            "AutoModelForPreTraining": "pretraining_cgdmer.CGDMERForPreTraining",
            "AutoModelForZeroShotImageClassification": "modeling_cgdmer.CGDMERForZeroShot",
            "AutoProcessor": "processing_ecg.ECGProcessor",
        }
    else:
        assert config["auto_map"] == {
            "AutoConfig": "configuration_cgdmer.CGDMERECGConfig",
            "AutoFeatureExtractor": "feature_extraction_ecg.ECGFeatureExtractor",
            "AutoModel": "modeling_cgdmer.CGDMERECGModel",
            "AutoModelForAudioClassification": "modeling_cgdmer.CGDMERForECGClassification",
            "AutoProcessor": "processing_ecg.ECGProcessor",
        }
    tasks = {
        CGDMERForECGClassification: {"ecg-classification", "ecg-embedding"},
        CGDMERECGModel: {"ecg-embedding"},
    }.get(cls, {"ecg-embedding", "zero-shot-ecg-classification"})
    assert config["custom_pipelines"] == {task: PIPELINES[task] for task in tasks}
    assert config["architectures"] == [cls.__name__]


def test_every_class_gives_embeddings():
    classes = [
        one
        for one in (getattr(cgdmer, name) for name in cgdmer.__all__)
        if isinstance(one, type) and issubclass(one, HubFolderModel)
    ]
    assert len(classes) > 10
    for cls in classes:
        entries = cls.hub_entries()
        assert entries["custom_pipelines"]["ecg-embedding"]["impl"] == "pipeline_ecg_embedding.ECGEmbeddingPipeline"
        assert Path("pipeline_ecg_embedding.py") in {Path(source.name) for source in model_code(entries)}


def test_entries_name_classes_that_exist(folder):
    for place in (folder / cls.__name__ for cls in (*JOINT_CLASSES, *ECG_CLASSES, *OTHER_ENCODERS)):
        config = json.loads((place / "config.json").read_text())
        entries = [entry["impl"] for entry in config.get("custom_pipelines", {}).values()]
        for entry in (*config["auto_map"].values(), *entries):
            module, name = entry.split(".")
            assert f"class {name}(" in (place / f"{module}.py").read_text()


def test_saving_leaves_no_pipelines_in_memory(tmp_path):
    """They would make `pipeline(task, model=model)` ask for a flag."""
    model = CGDMERForZeroShot(tiny_config())
    model.save_pretrained(tmp_path)
    assert not hasattr(model.config, "custom_pipelines")
    assert pipeline("zero-shot-ecg-classification", model=model, processor=tiny_processor()) is not None


def test_only_the_main_process_writes(tmp_path):
    CGDMERECGModel(tiny_ecg_config()).save_pretrained(tmp_path / "other", is_main_process=False)
    assert not list(tmp_path.glob("other/*.py"))
    assert not (tmp_path / "other" / "config.json").exists()


# With the package.


@pytest.mark.parametrize("cls", [*JOINT_CLASSES, *ECG_CLASSES])
def test_with_the_package_no_flag_is_needed(folder, inputs, cls):
    place = folder / cls.__name__
    joint = cls in JOINT_CLASSES
    served = {AutoModel: CGDMERModel if joint else CGDMERECGModel}
    if joint:
        served[AutoModelForZeroShotImageClassification] = CGDMERForZeroShot
        assert type(AutoProcessor.from_pretrained(place)) is ECGProcessor
    else:
        assert type(AutoFeatureExtractor.from_pretrained(place)) is ECGFeatureExtractor
    if cls is CGDMERForPreTraining:
        served[AutoModelForPreTraining] = CGDMERForPreTraining
    if cls is CGDMERForECGClassification:
        served[AutoModelForAudioClassification] = CGDMERForECGClassification
    for auto, expected in served.items():
        assert type(auto.from_pretrained(place)) is expected

    recording = dict(inputs["recording"])
    if joint:
        results = pipeline("zero-shot-ecg-classification", model=str(place))(
            recording.pop("ecg"), candidate_labels=inputs["prompts"], **recording
        )
        assert {result["label"] for result in results} == set(inputs["prompts"])
    elif cls is CGDMERForECGClassification:
        results = pipeline("ecg-classification", model=str(place))(recording.pop("ecg"), **recording)
        assert {result["label"] for result in results} == set(LABELS.values())


# Without the package.


@pytest.fixture(scope="module")
def remote(folder, inputs, tmp_path_factory) -> dict:
    """The outputs of a process that cannot import the package and has no network."""
    torch.save(inputs, folder / "inputs.pt")
    home = tmp_path_factory.mktemp("home")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRANSFORMERS_CACHE")
    }
    environment |= {
        "HF_HOME": str(home),
        "HF_MODULES_CACHE": str(home / "modules"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    script = Path(__file__).with_name("load_without_package.py")
    child = subprocess.run(
        [sys.executable, script, folder], env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return torch.load(folder / "outputs.pt", weights_only=False)


@pytest.fixture(scope="module")
def expected(folder, inputs) -> dict:
    return expected_outputs(folder, inputs)


def test_the_other_process_did_not_import_the_package(remote):
    assert remote["imported"] == []
    assert remote["config module"].startswith("transformers_modules.")


def test_code_runs_only_when_it_is_trusted(remote):
    assert remote["refused"]


@pytest.mark.parametrize("saved_by", ["first", "again"])
@pytest.mark.parametrize(
    "key",
    [
        *(
            (cls.__name__, kind)
            for cls in JOINT_CLASSES
            for kind in ("AutoModel", "zero-shot", "processor", "pipeline")
        ),
        ("CGDMERForPreTraining", "pretraining"),
        *((cls.__name__, kind) for cls in ECG_CLASSES for kind in ("AutoModel", "extractor")),
        ("CGDMERForECGClassification", "classification"),
        ("CGDMERForECGClassification", "pipeline"),
        *((cls.__name__, "embedding") for cls in (*JOINT_CLASSES, *ECG_CLASSES, *OTHER_ENCODERS)),
        *((name + cls.__name__, "AutoModel") for cls in OTHER_ENCODERS for name in ("", "CGDMERModel-")),
    ],
    ids="-".join,
)
def test_the_folder_gives_the_same_without_the_package(remote, expected, key, saved_by):
    """`again`: loaded as remote code, saved by that code, and loaded once more."""
    result, wanted = remote[saved_by][key], expected[key]
    if key[1] == "pipeline":
        assert [entry["label"] for entry in result] == [entry["label"] for entry in wanted]
        result, wanted = ([entry["score"] for entry in entries] for entries in (result, wanted))
    torch.testing.assert_close(result, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", [*JOINT_CLASSES, *ECG_CLASSES])
def test_a_folder_saved_by_remote_code_is_complete(remote, folder, cls):
    first, again = ({path.name for path in (place / cls.__name__).iterdir()} for place in (folder, folder / "again"))
    assert again == first
    configs = [json.loads((place / cls.__name__ / "config.json").read_text()) for place in (folder, folder / "again")]
    for key in ("auto_map", "custom_pipelines"):
        assert configs[1].get(key, {}) == configs[0].get(key, {})


def test_every_result_is_compared(remote, expected):
    assert remote["first"].keys() == remote["again"].keys() == expected.keys()
    assert len(expected) == 4 * 3 + 1 + 2 * 2 + 2 + 2 * 2 + 7
