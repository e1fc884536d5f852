# SPDX-License-Identifier: Apache-2.0
"""Hashes must be those of other machines and earlier versions, so they are written down here."""

import hashlib

import numpy as np
import pytest

from cgdmer.data.fingerprints import record_fingerprint
from cgdmer.files.hashing import number_of, seed_of, sha256_of_file, short_hash
from cgdmer.training.pairs import statement_id


def test_known_values():
    assert short_hash(b"abc").hex() == "d8bb14d833d59559"
    assert seed_of(b"abc") == number_of(b"abc") == 6455300059550759896
    assert seed_of(b"f") == 15820645997245929006
    assert number_of(b"f") == -2626098076463622610
    assert record_fingerprint(np.arange(24, dtype="<i2").reshape(2, 12)) == -676511120439142821
    assert statement_id(" Sinus Rhythm ") == statement_id("sinus rhythm") == 1368576000183149907


@pytest.mark.parametrize("content", [b"", b"a", b"records500/00001_hr", bytes(1000)])
def test_numbers_are_those_of_the_hash(content):
    digest = hashlib.blake2b(content, digest_size=8).digest()
    assert seed_of(content) == int.from_bytes(digest, "little") >= 0
    assert number_of(content) == np.frombuffer(digest, "<i8")[0]


def test_no_content_has_the_number_that_stands_for_none(monkeypatch):
    monkeypatch.setattr("cgdmer.files.hashing.short_hash", lambda content: bytes(8))
    assert number_of(b"unlucky") == 1


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 10**6)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(b"abc" * 10**6).hexdigest()
