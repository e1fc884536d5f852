# SPDX-License-Identifier: Apache-2.0
"""Hashes that are the same on every machine. Random draws and fingerprints depend on them: they must never change."""

import hashlib
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """Hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(content: bytes) -> bytes:
    """Eight bytes."""
    return hashlib.blake2b(content, digest_size=8).digest()


def seed_of(content: bytes) -> int:
    """A number from 0 to 2^64 - 1, to seed NumPy's generators."""
    return int.from_bytes(short_hash(content), "little")


def number_of(content: bytes) -> int:
    """A number that fits in int64; never 0, which stands for "none"."""
    return int.from_bytes(short_hash(content), "little", signed=True) or 1


def keyed_number_of(content: bytes, key: bytes) -> int:
    """As `number_of`, but says nothing about the content to anyone without the key, which has 1 to 64 bytes."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key).digest(), "little", signed=True) or 1
