# SPDX-License-Identifier: Apache-2.0
"""Read tensors, and nothing else, from a checkpoint that others wrote: safetensors, or what `torch.save` wrote."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cgdmer.models.errors import ModelFolderError, shown

_LARGEST = 2**35  # bytes of one file
_NOT_A_CHECKPOINT = (
    "{path} cannot be read as a checkpoint ({why}). Expected safetensors, or what torch.save wrote with tensors and "
    "plain containers only. Nothing else in the file was run. Download it again, or convert it where it came from."
)


def read_tensors(path: str | os.PathLike[str], containers: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """The tensors of a file by name, on the CPU.

    Pickles are read by PyTorch's restricted unpickler, which makes tensors and plain containers, and calls nothing
    else.

    Args:
        containers: keys of the outer dictionary under which the tensors may be.

    Raises:
        ModelFolderError: there is no such file, it is damaged, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFolderError(f"{path} is no file. Name the checkpoint that you have downloaded.")
    if path.stat().st_size > _LARGEST:
        raise ModelFolderError(f"{path} has {path.stat().st_size} bytes; expected at most {_LARGEST}.")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except Exception as error:  # of the unpickler, the archive, and safetensors, for which a file is trusted
        why = f"{type(error).__name__}: {shown(str(error).split(chr(10))[0])}"
        raise ModelFolderError(_NOT_A_CHECKPOINT.format(path=path, why=why)) from error
    for name in containers:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict):
        raise ModelFolderError(_NOT_A_CHECKPOINT.format(path=path, why=f"it holds a {type(content).__name__}"))
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or not _is_stored(value):
            expected = f"under {' or '.join(containers)}" if containers else "by name"
            why = f"{shown(name)} is a {type(value).__name__}; expected tensors {expected}, stored in full"
            raise ModelFolderError(_NOT_A_CHECKPOINT.format(path=path, why=why))
    return content


def _is_stored(tensor: torch.Tensor) -> bool:
    """Not if a few numbers in the file stand for many: its shape could then ask for any amount of memory."""
    if tensor.layout != torch.strided:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _unpickled(path: Path) -> Any:
    """In memory that the file's own bytes back: a small file cannot ask for more than it has."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of torch.save from version 1.6 on")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
