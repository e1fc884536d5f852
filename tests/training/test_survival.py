# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed again and again, and resumed with `latest`, end with the weights of an undisturbed run.

SIGKILL comes at a chosen event (a call that trains, logs, or saves; every run makes the same calls in the same order)
or after some time. Seeds are fixed.
"""

import contextlib
import functools
import multiprocessing
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pretraining_runs import changed_weights, metrics

SAVING = ("write_json", "save_model", "save_file", "sha256_of_file", "sync", "write_manifest")
# Started once, with everything imported; each run is a fork of it, before anything was computed.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["cgdmer.pretrain"])


def run(
    arguments: list[str], environment: dict[str, str], die_at: int | None, stop_at: int | None, diary: Path
) -> None:
    """Pretrain in this process. Kills itself at event `die_at`, or stops itself at its `stop_at`-th losses.

    Writes the names of the events to the diary.
    """
    os.environ.update(environment)
    # If the tests run as a shell's background job, SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for loader workers, as in a process started by hand
    from cgdmer.pretrain import main
    from cgdmer.training import checkpoints, loop

    seen, counts = 0, Counter[str]()
    with open(diary, "w", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):

        def watched(owner, name: str) -> None:
            original = getattr(owner, name)

            @functools.wraps(original)
            def event(*args, **kwargs):
                nonlocal seen
                seen += 1
                counts[name] += 1
                file.write(f"event {seen} {name}\n")
                if name == "_losses" and counts[name] == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                if seen == die_at:
                    if name == "write_json":  # halfway through the file
                        args[0].write_text('{"step": 1')
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            setattr(owner, name, event)

        for name in SAVING:
            watched(checkpoints, name)
        watched(os, "replace")
        watched(checkpoints.shutil, "rmtree")
        for name in ("_losses", "_log"):
            watched(loop._Training, name)
        main(arguments)


class Job:
    """Processes that pretrain together, as started by a launcher."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        count: int = 1,
        die_at: Sequence[int | None] = (None,),
        stop_at: int | None = None,
    ):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.diaries = [folder / f"diary_{rank}" for rank in range(count)]
        self.started = []
        for rank, (diary, moment) in enumerate(zip(self.diaries, die_at, strict=True)):
            environment = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            if count > 1:
                environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            diary.unlink(missing_ok=True)
            process = processes.Process(target=run, args=(arguments, environment, moment, stop_at, diary))
            process.start()
            self.started.append(process)

    def wait_for(self, text: str) -> None:
        """Wait until the main process has written this."""
        while not (self.diaries[0].exists() and text in self.diaries[0].read_text()):
            assert any(process.is_alive() for process in self.started), self.diary()
            time.sleep(0.005)

    def send(self, number: signal.Signals, ranks: Sequence[int] = (0, 1)) -> None:
        for rank, process in enumerate(self.started):
            if rank in ranks and process.is_alive():
                os.kill(process.pid, number)

    def exit_codes(self) -> list[int | None]:
        """Wait for the end. As a launcher does, end the others when one process has failed.

        Processes that were stopped by a signal, and saved a checkpoint first, all end by themselves.
        """
        ending = (None, 0, 128 + signal.SIGTERM, 128 + signal.SIGINT)
        while any(process.is_alive() for process in self.started):
            if any(process.exitcode not in ending for process in self.started):
                self.send(signal.SIGKILL)
            time.sleep(0.01)
        return [process.exitcode for process in self.started]

    def diary(self) -> str:
        return "\n".join(diary.read_text()[-3000:] for diary in self.diaries if diary.exists())

    def finish(self) -> None:
        codes = self.exit_codes()
        assert codes == [0] * len(codes), self.diary()

    def last_event(self, rank: int = 0) -> str:
        events = [line for line in self.diaries[rank].read_text().splitlines() if line.startswith("event ")]
        return events[-1].split()[2] if events else "start"


@pytest.fixture(scope="module")
def command(cohort_folder, make_preset):
    """Arguments for an output folder: 12 steps in 2 epochs, with dropout, so that random states matter."""
    preset = make_preset(projection_dropout=0.3)

    def arguments(output: Path, processes: int = 1) -> list[str]:
        return [
            *("--dataset", str(cohort_folder), "--config_name", str(preset), "--output_dir", str(output)),
            *("--max_train_steps", "12", "--per_device_train_batch_size", str(8 // processes)),
            *("--learning_rate", "1e-3", "--logging_steps", "2", "--checkpointing_steps", "2"),
            *("--checkpoints_total_limit", "2", "--resume_from_checkpoint", "latest"),
        ]

    return arguments


def curve(folder: Path) -> list[dict]:
    """Without the speed, which differs between runs."""
    speed = {"samples_per_second", "data_wait_share", "peak_memory_gb"}
    return [{name: value for name, value in line.items() if name not in speed} for line in metrics(folder)]


def assert_same_end(folder: Path, undisturbed: Path) -> None:
    assert changed_weights(folder, undisturbed) == []
    assert curve(folder) == curve(undisturbed)
    assert not list(folder.glob("*.tmp"))


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    Job(command(folder / "run"), folder).finish()
    return folder / "run"


def stopped(job: Job, number: signal.Signals, ranks: Sequence[int] = (0, 1)) -> list[int | None]:
    """The exit codes after a signal that comes once training has begun."""
    job.wait_for("_losses")
    job.send(number, ranks)
    return job.exit_codes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_saves_a_checkpoint_and_the_run_resumes_from_it(
    command, undisturbed, tmp_path, number, code, workers
):
    folder = tmp_path / "stopped"
    # No other checkpoint is saved midway.
    arguments = [*command(folder), "--checkpointing_steps", "12", "--dataloader_num_workers", str(workers)]
    job = Job(arguments, tmp_path)
    if workers:
        job.wait_for("_losses")
        for worker in children(job.started[0].pid):  # as schedulers do, to every process of the job
            os.kill(worker, number)
    assert stopped(job, number) == [code], job.diary()
    (saved,) = folder.glob("step_*")
    assert f"step {saved.name.removeprefix('step_')}: resume with --resume_from_checkpoint latest" in job.diary()
    assert not (folder / "model.safetensors").exists()
    Job(arguments, tmp_path).finish()
    assert_same_end(folder, undisturbed)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_signal_while_validating_repeats_the_validation_alone(command, undisturbed, tmp_path):
    folder = tmp_path / "stopped"
    # Each logged step computes losses once (four in an epoch of eight steps), and then validation does.
    job = Job(command(folder), tmp_path, stop_at=5)
    assert job.exit_codes() == [143], job.diary()
    assert max(int(path.name.removeprefix("step_")) for path in folder.glob("step_*")) == 8
    assert [line["step"] for line in curve(folder)] == [2, 4, 6, 8]
    Job(command(folder), tmp_path).finish()
    assert_same_end(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)])
def test_processes_agree_on_the_step_at_which_they_stop(command, tmp_path, ranks):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "stopped"
    Job(command(undisturbed, 2), tmp_path, 2, [None, None]).finish()
    job = Job(command(folder, 2), tmp_path, 2, [None, None])
    assert stopped(job, signal.SIGTERM, ranks) == [143, 143], job.diary()
    Job(command(folder, 2), tmp_path, 2, [None, None]).finish()
    assert_same_end(folder, undisturbed)


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_ends_with_the_same_weights(command, undisturbed, tmp_path):
    choose = random.Random(1)
    killed_in: list[str] = []
    runs = 0
    while len(killed_in) < 20:
        by_clock = len(killed_in) % 4 == 3
        folder = tmp_path / f"killed_{runs}"
        job = Job(command(folder), tmp_path, die_at=[None if by_clock else choose.randint(1, 60)])
        if by_clock:
            job.wait_for("starting at")
            time.sleep(choose.uniform(0, 1))
            job.send(signal.SIGKILL)
        codes = job.exit_codes()
        if codes == [0]:  # it finished: kill the next one
            assert_same_end(folder, undisturbed)
            runs += 1
        else:
            assert codes == [-signal.SIGKILL], job.diary()
            killed_in.append(job.last_event())
    folder = tmp_path / f"killed_{runs}"
    Job(command(folder), tmp_path).finish()
    assert_same_end(folder, undisturbed)
    assert len({*SAVING, "replace", "rmtree"} & set(killed_in)) >= 4, killed_in
    print(runs + 1, "runs, killed in", killed_in)


@pytest.mark.slow
def test_two_processes_killed_together_or_one_alone_end_with_the_same_weights(command, tmp_path):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    Job(command(undisturbed, 2), tmp_path, 2, [None, None]).finish()
    choose = random.Random(2)
    for attempt in range(8):
        # At an event, only the main process or only the other; after some time, both at once.
        moments = [[choose.randint(5, 45), None], [None, choose.randint(2, 9)], [None, None]][attempt % 3]
        job = Job(command(folder, 2), tmp_path, 2, moments)
        if attempt % 3 == 2:
            job.wait_for("starting at")
            time.sleep(choose.uniform(0, 1))
            job.send(signal.SIGKILL)
        codes = job.exit_codes()
        assert -signal.SIGKILL in codes or codes == [0, 0], job.diary()
    Job(command(folder, 2), tmp_path, 2, [None, None]).finish()
    assert_same_end(folder, undisturbed)
