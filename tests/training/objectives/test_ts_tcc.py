# SPDX-License-Identifier: Apache-2.0
"""TS-TCC against a reference written here, and on several processes."""

import math

import pytest
import torch
from batches import batch_for
from in_processes import objective_on

from cgdmer import ECGViTModel
from cgdmer.models.errors import ConfigurationError
from cgdmer.training.objectives.tokens import by_time
from cgdmer.training.objectives.ts_tcc import TSTCC
from cgdmer.training.objectives.views import View
from models.tiny import NUM_LEADS, NUM_PATCHES, PATCH_LENGTH, tiny_vit_config


def cross_entropy(query: torch.Tensor, candidates: list[torch.Tensor], right: int) -> float:
    terms = [math.exp(query @ candidate) for candidate in candidates]
    return -math.log(terms[right] / sum(terms))


def encoded(objective, batch, view: str):
    inputs = {part: batch[f"{view}_{part}"] for part in ("ecg_values", "lead_mask", "patch_mask")}
    return objective.model(**inputs)


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.norm()


def context_of_past(objective, past_FD: torch.Tensor) -> torch.Tensor:
    """Without a mask, since nothing else goes in."""
    hidden = objective.embedding(past_FD[None])
    for layer in objective.layers:
        hidden = layer(hidden)
    return hidden[0, -1]


@torch.no_grad()
def test_each_view_s_past_predicts_the_other_view():
    objective, batch = objective_on("ts_tcc").train(), batch_for("ts_tcc", records=4)
    features, contexts = {}, {}
    now = int(batch["noise"][:, 0, 0].sum() % 1 * 6)  # of eight moments, two are predicted
    for view in ("first", "second"):
        tokens = encoded(objective, batch, view).last_hidden_state.unflatten(1, (NUM_LEADS, NUM_PATCHES))
        features[view] = [[unit(moment) for moment in record.mean(dim=0)] for record in tokens]
        contexts[view] = [context_of_past(objective, torch.stack(record[: now + 1])) for record in features[view]]
    temporal = 0.0
    for own, other in (("first", "second"), ("second", "first")):
        for row in range(4):
            for step in (1, 2):
                candidates = [record[now + step] for record in features[other]]
                predicted = objective.predictors[step - 1](contexts[own][row])
                temporal += cross_entropy(predicted, candidates, row) / 8
    projected = objective.projector(torch.stack(contexts["first"] + contexts["second"]))
    views = [unit(vector) for vector in projected]
    contextual = 0.0
    for row, view in enumerate(views):
        others = [other for number, other in enumerate(views) if number != row]
        partner = (row + 4) % 8
        contextual += cross_entropy(view / 0.2, others, partner - (partner > row)) / 8
    found = objective(**batch)
    torch.testing.assert_close(float(found.temporal_loss), temporal)
    torch.testing.assert_close(float(found.contextual_loss), contextual)
    torch.testing.assert_close(float(found.loss), temporal + 0.7 * contextual)


@torch.no_grad()
def test_moments_beyond_a_recording_s_end_neither_are_predicted_nor_are_negatives():
    objective, batch = objective_on("ts_tcc").eval(), batch_for("ts_tcc", records=3)
    batch["noise"][:, 0, 0] = 0.3  # 0.9 in all: the last two moments are predicted
    for view in ("first", "second"):
        batch[f"{view}_patch_mask"][2, 6:] = 0
    with_short = objective(**batch).temporal_loss
    two = {part: value[:2] for part, value in batch.items()} | {"noise": batch["noise"][:2] * 0 + 0.45}
    torch.testing.assert_close(with_short, objective(**two).temporal_loss * 2 / 3)


def test_all_leads_of_the_strong_view_are_permuted_alike():
    """In the authors' code, each lead becomes the first."""
    levels = torch.arange(1.0, NUM_LEADS + 1)[:, None].expand(-1, NUM_PATCHES * PATCH_LENGTH).clone()
    masks = (torch.ones(NUM_LEADS).long(), torch.ones(NUM_PATCHES).long())
    parts = TSTCC.views(View(levels, *masks), torch.Generator().manual_seed(0))
    strong = torch.from_numpy(parts["second_ecg_values"])
    torch.testing.assert_close(strong.mean(dim=1), levels[:, 0], atol=0.2, rtol=0.0)
    ratio = torch.from_numpy(parts["first_ecg_values"]) / levels
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    assert ratio[0, 0] > 0


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["lead_time", "vit", "resnet"])
def test_an_encoder_s_output_by_time(encoder):
    model, batch = objective_on("ts_tcc", encoder).eval().model, batch_for("ts_tcc", records=2)
    lead_mask, patch_mask = torch.ones(2, NUM_LEADS).long(), torch.ones(2, NUM_PATCHES).long()
    lead_mask[1, :3], patch_mask[1, 5:] = 0, 0
    output = model(batch["ecg_values"], lead_mask=lead_mask, patch_mask=patch_mask)
    hidden, present = by_time(model, output, patch_mask)
    moments = 4 if encoder == "resnet" else NUM_PATCHES  # a frame has sixteen samples, two patches
    recorded = 3 if encoder == "resnet" else 5
    assert hidden.shape == (2, moments, 16)
    assert present.tolist() == [[True] * moments, [True] * recorded + [False] * (moments - recorded)]
    pooled = [record[mask].mean(dim=0) for record, mask in zip(hidden, present, strict=True)]
    torch.testing.assert_close(torch.stack(pooled), output.pooler_output)


def test_a_window_of_one_patch_is_refused():
    with pytest.raises(ConfigurationError, match="one patch"):
        TSTCC(ECGViTModel(tiny_vit_config(num_samples=PATCH_LENGTH)))
