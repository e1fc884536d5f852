# SPDX-License-Identifier: Apache-2.0
"""A full disk and a second run on the same folder end pretraining and finetuning with our own message."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate import Accelerator
from filelock import FileLock
from pretraining_runs import options
from safetensors import SafetensorError

from cgdmer.models.errors import TrainingError
from cgdmer.pretrain import main
from cgdmer.training import output_folder
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.finetune import finetune_model
from cgdmer.training.output_folder import LOCK, claimed

ADVICE = "Then start again."


def test_a_second_run_on_the_same_folder(cohort_folder, small_preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(output_folder, "LOCK_PATIENCE", 0.2)
    run = tmp_path / "run"
    with claimed(Accelerator(), run, ADVICE):
        with pytest.raises(
            TrainingError, match=r"another run is writing to .*run\. Wait until it ends, or name another"
        ):
            main_error(options(cohort_folder, small_preset, run, "--max_train_steps", "2"))
        arguments = FinetuningArguments("cgdmer-tiny-ptbxl", str(cohort_folder), str(run), ["sinus_rhythm"])
        with pytest.raises(TrainingError, match="another run is writing"):
            finetune_model(arguments)
    with FileLock(run / LOCK).acquire(timeout=0):  # released
        pass


def main_error(arguments: list[str]) -> None:
    """Pretrain; the command line turns the error into a message, so its function is called."""
    from cgdmer.pretrain import parse_arguments
    from cgdmer.training.loop import pretrain_model

    pretrain_model(parse_arguments(arguments))


def test_a_lock_is_released_when_a_run_is_killed(tmp_path):
    script = (
        "import sys, time; from accelerate import Accelerator; from pathlib import Path\n"
        "from cgdmer.training.output_folder import claimed\n"
        "with claimed(Accelerator(cpu=True), Path(sys.argv[1]), ''):\n"
        "    print('claimed', flush=True); time.sleep(3600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        process.kill()
    with claimed(Accelerator(), tmp_path / "run", ADVICE):
        pass


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EACCES"])
def test_what_keeps_a_folder_from_being_written(tmp_path, code):
    number = getattr(errno, code)
    for error in (
        OSError(number, os.strerror(number)),
        OSError(number, os.strerror(number), str(tmp_path / "run" / "metrics.jsonl")),
        SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"),
    ):
        words = rf"run cannot be written: .*{os.strerror(number)}.*Then start again"
        with pytest.raises(TrainingError, match=words), claimed(Accelerator(), tmp_path / "run", ADVICE):
            raise error


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (
        OSError(errno.EACCES, "Permission denied", "/somewhere/else"),
        OSError(errno.ECONNRESET, "Connection reset"),
        SafetensorError("invalid header"),
        ValueError("x"),
    ):
        with pytest.raises(type(error)), claimed(Accelerator(), tmp_path / "run", ADVICE):
            raise error
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TrainingError, match=r"file is a file\. Name a folder"),
        claimed(Accelerator(), tmp_path / "file", ADVICE),
    ):
        pass


def on_a_small_disk(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command with a disk of 300 KB mounted at `folder`, in a namespace of its own."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size=300k none "{folder}" && exec "$@"'
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *command], capture_output=True, text=True, env=environment
    )


def can_mount(tmp_path: Path) -> bool:
    return shutil.which("unshare") is not None and on_a_small_disk(tmp_path / "trial", "true").returncode == 0


def test_a_disk_that_fills_up(cohort_folder, small_preset, tmp_path):
    """The real thing: the first checkpoint does not fit."""
    if not can_mount(tmp_path):
        pytest.skip("no disk can be mounted here")
    disk = tmp_path / "disk"
    arguments = options(cohort_folder, small_preset, disk / "run", "--max_train_steps", "4", "--report_to", "none")
    done = on_a_small_disk(
        *(disk, sys.executable, "-m", "cgdmer.pretrain", *arguments, "--per_device_train_batch_size", "8"),
        *("--checkpointing_steps", "1"),
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "run cannot be written" in last and "No space left on device" in last
    assert "--resume_from_checkpoint latest" in last and "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written(cohort_folder, small_preset, tmp_path, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "locked").mkdir(0o500)
    with pytest.raises(SystemExit):
        main(options(cohort_folder, small_preset, tmp_path / "locked" / "run", "--max_train_steps", "1"))
    assert "cannot be written" in capsys.readouterr().err
