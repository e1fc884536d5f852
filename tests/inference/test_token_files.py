# SPDX-License-Identifier: Apache-2.0
"""Tokens of many records in a file, and means per lead, against the encoder's own output for each record."""

import gc
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from cgdmer import CGDMERModel, ECGResNetConfig, ECGResNetModel, ECGViTConfig, ECGViTModel
from cgdmer.inference.embeddings import embed_records
from cgdmer.inference.token_files import TokenWriter, read_tokens
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError, ModelFolderError
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_record
from small_families import small_config
from unusable_records import spoiled

WINDOW = {"sampling_rate": 100, "num_samples": 1000, "patch_length": 40, "hidden_size": 16}


@pytest.fixture(scope="module")
def extractor():
    return AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).feature_extractor


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    vit = ECGViTConfig(num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, **WINDOW)
    found = CGDMERModel(small_config("cgdmer")), ECGViTModel(vit), ECGResNetModel(ECGResNetConfig(**WINDOW))
    return dict(zip(("lead-time", "vit", "resnet"), (model.eval() for model in found), strict=True))


@pytest.fixture(scope="module")
def records() -> list[ECGRecord]:
    """A whole record, one that cannot be used, a short one, one of three windows, and one of two leads."""
    whole, short, long, other, last = (
        simulate_record(["sinus_rhythm"], seed=number, sampling_rate=100, duration=duration)
        for number, duration in enumerate((10.0, 6.0, 25.0, 10.0, 10.0))
    )
    two_leads = replace(other, signal=other.signal[[6, 8]], lead_names=("V1", "V3"))
    return [whole, spoiled(last, "gap"), short, long, two_leads]


@torch.no_grad()
def tokens_of(model, extractor, record: ECGRecord) -> tuple[list[torch.Tensor], list[float], list[torch.Tensor]]:
    """For each window the tokens of what was recorded, its weight, and the lead of each token, if it has one."""
    inputs = extractor(record, windows=True, return_tensors="pt")
    found, leads = [], []
    for number in range(len(inputs["ecg_values"])):
        outputs = model.base_model(**{name: inputs[name][number : number + 1] for name in extractor.model_input_names})
        patches = inputs["patch_mask"][number].bool()
        if isinstance(model, CGDMERModel):
            present = (inputs["lead_mask"][number].bool()[:, None] & patches).flatten().nonzero()[:, 0]
            found.append(outputs.last_hidden_state[0, : len(present)])
            leads.append(present // len(patches))
        elif isinstance(model, ECGViTModel):
            found.append(outputs.last_hidden_state[0, patches])
        else:
            recorded = patches.repeat_interleave(WINDOW["patch_length"])[::16]
            found.append(outputs.last_hidden_state[0, recorded])
    return found, inputs["window_weights"].tolist(), leads


@pytest.mark.parametrize("kind", ["lead-time", "vit", "resnet"])
@pytest.mark.parametrize("batch_size", [64, 2])
def test_a_file_holds_the_tokens_of_each_window(models, extractor, records, kind, batch_size):
    how = {"unusable": "nan", "further": ("tokens",), "batch_size": batch_size}
    features = embed_records(models[kind], extractor, records, **how)
    tokens = features.tokens
    assert len(tokens) == len(records)
    assert np.array_equal(features.usable, [True, False, True, True, True])
    kept = tokens[np.array([3, 0])]
    for mine, number in ((tokens, 0), (tokens, 2), (tokens, 3), (tokens, 4), (kept, None)):
        row = 0 if number is None else number
        expected, weights, _ = tokens_of(models[kind], extractor, records[3 if number is None else number])
        first, end = mine.spans[row]
        assert end - first == len(expected)
        np.testing.assert_allclose(mine.windows["weight"][first:end], weights, rtol=1e-6)
        values, mask = mine.batch(np.arange(first, end))
        assert values.dtype == torch.float32
        for window, one in enumerate(expected):
            torch.testing.assert_close(values[window, mask[window]], one, rtol=2e-3, atol=2e-3)
        assert not values[~mask].any()
    assert tokens.spans[1, 0] == tokens.spans[1, 1], "a record that cannot be used has no windows"
    assert len(tokens[features.usable]) == 4 and len(kept) == 2
    plain = embed_records(models[kind], extractor, records, unusable="nan", batch_size=batch_size)
    assert plain.tokens is None and plain.per_lead is None
    assert np.array_equal(features.pooled, plain.pooled, equal_nan=True)


def test_a_temporary_file_is_deleted_with_the_features(models, extractor, records):
    features = embed_records(models["vit"], extractor, records[:1], further=("tokens",))
    path = features.tokens.path
    chosen = features[np.array([0])]
    del features
    gc.collect()
    assert path.is_file() and len(chosen.tokens.batch([0])[0]) == 1
    del chosen
    gc.collect()
    assert not path.parent.exists()


def test_means_per_lead_are_those_of_the_leads_tokens(models, extractor, records):
    found = embed_records(models["lead-time"], extractor, records, unusable="nan", further=("per_lead",)).per_lead
    assert found.shape == (len(records), 12, 16) and np.isnan(found[1]).all()
    for number in (0, 2, 3, 4):
        windows, weights, leads = tokens_of(models["lead-time"], extractor, records[number])
        for lead in range(12):
            means = [window[of == lead].mean(dim=0) for window, of in zip(windows, leads, strict=True)]
            expected = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
            np.testing.assert_allclose(found[number, lead], expected.numpy(), rtol=1e-4, atol=1e-5)
    recorded = np.isfinite(found[4]).all(axis=1)
    assert np.flatnonzero(recorded).tolist() == [6, 8] and np.isnan(found[4][~recorded]).all()


def test_an_encoder_of_all_leads_has_no_means_per_lead(models, extractor, records):
    with pytest.raises(ConfigurationError, match="the tokens of a ECGViTModel belong to no lead"):
        embed_records(models["vit"], extractor, records[:1], further=("per_lead",))


def written(path: Path) -> Path:
    with TokenWriter(path) as writer:
        values = torch.arange(24.0).reshape(2, 3, 4)
        writer.add(values, torch.tensor([[True, True, False], [True, True, True]]))
        writer.finish(np.array([0, 2]), np.array([1.0, 1.0]))
    return path


def test_a_file_that_is_not_whole_is_as_good_as_absent(tmp_path):
    path = written(tmp_path / "tokens")
    assert os.name == "nt" or not path.stat().st_mode & 0o077, "for nobody else"
    found = read_tokens(path, 3, 4)
    assert found.spans.tolist() == [[0, 1], [1, 1], [1, 2]]
    values, mask = found.batch([0, 1])
    assert mask.tolist() == [[True, True, False], [True, True, True]]
    assert values[0, :2].tolist() == torch.arange(8.0).reshape(2, 4).tolist() and values[1, 2, 3] == 23
    assert read_tokens(tmp_path / "other", 3, 4) is None
    assert read_tokens(path, 2, 4) is None and read_tokens(path, 3, 5) is None
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert read_tokens(path, 3, 4) is None, size
    for place in range(5 * 4 * 2, len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x80
        path.write_bytes(bytes(spoilt))
        damaged = read_tokens(path, 3, 4)
        assert damaged is None or damaged.batch(range(len(damaged.windows)))[0].isfinite().all()


def test_tokens_that_cannot_be_kept_are_refused(tmp_path):
    with TokenWriter(tmp_path / "tokens") as writer, pytest.raises(ModelFolderError, match="half precision"):
        writer.add(torch.full((1, 1, 4), 1e6), torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(CorpusError, match="tokens cannot be kept"):
        TokenWriter(tmp_path / "absent" / "tokens")
    with TokenWriter(Path("/dev/full")) as writer, pytest.raises(CorpusError, match="Free space"):
        for _ in range(100):
            writer.add(torch.zeros(1, 64, 64), torch.ones(1, 64, dtype=torch.bool))
