# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

from cgdmer.inference.scorers import load_scorer

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "models"))  # tiny.py
sys.path.insert(0, str(TESTS.parent / "benchmarks"))


@pytest.fixture(scope="session")
def classify():
    return load_scorer()
