# SPDX-License-Identifier: Apache-2.0
"""The files of a model folder are used or refused with our own errors: bounded in time, memory, and what they name."""

import copy
import json
import shutil
import time
from pathlib import Path
from random import Random

import pytest
from hostile import made_by, mutated
from test_fuzzing import amounts, fuzz, used_or_refused

import cgdmer
from cgdmer.families import config_of, ecg_config_of, load_feature_extractor, load_model, load_processor
from cgdmer.models.errors import CGDMERError, ConfigurationError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from small_families import FAMILIES, small_config, write_small_preset

VALUES = (
    *(0, -1, 1, 2, 3, 2**16, 2**31, 2**62, 10**40, 1e308, -0.5, 0.5, True, None, "", "x", "gelu", "float32", "bert"),
    *([], {}, [1, 2], {"a": 1}, [[]], "org/kernel", "../x.json", "evil.Evil", float("nan"), float("inf"), ["\ud800"]),
)
KEYS = (
    *("hidden_act", "num_labels", "id2label", "dtype", "torch_dtype", "auto_map", "attn_implementation", "to_dict"),
    *("_attn_implementation", "quantization_config", "problem_type", "attribute_map", "per_layer_config", "zzzz"),
    *("num_hidden_layers", "configuration_files", "pruned_heads", "model_type", "rope_scaling", "__class__"),
    *("sub_configs", "transformers_weights", "tokenizer_class", "output_attentions", "architectures", "layer_types"),
)


def changed_json(random: Random, content: bytes) -> bytes:
    """A file with one to three changed entries at any depth, or changed bytes."""
    if random.random() < 0.2:
        return mutated(random, content)
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        place = value
        while True:
            inner = [child for child in (place.values() if isinstance(place, dict) else place)]
            inner = [child for child in inner if isinstance(child, (dict, list)) and child]
            if not inner or random.random() < 0.4:
                break
            place = random.choice(inner)
        chosen = copy.deepcopy(random.choice(VALUES))
        if not place:
            value["added"] = chosen
        elif isinstance(place, list):
            place[random.randrange(len(place))] = chosen
        elif random.random() < 0.3:
            place[random.choice(KEYS)] = chosen
        else:
            key = random.choice(list(place))
            if random.random() < 0.15:
                del place[key]
            else:
                place[key] = chosen
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A saved model of each family, and a classifier."""
    found = {}
    for family in FAMILIES:
        found[family] = write_small_preset(tmp_path_factory.mktemp("models") / family, family)
        model = small_config(family)
        load_class = {"cgdmer": cgdmer.CGDMERModel, "coreecg": cgdmer.CoReECGModel, "merit": cgdmer.MERITModel}[family]
        load_class(model).save_pretrained(found[family])
    found["classifier"] = tmp_path_factory.mktemp("models") / "classifier"
    config = ecg_config_of(small_config("cgdmer"))
    config.num_labels = 3
    cgdmer.CGDMERForECGClassification(config).save_pretrained(found["classifier"])
    load_feature_extractor(found["cgdmer"]).save_pretrained(found["classifier"])
    for folder in found.values():
        for path in folder.glob("*.py"):
            path.unlink()  # never read
    return found


@amounts(20_000, 120)
def test_mutated_configurations(folders, examples):
    whole = {name: (folder / "config.json").read_bytes() for name, folder in folders.items()}

    def draw(random: Random) -> tuple[str, bytes]:
        name = random.choice(sorted(whole))
        return name, changed_json(random, whole[name])

    def check(example) -> str:
        name, content = example
        (folders[name] / "config.json").write_bytes(content)
        began = time.perf_counter()
        answer = used_or_refused(lambda: load_model(folders[name]))
        slowest[0] = max(slowest[0], time.perf_counter() - began)
        return answer

    slowest = [0.0]
    try:
        fuzz(check, made_by(draw), examples)
    finally:
        for name, content in whole.items():
            (folders[name] / "config.json").write_bytes(content)
    print(f"slowest: {slowest[0]:.2f} s")


@amounts(20_000, 120)
def test_mutated_processors_and_tokenizers(folders, examples):
    folder = folders["cgdmer"]
    model = load_model(folder)
    files = ("processor_config.json", "tokenizer_config.json", "tokenizer.json", "preprocessor_config.json")
    whole = {name: (folder / name).read_bytes() for name in files if (folder / name).is_file()}
    assert len(whole) == 3

    def draw(random: Random) -> tuple[str, bytes]:
        name = random.choice(sorted(whole))
        return name, changed_json(random, whole[name])

    def check(example) -> str:
        name, content = example
        (folder / name).write_bytes(content)
        try:
            return used_or_refused(lambda: load_processor(folder, model))
        finally:
            (folder / name).write_bytes(whole[name])

    fuzz(check, made_by(draw), examples)


def test_sizes_are_refused_before_a_module_is_built(folders, tmp_path):
    """In each family, each part, and each of the many names that text towers have for them."""
    for family in FAMILIES:
        content = json.loads((folders[family] / "config.json").read_text())
        parts = {"": content} | {name: content[name] for name in ("ecg_config", "text_config") if name in content}
        for part, values in parts.items():
            for key in [key for key, value in values.items() if type(value) is int]:
                changed = json.loads(json.dumps(content))
                (changed[part] if part else changed)[key] = 2**31
                with pytest.raises(ConfigurationError, match=key):
                    small_config(family).from_dict(changed)
    for text_config in (
        {"model_type": "distilbert", "n_layers": 2**31},
        {"model_type": "gpt2", "n_layer": 2**31},
        {"model_type": "bert", "num_labels": 2**31},
        {"model_type": "bert", "num_hidden_layers": 10**6},
        {"model_type": "bert", "vocab_size": 2**62},
    ):
        with pytest.raises(ConfigurationError, match="expected at most"):
            cgdmer.CGDMERConfig(text_config=text_config)
    with pytest.raises(ConfigurationError, match="has 100000 entries"):
        cgdmer.CGDMERConfig(id2label={str(number): "x" for number in range(100_000)})
    mixture = {"model_type": "mixtral", "num_hidden_layers": 500, "num_local_experts": 500, "vocab_size": 100}
    with pytest.raises(ConfigurationError, match="text_config"):
        cgdmer.CGDMERModel(cgdmer.CGDMERConfig(ecg_config=small_config("cgdmer").ecg_config, text_config=mixture))


@pytest.mark.parametrize("act", ["float32", "", "evil"])
def test_an_activation_that_nobody_knows(act):
    with pytest.raises(ConfigurationError, match="hidden_act is"):
        cgdmer.CGDMERECGConfig(hidden_act=act)
    text_config = {**small_config("cgdmer").text_config.to_dict(), "hidden_act": act}
    with pytest.raises(ConfigurationError, match="no text tower can be built"):
        cgdmer.CGDMERModel(small_config("cgdmer", contrast_view="full").__class__(text_config=text_config))


def test_a_model_larger_than_its_weights_is_refused_before_memory_is_allocated(tmp_path):
    shutil.copytree(SHIPPED_MODEL, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    whole = json.loads(path.read_text())
    for part, key, value in (
        ("ecg_config", "hidden_size", 2**16),
        ("ecg_config", "num_hidden_layers", 500),
        ("text_config", "vocab_size", 2**24),
        ("text_config", "max_position_embeddings", 2**24),
    ):
        changed = json.loads(json.dumps(whole))
        changed[part][key] = value
        path.write_text(json.dumps(changed))
        with pytest.raises(ModelFolderError, match=r"asks for [\d,]+ weights, but its files have"):
            cgdmer.CGDMERModel.from_pretrained(tmp_path / "model")


def test_a_name_of_the_class_in_the_text_tower_is_refused():
    for key in ("to_dict", "attribute_map", "__class__"):
        with pytest.raises(ConfigurationError, match=f"text_config has '{key}'"):
            cgdmer.CGDMERConfig(text_config={"model_type": "bert", key: 1})


def test_attention_from_the_hub_is_not_fetched(folders):
    for part in ("ecg_config", "text_config"):
        content = json.loads((folders["cgdmer"] / "config.json").read_text())
        content[part]["_attn_implementation"] = {"": "org/kernel"}
        with pytest.raises(ConfigurationError, match="code on the Hub"):
            cgdmer.CGDMERConfig.from_dict(content)


def test_what_is_whole_loads(folders):
    for folder in folders.values():
        assert load_model(folder).config.model_type == config_of(folder).model_type
    with pytest.raises(CGDMERError):
        load_model(folders["cgdmer"] / "nothing")
