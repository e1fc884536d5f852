# SPDX-License-Identifier: Apache-2.0
"""What a model's card must say of its training, written beside the weights: `training_summary.json`.

It travels with the weights, so it holds no path of the machine, and of the data counts and terms alone: no id of a
record or a patient and no text of a report.
"""

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import cached_file

from cgdmer.about import __version__
from cgdmer.files.checked_json import NUMBER, Each, Maybe, check_shape, read_json
from cgdmer.models.errors import ModelFolderError
from cgdmer.options import Marker, options_marked

FILE_NAME = "training_summary.json"
PRETRAIN, FINETUNE = "pretrain", "finetune"  # the commands that write it
_PLACES = ("config_name", "model", "text_model")  # options that name a folder of this machine, or something on the Hub
_TEXT = Maybe(str)
# As far as a card says it; it travels with weights of any origin, so that nothing about it is taken for granted.
_STAGE = {
    "command": _TEXT,
    "data": {
        "name": str,
        "source": Maybe(dict.fromkeys(("name", "title", "version", "url", "licence", "citation"), _TEXT)),
        "description": (str, type(None)),
        "train_records": (int, type(None)),
        "validation_records": int,
    },
    "options": {
        "model": _TEXT,
        "text_model": _TEXT,
        "text_source": Maybe(re.compile("report|statements")),
        "labels": Maybe([str]),
    },
    "steps": int,
    "samples": int,
    "seconds": NUMBER,
    "resumed_at_step": int,
    "processes": int,
    "device": str,
    "mixed_precision": str,
    "versions": Each(str),
    "earlier": Maybe(dict),
}
_FINETUNE_STAGE = _STAGE | {"options": {"model": str, "labels": [str]}}


def origin(name: str) -> str:
    """A preset's name or a Hub id as it is; of a folder its last part."""
    return Path(name).resolve().name if Path(name).exists() else name


def of_dataset(name: str, summary: dict[str, Any], train: int | None, validation: int) -> dict[str, Any]:
    """Of the data: where it comes from and on what terms, and how many records there were.

    Args:
        name: the folder, or the id of a repository.
        summary: what its `summary.json` says; empty where there is none.
        train, validation: records; None: not known.
    """
    source = {key: value for key, value in summary.get("source", {}).items() if value}
    return {
        "name": origin(name),
        "source": source or None,
        # Of a corpus with a source it says no more; of others it is all that is known.
        "description": None if source else summary.get("description"),
        "train_records": train,
        "validation_records": validation,
    }


def of_options(options: Any) -> dict[str, Any]:
    """Those of the options that a card names, without the folders."""
    chosen = {name: getattr(options, name) for name in options_marked(type(options), Marker.ON_CARD)}
    return {name: origin(value) if value and name in _PLACES else value for name, value in chosen.items()}


def of_device(device: torch.device) -> str:
    """The device's name, as far as it is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    return {"cgdmer": __version__, "torch": torch.__version__, "transformers": transformers.__version__}


def of_model(model: str | os.PathLike[str]) -> dict[str, Any] | None:
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


def read(path: Path) -> dict[str, Any]:
    """The file of a model.

    Raises:
        ModelFolderError: it is damaged.
    """
    try:
        summary = read_json(path, dict)
        stage, place = summary, ""
        while stage is not None:
            check_shape(stage, _FINETUNE_STAGE if stage.get("command") == FINETUNE else _STAGE, place)
            stage, place = stage.get("earlier"), f"{place}.earlier"
        return summary
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"{path} is not as training writes it ({error}). Fetch the model again, or take the file away: then the "
            "model's training is said to be unknown."
        ) from error


def write(folder: Path, summary: dict[str, Any]) -> None:
    (folder / FILE_NAME).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
