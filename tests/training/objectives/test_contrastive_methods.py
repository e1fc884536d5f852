# SPDX-License-Identifier: Apache-2.0
"""SimCLR and BYOL against references written here, and on several processes."""

import math

import torch
from batches import batch_for
from in_processes import objective_on, step

from cgdmer.training.objectives.base import MomentumCopy
from cgdmer.training.objectives.byol import BYOL
from cgdmer.training.objectives.simclr import nt_xent


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    vectors = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def test_nt_xent_is_the_cross_entropy_of_each_view_s_partner():
    first, second, temperature = unit(6, 5), unit(6, 5, seed=1), 0.2
    views = [*first, *second]
    total = 0.0
    for row, view in enumerate(views):
        partner = (row + 6) % 12
        terms = [math.exp(view @ other / temperature) for number, other in enumerate(views) if number != row]
        total -= math.log(math.exp(view @ views[partner] / temperature) / sum(terms))
    torch.testing.assert_close(nt_xent(first, second, temperature), torch.tensor(total / 12, dtype=torch.float64))


def test_byol_predicts_the_copy_s_projection_of_the_other_view():
    objective, batch = objective_on("byol"), batch_for("byol")
    for weight in objective.target.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    objective.train()
    pooled = {}
    for name, encoder in (("online", objective.model), ("copy", objective.target.encoder)):
        for view in ("first", "second"):
            inputs = {part: batch[f"{view}_{part}"] for part in ("ecg_values", "lead_mask", "patch_mask")}
            pooled[name, view] = encoder(**inputs).pooler_output
    expected = torch.zeros((), dtype=torch.float64)
    for one, other in (("first", "second"), ("second", "first")):
        predicted = objective.predictor(objective.projector(pooled["online", one]))
        target = objective.target.projector(pooled["copy", other])
        cosines = (predicted * target).sum(dim=1) / predicted.norm(dim=1) / target.norm(dim=1)
        expected += (1 - cosines).mean()
    found = step(objective, batch)
    torch.testing.assert_close(found["losses"]["prediction_loss"], expected.detach())
    assert not any(key.startswith("target.") for key in found["gradients"])


def test_a_copy_follows_by_its_momentum_and_takes_over_statistics():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    copy = MomentumCopy(part=module)
    before = copy.part[0].weight.clone()
    with torch.no_grad():
        module[0].weight += 1.0
    module(torch.randn(4, 2))
    copy.follow(0.9, part=module)
    torch.testing.assert_close(copy.part[0].weight, before + 0.1)
    torch.testing.assert_close(copy.part[1].running_mean, module[1].running_mean)


def test_byol_s_momentum_rises_to_one(monkeypatch):
    objective, momenta = objective_on("byol"), []
    monkeypatch.setattr(MomentumCopy, "follow", lambda copy, momentum, **modules: momenta.append(momentum))
    assert isinstance(objective, BYOL)
    for objective.progress in (0.0, 0.5, 1.0):
        objective.after_step()
    torch.testing.assert_close(torch.tensor(momenta), torch.tensor([0.99, 0.995, 1.0]))
