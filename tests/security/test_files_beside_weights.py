# SPDX-License-Identifier: Apache-2.0
"""What a downloaded model brings beside its weights, and what is published with it: damaged in any way, it is used or
refused with our own errors.

The quick suite tries the same few hundred inputs each time, the slow one 20,000 new ones of each kind.
"""

import json
import struct
from copy import deepcopy
from random import Random

import numpy as np
import pytest
from hostile import NUMBERS, made_by, mutated
from safetensors.numpy import save
from test_fuzzing import amounts, fuzz, used_or_refused

from cgdmer import CGDMERECGConfig, CGDMERECGModel, ECGFeatureExtractor
from cgdmer.data.fingerprints import FILE_NAME, PATIENTS_FILE, Fingerprints, TrainingPatients, holds_patients
from cgdmer.evaluation.prompt_sets import load_prompts
from cgdmer.hub import cards
from cgdmer.hub.cards import fill_card
from cgdmer.hub.contents import pushed_files
from cgdmer.hub.results import as_eval_results, read_results
from cgdmer.training import run_summary

VALUES = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**40,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "\0",
        "\ud800",
        "a\nb",
    ),
    *([], {}, [[]], [{}], {"": None}, [0] * 50, "x" * 5000, {"records": None}, {"dtype": "I64"}, *NUMBERS[:12]),
)
MEASURED = {
    **{"records": 20, "patients": 10, "left_out": ["C"], "macro_auroc": 0.8, "macro_auroc_interval": [0.7, 0.9]},
    **{"macro_auprc": None, "frequent": {"classes": 1, "macro_auroc": 0.8, "macro_auroc_interval": [0.7, 0.9]}},
    "per_class": {"A": {"positives": 4, "few_positives": True, "auroc": 0.8, "auroc_interval": [0.7, 0.9]}},
}
RESULTS = {
    **{"task": "simulated", "protocol": "repaired", "prompts": "ensemble", "probed_feature": None, "splits": ["test"]},
    **{
        "records_without_label": 0,
        "absent_records": 0,
        "in_domain": True,
        "overlap": {"records": 1, "patients": None},
    },
    **{"measures": {"zero-shot": MEASURED}, "untrained": {"zero-shot": MEASURED}},
    **{"groups": {"sex": [{"name": "women", "zero-shot": MEASURED}]}, "robustness": {}},
    "command": "cgdmer evaluate run --dataset ecgs --tasks simulated",
}
STAGE = {
    "command": "pretrain",
    "data": {
        **{"name": "ecgs", "description": "Simulated.", "train_records": 9, "validation_records": 3},
        "source": {"name": "ptb-xl", "title": "PTB-XL", "version": "1.0.3", "url": "https://physionet.org"},
    },
    "options": {"model": None, "text_model": "bert", "text_source": "report", "learning_rate": 1e-3, "seed": 0},
    **{"steps": 1, "samples": 1, "seconds": 1.5, "resumed_at_step": 0, "processes": 2},
    **{"device": "cpu", "mixed_precision": "no", "versions": {"cgdmer": "0.1.0"}, "earlier": None},
}
SUMMARY = STAGE | {"command": "finetune", "options": {"model": "m", "labels": ["A"], "seed": 1}, "earlier": STAGE}


def damaged_json(random: Random, document: dict) -> bytes:
    """Half of the time its text is changed, else one to three of its values."""
    if random.random() < 0.5:
        return mutated(random, json.dumps(document).encode())
    copy = json.loads(json.dumps(document))
    for _ in range(random.choice((1, 1, 2, 3))):
        place = copy
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = random.choice(keys) if keys else "new"
            deeper = isinstance(place, dict | list) and keys and isinstance(place[key], dict | list) and place[key]
            if not deeper or random.random() < 0.2:
                break
            place = place[key]
        if isinstance(place, dict):
            action = random.random()
            if action < 0.2:
                place.pop(key, None)
            elif action < 0.3:
                place[random.choice(("", "earlier", "_x", "macro_f1", "x" * 400))] = deepcopy(random.choice(VALUES))
            else:
                place[key] = deepcopy(random.choice(VALUES))
        elif place:
            place[key] = deepcopy(random.choice(VALUES))
    return json.dumps(copy).encode("utf-8", "surrogatepass")


def damaged_tensors(random: Random, content: bytes) -> bytes:
    """Any byte is changed, or only the numbers, or the header, with its length put right."""
    if random.random() < 0.3:
        return mutated(random, content)
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + size], content[8 + size :]
    if random.random() < 0.25:
        return content[: 8 + size] + random.randbytes(len(rest))
    try:
        header = damaged_json(random, json.loads(header)) if random.random() < 0.6 else mutated(random, header)
    except ValueError:
        header = mutated(random, header)
    return struct.pack("<Q", len(header)) + header + rest


@amounts(20_000)
def test_records_of_training(tmp_path, examples):
    content = save({"records": np.arange(40)}, {"corpora": '["ptb-xl", "csn"]'})
    path = tmp_path / FILE_NAME

    def check(changed: bytes) -> str:
        path.write_bytes(changed)

        def use() -> None:
            assert not holds_patients(path)
            found = Fingerprints.load(path)
            assert found.records.dtype == np.int64 and found.records.ndim == 1
            assert all(isinstance(name, str) for name in found.corpora)
            pushed_files(tmp_path)

        return used_or_refused(use)

    fuzz(check, made_by(lambda random: damaged_tensors(random, content)), examples)


@amounts(20_000)
def test_patients_of_training(tmp_path, examples):
    content = save({"patients": np.arange(40)}, {"key": "5a" * 32, "partial": '["ptb-xl"]'})
    path = tmp_path / PATIENTS_FILE

    def check(changed: bytes) -> str:
        path.write_bytes(changed)
        return used_or_refused(lambda: TrainingPatients.load(path).among(["17", "p1"], "csn"))

    fuzz(check, made_by(lambda random: damaged_tensors(random, content)), examples)


@amounts(20_000)
def test_summaries_of_training(tmp_path, examples):
    shape = {"sampling_rate": 100, "num_samples": 200, "patch_length": 20, "tokenizer_channels": 4}
    width = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    CGDMERECGModel(CGDMERECGConfig(**shape, **width)).save_pretrained(tmp_path)
    ECGFeatureExtractor(100, 200, 20).save_pretrained(tmp_path)
    path = tmp_path / run_summary.FILE_NAME

    def check(changed: bytes) -> str:
        path.write_bytes(changed)

        def use() -> None:
            fill_card(tmp_path, "lab/x").save(tmp_path / "README.md")
            (tmp_path / "README.md").unlink()
            pushed_files(tmp_path)

        return used_or_refused(use)

    fuzz(check, made_by(lambda random: damaged_json(random, SUMMARY)), examples)


@amounts(20_000)
def test_results_for_a_card(tmp_path, examples):
    def check(changed: bytes) -> str:
        (tmp_path / "results.json").write_bytes(changed)

        def use() -> None:
            found = read_results([tmp_path])
            as_eval_results(found)
            assert cards._results(found) and cards._limits(None, found) is not None
            assert "cgdmer" in cards._reproduce(None, found, "lab/x") or found[0]["command"] != RESULTS["command"]

        return used_or_refused(use)

    fuzz(check, made_by(lambda random: damaged_json(random, RESULTS)), examples)


@amounts(20_000)
def test_files_of_prompts(tmp_path, examples):
    document = {"simulated": {"A": "one", "B": ["two", "three"]}, "A": "four", "B": "five"}
    path = tmp_path / "prompts.json"

    def check(changed: bytes) -> str:
        path.write_bytes(changed)
        return used_or_refused(lambda: load_prompts(path, "simulated", ["A", "B"]))

    fuzz(check, made_by(lambda random: damaged_json(random, document)), examples)


@pytest.mark.parametrize(
    "header",
    [
        b'{"records": {"dtype": "I64", "shape": [1152921504606846976], "data_offsets": [0, 9223372036854775808]}}',
        b'{"records": {"dtype": "I64", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}',
        b'{"records": {"dtype": "I64", "shape": [0], "data_offsets": [0, 0]}, "__metadata__": {"corpora": "[1]"}}',
        b'{"records": {"dtype": "BF16", "shape": [0], "data_offsets": [0, 0]}, "__metadata__": {"corpora": "[]"}}',
        b"{}",
        b"[]",
        b"[" * 200_000,
    ],
)
def test_headers_that_claim_much(tmp_path, header):
    (tmp_path / FILE_NAME).write_bytes(struct.pack("<Q", len(header)) + header)
    assert used_or_refused(lambda: Fingerprints.load(tmp_path / FILE_NAME)) == "refused"
