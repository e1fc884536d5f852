# SPDX-License-Identifier: Apache-2.0
"""The lower bounds that `.ci/run` tests are those that are declared."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from lowest_versions import lowest_versions  # noqa: E402


def test_every_bound_is_a_constraint():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = dict(one.split("==") for one in lowest_versions(project))
    groups = [
        project["dependencies"],
        *(project["optional-dependencies"][name] for name in ("formats", "export")),
    ]
    for line in (line for group in groups for line in group):
        name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+),<[\d.]+", line).groups()
        assert found[name] == bound
    assert not {"cgdmer", "gradio", "sphinx"} & found.keys()


def test_a_dependency_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="wfdb<5 has no lower bound"):
        lowest_versions({"name": "x", "dependencies": ["numpy>=2,<3", "wfdb<5"]})


def test_the_files_that_ci_names_exist():
    script = (ROOT / ".ci" / "run").read_text()
    named = re.findall(r"\b(?:tests|tools)/[\w/.]+", script)
    assert len(named) > 5 and not [name for name in named if not (ROOT / name).exists()]
