# SPDX-License-Identifier: Apache-2.0
"""A virtual environment with a few of the packages installed here, their requirements, and nothing else."""

import importlib.metadata
import re
import venv
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement


def make_environment(folder: Path, packages: Iterable[str]) -> Path:
    """Make the environment from links, without a network.

    Args:
        folder: must not exist.
        packages: names of distributions.

    Returns:
        Its interpreter.
    """
    venv.create(folder, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for distribution in _with_requirements(packages):
        # Its folders and modules, without scripts and caches.
        parts = {path.parts[0] for path in distribution.files or ()} - {"..", "__pycache__"}
        for part in parts:
            link = site_packages / part
            if not link.exists() and not part.endswith(".pth"):
                link.symlink_to(Path(str(distribution.locate_file(part))).resolve())
    return folder / "bin" / "python"


def _with_requirements(packages: Iterable[str]) -> list[importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        requirements = map(Requirement, found[name].requires or ())
        waiting += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return list(found.values())
