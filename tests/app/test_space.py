# SPDX-License-Identifier: Apache-2.0
"""Limits of the page, and of the Space that shows it."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from cgdmer.models.errors import ECGInputError

ROOT = Path(__file__).resolve().parents[2]


def test_the_hub_accepts_the_space():
    front = yaml.safe_load((ROOT / "examples" / "space" / "README.md").read_text().split("---")[1])
    assert len(front["short_description"]) <= 60  # the Hub refuses longer ones
    lowest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest is not None
    major, minor = map(int, front["python_version"].split("."))
    assert (major, minor) >= (3, int(lowest[1])) and major == sys.version_info.major
    assert (ROOT / "examples" / "space" / front["app_file"]).is_file()


def test_findings_are_one_per_line_and_limited_in_number():
    pytest.importorskip("gradio", reason="the page needs the extra `app`")
    from cgdmer.app.page import MOST_FINDINGS, findings_in

    assert findings_in("\n normal ECG \n\natrial flutter") == ["normal ECG", "atrial flutter"]
    lines = [f"finding {number}" for number in range(MOST_FINDINGS + 1)]
    assert len(findings_in("\n".join(lines[:-1]))) == MOST_FINDINGS
    with pytest.raises(ECGInputError, match="101 findings"):
        findings_in("\n".join(lines))
