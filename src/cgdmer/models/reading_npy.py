# SPDX-License-Identifier: Apache-2.0
"""NPY files of numbers. Their header is matched, not evaluated, so it can hold no pickle and no expression."""

import re
from pathlib import Path

import numpy as np

from .errors import RecordFileError, shown
from .units import MOST_VALUES
from .wfdb_header import open_record_file

NPY_START = b"\x93NUMPY"
_MOST_HEADER_BYTES = 1024  # numpy writes 118 for any array of numbers
_NUMBERS = re.compile(r"[<>|=]?(?:[iu][1248]|f[248])")
_FIELD = r"\s*'(descr|fortran_order|shape)'\s*:\s*('[^'\\]{1,20}'|True|False|\([0-9, L]{0,60}\))\s*"
_HEADER = re.compile(rf"\{{{_FIELD},{_FIELD},{_FIELD},?\s*\}}\s*")
_WRITE_IT = "Write it with numpy.save(path, signal), where signal is an array of numbers of shape (leads, time)."


def read_npy(path: Path) -> np.ndarray:
    """An array of numbers with one or two dimensions, as stored.

    Raises:
        RecordFileError: the file is something else, or has fewer or more bytes than its header states.
    """
    with open_record_file(path, path.parent) as (file, size):
        start = file.read(12)
        long = start[6:7] in (b"\x02", b"\x03")
        if len(start) < 12 or start[:6] != NPY_START or start[6] not in (1, 2, 3):
            raise RecordFileError(f"{path} is not an NPY file. {_WRITE_IT}")
        begin = 12 if long else 10
        num_bytes = int.from_bytes(start[8:begin], "little")
        if num_bytes > _MOST_HEADER_BYTES or begin + num_bytes > size:
            raise RecordFileError(
                f"{path} is no NPY file of numbers: its header states {num_bytes} bytes for itself. {_WRITE_IT}"
            )
        file.seek(begin)
        dtype, fortran_order, shape = _parse_header(path, file.read(num_bytes))
        count = int(np.prod(shape, dtype=object))
        if count > MOST_VALUES:
            raise RecordFileError(f"{path} holds {count} values; at most {MOST_VALUES} are read at once. Split it.")
        expected, found = count * dtype.itemsize, size - begin - num_bytes
        if found != expected:
            raise RecordFileError(
                f"{path} has {found} bytes after its header, which states an array of shape {shape}: {expected} "
                f"bytes. It is damaged, or holds more than one array. {_WRITE_IT}"
            )
        content = file.read(expected)
    if len(content) != expected:
        raise RecordFileError(f"{path} became shorter while it was read. Read it again.")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")


def _parse_header(path: Path, header: bytes) -> tuple[np.dtype, bool, tuple[int, ...]]:
    """The type of the numbers, whether columns are stored one after the other, and the shape."""
    match = _HEADER.fullmatch(header.decode("latin-1"))
    fields = {} if match is None else dict(zip(match.groups()[::2], match.groups()[1::2], strict=True))
    kind, order, shape = (fields.get(name, "") for name in ("descr", "fortran_order", "shape"))
    sizes = [size.strip().rstrip("L") for size in shape.strip("()").split(",") if size.strip()]
    if order not in ("True", "False") or not shape.startswith("(") or not all(map(str.isdigit, sizes)):
        raise RecordFileError(f"{path} is no NPY file of numbers: its header is {shown(header)}. {_WRITE_IT}")
    if not _NUMBERS.fullmatch(kind.strip("'")):
        raise RecordFileError(f"{path} holds values of type {kind}; expected integers or floats. {_WRITE_IT}")
    if len(sizes) not in (1, 2) or not all(map(int, sizes)):
        raise RecordFileError(f"{path} holds an array of shape {shape}; expected (leads, time). {_WRITE_IT}")
    return np.dtype(kind.strip("'")), order == "True", tuple(map(int, sizes))
