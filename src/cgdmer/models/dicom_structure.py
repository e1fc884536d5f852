# SPDX-License-Identifier: Apache-2.0
"""How a DICOM file is nested (PS3.5, 7.1 and 7.5), walked without a value being read.

pydicom makes an object of a hundred bytes or more from each element of eight bytes, and from an item even more. So
their number is bounded before pydicom sees the file.
"""

from pathlib import Path
from typing import Literal

from .errors import RecordFileError

_MOST_ELEMENTS, _MOST_ITEMS, _MOST_LEVELS = 200_000, 20_000, 16  # an ECG of twelve leads has about 300, 60, and 4
_UNDEFINED = 0xFFFFFFFF
# Value representations with two unused bytes and a length of four bytes.
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00010


def check_structure(path: Path, content: bytes, start: int, *, explicit: bool, little_endian: bool) -> None:
    """Refuse a file with more elements, items, or levels than an ECG has, or with lengths that its bytes do not have.

    Args:
        start: where the elements after the file's meta information begin.
        explicit: whether elements state their value representation.
    """
    order: Literal["little", "big"] = "little" if little_endian else "big"
    # Open sequences and items: where each ends (None: at a mark), and whether its elements are explicit.
    open_levels: list[tuple[int | None, bool]] = []
    position, elements, items = start, 0, 0
    while position < len(content):
        while open_levels and open_levels[-1][0] is not None and position >= open_levels[-1][0]:
            open_levels.pop()
        if position + 8 > len(content):
            raise _damaged(path)
        group = int.from_bytes(content[position : position + 2], order)
        tag = group << 16 | int.from_bytes(content[position + 2 : position + 4], order)
        stated = open_levels[-1][1] if open_levels else explicit
        kind = content[position + 4 : position + 6] if stated and group != 0xFFFE else b""
        begin = position + (12 if kind in _LONG else 8)
        length_at = position + (8 if kind in _LONG else 6 if kind else 4)
        length = int.from_bytes(content[length_at:begin], order)
        position = begin
        elements += 1
        items += tag == _ITEM
        if elements > _MOST_ELEMENTS or items > _MOST_ITEMS or len(open_levels) > _MOST_LEVELS:
            raise RecordFileError(
                f"{path} has more elements ({_MOST_ELEMENTS}), items ({_MOST_ITEMS}), or levels ({_MOST_LEVELS}) than "
                "are read, and than an ECG needs. Export the recording again."
            )
        if tag in (_END_OF_ITEM, _END_OF_SEQUENCE):
            if open_levels:
                open_levels.pop()
            continue
        if length != _UNDEFINED and begin + length > len(content):
            raise _damaged(path)
        nested = kind == b"SQ" or tag == _ITEM or length == _UNDEFINED
        if not kind and not nested and length >= 8:  # a sequence, but nothing says so
            nested = (
                int.from_bytes(content[begin : begin + 2], order) << 16
                | int.from_bytes(content[begin + 2 : begin + 4], order)
                == _ITEM
                and tag != _PIXELS
            )
        if nested and length:
            inner = stated and kind != b"UN"
            open_levels.append((None if length == _UNDEFINED else begin + length, inner))
        else:
            position += length


def _damaged(path: Path) -> RecordFileError:
    return RecordFileError(
        f"{path} is damaged: it states more bytes than it has. Was it copied whole? Export the recording again."
    )
