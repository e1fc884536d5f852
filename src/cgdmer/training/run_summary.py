# SPDX-License-Identifier: Apache-2.0
"""What a model's card must say of its training, written beside the weights: `training_summary.json`.

It travels with the weights, so it holds no path of the machine, and of the data counts and terms alone: no id of a
record or a patient and no text of a report.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast

import torch
import transformers
from transformers.utils import cached_file

from cgdmer.about import __version__
from cgdmer.files.checking import check
from cgdmer.files.reading import read_json
from cgdmer.files.writing import write_json
from cgdmer.models.errors import ModelFolderError
from cgdmer.options import Marker, options_marked

FILE_NAME = "training_summary.json"
PRETRAIN, FINETUNE = "pretrain", "finetune"  # the commands that write it
_PLACES = ("config_name", "model", "text_model")  # options that name a folder of this machine, or something on the Hub


class DataSource(TypedDict, total=False):
    """Where a corpus comes from, and on what terms."""

    name: str | None
    title: str | None
    version: str | None
    url: str | None
    licence: str | None
    citation: str | None


class TrainingData(TypedDict):
    """What a model was trained on; `train_records` is None where the number is not known."""

    name: str
    source: NotRequired[DataSource | None]
    description: str | None
    train_records: int | None
    validation_records: int


class OptionsOnCard(TypedDict, total=False):
    """Those of a run's options that a card says in words; there are more, which it repeats in the command."""

    model: str | None
    text_model: str | None
    text_source: Literal["report", "statements"] | None
    labels: list[str] | None


class FinetuningOptions(TypedDict):
    """What a run of `cgdmer finetune` has in any case."""

    model: str
    labels: list[str]


class TrainingSummary(TypedDict):
    """One run; `seconds` are those of training alone since the step `resumed_at_step`, `earlier` is the run before."""

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


def origin(name: str) -> str:
    """A preset's name or a Hub id as it is; of a folder its last part."""
    return Path(name).resolve().name if Path(name).exists() else name


def of_dataset(name: str, summary: dict[str, Any], train: int | None, validation: int) -> TrainingData:
    """Of the data: where it comes from and on what terms, and how many records there were.

    Args:
        name: the folder, or the id of a repository.
        summary: what its `summary.json` says; empty where there is none.
        train, validation: records; None: not known.
    """
    source = cast(DataSource, {key: value for key, value in summary.get("source", {}).items() if value})
    return {
        "name": origin(name),
        "source": source or None,
        # Of a corpus with a source it says no more; of others it is all that is known.
        "description": None if source else summary.get("description"),
        "train_records": train,
        "validation_records": validation,
    }


def of_options(options: Any) -> OptionsOnCard:
    """Those of the options that a card names, without the folders."""
    chosen = {name: getattr(options, name) for name in options_marked(type(options), Marker.ON_CARD)}
    named = {name: origin(value) if value and name in _PLACES else value for name, value in chosen.items()}
    return cast(OptionsOnCard, named)


def of_device(device: torch.device) -> str:
    """The device's name, as far as it is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    return {"cgdmer": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


def of_model(model: str | os.PathLike[str]) -> TrainingSummary | None:
    """What a model's folder or Hub repository says of its training; None if it says nothing.

    Raises:
        ModelFolderError: what it says is damaged.
    """
    path = cached_file(
        str(model),
        FILE_NAME,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else read(Path(path))


def read(path: Path) -> TrainingSummary:
    """The file of a model.

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
            f"{path} is not as training writes it ({error}). Fetch the model again, or take the file away: then the "
            "model's training is said to be unknown."
        ) from error


def write(folder: Path, summary: Mapping[str, Any]) -> None:
    write_json(folder / FILE_NAME, summary)
