# SPDX-License-Identifier: Apache-2.0
"""What is said of each loss's gradient is what that loss alone would give, and saying it changes nothing."""

import pytest
import torch
from accelerate import Accelerator
from pretraining_runs import in_two_processes, losses_by_step, metrics, options, pretrain, random_batch

from cgdmer import CGDMERConfig, CGDMERForPreTraining
from cgdmer.models.errors import ConfigurationError
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.gradient_shares import gradient_shares

LOSSES = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")


def test_norms_are_those_of_each_loss_alone(small_preset):
    config = CGDMERConfig.from_pretrained(small_preset)
    torch.manual_seed(0)
    model = CGDMERForPreTraining(config).double().train()
    batch = random_batch(config, 6, seed=1)
    batch["ecg_values"] = batch["ecg_values"].double()
    found = gradient_shares(Accelerator(), model, outputs := model(**batch))
    outputs.loss.backward()  # the graph is still there
    assert all(weight.grad is not None for weight in model.ecg_model.parameters())
    for tower, module, unreached in (
        ("", model.ecg_model, "text_reconstruction"),
        ("text_", model.text_model, "ecg_reconstruction"),
    ):
        expected = {}
        for name in LOSSES:
            model.zero_grad()
            (model.loss_weights()[name] * model(**batch)[f"{name}_loss"]).backward()
            squares = [weight.grad.square().sum() for weight in module.parameters() if weight.grad is not None]
            expected[name] = float(sum(squares)) ** 0.5
        assert expected[unreached] == 0 and min(value for value in expected.values() if value) > 1e-6
        for name, norm in expected.items():
            assert found[f"{name}_{tower}gradient_norm"] == pytest.approx(norm, rel=1e-4)
            assert found[f"{name}_{tower}gradient_share"] == pytest.approx(norm / sum(expected.values()), rel=1e-4)
        assert sum(found[f"{name}_{tower}gradient_share"] for name in LOSSES) == pytest.approx(1)


def test_a_run_writes_them_and_is_the_same_run(cohort_folder, small_preset, tmp_path):
    how = (cohort_folder, small_preset)
    more = ("--max_train_steps", "4", "--per_device_train_batch_size", "4")
    plain = pretrain(*how, tmp_path / "plain", *more)
    watched = pretrain(*how, tmp_path / "watched", *more, "--log_gradient_shares", "2")
    assert losses_by_step(watched) == losses_by_step(plain)
    lines = [line for line in metrics(watched) if "contrastive_gradient_share" in line]
    assert [line["step"] for line in lines] == [2, 4]
    assert all(sum(line[f"{name}_gradient_share"] for name in LOSSES) == pytest.approx(1) for line in lines)
    validated = next(line for line in metrics(plain) if "validation_loss" in line)
    assert validated["validation_ecg_reconstruction_r2"] < 0.5


def test_two_processes(cohort_folder, small_preset, tmp_path):
    more = ("--max_train_steps", "2", "--log_gradient_shares", "1", "--per_device_train_batch_size", "2")
    in_two_processes("-m", "cgdmer.pretrain", *options(cohort_folder, small_preset, tmp_path / "run", *more))
    lines = [line for line in metrics(tmp_path / "run") if "siglip_gradient_norm" in line]
    assert [line["step"] for line in lines] == [1, 2] and min(line["siglip_gradient_norm"] for line in lines) > 0


@pytest.mark.parametrize("other", [{"contrastive_chunk_size": 2}, {"torch_compile": True}])
def test_what_leaves_no_graph_is_refused(other):
    with pytest.raises(ConfigurationError, match="cannot be used with"):
        PretrainingArguments("data", "run", config_name="cgdmer-tiny", log_gradient_shares=5, **other)
