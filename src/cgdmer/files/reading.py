# SPDX-License-Identifier: Apache-2.0
"""Files that somebody else may have written, read within bounds: their size is looked at first."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cgdmer.models.errors import CGDMERError

LARGEST_TEXT = 2**28  # bytes; the RECORDS of MIMIC-IV-ECG has some 5 * 10**7
LARGEST_JSON = 2**24  # bytes; results of 71 classes under every disturbance have a few million
_DEEPEST = 100  # levels; a run that goes on from another adds one


def check_size(path: str | os.PathLike[str], largest: int) -> None:
    """Look at a file without opening it.

    Args:
        largest: bytes.

    Raises:
        OSError, ValueError: it is absent, or not a regular file, or larger.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a named pipe would block for ever
        raise ValueError("it is not a regular file")
    if status.st_size > largest:
        raise ValueError(f"it is larger than {largest:,} bytes")


def read_bytes(path: str | os.PathLike[str], largest: int) -> bytes:
    """A whole file, if it has at most so many bytes. Raises as `check_size`."""
    check_size(path, largest)
    return Path(path).read_bytes()


def read_text(path: str | os.PathLike[str], largest: int = LARGEST_TEXT, errors: str = "strict") -> str:
    """A whole UTF-8 file, with or without a byte order mark. Raises as `check_size`.

    Args:
        errors: what to do about bytes that are not UTF-8, as `bytes.decode` takes it.
    """
    return read_bytes(path, largest).decode("utf-8-sig", errors)


def read_json(path: str | os.PathLike[str], largest: int = LARGEST_JSON) -> Any:
    """What a JSON file holds. Raises as `check_size`, and a ValueError where it is no JSON or nested too deeply."""
    return parse_json(read_bytes(path, largest))


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """As `read_json`; raises a ValueError where it is no object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def parse_json(content: bytes) -> Any:
    """Raises a ValueError where it is no UTF-8, no JSON, or nested too deeply for what walks through it later."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [value], 0
    while level:
        level = [one for parent in level for one in _children(parent)]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
    return value


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


@contextmanager
def failing_as(error_class: type[CGDMERError], path: str | os.PathLike[str], hint: str) -> Iterator[None]:
    """Whatever keeps a file from being read in the block becomes an error that names it.

    Args:
        error_class: of the error.
        path: the file.
        hint: what to do about it.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise error_class(f"{path} does not exist. {hint}") from error
    except UnicodeDecodeError as error:
        raise error_class(f"{path} is not UTF-8 text: {error}. {hint}") from error
    except (OSError, ValueError) as error:
        raise error_class(f"{path} cannot be read: {error}. {hint}") from error
