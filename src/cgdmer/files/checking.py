# SPDX-License-Identifier: Apache-2.0
"""JSON that somebody else may have written, compared with the TypedDict that its reader needs."""

from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from huggingface_hub.dataclasses import type_validator

_LONGEST = 300  # characters of a complaint; the library's repeat the value


def check(value: Any, kind: Any, place: str = "") -> None:
    """Compare a value of JSON with a type. Keys that a TypedDict does not know are passed over; an int is a float.

    The Hub's library compares what holds no TypedDict: its own function for TypedDicts knows none within others,
    refuses further keys, and in versions before 2 takes a bool for an int.

    Args:
        kind: a TypedDict, or what the values of one may be: JSON's own types, `Literal`, lists, dicts, and unions.
        place: of the value, in the file.

    Raises:
        ValueError: it is of another type; says where, in words that follow upon the file's name.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        _check_leaf(value, dict, place)
        hints = get_type_hints(kind)
        missing = [name for name in hints if name in kind.__required_keys__ and name not in value]
        if missing:
            raise ValueError(f"{_named(place)} lacks {', '.join(missing)}")
        for name, one in hints.items():
            if name in value:
                check(value[name], one, f"{place}.{name}")
    elif origin is dict:
        _check_leaf(value, dict, place)
        for name, one in value.items():
            check(one, arguments[1], f"{place}.{name}")
    elif origin is list:
        _check_leaf(value, list, place)
        for row, one in enumerate(value):
            check(one, arguments[0], f"{place}[{row}]")
    elif origin in (Union, UnionType) and value is not None and type(None) in arguments and len(arguments) == 2:
        check(value, next(one for one in arguments if one is not type(None)), place)
    else:
        _check_leaf(value, kind, place)


def _check_leaf(value: Any, kind: Any, place: str) -> None:
    allowed = get_args(kind) or (kind,)
    if type(value) is int and float in allowed:
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
