# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run: intact or absent, verified before use, and free of pickle.

A checkpoint is a folder in the run's output folder:

    manifest.json            the position, the run's configuration, and size and SHA-256 of every other file
    model.safetensors        weights and buffers
    optimizer.safetensors    the optimizer's tensors; its settings are in training_state.json
    training_state.json      settings of the optimizer, schedule, and mixed-precision scaler
    rank_N.json              for each process: its random states, and the state of its loader

The files are the same when FSDP2 shards the weights: they hold whole tensors. A checkpoint is written as NAME.tmp and
renamed once every byte is on disk. All processes must see the same output folder.

Accelerate's `load_state` is not used: it silently continues when it cannot read random states, and most of what it
writes is pickle. Here tensors are safetensors, and everything else is JSON.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from safetensors.torch import load_file, load_model, save_file, save_model

from cgdmer.files.hashing import sha256_of_file
from cgdmer.files.json_types import check
from cgdmer.files.reading import read_json_object
from cgdmer.files.writing import sync, write_json, write_text
from cgdmer.models.errors import CGDMERError, ConfigurationError, ModelFolderError
from cgdmer.training.checkpoint_state import (
    flattened,
    random_states,
    refuse_other_settings,
    refuse_other_shapes,
    refuse_unlike,
    set_random_states,
    shard_like_weights,
    unflattened,
)
from cgdmer.training.sharding import load_parts, whole_on_cpu

LATEST = "latest"
MANIFEST, STATE = "manifest.json", "training_state.json"
WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_ARGUMENTS, _METRICS, _FINISHED = "training_arguments.json", "metrics.jsonl", "model.safetensors"
_TEMPORARY = ".tmp"
_NAME = re.compile(r"(step|epoch)_\d+")
_FILE_NAME = re.compile(r"[a-z_0-9]{1,50}\.(json|safetensors)")
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass(frozen=True, order=True)
class RunPosition:
    """How far a run has come.

    Attributes:
        step: optimizer steps done.
        epoch: the epoch to continue in.
        batch: batches of that epoch that each process has done.
    """

    step: int
    epoch: int
    batch: int


class _File(TypedDict):
    """What the manifest says about a file."""

    size: int
    sha256: str


class _Manifest(TypedDict):
    """manifest.json."""

    step: int
    epoch: int
    batch: int
    configuration: dict[str, Any]
    files: dict[str, _File]


class Checkpoints:
    """The checkpoints of one run. All processes call `find` and `save` together.

    Args:
        folder: the run's output folder.
        total_limit: how many of the latest to keep; None keeps all.

    Raises:
        ConfigurationError: weights are sharded by something other than FSDP2.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, total_limit: int | None = None):
        if accelerator.distributed_type in _SHARDED and not accelerator.is_fsdp2:
            raise ConfigurationError(
                f"{accelerator.distributed_type.value} shards weights, which checkpoints support only for FSDP2. "
                "Choose plain multi-GPU training or FSDP with fsdp_version 2 in `accelerate config`."
            )
        self.accelerator, self.folder, self.total_limit = accelerator, folder, total_limit
        self._random_states: dict[str, Any] | None = None

    # Finding

    def find(self, asked: str | None) -> Path | None:
        """The verified checkpoint to continue from; None to start from the beginning.

        Args:
            asked: a checkpoint's folder; `"latest"` for the newest intact one in the output folder; None for none.

        Raises:
            ConfigurationError: the output folder holds a run that would be overwritten.
            ModelFolderError: the checkpoint is broken, or `"latest"` finds only broken ones.
        """
        return self._on_main(lambda: self._find(asked))

    def _find(self, asked: str | None) -> Path | None:
        if asked == LATEST:
            return self._latest()
        path = None if asked is None else Path(asked)
        if path is None or path.resolve().parent != self.folder.resolve():
            self._refuse_overwriting((_ARGUMENTS, _METRICS, _FINISHED))
        if path is not None:
            verify(path)
        return path

    def _latest(self) -> Path | None:
        skipped = []
        for path in self._newest_first():
            try:
                verify(path)
            except ModelFolderError as error:
                print(f"skipped a broken checkpoint: {error}", flush=True)
                skipped.append(str(path))
            else:
                print(f"continuing from {path}", flush=True)
                return path
        if skipped:
            raise ModelFolderError(
                f"no checkpoint in {self.folder} is intact ({', '.join(skipped)}). Restore one, or remove them to "
                "start over."
            )
        self._refuse_overwriting((_FINISHED,))
        print(f"no checkpoint in {self.folder}: starting from the beginning", flush=True)
        return None

    def _refuse_overwriting(self, names: tuple[str, ...]) -> None:
        held = [name for name in names if (self.folder / name).exists()]
        if held:
            raise ConfigurationError(
                f"--output_dir {self.folder} already holds a run ({', '.join(held)}). Continue it with "
                "--resume_from_checkpoint latest, choose another --output_dir, or remove this one."
            )

    def _newest_first(self) -> list[Path]:
        """Sorted by position; those with an unreadable manifest come first, so that they are reported."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and _NAME.fullmatch(path.name):
                try:
                    found.append((0, position_of(read_manifest(path)), path))
                except ModelFolderError:
                    found.append((1, RunPosition(0, 0, 0), path))
        return [path for _, _, path in sorted(found, reverse=True)]

    def _on_main(self, function: Callable[[], Any]) -> Any:
        """Call the function on the main process; all processes return its result or raise its error."""
        outcome: list[Any] = [None, None]
        if self.accelerator.is_main_process:
            try:
                outcome[0] = function()
            except CGDMERError as error:
                outcome[1] = error
        broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    # Saving

    def save(
        self,
        name: str,
        model: torch.nn.Module,
        optimizer,
        scheduler,
        position: RunPosition,
        configuration: dict[str, Any],
        extra: dict[str, Any] | None = None,
    ) -> Path:
        """Save everything under `name`, then remove checkpoints beyond `total_limit` and leftovers of killed saves.

        Args:
            name: `step_N` or `epoch_N`.
            model: unwrapped.
            optimizer, scheduler: torch's, or as prepared by Accelerate.
            configuration: what must be the same in a run that continues from here; JSON.
            extra: what `load` returns to this process; JSON.
        """
        accelerator, target = self.accelerator, self.folder / name
        temporary = target.with_name(name + _TEMPORARY)
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            temporary.mkdir()
        accelerator.wait_for_everyone()
        rank = {"random_states": random_states(accelerator.device), "extra": extra or {}}
        write_json(temporary / _rank_file(accelerator.process_index), rank)
        tensors, settings = flattened(optimizer.state_dict())
        if accelerator.is_fsdp2:
            weights = whole_on_cpu(model.state_dict(), keep=accelerator.is_main_process)
            tensors = whole_on_cpu(tensors, keep=accelerator.is_main_process)
        if accelerator.is_main_process:
            if accelerator.is_fsdp2:
                save_file(weights, temporary / WEIGHTS)
            else:
                save_model(model, str(temporary / WEIGHTS))
            save_file(tensors, temporary / OPTIMIZER)
            scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
            state = {"optimizer": settings, "scheduler": scheduler.state_dict(), "scaler": scaler}
            write_json(temporary / STATE, state)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_manifest(temporary, position, configuration)
            self._put_in_place(temporary, target)
            self._remove_old(target)
        # A process that exits before the checkpoint is in place may take the main process down with it.
        accelerator.wait_for_everyone()
        return target

    def _put_in_place(self, temporary: Path, target: Path) -> None:
        sync(temporary)
        if target.exists():
            # Broken, or from an earlier run that got further; this run continued from another checkpoint.
            os.replace(target, target.with_name(f"{target.name}.replaced{_TEMPORARY}"))
        os.replace(temporary, target)
        sync(self.folder)

    def _remove_leftovers(self) -> None:
        for path in self.folder.glob("*" + _TEMPORARY):
            if _NAME.match(path.name):
                shutil.rmtree(path)

    def _remove_old(self, newest: Path) -> None:
        if self.total_limit is not None:
            others = [path for path in self._newest_first() if path != newest and (path / MANIFEST).is_file()]
            for path in others[self.total_limit - 1 :]:
                # A checkpoint under its own name is always intact, even while it is being removed.
                os.replace(path, path.with_name(path.name + _TEMPORARY))
        self._remove_leftovers()

    # Loading

    def load(
        self, path: Path, model: torch.nn.Module, optimizer, scheduler, configuration: dict[str, Any]
    ) -> tuple[RunPosition, dict[str, Any]]:
        """Load a checkpoint that `find` returned; then call `restore_random_states` at the right moment.

        Returns:
            The position, and this process's `extra`.

        Raises:
            ModelFolderError: it is from another run, or a file is damaged. Nothing in a checkpoint is ever executed.
        """
        manifest = read_manifest(path)
        _refuse_another_run(path, manifest["configuration"], configuration)
        with naming(path / WEIGHTS):
            if self.accelerator.is_fsdp2:
                load_parts(model, load_file(path / WEIGHTS))
            else:
                load_model(model, str(path / WEIGHTS))  # via the CPU, wherever the model is
        with naming(path / OPTIMIZER):
            tensors = load_file(path / OPTIMIZER)
        with naming(path / STATE):
            state = read_json_object(path / STATE)
            refuse_other_settings(state["optimizer"], json.loads(json.dumps(optimizer.state_dict()["param_groups"])))
            refuse_unlike(state["scheduler"], json.loads(json.dumps(scheduler.state_dict())))
            optimizer_state = unflattened(tensors, state["optimizer"])
            refuse_other_shapes(optimizer_state["state"], optimizer)
            if self.accelerator.is_fsdp2:
                shard_like_weights(optimizer_state["state"], optimizer)
            optimizer.load_state_dict(optimizer_state)
            scheduler.load_state_dict(state["scheduler"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        rank_file = path / _rank_file(self.accelerator.process_index)
        with naming(rank_file):
            rank = read_json_object(rank_file)
            set_random_states(rank["random_states"], self.accelerator.device)  # now, so that an error names the file
            self._random_states = rank["random_states"]
            if not isinstance(rank["extra"], dict):
                raise TypeError("extra must be an object")
            return position_of(manifest), rank["extra"]

    def restore_random_states(self) -> None:
        """Set the loaded random states, once; later calls do nothing.

        Call it after the loader has started: a torch loader draws a number when it starts, which the run that wrote
        the checkpoint did at the beginning of the epoch.
        """
        if self._random_states is not None:
            set_random_states(self._random_states, self.accelerator.device)
            self._random_states = None


def drop_metrics_beyond(path: Path, position: RunPosition) -> None:
    """Remove the lines of metrics.jsonl that a run wrote after the checkpoint, and writes again when it resumes.

    Lines cut short by a kill are removed too. Validation follows an epoch's last step; so if the checkpoint is within
    an epoch, a validation line of the same step will be written again.
    """
    if not path.is_file():
        return
    kept = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            continue
        again = line["step"] == position.step and position.batch > 0 and "validation_loss" in line
        if line["step"] <= position.step and not again:
            kept.append(text + "\n")
    write_text(path, "".join(kept))


# Manifest


def write_manifest(folder: Path, position: RunPosition, configuration: dict[str, Any]) -> None:
    """Describe all files of a checkpoint, after making sure that they are on disk."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST:
            sync(path)
            files[path.name] = {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
    write_json(folder / MANIFEST, {**asdict(position), "configuration": configuration, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest.

    Raises:
        ModelFolderError: it is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ModelFolderError(f"{folder} is not a checkpoint of cgdmer.pretrain: it has no {MANIFEST}.")
    with naming(path):
        manifest = read_json_object(path)
        check(manifest, _Manifest)
        position_of(manifest)
        for name in manifest["files"]:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"it lists {name[:100]!r}, which is no file of a checkpoint")
        return manifest


def verify(folder: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        ModelFolderError: a file is missing or altered; the message names it.
    """
    files = read_manifest(folder)["files"]
    for name in (WEIGHTS, OPTIMIZER, STATE, _rank_file(0)):
        if name not in files:
            raise ModelFolderError(f"{folder / MANIFEST} does not list {name}. Choose another checkpoint.")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            fault = "is missing, or a link"
        elif path.stat().st_size != expected["size"]:
            fault = f"has {path.stat().st_size} bytes, expected {expected['size']}"
        elif sha256_of_file(path) != expected["sha256"]:
            fault = "was altered: its SHA-256 does not match the manifest"
        else:
            continue
        raise ModelFolderError(f"{path} {fault}. Choose another checkpoint.")


def position_of(manifest: dict[str, Any]) -> RunPosition:
    """Raises a ValueError if the numbers make no sense."""
    position = RunPosition(*(manifest[name] for name in ("step", "epoch", "batch")))
    if not all(0 <= number < 2**53 for number in asdict(position).values()):
        raise ValueError("its position is out of range")
    return position


def _refuse_another_run(path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(ours))
    differing = [
        f"another {name} ({_difference(theirs.get(name), ours.get(name))})"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise ModelFolderError(
            f"{path} was written by a run with {', '.join(differing)}. Resume it with the same options, or start a "
            "new run from a finished model with --model."
        )


def _difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
        return ", ".join(f"{name}: {_difference(theirs.get(name), ours.get(name))}" for name in names)
    return f"{theirs} there, {ours} here"


# Files


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn any error in a file's content into a ModelFolderError that names the file."""
    try:
        yield
    except CGDMERError:
        raise
    except Exception as e:  # damage surfaces as anything that the reading code may raise
        reason = f"{type(e).__name__}: {str(e)[:300]}"
        raise ModelFolderError(f"{path} cannot be used ({reason}). Choose another checkpoint.") from e


def _rank_file(rank: int) -> str:
    return f"rank_{rank}.json"
