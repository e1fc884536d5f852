# SPDX-License-Identifier: Apache-2.0
"""MERL computes what its authors' code does, and answers text prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForZeroShotImageClassification, BertTokenizerFast, pipeline

from cgdmer.conversion.converting import convert
from cgdmer.conversion.register import kind_named
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_merl import MERLModel
from cgdmer.simulation.cohort import simulate_cohort
from released import (
    as_twelve_leads,
    assert_same,
    expected,
    largest_difference,
    made_up_tensors,
    network_input,
    released_file,
    rows_of,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """With as many tokens as the released text tower has."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "atrial", "fibrillation", "normal", "ecg"]
    words += [f"word{number}" for number in range(30522 - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["merl-resnet18-encoder", "merl-vit-tiny-encoder"])
def test_every_array_of_an_encoder_is_the_authors(kind, tmp_path):
    convert(kind, released_file(kind, tmp_path), tmp_path / "model")
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected(kind)
    assert model.config.leads[4:6] == ("aVF", "aVL")
    patches: list[torch.Tensor] = []
    if kind == "merl-vit-tiny-encoder":
        model.projection.register_forward_hook(lambda _, inputs, output: patches.append(output))
    with torch.no_grad():
        outputs = model(as_twelve_leads(network_input(kind), model.config.leads), output_hidden_states=True)
        swapped = model(as_twelve_leads(network_input(kind), STANDARD_LEADS))  # aVL before aVF
    assert_same(outputs.pooler_output, wanted["pooled"])
    assert_same(outputs.last_hidden_state[:, rows_of(wanted, "sequence_rows")], wanted["sequence_rows"])
    if kind == "merl-resnet18-encoder":
        for name, place in (("stem_rows", 0), ("layer1_rows", 2)):  # a stage has two blocks
            assert_same(outputs.hidden_states[place].transpose(1, 2)[:, rows_of(wanted, name)], wanted[name])
    else:
        for name, found in (("patch_rows", patches[0]), ("block0_rows", outputs.hidden_states[1])):
            assert_same(found[:, rows_of(wanted, name)], wanted[name])
    assert not wanted.missed
    assert largest_difference(swapped.pooler_output, wanted["pooled"]) > 1e-3


@torch.no_grad()
def assert_parts_of_the_pool(model: MERLModel, frames: torch.Tensor, wanted: dict[str, np.ndarray], fixture: str):
    """What the head of the residual network computes on the way."""
    head = model.ecg_head
    down = head.down(frames)
    assert_same(down[:, rows_of(wanted, "downconv_rows")], wanted["downconv_rows"])
    query = (head.query + head.positions[:, :1]).expand(len(down), -1, -1)
    tokens = torch.cat([query, down], dim=1) + head.positions
    _, attention = head.attention(tokens[:, :1], tokens, tokens)
    assert_same(attention[:, 0, 1:], wanted["attention_rows"])
    assert_outputs_of_a_loss(down.mean(dim=1), wanted, fixture)


def assert_outputs_of_a_loss(features: torch.Tensor, wanted: dict[str, np.ndarray], fixture: str):
    """Of MERL's training alone, so the weights are not converted."""
    for number in (1, 2):
        of_loss = made_up_tensors(fixture)[f"linear{number}.weight"]
        assert_same(features @ of_loss.T, wanted[f"uma_{number}"])


@pytest.mark.parametrize("kind", ["merl-resnet18", "merl-vit-tiny"])
def test_zero_shot_is_the_authors(kind, tmp_path, tokenizer):
    fixture = f"{kind}-ckpt"
    convert(kind, released_file(fixture, tmp_path), tmp_path / "model", tokenizer)
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected(fixture)
    texts = {name: torch.from_numpy(wanted[name]) for name in ("input_ids", "attention_mask")}
    signal = as_twelve_leads(network_input(fixture), model.config.ecg_config.leads)
    with torch.no_grad():
        outputs = model(signal, **texts)
        pooled = model.encode_text(**texts).pooler_output
    assert_same(outputs.ecg_model_output.pooler_output, wanted["encoder_pooled"])
    assert_same(outputs.ecg_embeds, F.normalize(torch.from_numpy(wanted["ecg_embedding"]), dim=-1).numpy())
    assert_same(pooled, wanted["text_pooled"])
    assert_same(model.text_head(pooled).detach(), wanted["text_embedding"])
    assert_same(outputs.ecg_embeds @ outputs.text_embeds.T, wanted["cosine"])
    assert_same(
        model.encode_text(**texts).last_hidden_state[:, rows_of(wanted, "text_hidden_rows")].detach(),
        wanted["text_hidden_rows"],
    )
    if kind == "merl-resnet18":
        assert_parts_of_the_pool(model, outputs.ecg_model_output.last_hidden_state, wanted, fixture)
    else:
        assert_outputs_of_a_loss(outputs.ecg_model_output.pooler_output, wanted, fixture)
    scorer = AutoModelForZeroShotImageClassification.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        assert_same(scorer(signal, **texts).cosine_per_ecg, wanted["cosine"])
    assert not wanted.missed

    classify = pipeline("zero-shot-ecg-classification", model=str(tmp_path / "model"))
    record = next(iter(simulate_cohort(1, seed=0)))
    scores = classify(record, candidate_labels=["atrial fibrillation", "normal ecg"])
    assert sorted(row["label"] for row in scores) == ["atrial fibrillation", "normal ecg"]
    assert len({row["score"] for row in scores}) == 2


def test_a_tokenizer_of_another_size_is_refused(tmp_path, tokenizer):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "normal"]))
    BertTokenizerFast(vocab=str(tmp_path / "other" / "vocab.txt")).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="has 6 tokens; the model was trained with 30522"):
        convert("merl-vit-tiny", released_file("merl-vit-tiny-ckpt", tmp_path), tmp_path / "m", tmp_path / "other")
    assert not (tmp_path / "m").exists()
    encoder = released_file("merl-vit-tiny-encoder", tmp_path)
    with pytest.raises(ConfigurationError, match="takes no texts"):
        convert("merl-vit-tiny-encoder", encoder, tmp_path / "m", tokenizer)
    assert kind_named("merl-vit-tiny").tokenizer is not None
