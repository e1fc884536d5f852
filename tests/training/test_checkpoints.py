# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: intact or skipped, of the same run or refused, and never executed."""

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.training import checkpoints as module
from cgdmer.training.checkpoints import MANIFEST, Checkpoints, RunPosition, drop_metrics_beyond, write_manifest

CONFIGURATION = {"seed": 0, "data": {"rows": 10, "records": "ab"}}
FILES = ("model.safetensors", "optimizer.safetensors", "training_state.json", "rank_0.json")


class Run:
    """A model with dropout; each step draws from every source of random numbers."""

    def __init__(self, folder: Path, total_limit: int | None = None):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 / (1 + step))
        self.checkpoints = Checkpoints(Accelerator(cpu=True), folder, total_limit)
        self.step = 0

    def go(self, steps: int) -> "Run":
        for _ in range(steps):
            batch = torch.randn(6, 4) + float(np.random.normal()) + random.random()
            self.model(batch).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.step += 1
        return self

    def save(self, configuration=CONFIGURATION, extra=None) -> Path:
        return self.checkpoints.save(
            f"step_{self.step}",
            *(self.model, self.optimizer, self.scheduler, RunPosition(self.step, 0, self.step), configuration, extra),
        )

    def load(self, path: Path, configuration=CONFIGURATION):
        position, extra = self.checkpoints.load(path, self.model, self.optimizer, self.scheduler, configuration)
        self.checkpoints.restore_random_states()
        self.step = position.step
        return extra


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if how == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))


def test_a_loaded_run_continues_bit_for_bit(tmp_path):
    run = Run(tmp_path).go(3)
    path = run.save(extra={"shard": [2, 5]})
    assert names(path) == sorted([*FILES, MANIFEST])
    run.go(4)
    resumed = Run(tmp_path)
    assert resumed.load(path) == {"shard": [2, 5]}
    resumed.go(4)
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), resumed.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("training_state.json", lambda state: state["optimizer"][0].update(betas=[0.9, 1.5])),
        ("training_state.json", lambda state: state["optimizer"][0].update(lr=-0.1)),
        ("optimizer.safetensors", lambda tensors: tensors.update({"0.step": torch.tensor(-3.0)})),
        ("optimizer.safetensors", lambda tensors: tensors.update({"0.exp_avg": tensors["0.exp_avg"].to(torch.int32)})),
    ],
)
def test_a_state_with_which_no_step_can_be_made(tmp_path, name, change):
    """Its manifest is made anew, as by somebody who wants it loaded; a later step would end in an error of torch."""
    path = Run(tmp_path).go(2).save()
    if name.endswith(".json"):
        state = json.loads((path / name).read_text())
        change(state)
        (path / name).write_text(json.dumps(state))
    else:
        tensors = load_file(path / name)
        change(tensors)
        save_file(tensors, path / name)
    (path / MANIFEST).unlink()
    write_manifest(path, RunPosition(2, 0, 2), CONFIGURATION)
    with pytest.raises(ModelFolderError, match="cannot be used"):
        Run(tmp_path / "other").load(path)


@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_latest_skips_a_broken_checkpoint_and_names_it(tmp_path, capsys, name, how):
    run = Run(tmp_path)
    whole, broken = run.go(1).save(), run.go(8).save()
    assert run.checkpoints.find("latest") == broken
    damage(broken / name, "truncated" if name == MANIFEST and how == "altered" else how)
    if name == MANIFEST and how != "missing":
        (broken / name).write_text("{")
    assert run.checkpoints.find("latest") == whole
    printed = capsys.readouterr().out
    assert "broken" in printed and "step_9" in printed and name in printed
    with pytest.raises(ModelFolderError, match=name):
        run.checkpoints.find(str(broken))
    shutil.rmtree(whole)
    with pytest.raises(ModelFolderError, match="step_9"):
        run.checkpoints.find("latest")


def test_the_limit_keeps_the_last_by_step_and_leftovers_go(tmp_path):
    run = Run(tmp_path, total_limit=2)
    (tmp_path / "step_7.tmp").mkdir()
    (tmp_path / "notes.tmp").mkdir()
    for _ in range(4):
        run.go(3).save()  # 3, 6, 9, 12: sorted by name, 12 comes first
    assert names(tmp_path) == ["notes.tmp", "step_12", "step_9"]


@pytest.mark.parametrize("stage", ["write_json", "save_model", "save_file", "sha256_of_file", "sync", "os.replace"])
def test_a_save_that_dies_at_any_stage_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, stage):
    run = Run(tmp_path, total_limit=1)
    first = run.go(1).save()

    class Dies(BaseException):
        pass

    def die(*_, **__):
        raise Dies

    with monkeypatch.context() as patch:
        owner, name = (module.os, "replace") if stage == "os.replace" else (module, stage)
        patch.setattr(owner, name, die)
        with pytest.raises(Dies):
            run.go(1).save()
    assert run.checkpoints.find("latest") == first
    second = run.save()
    assert names(tmp_path) == [second.name]


def test_an_output_folder_that_holds_a_run_is_not_overwritten(tmp_path, capsys):
    checkpoints = Run(tmp_path).checkpoints
    assert checkpoints.find("latest") is None and "starting from the beginning" in capsys.readouterr().out
    elsewhere = Run(tmp_path / "elsewhere").go(1).save()
    (tmp_path / "training_arguments.json").write_text("{}")
    for asked in (None, str(elsewhere)):
        with pytest.raises(ConfigurationError, match="--resume_from_checkpoint latest"):
            checkpoints.find(asked)
    assert checkpoints.find("latest") is None  # stopped before its first checkpoint
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
        checkpoints.find("latest")


def test_a_checkpoint_of_another_run_is_refused_with_each_difference(tmp_path):
    path = Run(tmp_path).go(1).save()
    other = {"seed": 1, "data": {"rows": 12, "records": "ab"}}
    with pytest.raises(ModelFolderError, match=r"another data \(rows: 10 there, 12 here\), another seed \(0 there, 1"):
        Run(tmp_path).load(path, other)


class Planted:
    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_planted_pickle_is_not_executed(tmp_path, name, write):
    run = Run(tmp_path / "run").go(1)
    path = run.save()
    with open(path / name, "wb") as file:
        write(Planted(tmp_path / "executed"), file)
    (path / MANIFEST).unlink()
    write_manifest(path, RunPosition(1, 0, 1), CONFIGURATION)
    assert run.checkpoints.find("latest") == path  # its manifest is valid
    with pytest.raises(ModelFolderError, match=name):
        run.load(path)
    assert not (tmp_path / "executed").exists()


def test_metrics_beyond_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 2, "loss": 1}, {"step": 4, "loss": 2}, {"step": 4, "validation_loss": 3}, {"step": 6, "loss": 4}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 8, "lo'
    for batch, left in ((0, 3), (5, 2)):
        path.write_text(text)
        drop_metrics_beyond(path, RunPosition(4, 1, batch))
        assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:left]
