# SPDX-License-Identifier: Apache-2.0
"""What the user says about threads is left alone."""

import os

import pytest

from cgdmer.threads import threads_wait_briefly


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_only_what_is_not_set(monkeypatch, given, expected):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the function does
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    threads_wait_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
