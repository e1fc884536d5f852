# SPDX-License-Identifier: Apache-2.0
"""Checks the JSON files of a model folder before transformers reads them: their sizes, and that they name no code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cgdmer.files.reading import check_size, failing_as, read_json_object
from cgdmer.models.errors import ModelFolderError

_FILES = (
    *("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "generation_config.json", "adapter_config.json"),
)
_LARGEST_TOKENIZER = 2**27  # bytes; the largest public ones have about 3 * 10**7
_HINT = "Fetch or save the model again."
_OWN_CODE = Path(__file__).parents[1] / "models"


def check_model_files(folder: str | os.PathLike[str]) -> None:
    """Check the files of a model in a folder; those of a Hub id are checked by transformers alone.

    This package runs no code from a model folder, so a folder that names other code than this package's is not one
    that this package, or `save_pretrained`, wrote.

    Raises:
        ModelFolderError: a file is too large, no JSON, or names code or files elsewhere.
    """
    for name in _FILES:
        path = Path(folder) / name
        if path.exists():
            with failing_as(ModelFolderError, path, _HINT):
                content = read_json_object(path)
            for key, value in _entries(content):
                _check_entry(path, key, value)
    for path in sorted(Path(folder).glob("tokenizer*.json")):
        with failing_as(ModelFolderError, path, _HINT):
            check_size(path, _LARGEST_TOKENIZER)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values at any depth, of which `read_json_object` limits the number."""
    if isinstance(value, dict):
        yield from value.items()
    if isinstance(value, (dict, list)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _entries(child)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if key == "auto_map":
        for place in _texts(value):
            module = place.split("--")[-1].split(".")[0]
            if not (module.isidentifier() and (_OWN_CODE / f"{module}.py").is_file()):
                raise ModelFolderError(
                    f"{path} names code of its own ({place!r}), which this package never runs. If you trust it, load "
                    "the model with transformers and trust_remote_code=True."
                )
    elif key.endswith("_implementation") and any("/" in text for text in _texts(value)):
        raise ModelFolderError(
            f"{path} names code on the Hub for {key} ({value!r}), which this package never runs. Remove the entry."
        )
    elif key == "configuration_files" or (
        key.endswith("_file") and key != "special_tokens_map_file" and any(map(_is_path, _texts(value)))
    ):
        raise ModelFolderError(f"{path} names other files ({key}), which are not read. Remove the entry. {_HINT}")


def _texts(value: Any) -> list[str]:
    """The texts in a value, a list, or a dict."""
    if isinstance(value, (list, dict)):
        return [text for child in (value.values() if isinstance(value, dict) else value) for text in _texts(child)]
    return [value] if isinstance(value, str) else []


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text
