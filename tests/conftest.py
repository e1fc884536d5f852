# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test folders share."""

import os
from pathlib import Path
from typing import Any

import pytest

import environment  # noqa: F401  (before libraries that read the environment)
from cgdmer.commands import demo


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings: `CGDMER_DATA`, or `shared/data` beside the project. Skips where it is absent."""
    project = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("CGDMER_DATA", project.parent / "shared" / "data"))
    if not (folder / "ptb-xl-subset").is_dir():
        pytest.skip(f"real recordings not found at {folder}; set CGDMER_DATA to the folder that holds ptb-xl-subset")
    return folder


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The whole demo as a user runs it, and what it answers: several minutes, so once for all tests."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, demo.run(demo.Arguments(output_dir=str(folder)))
