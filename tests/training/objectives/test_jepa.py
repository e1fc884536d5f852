# SPDX-License-Identifier: Apache-2.0
"""JEPA against a reference written here, and on several processes."""

import pytest
import torch
from batches import assert_absent_places_have_no_part, batch_for
from in_processes import objective_on, step

from cgdmer.models.errors import ConfigurationError
from cgdmer.training.objectives.base import MomentumCopy
from models.tiny import NUM_LEADS, NUM_PATCHES, PATCH_LENGTH


def with_another_teacher():
    objective = objective_on("jepa")
    for weight in objective.teacher.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return objective.train()


def hidden_columns(noise_LN: torch.Tensor) -> list[int]:
    """0.65 of eight columns, five, are hidden: those with the lowest numbers."""
    order = sorted(range(NUM_PATCHES), key=lambda column: float(noise_LN[:, column].sum() % 1))
    return order[:5]


def smooth_l1(predicted: float, target: float) -> float:
    error = abs(predicted - target)
    return error**2 / 2 if error < 1 else error - 0.5


def test_jepa_predicts_the_teacher_s_tokens_of_hidden_columns():
    objective, batch = with_another_teacher(), batch_for("jepa", records=3)
    total = 0.0
    for values, noise in zip(batch["ecg_values"], batch["noise"], strict=True):
        hidden = hidden_columns(noise)
        visible = torch.tensor([[int(column not in hidden) for column in range(NUM_PATCHES)]])
        context = objective.model(values[None], patch_mask=visible)
        places = torch.tensor([[lead * NUM_PATCHES + column for lead in range(NUM_LEADS) for column in hidden]])
        predicted = objective.predictor(
            context.last_hidden_state, context.visible_indices, context.visible_mask, places
        )[0]
        tokens = objective.teacher.encoder(values[None]).last_hidden_state[0]
        errors = []
        for row, place in enumerate(places[0].tolist()):
            token = tokens[place]
            normed = (token - token.mean()) / (token.var(unbiased=False) + 1e-5).sqrt()
            errors += [
                smooth_l1(float(one), float(other)) for one, other in zip(predicted[row].detach(), normed, strict=True)
            ]
        total += sum(errors) / len(errors)
    found = step(objective, batch)
    torch.testing.assert_close(found["losses"]["prediction_loss"], torch.tensor(total / 3, dtype=torch.float64))
    assert not any(key.startswith("teacher.") for key in found["gradients"])


def test_what_is_hidden_does_not_reach_the_prediction(monkeypatch):
    objective, batch = with_another_teacher(), batch_for("jepa", records=2)
    monkeypatch.setattr(objective, "targets", lambda batch, places: torch.zeros(*places.shape, 16).double())
    before = objective(**batch).loss
    for values, noise in zip(batch["ecg_values"], batch["noise"], strict=True):
        for column in hidden_columns(noise):
            values[:, column * PATCH_LENGTH : (column + 1) * PATCH_LENGTH] += 1.0
    torch.testing.assert_close(objective(**batch).loss, before)
    batch["ecg_values"] += 1.0
    assert not torch.allclose(objective(**batch).loss, before)


def test_records_with_absent_leads_and_ends_count_like_others():
    assert_absent_places_have_no_part(with_another_teacher(), batch_for("jepa", records=3))


def test_the_teacher_has_no_dropout_and_its_momentum_rises_to_one(monkeypatch):
    objective, momenta = objective_on("jepa").train(), []
    assert objective.model.training
    assert not any(module.training for module in objective.teacher.modules())
    monkeypatch.setattr(MomentumCopy, "follow", lambda copy, momentum, **modules: momenta.append(momentum))
    for objective.progress in (0.0, 0.5, 1.0):
        objective.after_step()
    torch.testing.assert_close(torch.tensor(momenta), torch.tensor([0.99, 0.995, 1.0]))


@pytest.mark.parametrize("encoder", ["vit", "resnet"])
def test_an_encoder_without_tokens_per_lead_is_refused(encoder):
    with pytest.raises(ConfigurationError, match=r"JEPA hides tokens.*--config_name cgdmer-tiny"):
        objective_on("jepa", encoder)
