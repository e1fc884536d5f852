# SPDX-License-Identifier: Apache-2.0
"""Reads files from elsewhere within bounds: the size is checked before anything is read."""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cgdmer.models.errors import CGDMERError

_LARGEST_TEXT = 2**28  # bytes; the RECORDS file of MIMIC-IV-ECG has about 5 * 10**7
_LARGEST_JSON = 2**24  # bytes; the results of 71 classes under every disturbance take a few million
_DEEPEST = 100  # levels; each run that continues another adds one


def check_size(path: str | os.PathLike[str], largest: int) -> None:
    """Check a file without opening it.

    Args:
        largest: bytes.

    Raises:
        OSError, ValueError: the file does not exist, is not a regular file, or is too large.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a named pipe would block forever
        raise ValueError("it is not a regular file")
    if status.st_size > largest:
        raise ValueError(f"it is larger than {largest:,} bytes")


def read_bytes(path: str | os.PathLike[str], largest: int) -> bytes:
    """Read a file of at most `largest` bytes. Raises as `check_size` does."""
    check_size(path, largest)
    return Path(path).read_bytes()


def read_text(path: str | os.PathLike[str], largest: int = _LARGEST_TEXT, errors: str = "strict") -> str:
    """Read a UTF-8 file, with or without a byte order mark. Raises as `check_size` does.

    Args:
        errors: what to do about bytes that are not UTF-8, as in `bytes.decode`.
    """
    return read_bytes(path, largest).decode("utf-8-sig", errors)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises as `check_size` and `parse_json` do."""
    return parse_json(read_bytes(path, _LARGEST_JSON))


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """As `read_json`, with a ValueError if the file holds anything but an object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def parse_json(content: bytes) -> Any:
    """Raises a ValueError if the content is not UTF-8, not JSON, or too deeply nested for later code to traverse."""
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [value], 0
    while level:
        level = [child for parent in level for child in _children(parent)]
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
    """Turn whatever keeps the block from reading a file into an `error_class` that names the file.

    Args:
        hint: what the user should do about it.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise error_class(f"{path} does not exist. {hint}") from error
    except UnicodeDecodeError as error:
        raise error_class(f"{path} is not UTF-8 text: {error}. {hint}") from error
    except (OSError, ValueError) as error:
        raise error_class(f"{path} cannot be read: {error}. {hint}") from error
