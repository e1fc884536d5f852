# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test folders share."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import environment  # noqa: F401  (before libraries that read the environment)
from cgdmer.commands import demo

_THIS_MACHINE = {"", "None", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()}
_asked: list[str] = []  # other machines


def _note_requests(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name not in _THIS_MACHINE:
        _asked.append(name)


sys.addaudithook(_note_requests)


@pytest.fixture(autouse=True)
def nobody_is_asked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that looks up or connects to another machine. Libraries count their uses that way, unasked.

    Tests with the mark `asks` do that on purpose, or with another package's client.
    """
    _asked.clear()
    yield
    if not request.node.get_closest_marker("asks"):
        assert not _asked, f"requests to {', '.join(sorted(set(_asked)))}"


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
