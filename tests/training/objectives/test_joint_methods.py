# SPDX-License-Identifier: Apache-2.0
"""Barlow Twins, SimSiam, and MoCo v3 against references written here, and on several processes."""

import math

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step

from cgdmer.training.objectives.barlow_twins import REDUNDANCY, SCALE, cross_correlation, invariance, redundancy
from cgdmer.training.objectives.base import GlobalBatchNorm, Objective
from cgdmer.training.objectives.moco_v3 import key_loss

VIEWS = ("first", "second")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pooled(objective: Objective, batch: dict[str, torch.Tensor], encoder: torch.nn.Module) -> list[torch.Tensor]:
    """The encoder's output for both views."""
    parts = ("ecg_values", "lead_mask", "patch_mask")
    return [encoder(**{part: batch[f"{view}_{part}"] for part in parts}).pooler_output for view in VIEWS]


def cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return first @ second / first.norm() / second.norm()


def assert_step_is(objective: Objective, batch: dict[str, torch.Tensor], expected: torch.Tensor) -> None:
    """The method's loss and every gradient are those of `expected`."""
    weights = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    gradients = torch.autograd.grad(expected, list(weights.values()), allow_unused=True)
    found = step(objective, batch)
    torch.testing.assert_close(found["losses"]["loss"], expected.detach())
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        reference = torch.zeros_like(weight) if gradient is None else gradient
        torch.testing.assert_close(found["gradients"][name], reference, msg=name)


# Barlow Twins


def test_barlow_twins_losses_are_sums_over_the_correlations_of_features():
    first, second = normal(6, 5), normal(6, 5, seed=1)
    standardized = [(one - one.mean(0)) / one.std(0, unbiased=False) for one in (first, second)]
    agreeing = differing = 0.0
    for i in range(5):
        for j in range(5):
            deviations = (first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean())
            correlation = cosine(*deviations)
            if i == j:
                agreeing += (1 - correlation) ** 2
            else:
                differing += correlation**2
    correlations = cross_correlation(*standardized)
    torch.testing.assert_close(invariance(correlations), agreeing)
    torch.testing.assert_close(redundancy(correlations), differing)


def test_barlow_twins_loss_is_that_of_lightly_1_6():
    torch.manual_seed(0)
    standardize = GlobalBatchNorm(64, affine=False)
    correlations = cross_correlation(*(standardize(torch.randn(16, 64)) for _ in VIEWS))
    loss = invariance(correlations) + REDUNDANCY * redundancy(correlations)
    assert float(loss) == pytest.approx(71.60652, abs=1e-4)


def test_barlow_twins_standardizes_each_view_by_itself():
    objective, batch = objective_on("barlow_twins"), batch_for("barlow_twins")
    batch["second_ecg_values"] = 3 * batch["second_ecg_values"] + 1
    objective.train()
    standardized = []
    for features in pooled(objective, batch, objective.model):
        hidden = objective.projector[:-1](features)
        variance = hidden.var(0, unbiased=False)
        standardized.append((hidden - hidden.mean(0)) / (variance + 1e-5).sqrt())
    correlations = standardized[0].T @ standardized[1] / len(hidden)
    agreeing = (correlations.diagonal() - 1).square().sum()
    differing = correlations.square().sum() - correlations.diagonal().square().sum()
    assert_step_is(objective, batch, SCALE * (agreeing + REDUNDANCY * differing))


# SimSiam


def test_simsiam_predicts_the_other_view_through_which_no_gradient_flows():
    objective, batch = objective_on("simsiam"), batch_for("simsiam")
    objective.train()
    first, second = (objective.projector(features) for features in pooled(objective, batch, objective.model))
    pairs = ((objective.predictor(first), second.detach()), (objective.predictor(second), first.detach()))
    cosines = [cosine(*rows) for predicted, target in pairs for rows in zip(predicted, target, strict=True)]
    assert_step_is(objective, batch, 1 - torch.stack(cosines).mean())


def test_simsiam_s_projection_is_standardized():
    objective = objective_on("simsiam").train()
    projection = objective.projector(normal(8, objective.hidden_size))
    torch.testing.assert_close(projection.mean(0), torch.zeros_like(projection[0]))
    torch.testing.assert_close(projection.var(0, unbiased=False), torch.ones_like(projection[0]), atol=0.01, rtol=0)


# MoCo v3


def test_key_loss_is_the_cross_entropy_of_each_query_s_key():
    queries, keys, temperature = normal(6, 5), normal(6, 5, seed=1), 0.3
    total = 0.0
    for row, query in enumerate(queries):
        terms = [math.exp(cosine(query, key) / temperature) for key in keys]
        total -= math.log(terms[row] / sum(terms))
    expected = torch.tensor(2 * temperature * total / 6, dtype=torch.float64)
    torch.testing.assert_close(key_loss(queries, keys, temperature), expected)


def test_moco_v3_finds_the_copy_s_key_of_the_other_view():
    objective, batch = objective_on("moco_v3"), batch_for("moco_v3")
    for weight in objective.target.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    objective.train()
    queries = [objective.predictor(objective.projector(one)) for one in pooled(objective, batch, objective.model)]
    keys = [objective.target.projector(one).detach() for one in pooled(objective, batch, objective.target.encoder)]
    expected = torch.zeros((), dtype=torch.float64)
    for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
        logits = torch.stack([torch.stack([cosine(one, other) for other in key]) for one in query]) / 0.2
        expected = expected + 2 * 0.2 * (logits.logsumexp(1) - logits.diagonal()).mean()
    assert_step_is(objective, batch, expected)
    assert not any(weight.requires_grad for weight in objective.target.parameters())


def test_moco_v3_s_copy_follows_ever_more_slowly():
    objective = objective_on("moco_v3")
    for progress, momentum in ((0.0, 0.99), (0.5, 0.995), (1.0, 1.0)):
        before = {name: weight.clone() for name, weight in objective.target.named_parameters()}
        with torch.no_grad():
            for weight in objective.parameters():
                if weight.requires_grad:
                    weight += 1.0
        objective.progress = progress
        objective.after_step()
        now = {f"encoder.{name}": weight for name, weight in objective.model.named_parameters()}
        now |= {f"projector.{name}": weight for name, weight in objective.projector.named_parameters()}
        assert now.keys() == before.keys()
        for name, weight in objective.target.named_parameters():
            torch.testing.assert_close(weight, momentum * before[name] + (1 - momentum) * now[name])


def test_moco_v3_leaves_a_vit_s_patch_projection_random_and_nothing_else():
    for encoder, expected in (("vit", {"projection.weight", "projection.bias"}), ("lead_time", set())):
        model = objective_on("moco_v3", encoder).model
        assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == expected
