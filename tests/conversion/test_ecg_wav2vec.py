# SPDX-License-Identifier: Apache-2.0
"""ECG-FM, MELP, and D-BETA compute what their authors' code does."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForAudioClassification

from cgdmer.conversion.converting import convert, converted
from cgdmer.conversion.register import kind_named
from cgdmer.models.configuration_ecg_wav2vec import ECGWav2VecConfig
from cgdmer.models.modeling_ecg_wav2vec import ECGWav2VecModel, QueryPooler
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

FOLDERS = {
    "ecg-fm": "ecg-fm-pretrained",
    "ecg-fm-finetuned": "ecg-fm-finetuned",
    "melp": "melp-encoder",
    "d-beta-encoder": "d-beta",
}

# Of D-BETA, see test_d_beta.py.
AFTER_THE_ENCODER = {"ecg_projected_cls", "ecg_embedding", "text_hidden_rows", "text_embedding", "cosine"}
AFTER_THE_ENCODER |= {"sequence_mean", "text_ids_0", "text_ids_1"}


def signal_for(folder: str, model: ECGWav2VecModel) -> torch.Tensor:
    return as_twelve_leads(network_input(folder), model.config.leads)


@torch.no_grad()
def intermediate_arrays(model: ECGWav2VecModel, signal: torch.Tensor) -> dict[str, torch.Tensor]:
    """By their names in expected.npz, with all rows."""
    found = {}
    parts = {"conv": model.convolutions, "projected": model.projection, "positions": model.positions}
    hooks = [
        part.register_forward_hook(lambda _, inputs, output, name=name: found.update({name: output}))
        for name, part in (parts | {"conv0": model.convolutions.norm, "layer0": model.layers[0]}).items()
    ]
    found["sequence"] = model(signal).last_hidden_state
    for hook in hooks:
        hook.remove()
    found["position"] = found["projected"] + found.pop("positions")
    found["conv"] = found["conv"].transpose(1, 2)
    found["conv0"] = F.gelu(found["conv0"]).transpose(1, 2)
    return found


@torch.no_grad()
def second_pooler_of_melp(folder: str) -> QueryPooler:
    """The one for tokens of a report, which is not converted: with it, the same class computes what it should."""
    tensors = {name.removeprefix("ecg_encoder."): one.float() for name, one in made_up_tensors(folder).items()}
    queries = tensors["attn_pool_caption.query"]
    pooler = QueryPooler(ECGWav2VecConfig(num_queries=len(queries), query_size=queries.shape[1], num_query_heads=8))
    state = {"queries": queries}
    for end in ("weight", "bias"):
        projections = tensors[f"attn_pool_caption.attn.in_proj_{end}"].chunk(3)
        state |= {f"{part}_proj.{end}": one for part, one in zip("qkv", projections, strict=True)}
        for own, released in (("query_norm", "ln_q"), ("token_norm", "ln_k"), ("out_proj", "attn.out_proj")):
            state[f"{own}.{end}"] = tensors[f"attn_pool_caption.{released}.{end}"]
        state[f"norm.{end}"] = tensors[f"ln_caption.{end}"]
    pooler.load_state_dict(state)
    return pooler


@pytest.mark.parametrize(
    "kind", ["ecg-fm", "ecg-fm-finetuned", "melp", pytest.param("d-beta-encoder", marks=pytest.mark.slow)]
)
def test_every_array_of_an_encoder_is_the_authors(kind, tmp_path):
    folder = FOLDERS[kind]
    convert(kind, released_file(folder, tmp_path), tmp_path / "model")
    model, wanted = AutoModel.from_pretrained(tmp_path / "model").eval(), expected(folder)
    assert isinstance(model, ECGWav2VecModel)
    signal = signal_for(folder, model)
    for name, found in intermediate_arrays(model, signal).items():
        if f"{name}_rows" in wanted:
            assert_same(found[:, rows_of(wanted, f"{name}_rows")], wanted[f"{name}_rows"])
    with torch.no_grad():
        outputs = model(signal)
        padded = model(signal, patch_mask=torch.ones(len(signal), model.config.num_patches, dtype=torch.int64))
    torch.testing.assert_close(padded.pooler_output, outputs.pooler_output, rtol=1e-5, atol=1e-5)
    if "pooled" in wanted:
        assert_same(outputs.pooler_output, wanted["pooled"])
    if kind == "melp":
        assert_same(outputs.pooler_output, wanted["probe_embedding"])
        projection = made_up_tensors(folder)["ecg_encoder.proj_contrast"].float()
        beats = model.pooler.answers(outputs.last_hidden_state, None).detach() @ projection
        assert_same(beats[:, rows_of(wanted, "beat_rows")], wanted["beat_rows"])
        assert_same(outputs.pooler_output @ projection, wanted["rhythm_embedding"])
        assert_same(outputs.last_hidden_state.mean(dim=1), wanted["sequence_mean"])
        found = second_pooler_of_melp(folder).answers(outputs.last_hidden_state, None).detach()
        assert_same(found[:, rows_of(wanted, "token_rows")], wanted["token_rows"])
    if "logits" in wanted:
        classifier = AutoModelForAudioClassification.from_pretrained(tmp_path / "model").eval()
        assert classifier.config.id2label[16] == "Electronic pacemaker" and classifier.config.num_labels == 17
        with torch.no_grad():
            assert_same(classifier(signal).logits, wanted["logits"])
    assert not wanted.missed - AFTER_THE_ENCODER


def test_a_wrong_detail_would_be_seen(tmp_path):
    folder, kind = "ecg-fm-pretrained", "ecg-fm"
    model, wanted = converted(kind_named(kind), released_file(folder, tmp_path)), expected(folder)
    signal = signal_for(folder, model)
    model.convolutions.norm.eps = 1e-6
    with torch.no_grad():
        assert largest_difference(model(signal).pooler_output, wanted["pooled"]) > 1e-5


def test_weight_normalization_has_two_spellings(tmp_path):
    tensors = made_up_tensors("ecg-fm-pretrained")
    older = dict(tensors)
    for number, end in enumerate(("weight_g", "weight_v")):
        tensors[f"conv_pos.pos_conv.0.parametrizations.weight.original{number}"] = tensors.pop(
            f"conv_pos.pos_conv.0.{end}"
        )
    models = []
    for number, content in enumerate((older, tensors)):
        path: Path = tmp_path / f"{number}.pt"
        torch.save({"model": content}, path)
        models.append(converted(kind_named("ecg-fm"), path))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
