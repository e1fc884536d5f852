# SPDX-License-Identifier: Apache-2.0
"""Keyword arguments that a function takes only to pass them on: an unknown one is refused, not swallowed."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from .errors import ECGInputError, shown

# transformers itself acts on these, in any model's `forward`.
OF_ANY_MODEL = ("output_attentions", "output_hidden_states", "return_dict")
# Trainer passes these to every model, the second by way of the configuration. They mean nothing here.
_OF_TRAINER = ("num_items_in_batch", "use_cache")


def refuse_unknown_arguments(
    given: Iterable[str], function: Callable[..., Any], owner: object, passed_on: Collection[str] = ()
) -> None:
    """Refuse the first name that neither transformers nor the function that it would be passed on to knows.

    Args:
        given: names of keyword arguments.
        function: that got them; the message names its own arguments.
        owner: the object that it is a method of.
        passed_on: names that are known where the arguments go.

    Raises:
        ECGInputError: one is unknown. The message says what was perhaps meant.
    """
    for name in given:
        if name in OF_ANY_MODEL or name in _OF_TRAINER or name in passed_on:
            continue
        parameters = inspect.signature(function).parameters.values()
        known = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD and one.name != "self"]
        known += [one for one in (*passed_on, *OF_ANY_MODEL) if one not in known]
        raise ECGInputError(
            f"{type(owner).__name__} has no argument {shown(name)}.{nearest(name, known)} It takes {', '.join(known)}."
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """A question for a message, if one of the known names is like this one; else nothing."""
    close = difflib.get_close_matches(str(name)[:100], list(known), n=1, cutoff=0.7)
    return f" Did you mean {close[0]!r}?" if close else ""
