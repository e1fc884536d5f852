# SPDX-License-Identifier: Apache-2.0
"""Prepare a run on masked signals to continue on whole signals.

    python unmask.py RUN START

A model trained on masked signals first sees whole ones when it is used. A short training on whole signals closes this
gap (as in FLIP, arXiv 2212.00794). Training on whole signals from the beginning would cost three times as much.
"""

import json
import shutil
import sys
from pathlib import Path


def main(run: str, start: str) -> None:
    partial = Path(start + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in Path(run).iterdir():
        if file.is_file():  # no checkpoints, no pictures
            shutil.copy(file, partial)
    path = partial / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"contrast_view": "full"}, indent=2) + "\n")
    partial.rename(start)


if __name__ == "__main__":
    main(*sys.argv[1:])
