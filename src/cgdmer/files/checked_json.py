# SPDX-License-Identifier: Apache-2.0
"""JSON that somebody else may have written: read up to a size, and compared with the shape that its reader needs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 2**24  # bytes; results of 71 classes under every disturbance have a few million
_DEEPEST = 100  # levels; a run that goes on from another adds one
NUMBER, VALUE = (int, float), (int, float, type(None))


@dataclass(frozen=True)
class Each:
    """The shape of a dict of any names, whose values have this shape."""

    shape: Any


@dataclass(frozen=True)
class Maybe:
    """The shape of what may be null or absent."""

    shape: Any


def read_json(path: Path, shape: Any) -> Any:
    """What a file holds.

    Args:
        path: the file.
        shape: a type, or several; a pattern that a text matches; `[shape]`, a list of any length; a dict of names and
            their shapes, where further names may be there; `Each`; `Maybe`.

    Raises:
        OSError, ValueError: it cannot be read, or is of another shape; in words that follow upon the file's name.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(value)
    check_shape(value, shape)
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        level = [one for parent in level for one in _children(parent)]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def check_shape(value: Any, shape: Any, place: str = "") -> None:
    """Raise a ValueError where a value is of another shape; `place` is the value's own, in the file."""
    if isinstance(shape, Maybe):
        if value is not None:
            check_shape(value, shape.shape, place)
    elif isinstance(shape, Each):
        check_shape(value, dict, place)
        for name, one in value.items():
            check_shape(one, shape.shape, f"{place}.{name}")
    elif isinstance(shape, dict):
        check_shape(value, dict, place)
        missing = [name for name, one in shape.items() if name not in value and not isinstance(one, Maybe)]
        if missing:
            raise ValueError(f"{_named(place)} lacks {', '.join(missing)}")
        for name, one in shape.items():
            check_shape(value.get(name), one, f"{place}.{name}")
    elif isinstance(shape, list):
        check_shape(value, list, place)
        for row, one in enumerate(value):
            check_shape(one, shape[0], f"{place}[{row}]")
    elif isinstance(shape, re.Pattern):
        check_shape(value, str, place)
        if not shape.fullmatch(value):
            raise ValueError(f"{_named(place)} is {value[:100]!r}; expected a text like {shape.pattern}")
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):  # bools are ints
            names = " or ".join(one.__name__ for one in types)
            raise ValueError(f"{_named(place)} is of type {type(value).__name__}; expected {names}")


def _named(place: str) -> str:
    return place.removeprefix(".") or "it"
