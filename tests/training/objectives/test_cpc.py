# SPDX-License-Identifier: Apache-2.0
"""CPC against a reference written here, and on several processes."""

import math

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step

from cgdmer import ECGViTModel
from cgdmer.models.errors import ConfigurationError
from cgdmer.training.objectives.cpc import CPC
from models.tiny import NUM_LEADS, NUM_PATCHES, PATCH_LENGTH, tiny_vit_config

SEGMENTS, PATCHES = 4, 2  # of half a second, in a window of two


def segment_alone(objective, values_LT, noise_LN, number, lead_mask=None) -> torch.Tensor:
    """A recording that holds this segment alone, at a place by its number of noise, as the encoder's user sees it."""
    samples = PATCHES * PATCH_LENGTH
    segment = values_LT[:, number * samples : (number + 1) * samples]
    if not hasattr(objective.model, "norm"):  # a ResNet takes any length
        return objective.model.encode(segment[None], None, None)[0].mean(dim=1)[0]
    place = int(noise_LN[0, number] * (NUM_PATCHES - PATCHES + 1))
    canvas, patch_mask = torch.zeros_like(values_LT), torch.zeros(1, NUM_PATCHES).long()
    canvas[:, place * PATCH_LENGTH : (place + PATCHES) * PATCH_LENGTH] = segment
    patch_mask[0, place : place + PATCHES] = 1
    return objective.model(canvas[None], lead_mask=lead_mask, patch_mask=patch_mask).pooler_output[0]


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["lead_time", "vit", "resnet"])
def test_cpc_tells_which_segment_comes_next(encoder):
    objective, batch = objective_on("cpc", encoder), batch_for("cpc", records=3)
    objective.eval()  # the statistics of a ResNet's batch normalization would depend on the batch
    segments = [
        [segment_alone(objective, *record, number) for number in range(SEGMENTS)]
        for record in zip(batch["ecg_values"], batch["noise"], strict=True)
    ]
    everything = [segment for record in segments for segment in record]
    losses = []
    for record in segments:
        for now in range(SEGMENTS - 1):
            # Only what came before goes in.
            _, state = objective.context(torch.stack(record[: now + 1])[None])
            for ahead in range(1, SEGMENTS - now):
                predicted = objective.predictors[ahead - 1](state[0, 0])
                terms = [math.exp(predicted @ other) for other in everything]
                losses.append(-math.log(math.exp(predicted @ record[now + ahead]) / sum(terms)))
    found = objective(**batch)
    expected = torch.tensor(sum(losses) / len(losses), dtype=torch.float64)
    torch.testing.assert_close(found.contrastive_loss, expected)


def test_absent_leads_are_not_seen_and_absent_segments_not_predicted():
    objective, batch = objective_on("cpc").eval(), batch_for("cpc", records=3)
    batch["lead_mask"], batch["patch_mask"] = torch.ones(3, NUM_LEADS).long(), torch.ones(3, NUM_PATCHES).long()
    batch["lead_mask"][1, 2:5] = 0
    batch["patch_mask"][2, 5:] = 0  # the third segment ends within
    segments, present = objective.encode_segments(batch)
    assert present.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]
    seen = segment_alone(objective, batch["ecg_values"][1], batch["noise"][1], 2, batch["lead_mask"][1:2])
    torch.testing.assert_close(segments[1, 2], seen)
    before = objective(**batch).loss
    assert torch.isfinite(before)
    batch["ecg_values"][1, 2:5] += 1.0
    batch["ecg_values"][2, :, 4 * PATCH_LENGTH :] += 1.0
    torch.testing.assert_close(objective(**batch).loss, before)
    # With no more than one segment, there is nothing to predict.
    batch["patch_mask"][2, 2:] = 0
    assert torch.isfinite(step(objective, batch)["losses"]["contrastive_loss"])


def test_the_place_in_the_window_does_not_tell_the_segment():
    """The same segment has the same embedding wherever it was, if the random place is the same."""
    objective, batch = objective_on("cpc").eval(), batch_for("cpc", records=2)
    length = PATCHES * PATCH_LENGTH
    batch["ecg_values"] = batch["ecg_values"][:, :, :length].repeat(1, 1, SEGMENTS)
    batch["noise"][:] = 0.3
    segments, _ = objective.encode_segments(batch)
    torch.testing.assert_close(segments, segments[:, :1].expand_as(segments))


def test_a_window_of_one_segment_is_refused():
    with pytest.raises(ConfigurationError, match="longer window"):
        CPC(ECGViTModel(tiny_vit_config(num_samples=3 * PATCH_LENGTH)))
