# SPDX-License-Identifier: Apache-2.0
"""The files in examples/accelerate: Accelerate knows every key, and two processes on CPUs train together."""

import re
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from pretraining_runs import losses_by_step, on_cpus, options

FOLDER = Path(__file__).parents[2] / "examples" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))
PROCESSES = {"cpu": 2, "one_gpu": 1, "eight_gpus": 8, "two_nodes": 16, "fsdp": 8}


def test_every_file_is_listed_in_the_guide():
    assert {path.stem for path in FILES} == set(PROCESSES)
    guide = (FOLDER.parents[1] / "docs" / "guides" / "pretrain.md").read_text(encoding="utf-8")
    assert [path.name for path in FILES if f"`{path.name}`" not in guide] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_knows_every_key_and_reads_what_is_meant(path, monkeypatch):
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded = load_config_from_file(str(path))  # refuses unknown keys, but not within a section
    monkeypatch.setattr(sys, "argv", ["accelerate"])
    parser = launch_command_parser()
    arguments = parser.parse_args(["--config_file", str(path), "-m", "cgdmer.pretrain", "--seed", "1"])
    known = set(vars(arguments))
    for section, values in written.items():
        if isinstance(values, dict):
            assert set(values) <= known, section
    arguments, _, _ = _validate_launch_command(arguments)
    for name, value in {**written, **written.get("fsdp_config", {})}.items():
        if name not in ("fsdp_config", "distributed_type"):
            assert str(getattr(arguments, name)) == str(value), name
    assert loaded.distributed_type.value == written["distributed_type"]
    assert arguments.num_processes == PROCESSES[path.stem]
    assert arguments.training_script_args == ["--seed", "1"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_command_in_each_file_names_it_and_says_whether_it_was_tested(path):
    comment = re.sub(r"\n# ?", "\n", path.read_text(encoding="utf-8").split("\ndistributed_type")[0])
    assert f"accelerate launch --config_file examples/accelerate/{path.name} " in comment
    assert re.search(r"^(tested|untested): ", comment, re.MULTILINE)


@pytest.mark.slow
def test_two_cpu_processes_pretrain_together(cohort_folder, small_preset, tmp_path):
    arguments = ("--max_train_steps", "2", "--per_device_train_batch_size", "8", "--report_to", "none")
    printed = on_cpus(
        *("-m", "accelerate.commands.launch", "--config_file", str(FOLDER / "cpu.yaml"), "--main_process_port", "0"),
        *("-m", "cgdmer.pretrain", *options(cohort_folder, small_preset, tmp_path / "run", *arguments)),
    )
    assert printed.count("batch: 16 (2 process(es))") == 1  # only from the main process
    assert list(losses_by_step(tmp_path / "run")) == [1, 2]
