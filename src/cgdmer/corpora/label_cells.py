# SPDX-License-Identifier: Apache-2.0
"""Cells of a table that hold the labels of a record, separated by whatever the table's author chose.

"AFIB,LVH" may be two labels, or one whose name has a comma. Read as one label, it would count against each of the two
in training, without a word. So the separator is stated, or cells that look like several labels are refused.
"""

import re
from collections.abc import Collection, Iterable

from cgdmer.models.errors import CorpusError

DEFAULT_SEPARATOR = ";"
_BRACKETS = ("[]", "()", "{}")
_QUOTES = "\"'"
# Never part of a label, whatever the separator is. A pipe and a semicolon separate, brackets hold a list.
_NEVER = "[]{}|;\t\n\r"
# "ST depression" is one label and "AFIB LVH" two, so what separates words needs more evidence.
_BETWEEN_WORDS = re.compile(r"[\s/+&:]+")
_BETWEEN_PHRASES = re.compile(r"\s*[/+&:]\s*|\s+(?:-|and)\s+")
_CODE = re.compile(r"\d+|[A-Z0-9_]{2,6}")


def labels_of_cell(cell: str, separator: str | None = None) -> tuple[str, ...]:
    """The labels in a cell, stripped, in their order, without repeats. Check the column first: `check_label_cells`.

    Args:
        cell: such as "AFIB; LVH". With a stated separator it may be a list: "['AFIB', 'LVH']".
        separator: one or more characters; white space stands for any white space. None: ";".
    """
    cell = cell.strip()
    if separator is not None and (cell[:1] + cell[-1:]) in _BRACKETS:
        cell = cell[1:-1]
    parts = cell.split() if separator is not None and not separator.strip() else _split(cell, separator)
    labels = (part.strip() if separator is None else _unquoted(part.strip()) for part in parts)
    return tuple(dict.fromkeys(label for label in labels if label))


def check_label_cells(
    cells: Iterable[str], separator: str | None = None, *, where: str, option: str = "--label_separator"
) -> None:
    """Refuse a column in which a label looks like several.

    Without a stated separator, a label has no comma, and is not made of words that are labels elsewhere in the column
    or that look like codes ("AFIB LVH").

    Args:
        cells: the whole column.
        separator: as stated by the user; None: not stated.
        where: the table and the column, for the message.
        option: how to state the separator, for the message.

    Raises:
        CorpusError: it is empty, or a label looks like several.
    """
    if separator == "":
        raise CorpusError(f"{option} is empty. Name the character between two labels, such as ';'.")
    found = dict.fromkeys(label for cell in dict.fromkeys(cells) for label in labels_of_cell(cell, separator))
    for label in found:
        fault = _fault(label, found, separator)
        if fault is not None:
            raise CorpusError(f"{where}: {label!r} {fault}. {_advice(separator, option)}")


def _fault(label: str, labels: Collection[str], separator: str | None) -> str | None:
    """Why a label looks like several; None if it does not."""
    held = [character for character in _NEVER if character in label]
    if held:
        return f"holds {held[0]!r}, which no name of a label has"
    if label.count("(") != label.count(")") or (label[0] in _QUOTES and label[-1] in _QUOTES):
        return "looks like part of a list"
    if separator is not None:
        return None
    if "," in label:
        return "looks like several labels, separated by ','"
    words = [word for pattern in (_BETWEEN_WORDS, _BETWEEN_PHRASES) for word in pattern.split(label)]
    if known := [word for word in words if word != label and word in labels]:
        return f"looks like several labels: {known[0]!r} is a label of its own elsewhere in the column"
    codes = label.split()
    if len(codes) > 1 and all(_CODE.fullmatch(code) for code in codes):
        return "looks like several codes, separated by spaces"
    return None


def _advice(separator: str | None, option: str) -> str:
    if separator is None:
        return (
            f"Without {option}, labels are separated by '{DEFAULT_SEPARATOR}'. State what separates them, for example "
            f"{option} ',' (also for lists such as \"['AFIB', 'LVH']\"), or {option} '{DEFAULT_SEPARATOR}' if this is "
            "the name of one label."
        )
    return f"Labels are separated by {separator!r}, as stated. Correct the cell, or state another {option}."


def _split(cell: str, separator: str | None) -> list[str]:
    return cell.split(DEFAULT_SEPARATOR if separator is None else separator)


def _unquoted(label: str) -> str:
    return label[1:-1].strip() if len(label) > 1 and label[0] == label[-1] and label[0] in _QUOTES else label
