# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import pytest
import torch
from pretraining_runs import metrics, pretrain

from cgdmer import (
    CGDMERECGConfig,
    CGDMERForECGClassification,
    ECGResNetConfig,
    ECGResNetModel,
    ECGViTConfig,
    ECGViTModel,
)
from cgdmer.models.errors import TrainingError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.training.optimization import MOST_SKIPPED_IN_A_ROW, FiniteSteps, adamw, schedule, shares_by_layer
from small_families import ECG


def trained(bad_steps: dict[int, float], count: int, leave_out: bool = False) -> tuple[torch.nn.Module, FiniteSteps]:
    """A linear layer after `count` steps; `bad_steps` plants values in the gradients, or these steps are left out."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    inputs = torch.randn(count, 8, 4)
    optimizer = adamw(layer, 0.1, 0.01)
    finite = FiniteSteps(optimizer, torch.device("cpu"), has_scaler=False)
    for step in range(count):
        if step in bad_steps and leave_out:
            continue
        layer(inputs[step]).square().mean().backward()
        if step in bad_steps:
            layer.weight.grad[1, 2] = bad_steps[step]
        finite.judge(torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0))
        optimizer.step()
        optimizer.zero_grad()
    return layer, finite


def test_a_step_without_finite_gradients_never_happened():
    bad = {2: torch.nan, 3: torch.inf, 6: -torch.inf}
    layer, finite = trained(bad, 9)
    expected, untouched = trained(bad, 9, leave_out=True)
    assert torch.equal(layer.weight, expected.weight) and torch.equal(layer.bias, expected.bias)
    assert (finite.skipped(), untouched.skipped()) == (3, 0)


def test_too_many_in_a_row_end_the_training():
    for most in (MOST_SKIPPED_IN_A_ROW, MOST_SKIPPED_IN_A_ROW + 1):
        bad = {step: torch.nan for step in range(4, 4 + most)} | {0: torch.nan, 2: torch.nan}
        _, finite = trained(bad, 30)
        if most == MOST_SKIPPED_IN_A_ROW:
            assert finite.skipped() == most + 2
        else:
            with pytest.raises(TrainingError, match=r"^11 steps in a row"):
                finite.skipped()


def test_a_resumed_run_keeps_counting():
    _, finite = trained({step: torch.nan for step in range(3, 9)}, 9)
    assert finite.state_dict() == {"skipped": 6, "in_a_row": 6, "longest": 6}
    resumed = FiniteSteps(adamw(torch.nn.Linear(1, 1), 0.1, 0.0), torch.device("cpu"), has_scaler=False)
    resumed.load_state_dict(finite.state_dict())
    for _ in range(5):
        resumed.judge(torch.tensor(torch.nan))
    resumed.judge(torch.tensor(1.0))
    again = FiniteSteps(adamw(torch.nn.Linear(1, 1), 0.1, 0.0), torch.device("cpu"), has_scaler=False)
    again.load_state_dict(resumed.state_dict())  # after the last of them, before anything checked
    with pytest.raises(TrainingError, match=r"^11 steps"):
        again.skipped()


def test_only_matrices_decay():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 1))
    model[2].requires_grad_(False)
    decayed, others = adamw(model, 0.1, 0.5).param_groups
    assert [decayed["weight_decay"], others["weight_decay"]] == [0.5, 0.0]
    assert [tuple(weight.shape) for weight in decayed["params"]] == [(3, 2)]
    assert [tuple(weight.shape) for weight in others["params"]] == [(3,), (3,), (3,)]


def encoder_with_layers(kind: str) -> tuple[ECGPreTrainedModel, list[tuple[str, ...]]]:
    """A model, and from the bottom to the top the beginnings of its parameters' names."""
    if kind == "classifier":
        model = CGDMERForECGClassification(CGDMERECGConfig(**ECG | {"num_hidden_layers": 2}))
        layers = [("ecg_model.tokenizer.",), *((f"ecg_model.layers.{number}.",) for number in range(2))]
        return model, [*layers, ("ecg_model.norm.", "classifier.")]
    if kind == "vit":
        layers = [("projection.", "time_embedding"), *((f"layers.{number}.",) for number in range(2))]
        config = ECGViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
        return ECGViTModel(config), [*layers, ("norm.",)]
    stages = [tuple(f"layers.{block}." for block in (2 * stage, 2 * stage + 1)) for stage in range(4)]
    return ECGResNetModel(ECGResNetConfig(hidden_size=16)), [("stem.",), *stages, ()]


@pytest.mark.parametrize("kind", ["classifier", "vit", "resnet"])
def test_each_layer_learns_at_a_share_of_the_rate_of_the_layer_above(kind):
    model, layers = encoder_with_layers(kind)
    rate_of = {}
    for group in adamw(model, 0.1, 0.5, shares_by_layer(model, 0.5)).param_groups:
        for weight in group["params"]:
            assert id(weight) not in rate_of
            assert group["weight_decay"] in (0.0, 0.5)
            rate_of[id(weight)] = group["lr"]
    for name, weight in model.named_parameters():
        (layer,) = (number for number, starts in enumerate(layers) if name.startswith(starts or "-"))
        assert rate_of.pop(id(weight)) == pytest.approx(0.1 * 0.5 ** (len(layers) - 1 - layer)), name
    assert not rate_of
    whole = adamw(model, 0.1, 0.5, shares_by_layer(model, 1.0))
    assert [(group["lr"], group["weight_decay"]) for group in whole.param_groups] == [(0.1, 0.5), (0.1, 0.0)]
    for group, usual in zip(whole.param_groups, adamw(model, 0.1, 0.5).param_groups, strict=True):
        assert list(map(id, group["params"])) == list(map(id, usual["params"]))


@pytest.mark.parametrize("num_processes", [1, 4])
def test_the_schedule_ends_with_the_last_step_however_many_processes_advance_it(num_processes):
    optimizer = adamw(torch.nn.Linear(1, 1), 0.1, 0.0)
    scheduler = schedule(SimpleNamespace(num_processes=num_processes), optimizer, "cosine", 10, num_warmup_steps=2)
    rates = []
    for _ in range(10):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        for _ in range(num_processes):  # as Accelerate does
            scheduler.step()
    falling = [0.05 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx([0.0, 0.05, *falling])
    assert scheduler.get_last_lr()[0] == pytest.approx(0.0)


def test_a_run_that_diverges_stops_and_says_so(cohort_folder, small_preset, tmp_path):
    with pytest.raises(TrainingError, match="lower --learning_rate"):
        more = ("--per_device_train_batch_size", "8", "--learning_rate", "1e30", "--max_train_steps", "40")
        pretrain(cohort_folder, small_preset, tmp_path, *more)
    assert sum("steps_left_out" in line for line in metrics(tmp_path)) == 1 + MOST_SKIPPED_IN_A_ROW
