# SPDX-License-Identifier: Apache-2.0
"""D-BETA with its text tower computes what its authors' code does."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForZeroShotImageClassification, T5TokenizerFast, pipeline

from cgdmer.conversion.converting import convert, converted
from cgdmer.conversion.register import kind_named
from cgdmer.models.modeling_d_beta import DBetaModel
from cgdmer.simulation.cohort import simulate_cohort
from released import assert_same, expected, made_up_tensors, network_input, released_file


def tokenizer(folder: Path) -> Path:
    """With as many tokens as the released one has, which is 28 fewer than the text tower."""
    words = ["<pad>", "</s>", "<unk>", "▁atrial", "▁fibrillation", "▁normal"]
    words += [f"▁word{number}" for number in range(32_000 - len(words))]
    T5TokenizerFast(vocab=[(word, -float(number > 2)) for number, word in enumerate(words)]).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_zero_shot_is_the_authors(tmp_path):
    convert("d-beta", released_file("d-beta", tmp_path), tmp_path / "model", tokenizer(tmp_path / "tokenizer"))
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected("d-beta")
    assert isinstance(model, DBetaModel)
    signal, texts = network_input("d-beta"), [torch.from_numpy(wanted[f"text_ids_{row}"]) for row in range(2)]
    with torch.no_grad():
        ecg = model.ecg_model(signal)
        assert_same(ecg.last_hidden_state[:, 1:].mean(dim=1), wanted["sequence_mean"])
        assert_same(model.ecg_head[0](ecg.pooler_output), wanted["ecg_projected_cls"])
        assert_same(model.ecg_head(ecg.pooler_output), wanted["ecg_embedding"])
        outputs = [model.encode_text(text) for text in texts]
        hidden = torch.cat([one.last_hidden_state[:, [0, 1, -1]] for one in outputs])
        assert_same(hidden, wanted["text_hidden_rows"])
        assert_same(model.text_head(torch.cat([one.pooler_output for one in outputs])), wanted["text_embedding"])

    # As a batch, of which the shorter text is padded.
    longest = max(text.shape[1] for text in texts)
    input_ids = torch.cat([F.pad(text, (0, longest - text.shape[1])) for text in texts])
    scorer = AutoModelForZeroShotImageClassification.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        scores = scorer(signal, input_ids=input_ids, attention_mask=(input_ids != 0).long())
    assert_same(scores.cosine_per_ecg, wanted["cosine"])
    assert wanted.missed == {
        f"{part}_rows" for part in ("conv0", "conv", "projected", "position", "layer0", "sequence")
    }

    classify = pipeline("zero-shot-ecg-classification", model=str(tmp_path / "model"))
    found = classify(next(iter(simulate_cohort(1, seed=0))), candidate_labels=["atrial fibrillation", "normal"])
    assert sorted(row["label"] for row in found) == ["atrial fibrillation", "normal"]
    assert len({row["score"] for row in found}) == 2


@pytest.mark.slow
def test_a_prefix_or_no_text_tower_is_no_obstacle(tmp_path):
    tensors, models = made_up_tensors("d-beta"), []
    alone = {f"model.{name}": one for name, one in tensors.items() if name.startswith(("ecg_encoder.", "class_emb"))}
    for number, content in enumerate((tensors, alone)):
        torch.save({"model": content}, tmp_path / f"{number}.pt")
        models.append(converted(kind_named("d-beta-encoder"), tmp_path / f"{number}.pt"))
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
