# SPDX-License-Identifier: Apache-2.0
"""Downloads: nobody gets another visitor's file, nobody chooses its path, and old files are removed."""

import inspect
import json
import os
import time
from pathlib import Path

from cgdmer.app.downloads import KEPT_SECONDS, write_download


def test_every_answer_has_a_folder_of_its_own(tmp_path):
    paths = [Path(write_download(tmp_path, {"number": number})) for number in range(3)]
    assert [json.loads(path.read_text()) for path in paths] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert len({path.parent for path in paths}) == 3
    assert all(path.parent.parent == tmp_path and path.name == "cgdmer.json" for path in paths)
    # No part of the path comes from the request: a client can send any session name.
    assert list(inspect.signature(write_download).parameters) == ["folder", "answer"]


def test_answers_older_than_an_hour_are_removed(tmp_path):
    old, young = (Path(write_download(tmp_path, {})) for _ in range(2))
    for path, age in ((old, KEPT_SECONDS + 60), (young, KEPT_SECONDS - 60)):
        os.utime(path.parent, (time.time() - age,) * 2)
    newest = Path(write_download(tmp_path, {}))
    assert {path.name for path in tmp_path.iterdir()} == {young.parent.name, newest.parent.name}
