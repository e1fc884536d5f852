# SPDX-License-Identifier: Apache-2.0
"""MELP with its text tower computes what its authors' code does."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForZeroShotImageClassification

from cgdmer.conversion.converting import converted
from cgdmer.conversion.register import kind_named
from cgdmer.models.modeling_melp import MELPModel
from released import as_twelve_leads, assert_same, expected, made_up_tensors, network_input

FULL_STOP, SPECIAL = 18, (0, 2, 3, 30522)


def sentences_of(input_ids: torch.Tensor) -> list[list[int]]:
    """Places of the tokens of each sentence, with the full stop that ends it, without special ones."""
    found: list[list[int]] = [[]]
    for place, token in enumerate(input_ids.tolist()):
        if token not in SPECIAL:
            found[-1].append(place)
        if token == FULL_STOP:
            found.append([])
    return [places for places in found if places]


@pytest.mark.slow
def test_zero_shot_is_the_authors(tmp_path):
    """A file with both towers, put together from the two layouts."""
    tensors = made_up_tensors("melp-encoder") | made_up_tensors("melp-text")
    torch.save({"state_dict": tensors, "epoch": 1}, tmp_path / "released.ckpt")
    converted(kind_named("melp-with-text"), tmp_path / "released.ckpt").save_pretrained(tmp_path / "model")
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected("melp-text")
    assert isinstance(model, MELPModel)
    texts = {name: torch.from_numpy(wanted[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        outputs = model.encode_text(**texts)
    rows = json.loads(str(wanted["spec"]))["rows"]["token_rows"]
    assert_same(outputs.last_hidden_state[:, rows], wanted["token_rows"])
    with torch.no_grad():
        assert_same(model.text_head(outputs.pooler_output), wanted["text_embedding"])
    for number, (ids, states) in enumerate(zip(texts["input_ids"], outputs.last_hidden_state, strict=True)):
        sentences = torch.stack([states[place].mean(dim=0) for place in sentences_of(ids)])
        found = sentences @ tensors["sent_proj.weight"].T + tensors["sent_proj.bias"]
        assert_same(found, wanted[f"sentence_embeddings_{number}"])

    # As a tokenizer gives them: with its own first token, and padded to the longest.
    longest = int(texts["attention_mask"].sum(dim=1).max())
    given = {name: values[:, :longest].clone() for name, values in texts.items()}
    given["input_ids"][:, 0] = model.config.closing_token_id
    scorer = AutoModelForZeroShotImageClassification.from_pretrained(tmp_path / "model").eval()
    signal = as_twelve_leads(network_input("melp-encoder"), model.config.ecg_config.leads)
    with torch.no_grad():
        scores = scorer(signal, **given)
    assert_same(scores.text_embeds, wanted["text_normalised"])
    rhythm = F.normalize(torch.from_numpy(expected("melp-encoder")["rhythm_embedding"]), dim=-1)
    assert_same(scores.ecg_embeds, rhythm.numpy())
    assert not wanted.missed
    assert_same(scores.cosine_per_ecg, np.asarray(rhythm @ torch.from_numpy(wanted["text_normalised"]).T))
