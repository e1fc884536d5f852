# SPDX-License-Identifier: Apache-2.0
"""What survives a power failure."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk hold what the system holds, for a file or for a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
