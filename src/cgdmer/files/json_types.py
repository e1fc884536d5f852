# SPDX-License-Identifier: Apache-2.0
"""Checks JSON from elsewhere against the TypedDict that its reader expects."""

import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from huggingface_hub.dataclasses import type_validator

_LONGEST = 300  # characters of a message; the library's messages repeat the value


def check(value: Any, kind: Any, place: str = "") -> None:
    """Check a JSON value against a type. Keys that a TypedDict does not name are ignored; an int counts as a float
    if it is no larger than one.

    Values other than TypedDicts are checked by huggingface_hub. Its own function for TypedDicts does not support
    nested ones, rejects extra keys, and before version 2 accepts a bool as an int.

    Args:
        kind: a TypedDict, or the type of one of its values: JSON's own types, `Literal`, lists, dicts, and unions.
        place: where the value is in the file.

    Raises:
        ValueError: the value has another type. The message says where, and is meant to follow the file's name.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        _check_leaf(value, dict, place)
        hints = get_type_hints(kind)
        missing = [name for name in hints if name in kind.__required_keys__ and name not in value]
        if missing:
            raise ValueError(f"{_named(place)} lacks {', '.join(missing)}")
        for name, hint in hints.items():
            if name in value:
                check(value[name], hint, f"{place}.{name}")
    elif origin is dict:
        _check_leaf(value, dict, place)
        for name, item in value.items():
            check(item, arguments[1], f"{place}.{name}")
    elif origin is list:
        _check_leaf(value, list, place)
        for row, item in enumerate(value):
            check(item, arguments[0], f"{place}[{row}]")
    elif origin in (Union, UnionType) and value is not None and type(None) in arguments and len(arguments) == 2:
        check(value, next(option for option in arguments if option is not type(None)), place)
    else:
        _check_leaf(value, kind, place)


def _check_leaf(value: Any, kind: Any, place: str) -> None:
    allowed = get_args(kind) or (kind,)
    if type(value) is int and float in allowed:
        if abs(value) > sys.float_info.max:
            raise ValueError(f"{_named(place)} is a number of more than 300 digits")
        return
    try:
        if isinstance(value, bool) and not {bool, Any} & set(allowed):
            raise TypeError(f"Field {_named(place)!r} expected {getattr(kind, '__name__', kind)}, got bool")
        type_validator(_named(place), value, kind)
    except TypeError as error:
        raise ValueError(_shortened(str(error))) from error


def _named(place: str) -> str:
    return _shortened(place.removeprefix(".")) or "it"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
