# SPDX-License-Identifier: Apache-2.0
"""`pretrain --objective NAME`: what it saves, resuming, and what it refuses."""

from pathlib import Path

import pytest
import torch
from pretraining_runs import changed_weights, losses_by_step, metrics, pretrain, weights
from transformers import AutoModel

from cgdmer import CGDMERForZeroShot, CGDMERModel
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.presets import preset_folder

FOUR_STEPS = ("--max_train_steps", "4", "--per_device_train_batch_size", "8", "--report_to", "none")
STATEMENTS = ("--text_source", "statements", "--texts_per_record", "2")
METHODS = {"byol": (), "c_melt": STATEMENTS}


@pytest.fixture(scope="module", params=METHODS)
def method(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def preset(make_preset) -> Path:
    """With dropout, whose draws a resumed run must repeat."""
    return make_preset(projection_dropout=0.3)


@pytest.fixture(scope="module")
def four_steps(method, cohort_folder, preset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(method) / "whole"
    more = ("--objective", method, *METHODS[method], "--checkpointing_steps", "2")
    return pretrain(cohort_folder, preset, folder, *FOUR_STEPS, *more)


def test_the_saved_folder_is_the_model_alone(method, four_steps):
    model = AutoModel.from_pretrained(four_steps)
    assert type(model) is {"byol": CGDMERECGModel, "c_melt": CGDMERModel}[method]
    assert weights(four_steps).keys() == model.state_dict().keys()
    if method == "c_melt":
        torch.manual_seed(0)
        ecg, ids = torch.randn(2, 12, model.config.ecg_config.num_samples), torch.tensor([[5, 6, 7], [8, 9, 10]])
        zero_shot = CGDMERForZeroShot.from_pretrained(four_steps)(ecg, ids)
        both = model(ecg, ids)
        assert torch.equal(zero_shot.ecg_embeds, both.ecg_embeds)
        assert torch.equal(zero_shot.text_embeds, both.text_embeds)
        assert model.config.score_scale != 10.0  # fitted


def test_every_step_has_its_losses(method, four_steps):
    steps = losses_by_step(four_steps)
    parts = {"byol": 1, "c_melt": 4}[method]
    assert list(steps) == [1, 2, 3, 4]
    for line in steps.values():
        assert len(line) == 1 + parts
        assert line["loss"] == pytest.approx(sum(value for name, value in line.items() if name != "loss"), rel=1e-5)
    assert all(line["embedding_deviation"] > 0 for line in metrics(four_steps) if "loss" in line)
    assert any("validation_median_rank" in line for line in metrics(four_steps)) == (method == "c_melt")


def test_a_run_resumed_in_the_middle_is_the_same_bit_for_bit(method, four_steps, cohort_folder, preset, tmp_path):
    resume = ("--resume_from_checkpoint", str(four_steps / "step_2"))
    more = ("--objective", method, *METHODS[method])
    resumed = pretrain(cohort_folder, preset, tmp_path / "resumed", *FOUR_STEPS, *more, *resume)
    whole = losses_by_step(four_steps)
    assert losses_by_step(resumed) == {step: whole[step] for step in (3, 4)}
    assert not changed_weights(four_steps, resumed)


@pytest.mark.parametrize(
    ("preset_name", "objective", "message"),
    [
        ("cgdmer-tiny", "simsalabim", "--objective is 'simsalabim'; expected one of .*byol.*simclr"),
        ("coreecg-tiny", "etp", "coreecg-tiny has no text tower, which ETP needs"),
        ("cgdmer-tiny-resnet18", "c_melt", "encoder of type 'ecg_resnet' cannot. Use --config_name cgdmer-tiny"),
        ("cgdmer-tiny-vit", "c_melt", "encoder of type 'ecg_vit' cannot. Use --config_name cgdmer-tiny"),
    ],
)
def test_what_cannot_be_trained_so_is_refused(cohort_folder, tmp_path, preset_name, objective, message):
    with pytest.raises(ConfigurationError, match=message):
        pretrain(cohort_folder, preset_folder(preset_name), tmp_path, *FOUR_STEPS, "--objective", objective)


@pytest.mark.parametrize("preset_name", ["cgdmer-tiny-resnet18", "cgdmer-tiny-vit"])
def test_the_presets_with_other_encoders_can_be_trained(cohort_folder, tmp_path, preset_name):
    steps = ("--max_train_steps", "1", "--per_device_train_batch_size", "4", "--report_to", "none")
    folder = pretrain(cohort_folder, preset_folder(preset_name), tmp_path / "run", *steps, "--objective", "merl")
    model = AutoModel.from_pretrained(folder)
    assert type(model) is CGDMERModel and model.config.ecg_config.model_type in ("ecg_resnet", "ecg_vit")


def test_gradient_checkpointing_changes_nothing(cohort_folder, preset, tmp_path):
    how = (*FOUR_STEPS, "--objective", "simclr")
    plain = pretrain(cohort_folder, preset, tmp_path / "plain", *how)
    less_memory = pretrain(cohort_folder, preset, tmp_path / "less_memory", *how, "--gradient_checkpointing")
    for step, line in losses_by_step(plain).items():
        assert losses_by_step(less_memory)[step] == pytest.approx(line, rel=1e-4)
