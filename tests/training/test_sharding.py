# SPDX-License-Identifier: Apache-2.0
"""FSDP2 on two CPU processes trains as one process does: same losses, checkpoints, and end after a resume."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from pretraining_runs import (
    changed_weights,
    in_two_processes,
    losses_by_step,
    options,
    pretrain,
    random_batch,
    weights,
)
from safetensors.torch import load_file
from sharded_processes import Run

from cgdmer import CGDMERConfig
from cgdmer.models.errors import ConfigurationError
from cgdmer.training import checkpoints as module
from cgdmer.training.checkpoints import Checkpoints, RunPosition

pytestmark = pytest.mark.slow  # starts processes again and again

BATCH = 8
SCRIPT = str(Path(__file__).with_name("sharded_processes.py"))


@pytest.fixture(scope="module")
def cases(make_preset) -> dict[str, dict]:
    paper = make_preset(contrast_view="masked")
    # Each text is encoded with and without masks, and there is no decoder before the vocabulary head.
    twice = make_preset(contrast_view="full", text_objective="mlm")
    kinds = {"paper": (paper, None), "in chunks": (twice, 3)}
    config = CGDMERConfig.from_pretrained(paper)
    # Masks are given, so that they do not depend on the number of processes.
    batches = [random_batch(config, BATCH, seed) for seed in range(4)]
    return {
        name: {"preset": preset, "chunk_size": chunk, "batches": batches} for name, (preset, chunk) in kinds.items()
    }


@pytest.fixture(scope="module")
def sharded(cases, tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("sharded")
    torch.save({name: {**case, "preset": str(case["preset"])} for name, case in cases.items()}, folder / "cases.pt")
    in_two_processes(SCRIPT, str(folder))
    results = torch.load(folder / "results.pt")
    for name in results:
        results[name]["checkpoint"] = folder / name / "step_2"
    return results


NAMES = ["paper", "in chunks"]


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_weights_are_those_of_one_process(sharded, cases, tmp_path, name):
    found = sharded[name]
    assert 0.45 < found["share"] < 0.55  # of the weights are on each process
    run = Run({**cases[name], "chunk_size": None}, Accelerator(cpu=True), tmp_path, seed=0)
    assert found["losses"] == pytest.approx(run.go(range(4)), rel=1e-5)
    torch.testing.assert_close(found["weights"], run.weights(), rtol=1e-3, atol=1e-4)  # see test_pretrain


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_with_the_same_weights(sharded, name):
    found = sharded[name]
    assert found["losses_resumed"] == found["losses"][2:]
    same = [torch.equal(weight, found["weights_resumed"][key]) for key, weight in found["weights"].items()]
    assert all(same)
    assert not all(torch.equal(weight, found["weights_before"][key]) for key, weight in found["weights"].items())


def test_the_checkpoint_is_that_of_one_process(sharded, cases, tmp_path):
    run = Run(cases["paper"], Accelerator(cpu=True), tmp_path, seed=0)
    run.go(range(2))
    path = run.checkpoints.save("step_2", *run.parts, RunPosition(2, 0, 2), {"seed": 0})
    for name in (module.WEIGHTS, module.OPTIMIZER):
        theirs, ours = load_file(sharded["paper"]["checkpoint"] / name), load_file(path / name)
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    # And one process can resume from it.
    other = Run(cases["paper"], Accelerator(cpu=True), tmp_path, seed=1)
    other.checkpoints.load(sharded["paper"]["checkpoint"], *other.parts, {"seed": 0})
    assert other.go(range(2, 4)) == pytest.approx(sharded["paper"]["losses"][2:], rel=1e-5)


def test_other_ways_of_sharding_are_refused(tmp_path, monkeypatch):
    accelerator = Accelerator(cpu=True)
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):  # the plugin, which says version 2, is absent
        monkeypatch.setattr(type(accelerator), "distributed_type", kind)
        monkeypatch.setattr(type(accelerator), "is_fsdp2", False)
        with pytest.raises(ConfigurationError, match=f"{kind.value}.*fsdp_version 2"):
            Checkpoints(accelerator, tmp_path)


def test_pretraining_sharded_over_two_processes(cohort_folder, small_preset, tmp_path):
    """The whole command, up to the fitted model, against one process; then resumed within an epoch."""
    steps = ("--max_train_steps", "6", "--report_to", "none", "--checkpointing_steps", "3")
    one, two, resumed = tmp_path / "one", tmp_path / "two", tmp_path / "resumed"
    pretrain(cohort_folder, small_preset, one, *steps, "--per_device_train_batch_size", "16")
    steps += ("--per_device_train_batch_size", "8")
    in_two_processes(SCRIPT, "--pretrain", *options(cohort_folder, small_preset, two, *steps))
    expected = losses_by_step(one)
    assert losses_by_step(two) == {step: pytest.approx(expected[step], rel=2e-5, abs=1e-6) for step in expected}
    steps += ("--resume_from_checkpoint", str(two / "step_3"))
    in_two_processes(SCRIPT, "--pretrain", *options(cohort_folder, small_preset, resumed, *steps))
    assert losses_by_step(resumed) == {step: losses for step, losses in losses_by_step(two).items() if step > 3}
    assert not changed_weights(two, resumed)
    assert weights(two).keys() == weights(one).keys()
