# SPDX-License-Identifier: Apache-2.0
"""Results that visitors can download: each in its own folder, for one hour."""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from cgdmer.files.writing import write_json

KEPT_SECONDS = 3600


def write_download(folder: str | os.PathLike[str], answer: dict[str, Any]) -> str:
    """Write an answer as JSON. No visitor chooses any part of its path, or could guess it.

    Args:
        folder: the page's folder for answers; old ones in it are removed.
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
        except FileNotFoundError:  # removed by another visitor's call
            continue
        if is_old:
            shutil.rmtree(entry.path, ignore_errors=True)
