# SPDX-License-Identifier: Apache-2.0
"""Options as dataclass fields, and the command-line parser built from them.

A field holds everything about an option: its type, default, help, and markers (`typing.Annotated`).
`transformers.HfArgumentParser` reads the same dataclasses, but importing it takes a second, so the parser here is
argparse's.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

Options = TypeVar("Options")


class Marker(Enum):
    """What else can be true of an option."""

    POSITIONAL = "given on the command line without its name"
    FIXED = "must not change when a run is resumed"
    ON_CARD = "listed on the model card"
    LIST_WITH_COMMAS = "values may also be separated by commas"


class Group(NamedTuple):
    """Marks the first option of a group in the help."""

    title: str


def option(help: str, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A field for an option; without a default, it is required. A list is copied.

    Args:
        more: further arguments of `argparse`, such as `metavar`.
    """
    metadata = {"help": help, **more}
    if isinstance(default, list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def options_marked(kind: type, marker: Marker) -> list[str]:
    """The names of a dataclass's options that have a marker, in order."""
    return [field.name for field, _, markers in _fields(kind) if marker in markers]


def default_of(kind: type, name: str) -> Any:
    """The default of an option; `dataclasses.MISSING` if it has none."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _fields(kind: type) -> Iterator[tuple[dataclasses.Field, Any, Sequence[Any]]]:
    """Each field with its type and markers."""
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, markers = hints[field.name], ()
        if get_origin(hint) is Annotated:
            hint, markers = get_args(hint)[0], get_args(hint)[1:]
        yield field, hint, markers


def words_of(kind: type, values: Mapping[str, Any]) -> list[str]:
    """A command line that sets a dataclass's options to these values, leaving out defaults."""
    places, named = [], []
    for field, _, markers in _fields(kind):
        value = values.get(field.name)
        if value is None or value == default_of(kind, field.name):
            continue
        words = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if Marker.POSITIONAL in markers:
            places += words
        else:
            named += [f"--{field.name}", *([] if value is True else words)]
    return places + named


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add the options of a dataclass to a parser."""
    into: Any = parser
    for field, hint, markers in _fields(kind):
        into = next((parser.add_argument_group(one.title) for one in markers if isinstance(one, Group)), into)
        default = default_of(kind, field.name)
        is_required = default is dataclasses.MISSING
        arguments = dict(field.metadata)
        arguments["help"] += _default_in_words(default)
        if Marker.POSITIONAL in markers:
            name, arguments["nargs"] = field.name, None if is_required else "?"
        else:
            name, arguments["required"] = f"--{field.name}", is_required
        if get_origin(hint) in (Union, UnionType):  # with None
            (hint,) = (one for one in get_args(hint) if one is not type(None))
        if hint is bool:
            del arguments["required"]
            into.add_argument(name, action="store_true", **arguments)
            continue
        if get_origin(hint) is list:
            (hint,) = get_args(hint)
            arguments |= {
                "nargs": "+" if Marker.POSITIONAL not in markers or is_required else "*",
                "action": _WithCommas if Marker.LIST_WITH_COMMAS in markers else None,
            }
        if get_origin(hint) is Literal:
            arguments["choices"] = get_args(hint)
        else:
            arguments["type"] = hint
        into.add_argument(name, default=None if is_required else default, **arguments)


def option_names(kind: type) -> list[str]:
    """How the options of a dataclass are typed: `--name`."""
    return [f"--{field.name}" for field, _, markers in _fields(kind) if Marker.POSITIONAL not in markers]


def refuse_unknown_options(parser: argparse.ArgumentParser, words: Iterable[str], known: Sequence[str]) -> None:
    """End the program if a word is none of these options, nor the beginning of one; name the one that is closest.

    argparse would complain about a missing required option first, which a misspelt option looks like to it.
    """
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        if name.startswith("--") and not any(one.startswith(name) for one in known):
            parser.error(f"there is no option {name}{did_you_mean(name, known)}")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a message about a wrong word; only a period if nothing is close to it."""
    by_letters = {one.lstrip("-"): one for one in known}
    close = difflib.get_close_matches(word.lstrip("-"), by_letters, n=1)
    return f". Did you mean {by_letters[close[0]]}?" if close else "."


def _default_in_words(default: Any) -> str:
    """Empty if the help itself says what happens without the option."""
    if default is None or default is False or default is dataclasses.MISSING or default == []:
        return ""
    return f" (default: {' '.join(default) if isinstance(default, list) else default})"


def options_from(kind: type[Options], parsed: argparse.Namespace) -> Options:
    """The dataclass filled from parsed options.

    Raises:
        ConfigurationError: the dataclass refuses a value.
    """
    return kind(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


class _WithCommas(argparse.Action):
    """Several values separated by spaces, as in `--leads I II`, or by commas."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, [one for value in values for one in value.replace(",", " ").split()])
