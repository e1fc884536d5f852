# SPDX-License-Identifier: Apache-2.0
"""Under its final name a file is complete, however and whenever its writer ended."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cgdmer.files.writing import TEMPORARY_SUFFIX, replacing, write_json, write_text


def test_a_successful_block_replaces_the_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
        assert temporary.name.startswith(f".file.txt.{os.getpid()}.") and temporary.suffix == TEMPORARY_SUFFIX
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("begun", [False, True])
def test_a_failed_block_changes_nothing(tmp_path, error, begun):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        if begun:
            temporary.write_text("half of")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_temporary_file_may_be_elsewhere(tmp_path):
    folder = tmp_path / "partial"
    folder.mkdir()
    with replacing(tmp_path / "file.txt", folder) as temporary:
        temporary.write_text("new")
        assert temporary.parent == folder
    assert (tmp_path / "file.txt").read_text() == "new" and not list(folder.iterdir())


def test_content_and_name_are_on_the_disk_in_that_order(tmp_path, monkeypatch):
    """The order of the system calls. Surviving a power failure cannot be tested here."""
    calls: list[str] = []
    synced, replaced = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: calls.append(os.readlink(f"/proc/self/fd/{file}")) or synced(file))
    monkeypatch.setattr(os, "replace", lambda one, other: calls.append("rename") or replaced(one, other))
    write_text(tmp_path / "file.txt", "content")
    content, rename, names = calls
    assert (Path(content).suffix, rename, names) == (TEMPORARY_SUFFIX, "rename", str(tmp_path))


WRITER = """
import sys
from pathlib import Path
from cgdmer.files.writing import write_json

print("writing", flush=True)
for number in range(10**9):
    write_json(Path(sys.argv[1]), [number] * 10_000)
"""


def test_a_killed_writer_leaves_a_complete_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, [-1] * 10_000)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "writing\n"
            for _ in range(200):  # a reader finds a complete one at any moment, too
                assert len(set(json.loads(path.read_text()))) == 1
            writer.send_signal(signal.SIGKILL)
        assert len(set(json.loads(path.read_text()))) == 1
    leftovers = {one.suffix for one in tmp_path.iterdir() if one != path}
    assert leftovers <= {TEMPORARY_SUFFIX}


def test_writers_of_one_file_do_not_interfere(tmp_path):
    path = tmp_path / "file.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_json(path, [number] * 1000), range(200)))
    assert len(set(json.loads(path.read_text()))) == 1 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", ["caf\u00e9", "caf\udce9", {"\u5fc3": [1.5, None, True, float("nan")]}, "\\udce9"])
def test_json_comes_back_as_it_was(tmp_path, value):
    """File names need not be UTF-8. Python represents their bytes by surrogates, which UTF-8 cannot encode."""
    write_json(tmp_path / "file.json", value)
    assert repr(json.loads((tmp_path / "file.json").read_text(encoding="utf-8"))) == repr(value)


def test_json_can_be_read_by_people(tmp_path):
    write_json(tmp_path / "file.json", {"a": "\u00e9", "b": [1]})
    assert (tmp_path / "file.json").read_text(encoding="utf-8") == '{\n  "a": "\u00e9",\n  "b": [\n    1\n  ]\n}\n'
