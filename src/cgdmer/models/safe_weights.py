# SPDX-License-Identifier: Apache-2.0
"""Weights come only from safetensors files: no other file of a model is opened, and nothing is ever unpickled."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import cached_file

from .errors import ModelFolderError

_HOW_TO_CONVERT = (
    "Pickled weights can run any code, so only safetensors are loaded. If you trust the file, convert it once: "
    "python -c \"from transformers import AutoModel, AutoTokenizer as T; m, f = '{name}', 'converted'; "
    'AutoModel.from_pretrained(m, use_safetensors=False).save_pretrained(f); T.from_pretrained(m).save_pretrained(f)" '
    "and name the folder converted instead."
)
_LARGEST_INDEX = 2**26  # bytes; one line per weight, and the largest public models have fewer than 100,000
_SLACK = 2**20  # tensors that are computed, such as the numbers of positions
_loading: ContextVar[tuple[str | os.PathLike[str], dict[str, Any]] | None] = ContextVar("loading", default=None)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


@contextmanager
def safetensors_only(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> Iterator[None]:
    """Wraps a `from_pretrained`, in which transformers would fall back to pickles in several places.

    Args:
        name_or_path: a model folder or Hub id.
        options: the keyword arguments of `from_pretrained`; `use_safetensors` is set.

    Raises:
        ModelFolderError: the options ask for pickles; or there are no safetensors, one is damaged, or their index
            names other files.
    """
    if options.get("use_safetensors") is None:
        options["use_safetensors"] = True
    if options["use_safetensors"] is not True or options.get("weights_only") is False:
        raise ModelFolderError(f"{name_or_path}: weights are only loaded from safetensors. Leave the option out.")
    advice = _HOW_TO_CONVERT.format(name=name_or_path)
    explicit = getattr(options.get("config"), "transformers_weights", None)
    if explicit is not None and not str(explicit).endswith((".safetensors", ".safetensors.index.json")):
        raise ModelFolderError(f"{name_or_path}: its configuration names the weights {explicit!r}. {advice}")
    _check_index(name_or_path, options, advice)
    told = _loading.set((name_or_path, options))
    try:
        yield
    except SafetensorError as error:
        raise ModelFolderError(
            f"{name_or_path}: a .safetensors file is damaged or in another format ({error}). Download the model again."
        ) from error
    except OSError as error:
        if ".safetensors" not in str(error):  # no network, or no such repository: transformers' message is fine
            raise
        raise ModelFolderError(f"{name_or_path} has no safetensors. {advice}") from error
    finally:
        _loading.reset(told)


def refuse_more_than_stored(model: torch.nn.Module) -> None:
    """While a model is loaded, refuse one that is larger than its weights, before memory is allocated for it.

    transformers builds it without memory, but then allocates what the files lack. A weight takes a byte or more, or,
    if it is quantized, a bit or more.

    Raises:
        ModelFolderError: see above.
    """
    if (loading := _loading.get()) is None:
        return
    name_or_path, options = loading
    stored = _stored_bytes(name_or_path, options)
    may_be_missing = getattr(model, "_may_be_missing", ())
    tensors = (*model.named_parameters(), *model.named_buffers())
    needed = sum(tensor.numel() for name, tensor in tensors if not name.startswith(may_be_missing))
    quantized = getattr(model.config, "quantization_config", None) or options.get("quantization_config")
    if stored is not None and needed > stored * (8 if quantized else 1) + _SLACK:
        raise ModelFolderError(
            f"the configuration of {name_or_path} asks for {needed:,} weights, but its files have {stored:,} bytes: "
            "they belong to another one. Fetch or save the model again."
        )


def _stored_bytes(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> int | None:
    """Of the safetensors in the folder, or of a snapshot from the Hub that has been downloaded; None if unknown."""
    folder = os.path.join(name_or_path, options.get("subfolder") or "")
    if not os.path.isdir(name_or_path):
        hub_options = {name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None}
        hub_options |= {"local_files_only": True, "force_download": False}
        config = cached_file(name_or_path, "config.json", _raise_exceptions_for_missing_entries=False, **hub_options)
        if config is None:
            return None
        folder = os.path.dirname(config)
    paths = [entry.path for entry in os.scandir(folder) if entry.name.endswith(".safetensors")]
    if not paths or not all(map(_begins_as_safetensors, paths)):  # which safetensors will say
        return None
    return sum(map(os.path.getsize, paths))


def _begins_as_safetensors(path: str) -> bool:
    """The length of a JSON object, in eight bytes, and the object."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def _check_index(name_or_path: str | os.PathLike[str], options: dict[str, Any], advice: str) -> None:
    """The index of weights in several files can name any file, and transformers would unpickle a `.bin`."""
    variant = options.get("variant")
    path = cached_file(
        name_or_path,
        f"model.safetensors.index.{variant}.json" if variant else "model.safetensors.index.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **{name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None},
    )
    if path is None:
        return
    try:
        if os.path.getsize(path) > _LARGEST_INDEX:
            raise ValueError(f"it is larger than {_LARGEST_INDEX} bytes")
        with open(path, encoding="utf-8") as file:
            names = {str(name) for name in json.load(file)["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not an index of weights ({error}). Download the model again.") from error
    for name in sorted(names):
        if not name.endswith(".safetensors") or os.path.basename(name) != name or "\\" in name:
            raise ModelFolderError(f"{path} names {name!r}, which is not a safetensors file next to it. {advice}")
