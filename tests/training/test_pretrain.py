# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from accelerate import Accelerator
from pretraining_runs import (
    changed_weights,
    in_two_processes,
    losses_by_step,
    metrics,
    options,
    pretrain,
    weights,
)
from transformers import AutoModel, AutoProcessor, BertConfig, BertModel

from cgdmer import CGDMERForPreTraining
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError, ModelFolderError
from cgdmer.presets import preset_folder
from cgdmer.pretrain import main, parse_arguments
from cgdmer.training.loaders import training_and_validation

SIX_STEPS = ("--max_train_steps", "6", "--per_device_train_batch_size", "16")


@pytest.fixture(scope="module")
def six_steps(cohort_folder, small_preset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    return pretrain(cohort_folder, small_preset, folder, *SIX_STEPS, "--checkpointing_steps", "3")


def test_writes_a_model_that_auto_classes_load_and_a_line_of_every_loss(six_steps):
    model = AutoModel.from_pretrained(six_steps)
    assert type(model).__name__ == "CGDMERModel"
    assert type(AutoProcessor.from_pretrained(six_steps)).__name__ == "ECGProcessor"
    steps = losses_by_step(six_steps)
    assert list(steps) == [1, 2, 3, 4, 5, 6]
    for line in steps.values():
        parts = [value for name, value in line.items() if name != "loss"]
        assert len(parts) == 5 and line["loss"] == pytest.approx(sum(parts), rel=1e-5)  # all weights are 1
    assert any("validation_loss" in line for line in metrics(six_steps))
    assert model.config.score_scale != 10.0  # fitted


def test_resuming_continues_the_same_curve(six_steps, cohort_folder, small_preset, tmp_path):
    resume = ("--resume_from_checkpoint", str(six_steps / "step_3"))
    pretrain(cohort_folder, small_preset, tmp_path / "resumed", *SIX_STEPS, *resume)
    whole, resumed = losses_by_step(six_steps), losses_by_step(tmp_path / "resumed")
    assert resumed == {step: pytest.approx(whole[step], rel=1e-6) for step in (4, 5, 6)}
    assert not changed_weights(six_steps, tmp_path / "resumed")


@pytest.mark.parametrize(
    ("changed", "message"),
    [(("--seed", "1"), "another seed"), (("--per_device_train_batch_size", "8"), "another global batch")],
)
def test_a_checkpoint_of_another_run_is_refused(six_steps, cohort_folder, small_preset, tmp_path, changed, message):
    resume = ("--resume_from_checkpoint", str(six_steps / "step_3"))
    with pytest.raises(ModelFolderError, match=message):
        pretrain(cohort_folder, small_preset, tmp_path / "out", *SIX_STEPS, *resume, *changed)


def test_a_checkpoint_of_another_configuration_is_refused(six_steps, cohort_folder, make_preset, tmp_path):
    run = (cohort_folder, make_preset(temperature=0.1), tmp_path / "out", *SIX_STEPS, "--resume_from_checkpoint")
    with pytest.raises(ModelFolderError, match="another model configuration"):
        pretrain(*run, str(six_steps / "step_3"))
    with pytest.raises(ModelFolderError, match=r"no manifest\.json"):
        pretrain(*run, str(tmp_path))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(six_steps, cohort_folder, small_preset, tmp_path):
    """The same records, masks, and global batch: 2 x 8 pairs are compared with each other as 16 are."""
    arguments = options(cohort_folder, small_preset, tmp_path / "two", *SIX_STEPS[:-1], "8")
    in_two_processes("-m", "cgdmer.pretrain", *arguments)
    one, two = losses_by_step(six_steps), losses_by_step(tmp_path / "two")
    assert two == {step: pytest.approx(one[step], rel=2e-5, abs=1e-6) for step in one}
    for name in ("validation_median_rank", "validation_text_to_ecg_median_rank", "validation_candidates"):
        on_one, on_two = (
            [line[name] for line in metrics(folder) if name in line] for folder in (six_steps, tmp_path / "two")
        )
        assert on_one == on_two and on_one
    first, second = weights(six_steps), weights(tmp_path / "two")
    for name, weight in first.items():
        # Adam divides by a gradient's size: if it is nearly zero, rounding alone moves a weight.
        torch.testing.assert_close(weight, second[name], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def text_model_folder(tmp_path_factory) -> Path:
    """A stand-in for a pretrained text tower on the Hub: weights and tokenizer in one folder."""
    folder = tmp_path_factory.mktemp("text") / "model"
    torch.manual_seed(5)
    tokenizer = AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pretrained_text_tower_comes_in_with_its_lower_half_frozen(
    text_model_folder, cohort_folder, make_preset, tmp_path
):
    no_tokenizer = make_preset()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (no_tokenizer / name).unlink()
    more = ("--max_train_steps", "2", "--per_device_train_batch_size", "8", "--text_model", str(text_model_folder))
    pretrain(cohort_folder, no_tokenizer, tmp_path / "out", *more)
    before, after = weights(text_model_folder), weights(tmp_path / "out")
    changed = {name for name in before if not torch.equal(before[name], after[f"text_model.{name}"])}
    moved_layers = {name.split(".")[2] for name in changed if name.startswith("encoder.layer")}
    assert moved_layers == {"2", "3"}
    assert not any(name.startswith("embeddings") for name in changed)
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer.model_max_length <= 64


def test_continuing_from_a_model_starts_from_its_weights(six_steps, cohort_folder, tmp_path):
    main(
        [
            *("--dataset", str(cohort_folder), "--model", str(six_steps), "--learning_rate", "0"),
            *("--output_dir", str(tmp_path / "more"), "--max_train_steps", "1", "--per_device_train_batch_size", "8"),
        ]
    )
    assert not changed_weights(six_steps, tmp_path / "more")


@pytest.mark.slow
def test_training_lowers_the_loss(cohort_folder, small_preset, tmp_path):
    more = ("--num_train_epochs", "25", "--per_device_train_batch_size", "16", "--text_source", "statements")
    pretrain(cohort_folder, small_preset, tmp_path / "out", *more, "--learning_rate", "1e-2")
    validation = [line["validation_loss"] for line in metrics(tmp_path / "out") if "validation_loss" in line]
    assert validation[-1] < 0.9 * validation[0]
    CGDMERForPreTraining.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--dataset", "nowhere"), CorpusError, "nowhere"),
        (("--config_name", "cgdmer-huge"), ConfigurationError, "cgdmer-tiny"),
        (("--per_device_train_batch_size", "5000"), ConfigurationError, "Lower --per_device_train_batch_size"),
        (
            ("--streaming", "--per_device_train_batch_size", "71"),
            ConfigurationError,
            r"70 for training .*: too few for one step of 71 x 1 processes .* Lower --per_device_train_batch_size",
        ),
        (("--checkpointing_steps", "often"), ConfigurationError, "epoch"),
        (("--freeze_text_layers", "9"), ConfigurationError, "has 2 layers"),
        (("--report_to", "tensorbord"), ConfigurationError, "names 'tensorbord'; expected some of .*tensorboard"),
        (("--report_to", "none", "tensorboard"), ConfigurationError, "'none' alone"),
    ],
)
def test_bad_arguments_get_a_clear_error(cohort_folder, small_preset, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        pretrain(cohort_folder, small_preset, tmp_path / "out", *arguments)
    assert issubclass(error, CGDMERError)


def test_argument_names_are_those_of_the_no_trainer_scripts():
    parsed = vars(parse_arguments(["--dataset", "d", "--config_name", "c", "--output_dir", "o"]))
    expected = {
        *("per_device_train_batch_size", "learning_rate", "weight_decay", "num_train_epochs", "max_train_steps"),
        *("gradient_accumulation_steps", "lr_scheduler_type", "num_warmup_steps", "seed", "checkpointing_steps"),
        *("resume_from_checkpoint", "report_to", "output_dir", "config_name"),
    }
    assert expected <= set(parsed)


def test_resuming_within_an_epoch_is_bit_equal_with_dropout(cohort_folder, make_preset, tmp_path):
    preset = make_preset(projection_dropout=0.3)
    common = ("--max_train_steps", "5", "--per_device_train_batch_size", "8", "--checkpointing_steps", "2")
    whole = pretrain(cohort_folder, preset, tmp_path / "whole", *common)
    for name in ("step_2", "step_4"):
        resume = ("--resume_from_checkpoint", str(whole / name))
        assert not changed_weights(whole, pretrain(cohort_folder, preset, tmp_path / name, *common, *resume))


@pytest.mark.parametrize("batches", [4, 3])
def test_an_epoch_makes_only_whole_steps(cohort_folder, small_preset, tmp_path, batches):
    """Accelerate makes a step of what is left at the end of an epoch, which would end a run of epochs early."""
    more = ("--num_train_epochs", "2", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps")
    records = str(8 * 2 * batches + 8 * (batches - 1))  # two whole steps, and nearly a third
    pretrain(cohort_folder, small_preset, tmp_path, *more, str(batches), "--max_train_samples", records)
    summary = json.loads((tmp_path / "training_summary.json").read_text())
    assert (summary["steps"], summary["samples"]) == (4, 4 * 8 * batches)
    validated = [line["step"] for line in metrics(tmp_path) if "validation_loss" in line]
    assert validated == [2, 4]
    assert metrics(tmp_path)[-2]["learning_rate"] == pytest.approx(0, abs=1e-9)


def test_validation_draws_nothing_that_training_would_draw(cohort_folder, small_preset, tmp_path):
    """Otherwise a run that is stopped while validating draws twice, and resumes as another run."""
    parsed = parse_arguments(options(cohort_folder, small_preset, tmp_path, "--per_device_train_batch_size", "8"))
    processor = AutoProcessor.from_pretrained(small_preset)
    loader = training_and_validation(parsed, processor, Accelerator(), {})[1]
    before = torch.get_rng_state()
    next(iter(loader))
    assert torch.equal(before, torch.get_rng_state())


def test_a_validation_split_that_cannot_calibrate_does_not_fail_the_run(cohort_folder, small_preset, tmp_path):
    splits = load_dataset_folder(cohort_folder)
    one = datasets.DatasetDict({**splits, "validation": splits["validation"].select(range(1))})
    one.save_to_disk(tmp_path / "one")
    shutil.copy(Path(cohort_folder) / "summary.json", tmp_path / "one")
    with pytest.warns(UserWarning, match="cannot be calibrated"):
        pretrain(tmp_path / "one", small_preset, tmp_path / "run", "--max_train_steps", "1")
    assert (tmp_path / "run" / "model.safetensors").is_file()
