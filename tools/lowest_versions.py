# SPDX-License-Identifier: Apache-2.0
"""Print the lowest versions that pyproject.toml admits of what the package needs, as constraints for pip.

    python tools/lowest_versions.py > lowest.txt && pip install -c lowest.txt ".[test]"

Packages that these need in turn are as new as they can be, as for anyone who installs with an old version at hand.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
# `docs` is imported by no code here. Gradio, in `app`, needs a newer huggingface_hub than the rest of the package.
_APART = {"app", "docs"}


def lowest_versions(project: dict) -> list[str]:
    """`name==version` for every dependency, of the package and of its extras.

    Args:
        project: the table `project` of pyproject.toml.

    Raises:
        ValueError: a dependency has no lower bound.
    """
    extras = project.get("optional-dependencies", {})
    lines = [
        *project["dependencies"],
        *(one for name in extras if name not in _APART for one in extras[name]),
    ]
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:  # an extra that includes others
            continue
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(bounds) != 1:
            raise ValueError(f"{requirement} has no lower bound, so it is not known what to test.")
        found.append(f"{requirement.name}=={bounds[0]}")
    return sorted(found)


if __name__ == "__main__":
    print(*lowest_versions(tomllib.loads(_PROJECT.read_text())["project"]), sep="\n")
