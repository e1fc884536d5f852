# SPDX-License-Identifier: Apache-2.0
"""Each loss against its equation in arXiv 2602.21154, written as plain loops; the same in several processes."""

import math
import os
import subprocess
import sys
from pathlib import Path

import losses_in_processes
import pytest
import torch
from torch.nn import functional as F

from cgdmer.models import objectives

BATCH, WIDTH = 6, 5


def unit_vectors(count: int = BATCH, width: int = WIDTH, seed: int = 0) -> torch.Tensor:
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(vectors, dim=-1)


def statements(*rows: list[int]) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


# Records 0 and 3 have the same report; the ECG of 1 also satisfies the text of 2, but not the other way round.
ECG_STATEMENTS = statements([1], [2, 3], [2], [1], [4, 5], [6])
TEXT_STATEMENTS = statements([1], [2, 3], [2], [1], [4, 5], [6])
SATISFIED = {(row, row) for row in range(BATCH)} | {(0, 3), (3, 0), (1, 2)}


# References.


def literal_contrastive(cosines: list[list[float]], temperature: float) -> float:
    """Eqs. 7-9 as printed: the denominator leaves the positive pair out (and eq. 9's sum read over i = j)."""

    def one_direction(rows):
        total = 0.0
        for i, row in enumerate(rows):
            others = sum(math.exp(row[k] / temperature) for k in range(len(row)) if k != i)
            total -= math.log(math.exp(row[i] / temperature) / others)
        return total / len(rows)

    columns = [list(column) for column in zip(*cosines, strict=True)]
    return (one_direction(cosines) + one_direction(columns)) / 2


def symmetric_cross_entropy(cosines: list[list[float]], temperature: float, left_out: set = frozenset()) -> float:
    """Eqs. 7-9 with the positive in the denominator; pairs (ecg, text) in `left_out` are not."""
    count = len(cosines)

    def one_direction(similarity, is_left_out):
        total = 0.0
        for i in range(count):
            kept = [k for k in range(count) if k == i or not is_left_out(i, k)]
            denominator = sum(math.exp(similarity(i, k) / temperature) for k in kept)
            total -= math.log(math.exp(similarity(i, i) / temperature) / denominator)
        return total / count

    to_text = one_direction(lambda i, k: cosines[i][k], lambda i, k: (i, k) in left_out)
    to_ecg = one_direction(lambda i, k: cosines[k][i], lambda i, k: (k, i) in left_out)
    return (to_text + to_ecg) / 2


def sigmoid_loss(cosines: list[list[float]], scale: float, bias: float, positive: set | None = None) -> float:
    """Eq. 6; with scale 1 and bias 0 it is the printed one."""
    count = len(cosines)
    total = 0.0
    for i in range(count):
        for j in range(count):
            y = 1 if (i == j if positive is None else (i, j) in positive) else -1
            total += math.log(1 / (1 + math.exp(-y * (scale * cosines[i][j] + bias))))
    return -total / count


# Alignment.


def test_contrastive_loss_is_a_symmetric_cross_entropy():
    ecg, text = unit_vectors(seed=0), unit_vectors(seed=1)
    ours = objectives.contrastive_loss(ecg, text, 0.07)
    assert ours.item() == pytest.approx(symmetric_cross_entropy((ecg @ text.T).tolist(), 0.07), rel=1e-9)


def test_the_printed_contrastive_loss_has_no_floor():
    """Why the positive is in our denominator: without it, a perfect batch is rewarded without limit."""
    perfect = [[1.0 if i == j else 0.0 for j in range(BATCH)] for i in range(BATCH)]
    assert literal_contrastive(perfect, 0.07) < literal_contrastive(perfect, 0.14) < 0
    aligned = torch.eye(BATCH)
    assert objectives.contrastive_loss(aligned, aligned, 0.07) >= 0
    # For a single record and direction the two are tied: ours = log(1 + exp(printed)).
    cosines = [[0.4, 0.1], [0.1, 0.4]]
    ours = symmetric_cross_entropy(cosines, 0.5)
    assert ours == pytest.approx(math.log1p(math.exp(literal_contrastive(cosines, 0.5))))


def test_similarities_are_in_single_precision_whatever_the_towers_run_in():
    """For nearly identical texts, the cosines would be equal in half precision."""
    ecg = F.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    text = F.normalize(ecg.mean(dim=0) + 0.01 * ecg, dim=-1)
    scale, bias = torch.tensor(10.0), torch.tensor(-2.0)
    for loss in (
        lambda: objectives.contrastive_loss(ecg, text, 0.01),
        lambda: objectives.siglip_loss(ecg, text, scale, bias),
    ):
        expected = loss()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_matching_pairs_are_not_negatives_in_the_contrastive_loss():
    ecg, text = unit_vectors(seed=0), unit_vectors(seed=1)
    expected = symmetric_cross_entropy((ecg @ text.T).tolist(), 0.2, SATISFIED)
    ours = objectives.contrastive_loss(ecg, text, 0.2, ECG_STATEMENTS, TEXT_STATEMENTS)
    assert ours.item() == pytest.approx(expected, rel=1e-9)
    assert expected < symmetric_cross_entropy((ecg @ text.T).tolist(), 0.2)


def test_siglip_loss_with_scale_and_bias():
    ecg, text = unit_vectors(seed=0), unit_vectors(seed=1)
    for scale, bias in ((10.0, -10.0), (1.0, 0.0), (3.0, 0.5)):
        ours = objectives.siglip_loss(ecg, text, torch.tensor(scale), torch.tensor(bias))
        assert ours.item() == pytest.approx(sigmoid_loss((ecg @ text.T).tolist(), scale, bias), rel=1e-9)


def test_matching_pairs_are_positive_in_the_siglip_loss():
    ecg, text = unit_vectors(seed=0), unit_vectors(seed=1)
    expected = sigmoid_loss((ecg @ text.T).tolist(), 4.0, -1.0, SATISFIED)
    ours = objectives.siglip_loss(ecg, text, torch.tensor(4.0), torch.tensor(-1.0), ECG_STATEMENTS, TEXT_STATEMENTS)
    assert ours.item() == pytest.approx(expected)


def test_one_statement_list_alone_changes_nothing():
    ecg, text = unit_vectors(seed=0), unit_vectors(seed=1)
    assert torch.equal(
        objectives.contrastive_loss(ecg, text, 0.2, None, TEXT_STATEMENTS), objectives.contrastive_loss(ecg, text, 0.2)
    )
    scale, bias = torch.tensor(4.0), torch.tensor(-1.0)
    assert torch.equal(
        objectives.siglip_loss(ecg, text, scale, bias, ECG_STATEMENTS), objectives.siglip_loss(ecg, text, scale, bias)
    )


def test_the_printed_siglip_loss_rewards_collapse_and_ours_does_not():
    """In eq. 6 on unit vectors, all ECGs at v and all texts at -v beat perfect alignment in any large batch."""
    count = 512
    aligned = torch.eye(count, dtype=torch.float64)
    one_way = aligned[:1].expand(count, -1)

    def loss(ecg, text, scale, bias):
        return objectives.siglip_loss(ecg, text, torch.tensor(scale), torch.tensor(bias)).item()

    collapsed, perfect = (one_way, -one_way), (aligned, aligned)
    printed = [sigmoid_loss((ecg @ text.T).tolist(), 1.0, 0.0) for ecg, text in (collapsed, perfect)]
    assert printed == pytest.approx([161.4, 354.5], abs=0.1)
    assert [loss(*collapsed, 1.0, 0.0), loss(*perfect, 1.0, 0.0)] == pytest.approx(printed)
    assert [loss(*collapsed, 10.0, -10.0), loss(*perfect, 10.0, -10.0)] == pytest.approx([20.0, 0.72], abs=0.01)


# Which ECG satisfies which text.


@pytest.mark.parametrize(
    ("ecg", "text", "expected"),
    [
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], True),
        ([1, 2, 3], [3], True),
        ([1], [1, 2], False),
        ([1, 2], [3], False),
        ([1, 0, 0], [1, 0], True),
        ([0, 0], [1], False),
        ([1, 2], [0], True),
        ([0, 5, 0, 7], [7, 0, 5], True),
    ],
)
def test_an_ecg_satisfies_a_text_when_every_statement_holds(ecg, text, expected):
    assert objectives.satisfied_pairs(torch.tensor([ecg]), torch.tensor([text])).tolist() == [[expected]]


def test_satisfied_pairs_of_a_batch():
    satisfied = objectives.satisfied_pairs(ECG_STATEMENTS, TEXT_STATEMENTS)
    assert {tuple(pair) for pair in satisfied.nonzero().tolist()} == SATISFIED
    rectangular = objectives.satisfied_pairs(ECG_STATEMENTS[:2], TEXT_STATEMENTS[:, :1])
    assert rectangular.tolist() == [
        [True, False, False, True, False, False],
        [False, True, True, False, False, False],
    ]


# Reconstruction and orthogonality.


def patches(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    signal = 2 + torch.randn(3, 2, 20, generator=generator, dtype=torch.float64)
    masked = torch.rand(3, 2, 4, generator=generator) < 0.5
    masked[:, 0, 0] = True
    masked[1] = False
    masked[1, 1, 2] = True  # the records have different numbers of masked patches
    return predicted, signal, masked


@pytest.mark.parametrize("normalize", [False, True])
def test_reconstruction_loss_is_the_mean_over_masked_patches(normalize):
    predicted, signal, masked = patches()
    total = 0.0
    for record in range(3):
        errors = []
        for lead, patch in masked[record].nonzero().tolist():
            target = signal[record, lead, patch * 5 : patch * 5 + 5]
            if normalize:
                target = (target - target.mean()) / (target.var(unbiased=False) + 1e-6).sqrt()
            errors.append(((predicted[record, lead, patch] - target) ** 2).sum().item() / 5)
        variance = sum(lead.var(unbiased=False).item() for lead in signal[record]) / len(signal[record])
        total += sum(errors) / len(errors) / (1 if normalize else variance)
    ours = objectives.reconstruction_loss(predicted, signal, masked, normalize)
    assert ours.item() == pytest.approx(total / 3, rel=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_reconstruction_loss_does_not_see_visible_patches(normalize):
    predicted, signal, masked = patches()
    predicted.requires_grad_()
    loss = objectives.reconstruction_loss(predicted, signal, masked, normalize)
    loss.backward()
    gradient = predicted.grad
    assert not gradient[~masked].any()
    assert gradient[masked].any(dim=-1).all()

    changed = predicted.detach().clone()
    changed[~masked] = 1e6
    changed.requires_grad_()
    other = objectives.reconstruction_loss(changed, signal, masked, normalize)
    other.backward()
    assert other.item() == loss.item()
    assert torch.equal(changed.grad, gradient)


@pytest.mark.parametrize("normalize", [False, True])
def test_r2_is_the_share_of_variance_that_is_restored(normalize):
    generator = torch.Generator().manual_seed(3)
    signal = 2 + torch.randn(3, 2, 20, generator=generator, dtype=torch.float64)
    masked = torch.rand(3, 2, 4, generator=generator) < 0.6
    predicted = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    error = deviation = 0.0
    for record, lead, patch in masked.nonzero().tolist():
        target = signal[record, lead, 5 * patch : 5 * patch + 5]
        level = signal[record, lead].mean()
        if normalize:
            target, level = (target - target.mean()) / (target.var(unbiased=False) + 1e-6).sqrt(), 0.0
        error += float((predicted[record, lead, patch] - target).square().sum())
        deviation += float((target - level).square().sum())
    r2 = objectives.reconstruction_r2(predicted, signal, masked, normalize)
    assert r2.item() == pytest.approx(1 - error / deviation, rel=1e-4)


def test_r2_of_the_signal_is_one_and_of_its_mean_zero():
    signal = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(0)) + 5
    masked = torch.ones(2, 3, 8, dtype=torch.bool)
    patches = signal.unflatten(-1, (8, 5))
    mean = signal.mean(dim=-1)[..., None, None].expand_as(patches)
    assert objectives.reconstruction_r2(patches, signal, masked, False).item() == pytest.approx(1)
    assert objectives.reconstruction_r2(mean, signal, masked, False).item() == pytest.approx(0, abs=1e-5)


def test_the_reconstruction_loss_is_the_same_in_any_unit():
    predicted, signal, masked = patches()
    once = objectives.reconstruction_loss(predicted, signal, masked, False)
    tenfold = objectives.reconstruction_loss(10 * predicted, 10 * signal, masked, False)
    assert tenfold.item() == pytest.approx(once.item(), rel=1e-4)
    means = signal.mean(dim=-1)[..., None, None].expand_as(predicted)
    everything = torch.ones_like(masked)
    assert objectives.reconstruction_loss(means, signal, everything, False).item() == pytest.approx(1, rel=1e-4)


def test_what_was_not_recorded_is_no_part_of_the_variance():
    """A record of one lead and half the time costs as much as one that has nothing else."""
    predicted, signal, masked = patches()
    present = torch.zeros_like(masked)
    present[:, 1, :2] = True
    signal = signal.masked_fill(~present.repeat_interleave(5, dim=2), 0.0)
    padded = objectives.reconstruction_loss(predicted, signal, masked & present, False, present)
    alone = objectives.reconstruction_loss(
        predicted[:, 1:, :2], signal[:, 1:, :10], masked[:, 1:, :2], False, present[:, 1:, :2]
    )
    torch.testing.assert_close(padded, alone)
    padded = objectives.reconstruction_r2(predicted, signal, masked & present, False, present)
    alone = objectives.reconstruction_r2(
        predicted[:, 1:, :2], signal[:, 1:, :10], masked[:, 1:, :2], False, present[:, 1:, :2]
    )
    torch.testing.assert_close(padded, alone)


def test_reconstruction_loss_of_a_flat_patch_is_finite():
    predicted, _, masked = patches()
    assert objectives.reconstruction_loss(predicted, torch.ones(3, 2, 20), masked, True).isfinite()


def test_a_record_without_masked_patches_adds_nothing():
    predicted, signal, masked = patches()
    masked[1] = False
    two = objectives.reconstruction_loss(predicted[[0, 2]], signal[[0, 2]], masked[[0, 2]], False)
    three = objectives.reconstruction_loss(predicted, signal, masked, False)
    assert three.item() == pytest.approx(two.item() * 2 / 3)


def test_masked_token_loss_is_the_mean_over_masked_tokens():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=generator)
    tokens = torch.randint(0, 7, (3, 4), generator=generator)
    valid = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    total = 0.0
    for report in range(3):
        losses = []
        for k in range(4):
            if valid[report, k]:
                scores = [math.exp(score) for score in logits[report, k].tolist()]
                losses.append(-math.log(scores[tokens[report, k]] / sum(scores)))
        total += sum(losses) / len(losses)
    assert objectives.masked_token_loss(logits, tokens, valid).item() == pytest.approx(total / 3, rel=1e-5)
    tokens[~valid], logits[~valid] = 0, 1e6
    assert objectives.masked_token_loss(logits, tokens, valid).item() == pytest.approx(total / 3, rel=1e-5)


def test_orthogonality_loss_adds_squared_cosines():
    parts = [3 * torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]

    def squared_cosine(left, right):
        dot = sum(x * y for x, y in zip(left, right, strict=True))
        return dot**2 / (sum(x * x for x in left) * sum(x * x for x in right))

    ecg_specific, ecg_shared, text_specific, text_shared = (part.tolist() for part in parts)
    total = sum(
        squared_cosine(ecg_specific[i], ecg_shared[i]) + squared_cosine(text_specific[i], text_shared[i])
        for i in range(BATCH)
    )
    assert objectives.orthogonality_loss(*parts).item() == pytest.approx(total / BATCH, rel=1e-5)
    same = torch.ones(2, 3)
    assert objectives.orthogonality_loss(same, -2 * same, same, same).item() == pytest.approx(2.0)


# Several processes.


def make_case(with_statements: bool) -> dict:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "ecg": draw(2 * BATCH, 4),
        "text": draw(2 * BATCH, 3),
        "parameters": {
            "ecg": draw(4, WIDTH),
            "text": draw(3, WIDTH),
            "log_scale": torch.tensor(1.5, dtype=torch.float64),
            "bias": torch.tensor(-2.0, dtype=torch.float64),
        },
        "ecg_statement_ids": torch.cat([ECG_STATEMENTS] * 2) if with_statements else None,
        "text_statement_ids": torch.cat([TEXT_STATEMENTS] * 2) if with_statements else None,
    }


@pytest.fixture(scope="module", params=[2, 4])
def several_processes(request, tmp_path_factory) -> dict:
    """The results of process 0; their rendezvous is a file."""
    folder = tmp_path_factory.mktemp("processes")
    cases = [make_case(False), make_case(True)]
    torch.save({"cases": cases, "objectives": objectives.__file__}, folder / "batch.pt")
    script = Path(losses_in_processes.__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, script, folder, str(rank), str(request.param)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(request.param)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return torch.load(folder / "result.pt") | {"inputs": cases, "count": request.param}


@pytest.mark.parametrize("case", [0, 1], ids=["every other is a negative", "with matching pairs"])
def test_several_processes_give_the_losses_and_gradients_of_one(several_processes, case):
    losses, gradients = losses_in_processes.losses_and_gradients(objectives, several_processes["inputs"][case])
    torch.testing.assert_close(several_processes["cases"][case][0], losses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(several_processes["cases"][case][1], gradients, atol=1e-5, rtol=1e-5)
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients.values())


def test_gathering_keeps_the_order_of_processes(several_processes):
    assert several_processes["order"].tolist() == list(range(2 * several_processes["count"]))


def test_gathering_leaves_the_gradients_of_others_alone(several_processes):
    assert several_processes["beside"].tolist() == [1.0] * 3 * several_processes["count"]
