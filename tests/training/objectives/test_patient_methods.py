# SPDX-License-Identifier: Apache-2.0
"""CLOCS and ASTCL, whose positives are a patient's, against references written here, and on several processes."""

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step
from test_joint_methods import assert_step_is, cosine, normal, pooled
from torch.nn import functional as F

from cgdmer.training.objectives import objective_class
from cgdmer.training.objectives.astcl import REVERSAL, denoise, patient_prediction
from cgdmer.training.objectives.clocs import Segments, patient_contrast
from cgdmer.training.objectives.views import View

ALL = torch.arange(12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view_of(leads: list[int], recorded: int, patches: int = 8) -> View:
    """A record with these leads, and as many patches recorded."""
    lead_mask = F.one_hot(torch.tensor(leads), 12).sum(dim=0)
    return View(normal(12, 8 * patches).float(), lead_mask, (torch.arange(patches) < recorded).long())


# CLOCS


def masks(parts: dict, number: int) -> tuple[list[int], list[int]]:
    """The leads and the patches of a segment."""
    return tuple(parts[f"segment{number}_{name}"].nonzero()[0].tolist() for name in ("lead_mask", "patch_mask"))


@pytest.mark.parametrize(
    ("recorded", "first", "second"),
    [(8, [0, 1, 2, 3], [4, 5, 6, 7]), (5, [0, 1], [2, 3]), (2, [0], [1]), (1, [0], [0])],
)
def test_halves_are_adjacent_and_within_the_recording(recorded, first, second):
    parts = Segments(halves=True, leads=False)(view_of([0, 1, 5], recorded), seeded(0))
    assert [masks(parts, number) for number in range(2)] == [([0, 1, 5], first), ([0, 1, 5], second)]
    assert len(parts) == 4


def test_leads_are_two_of_those_recorded_in_the_same_half():
    drawn, halves = set(), set()
    for seed in range(60):
        parts = Segments(halves=False, leads=True)(view_of([1, 4, 9], 8), seeded(seed))
        (one, patches), (other, same_patches) = masks(parts, 0), masks(parts, 1)
        assert len(one) == len(other) == 1 and one != other and patches == same_patches
        drawn.add((*one, *other))
        halves.add(tuple(patches))
    assert drawn == {(1, 4), (1, 9), (4, 1), (4, 9), (9, 1), (9, 4)}
    assert halves == {(0, 1, 2, 3), (4, 5, 6, 7)}


def test_of_a_single_lead_both_segments_are_taken():
    parts = Segments(halves=False, leads=True)(view_of([3], 8), seeded(0))
    assert masks(parts, 0)[0] == masks(parts, 1)[0] == [3]


def test_both_give_each_lead_in_each_half():
    parts = Segments(halves=True, leads=True)(view_of([2, 7], 8), seeded(0))
    found = [masks(parts, number) for number in range(Segments(halves=True, leads=True).number)]
    assert len(parts) == 2 * len(found) == 8
    early, late = [0, 1, 2, 3], [4, 5, 6, 7]
    assert sorted(found) == [([2], early), ([2], late), ([7], early), ([7], late)]


def test_a_seed_decides_the_segments():
    view, make = view_of(ALL.tolist(), 8), Segments(halves=True, leads=True)
    drawn = [[masks(make(view, seeded(seed)), number) for number in range(4)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def contrast(segments: list[torch.Tensor], patients: list[int], temperature: float) -> torch.Tensor:
    """The loss, pair by pair."""
    of_pairs = []
    for i in range(len(segments)):
        for j in range(i + 1, len(segments)):
            rows = torch.stack([torch.stack([cosine(one, other) for other in segments[j]]) for one in segments[i]])
            terms = []
            for matrix in (rows / temperature, rows.T / temperature):
                surprise = matrix.logsumexp(dim=1, keepdim=True) - matrix
                others = [
                    surprise[row, column]
                    for row in range(len(patients))
                    for column in range(len(patients))
                    if row != column and patients[row] == patients[column]
                ]
                terms.append(surprise.diagonal().mean())
                if others:
                    terms.append(torch.stack(others).mean())
            of_pairs.append(sum(terms) / len(terms))
    return sum(of_pairs) / len(of_pairs)


@pytest.mark.parametrize("patients", [[1, 2, 3, 4, 5], [1, 2, 1, 3, 1], [7, 7, 7, 7, 7]])
def test_patient_contrast_is_the_mean_over_a_patient_s_pairs(patients):
    segments = [normal(5, 4, seed=seed) for seed in range(3)]
    found = patient_contrast(segments, torch.tensor(patients), 0.1)
    torch.testing.assert_close(found, contrast(segments, patients, 0.1))


@pytest.mark.parametrize("name", ["clocs", "clocs_halves", "clocs_leads"])
def test_clocs_contrasts_the_segments(name):
    objective, batch = objective_on(name), batch_for(name)
    objective.train()
    embeds = []
    for number in range({"clocs": 4}.get(name, 2)):
        chosen = {part: batch[f"segment{number}_{part}"] for part in ("lead_mask", "patch_mask")}
        embeds.append(objective.model(batch["ecg_values"], **chosen).pooler_output)
    assert f"segment{len(embeds)}_lead_mask" not in batch
    assert_step_is(objective, batch, contrast(embeds, batch["patient_ids"].tolist(), 0.1))


# ASTCL


def prediction(predicted: torch.Tensor, target: torch.Tensor, patients: list[int]) -> torch.Tensor:
    losses = []
    for row, patient in enumerate(patients):
        mine = [cosine(predicted[row], target[other]) for other, owner in enumerate(patients) if owner == patient]
        losses.append(1 - sum(mine) / len(mine))
    return torch.stack(losses).mean()


def test_patient_prediction_is_the_mean_over_a_patient_s_records():
    predicted, target, patients = normal(5, 4).requires_grad_(), normal(5, 4, seed=1).requires_grad_(), [1, 2, 1, 3, 1]
    found = patient_prediction(predicted, target, torch.tensor(patients))
    torch.testing.assert_close(found, prediction(predicted, target, patients))
    found.backward()
    assert predicted.grad is not None and target.grad is None


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_astcl_s_encoder_works_against_the_discriminator(progress):
    objective, batch = objective_on("astcl"), batch_for("astcl")
    objective.train()
    objective.progress = progress
    embeds = pooled(objective, batch, objective.model)
    first, second = (objective.projector(one) for one in embeds)
    patients = batch["patient_ids"].tolist()
    predicted = prediction(objective.predictor(first), second.detach(), patients)
    predicted = (predicted + prediction(objective.predictor(second), first.detach(), patients)) / 2
    probability = objective.discriminator(torch.cat(embeds)).sigmoid().flatten()
    discriminated = -torch.cat([(1 - probability[:8]).log(), probability[8:].log()]).mean()

    expected = {}
    for name, weight in objective.named_parameters():
        grad = {
            part: torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)[0]
            for part, loss in (("predicted", predicted), ("discriminated", discriminated))
        }
        factor = 1.0 if name.startswith("discriminator.") else -objective.reversal
        parts = [grad["predicted"], None if grad["discriminated"] is None else factor * grad["discriminated"]]
        expected[name] = sum(part for part in parts if part is not None)
    found = step(objective, batch)
    torch.testing.assert_close(found["losses"]["prediction_loss"], predicted.detach())
    torch.testing.assert_close(found["losses"]["discrimination_loss"], discriminated.detach())
    for name, gradient in expected.items():
        torch.testing.assert_close(found["gradients"][name], gradient, msg=name)


def test_astcl_s_reversal_rises_from_zero():
    objective, found = objective_on("astcl"), []
    for objective.progress in (0.0, 0.1, 0.5, 1.0):
        found.append(objective.reversal)
    expected = [REVERSAL * share for share in (0.0, 0.46212, 0.98661, 0.99991)]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-6, rtol=1e-4)


def test_astcl_s_first_view_is_noisier_than_its_second():
    time = torch.linspace(0, 1, 512)
    view = View((10 * torch.pi * time).sin().expand(12, -1).clone(), torch.ones(12).long(), torch.ones(8).long())
    parts = objective_class("astcl").views(view, seeded(0))
    errors = [(torch.from_numpy(parts[f"{one}_ecg_values"]) - view.ecg_values).std() for one in ("first", "second")]
    assert 0.1 < errors[0] < 0.2 and errors[1] < 0.01  # NOISE of a deviation of 0.7; nothing to take away


def test_denoising_takes_most_of_white_noise_and_little_else():
    time = torch.linspace(0, 1, 1000)
    clean = torch.stack([(2 * torch.pi * rate * time).sin() for rate in range(3, 15)])
    noisy = clean + 0.3 * torch.randn(12, 1000, generator=seeded(0))
    view = View(noisy, torch.ones(12).long(), torch.ones(8).long())
    found = denoise(view, seeded(0)).ecg_values
    assert (found - clean).square().mean() < 0.2 * (noisy - clean).square().mean()
    assert torch.equal(view.ecg_values, noisy)


def test_denoising_keeps_einthoven_s_law_and_silence():
    values = normal(12, 65).float()
    values[2] = values[1] - values[0]
    found = denoise(View(values, torch.ones(12).long(), torch.ones(8).long()), seeded(0)).ecg_values
    assert found.shape == values.shape
    torch.testing.assert_close(found[2], found[1] - found[0])
    assert not (found - values).abs().max() < 0.1  # it did something
    silent = View(torch.zeros(12, 64), torch.ones(12).long(), torch.ones(8).long())
    assert torch.equal(denoise(silent, seeded(0)).ecg_values, silent.ecg_values)
