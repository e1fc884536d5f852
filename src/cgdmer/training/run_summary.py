# SPDX-License-Identifier: Apache-2.0
"""`training_summary.json`, next to the weights: what a model's card must say about its training.

It travels with the weights. So it holds no path of the machine and, about the data, only counts and terms: no record
or patient ids, and no text of a report.
"""

import os
import platform
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

import torch
import transformers
from accelerate import Accelerator
from transformers.utils import cached_file

from cgdmer.about import __version__
from cgdmer.data.shards import dataset_summary
from cgdmer.files.json_types import check
from cgdmer.files.reading import read_json
from cgdmer.files.writing import write_json
from cgdmer.models.errors import ModelFolderError
from cgdmer.options import Marker, options_marked

FILE_NAME = "training_summary.json"
PRETRAIN, FINETUNE = "pretrain", "finetune"  # the commands that write it
_PLACES = ("config_name", "model", "text_model")  # options that name a local folder or something on the Hub


class DataSource(TypedDict, total=False):
    """Where a corpus comes from, and on what terms."""

    name: str | None
    title: str | None
    version: str | None
    url: str | None
    license: str | None
    citation: str | None


class TrainingData(TypedDict):
    """What a model was trained on; `train_records` is None if the number is unknown.

    `left_out_records` of them could not be used.
    """

    name: str
    source: NotRequired[DataSource | None]
    description: str | None
    train_records: int | None
    validation_records: int
    left_out_records: NotRequired[int]


class OptionsOnCard(TypedDict, total=False):
    """The options that a card states in words. There may be more, which it repeats in the command."""

    model: str | None
    text_model: str | None
    text_source: Literal["report", "statements"] | None
    labels: list[str] | None


class FinetuningOptions(TypedDict):
    """What every run of `cgdmer finetune` has."""

    model: str
    labels: list[str]


class TrainingSummary(TypedDict):
    """One run. `seconds` counts only training since step `resumed_at_step`; `earlier` is the previous run."""

    command: NotRequired[str | None]
    data: TrainingData
    options: OptionsOnCard
    steps: int
    samples: int
    seconds: float
    resumed_at_step: int
    processes: int
    device: str
    mixed_precision: str
    versions: dict[str, str]
    earlier: NotRequired["TrainingSummary | None"]


def _origin(name: str) -> str:
    """A preset's name or Hub id unchanged; of a folder, which may be gone by now, the last part."""
    path = Path(name)
    return path.resolve().name if path.exists() or path.is_absolute() or name.startswith((".", "~")) else name


def _data(dataset: str, train: int | None, validation: int, left_out: int) -> TrainingData:
    summary = dataset_summary(dataset)
    source = cast(DataSource, {key: value for key, value in summary.get("source", {}).items() if value})
    return {
        "name": _origin(dataset),
        "source": source or None,
        # A source says all there is to say; without one, the description is all that is known.
        "description": None if source else summary.get("description"),
        "train_records": train,
        "validation_records": validation,
        "left_out_records": left_out,
    }


def _options(options: Any) -> OptionsOnCard:
    chosen = {name: getattr(options, name) for name in options_marked(type(options), Marker.ON_CARD)}
    named = {name: _origin(value) if value and name in _PLACES else value for name, value in chosen.items()}
    return cast(OptionsOnCard, named)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def of_model(model: str | os.PathLike[str]) -> TrainingSummary | None:
    """The summary in a model's folder or Hub repository; None if there is none.

    Raises:
        ModelFolderError: it is damaged.
    """
    path = cached_file(
        str(model),
        FILE_NAME,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else read(Path(path))


def read(path: Path) -> TrainingSummary:
    """Read a model's summary from a file.

    Raises:
        ModelFolderError: it is damaged.
    """
    try:
        summary = read_json(path)
        check(summary, TrainingSummary)
        stage, place = summary, ""
        while stage is not None:
            if stage.get("command") == FINETUNE:
                check(stage["options"], FinetuningOptions, f"{place}.options")
            stage, place = stage.get("earlier"), f"{place}.earlier"
        return summary
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"{path} is not as training writes it ({error}). Download the model again, or delete the "
            "file: then the model's training counts as unknown."
        ) from error


def write(
    folder: Path,
    accelerator: Accelerator,
    options: Any,
    *,
    command: str,
    records: tuple[int | None, int],
    batch_size: int,
    steps: int,
    seconds: float,
    resumed_at_step: int = 0,
    left_out: int = 0,
) -> None:
    """Describe a run in its folder.

    Args:
        options: of the run; those that are marked for the card are kept, without the paths of folders.
        command: `PRETRAIN` or `FINETUNE`.
        records: for training and validation; None if unknown.
        batch_size: samples per step, over all processes.
        left_out: training records that could not be used.
    """
    summary: TrainingSummary = {
        "command": command,
        "data": _data(options.dataset, *records, left_out),
        "options": _options(options),
        "steps": steps,
        "samples": steps * batch_size,
        "seconds": seconds,
        "resumed_at_step": resumed_at_step,
        "processes": accelerator.num_processes,
        "device": _device_name(accelerator.device),
        "mixed_precision": accelerator.mixed_precision,
        "versions": {"cgdmer": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "earlier": of_model(options.model) if options.model else None,
    }
    write_json(folder / FILE_NAME, summary)
