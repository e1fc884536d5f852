# SPDX-License-Identifier: Apache-2.0
"""Copy a preset or a run to a new folder with other settings of the model, to start the next stage from it.

    python settings.py SOURCE START contrast_view=full ecg_reconstruction_loss_weight=0.02

SOURCE is a run's folder or the name of a preset. Values are JSON, or else text. A setting that the model does not have
is refused.
"""

import json
import shutil
import sys
from pathlib import Path

from cgdmer.presets import preset_folder


def main(source: str, start: str, *changes: str) -> None:
    partial = Path(start + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    folder = Path(source) if Path(source).is_dir() else preset_folder(source)
    for file in folder.iterdir():
        if file.is_file():  # no checkpoints, no pictures
            shutil.copy(file, partial)
    path = partial / "config.json"
    config = json.loads(path.read_text())
    for name, value in (change.split("=", 1) for change in changes):
        if name not in config:
            raise SystemExit(f"{path}: there is no setting {name!r}. Settings: {', '.join(sorted(config))}.")
        config[name] = _value(value)
    path.write_text(json.dumps(config, indent=2) + "\n")
    partial.rename(start)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main(*sys.argv[1:])
