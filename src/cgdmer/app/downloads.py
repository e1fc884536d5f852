# SPDX-License-Identifier: Apache-2.0
"""Answers that visitors may download, each in a folder of its own and for an hour."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from cgdmer.files.writing import write_json

KEPT_SECONDS = 3600


def write_download(folder: str | os.PathLike[str], answer: dict[str, Any]) -> str:
    """Write an answer as JSON; its path has nothing in it that a visitor chose, or could guess.

    Args:
        folder: of the page, for answers alone; older ones in it are removed.
    """
    _remove_old(Path(folder))
    path = Path(tempfile.mkdtemp(dir=folder), "cgdmer.json")
    write_json(path, answer)
    return str(path)


def _remove_old(folder: Path) -> None:
    oldest = time.time() - KEPT_SECONDS
    for entry in os.scandir(folder):
        try:
            is_old = entry.stat(follow_symlinks=False).st_mtime < oldest
        except FileNotFoundError:  # another visitor's call has just removed it
            continue
        if is_old:
            shutil.rmtree(entry.path, ignore_errors=True)
