# SPDX-License-Identifier: Apache-2.0
"""Code in a model folder never runs, whatever is typed on standard input, and a folder that names some is refused."""

import ast
import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoConfig

import cgdmer
from cgdmer.commands import main
from cgdmer.data.storage import split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.families import config_of, load_feature_extractor, load_processor, load_tokenizer
from cgdmer.hub.staging import stage_model
from cgdmer.models.errors import CGDMERError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.pretrain import parse_arguments
from cgdmer.simulation.cohort import simulate_cohort, simulate_record
from cgdmer.training.setup import model_and_processor
from recordings import write_wfdb

ROOT = Path(__file__).parents[2]
EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")
from transformers import BertModel as EvilModel, PreTrainedConfig as EvilConfig, PreTrainedTokenizerFast as Evil
"""


def _feature_extractor(content):
    content["processor_config.json"]["feature_extractor"] |= {
        "auto_map": {"AutoFeatureExtractor": "evil.Evil"},
        "feature_extractor_type": "Evil",
    }


def _processor(content):
    content["processor_config.json"] |= {"auto_map": {"AutoProcessor": "evil.Evil"}, "processor_class": "Evil"}


def _tokenizer(content):
    content["tokenizer_config.json"] |= {
        "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
        "tokenizer_class": "Evil",
    }


def _tokenizer_elsewhere(content):
    content["tokenizer_config.json"]["auto_map"] = {"AutoTokenizer": [None, "org/other--evil.Evil"]}


def _configuration(content):
    content["config.json"] |= {"auto_map": {"AutoConfig": "evil.EvilConfig"}, "model_type": "evil"}


def _model(content):
    content["config.json"]["auto_map"] = {"AutoModel": "evil.EvilModel"}


def _text_tower(content):
    content["config.json"]["text_config"]["auto_map"] = {"AutoModel": "evil.EvilModel"}


def _kernel(content):
    content["config.json"]["text_config"]["_attn_implementation"] = "org/kernel:evil"


VARIANTS = {
    change.__name__.strip("_"): change
    for change in (
        *(_feature_extractor, _processor, _tokenizer, _tokenizer_elsewhere),
        *(_configuration, _model, _text_tower, _kernel),
    )
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    write_dataset(
        simulate_cohort(30, seed=3, sampling_rate=100), folder / "ecgs", splits=split_of_fold, description="x"
    )
    record = write_wfdb(simulate_record(["atrial_fibrillation"], seed=2), folder / "patient")
    return {"dataset": str(folder / "ecgs"), "record": str(record)}


@pytest.fixture(params=VARIANTS)
def hostile(request, tmp_path, monkeypatch) -> Path:
    """The shipped weights with a changed file and code beside them, and a `y` for whoever asks."""
    folder, mark = tmp_path / "model", tmp_path / "ran-evil-code"
    shutil.copytree(SHIPPED_MODEL, folder)
    content = {path.name: json.loads(path.read_text()) for path in folder.glob("*config.json")}
    VARIANTS[request.param](content)
    for name, changed in content.items():
        (folder / name).write_text(json.dumps(changed))
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 50))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked on standard input"))
    yield folder
    assert not mark.exists(), "code of the folder has run"


def test_every_command_refuses_it(hostile, inputs, tmp_path, capsys):
    model, output = str(hostile), str(tmp_path / "out")
    dataset, record = inputs["dataset"], inputs["record"]
    commands = {
        "classify": [record, "--model", model, "--labels", "normal ECG"],
        "explain": [record, "--label", "normal ECG", "--model", model, "--plot", f"{output}.png"],
        "score": [dataset, f"{output}.parquet", "--model", model, "--labels", "normal ECG"],
        "search": [dataset, "normal ECG", "--model", model],
        "export": [model, f"{output}.onnx", "--labels", "normal ECG"],
        "evaluate": [model, "--dataset", dataset, "--tasks", "simulated", "--output_dir", output],
        "finetune": [model, "--dataset", dataset, "--output_dir", output],
        "push": [model, "org/name"],
        "app": ["--model", model],
    }
    if find_spec("gradio") is None:
        del commands["app"]
    for command, words in commands.items():
        try:
            code = main([command, *words])
        except SystemExit as stop:  # the parser does not know the words: mend them here
            pytest.fail(f"{command}: {stop} {capsys.readouterr().err}")
        message = capsys.readouterr().err
        assert code == 1 and ("never run" in message or "names" in message), f"{command}: {message}"


def test_every_function_refuses_it(hostile, inputs, tmp_path):
    calls = {
        "load_processor": lambda: load_processor(hostile, cgdmer.CGDMERModel.from_pretrained(SHIPPED_MODEL)),
        "extractor": lambda: load_feature_extractor(hostile),
        "tokenizer": lambda: load_tokenizer(hostile),
        "config_of": lambda: config_of(hostile),
        "stage": lambda: stage_model(hostile, tmp_path),
        "embedder": lambda: cgdmer.ECGEmbedder(str(hostile)).fit([inputs["record"]]),
        "pretrain": lambda: model_and_processor(pretraining("--model", str(hostile))),
        "config_name": lambda: model_and_processor(pretraining("--config_name", str(hostile))),
        "text_model": lambda: model_and_processor(
            pretraining("--config_name", "cgdmer-tiny", "--text_model", str(hostile))
        ),
    }

    def pretraining(*words):
        return parse_arguments([*words, "--dataset", inputs["dataset"], "--output_dir", str(tmp_path / "run")])

    for name, call in calls.items():
        with pytest.raises(CGDMERError):
            pytest.fail(f"{name}: {call()} was loaded")


def test_a_processor_asks_nobody(hostile):
    """Its files are read by transformers, without the check of the folder."""
    try:
        loaded = cgdmer.ECGProcessor.from_pretrained(hostile)
    except (ValueError, OSError):
        return
    assert type(loaded.feature_extractor) is cgdmer.ECGFeatureExtractor


def test_files_elsewhere_are_not_read(tmp_path):
    for name, entry in (
        ("tokenizer_config.json", {"tokenizer_file": "/etc/passwd"}),
        ("tokenizer_config.json", {"vocab_file": "../other/vocab.txt"}),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}),
    ):
        folder = tmp_path / name.replace(".", "-") / next(iter(entry))
        shutil.copytree(SHIPPED_MODEL, folder)
        content = json.loads((folder / name).read_text()) | entry
        (folder / name).write_text(json.dumps(content))
        with pytest.raises(ModelFolderError, match=f"{name} names other files"):
            load_tokenizer(folder)


def test_the_folder_of_a_model_loaded_as_remote_code_is_taken(tmp_path):
    """transformers then writes the repository in front of the names of our own classes."""
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    content = json.loads(path.read_text())
    content["auto_map"] = {"AutoModel": "org/name--modeling_cgdmer.CGDMERModel"}
    path.write_text(json.dumps(content))
    assert config_of(tmp_path / "model").model_type == "cgdmer"


def calls_that_load(source: str) -> list[ast.Call]:
    """Calls of `from_pretrained` and `pipeline`, except those to a base class."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = getattr(node.func, "value", None)
        is_super = isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super"
        is_loaded_pipeline = name == "pipeline" and getattr(owner, "id", "transformers") != "transformers"
        if name in ("from_pretrained", "pipeline", "from_config") and not (is_super or is_loaded_pipeline):
            found.append(node)
    return found


def test_every_load_says_whether_it_trusts_code():
    files = sorted((ROOT / "src" / "cgdmer").rglob("*.py"))
    assert len(files) > 100
    count = 0
    for path in files:
        for call in calls_that_load(path.read_text(encoding="utf-8")):
            count += 1
            trust = [word.value for word in call.keywords if word.arg == "trust_remote_code"]
            assert len(trust) == 1 and getattr(trust[0], "value", None) is False, f"{path}:{call.lineno}"
    assert count >= 10
    assert len(calls_that_load("AutoModel.from_pretrained(x); pipeline('a'); super().from_pretrained(x)")) == 2


def test_the_shipped_model_is_no_such_folder():
    assert AutoConfig.from_pretrained(SHIPPED_MODEL, trust_remote_code=False).model_type == "cgdmer"
    assert load_tokenizer(SHIPPED_MODEL) and load_feature_extractor(SHIPPED_MODEL)
