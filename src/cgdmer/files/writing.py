# SPDX-License-Identifier: Apache-2.0
"""Writes files atomically: under its final name a file is always complete, even after a kill or a power failure."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".part"
LOCK_PATIENCE = 15.0  # seconds; the reading processes of a killed run hold its lock until they notice


@contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Give the path of a temporary file to write. It replaces `path` if the block succeeds and is deleted otherwise.

    A killed process may leave its temporary file behind, named `.NAME.PID.*.part`.

    Args:
        path: the final file, which may already exist.
        folder: where to put the temporary file, on the same disk; None: beside `path`.
    """
    # The process id and the random part keep writers of the same file apart.
    name = f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{TEMPORARY_SUFFIX}"
    temporary = (folder or path.parent) / name
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. A surrogate, which UTF-8 cannot encode, is written as its JSON escape."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, from the system's buffers to the disk."""
    on_windows = os.name == "nt"
    if on_windows and path.is_dir():  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
