# SPDX-License-Identifier: Apache-2.0
"""Files that are whole wherever they stand under their name, after a kill and after a power failure too."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".part"


@contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """The path of a file to write, which takes the name of `path` when the block ends well, and vanishes otherwise.

    What a killed process leaves of it is called `.NAME.PID.*.part`.

    Args:
        path: the file; one that is there is replaced.
        folder: where the temporary file is, on the same disk; None: beside `path`.
    """
    # The process id and the number keep writers of the same file out of each other's way.
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
    """Write a file as a whole; a surrogate, which UTF-8 cannot say, becomes its escape in JSON."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sync(path: Path) -> None:
    """Have the disk hold what the system holds, for a file or for a folder's names."""
    on_windows = os.name == "nt"
    if on_windows and path.is_dir():  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
