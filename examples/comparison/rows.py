# SPDX-License-Identifier: Apache-2.0
"""A row of the comparison: a file of rows/ over base.json, and the preset that it trains from."""

import json
import shutil
from pathlib import Path
from typing import Any

from cgdmer import CGDMERConfig, CGDMERECGConfig
from cgdmer.models.configuration_cgdmer import ECG_CONFIGS
from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import preset_folder

FOLDER = Path(__file__).resolve().parent / "rows"
ROWS = sorted(path.stem for path in FOLDER.glob("*.json"))


def read_row(name: str, base_file: Path) -> dict[str, Any]:
    """`about`, `training`, `preset`, and what is changed: `config` of the model, `options` of `cgdmer.pretrain`."""
    if name not in ROWS:
        raise ConfigurationError(f"there is no row {name!r}. Rows: {', '.join(ROWS)}.")
    base, row = json.loads(base_file.read_text()), json.loads((FOLDER / f"{name}.json").read_text())
    options = base["options"] | row.get("options", {})
    return {"training": "pretraining", "config": {}} | base | row | {"options": options}


def write_preset(folder: Path, row: dict[str, Any]) -> CGDMERConfig:
    """The row's preset; an ECG encoder of another type has the sizes of the preset's own as far as it knows them."""
    source = preset_folder(row["preset"])
    config = json.loads((source / "config.json").read_text())
    changes = dict(row["config"])
    ecg = {"model_type": CGDMERECGConfig.model_type, **changes.pop("ecg_config", {})}
    known = ECG_CONFIGS[ecg["model_type"]].__dataclass_fields__
    ecg = {name: value for name, value in config["ecg_config"].items() if name in known} | ecg
    changed = CGDMERConfig(**config | changes | {"ecg_config": ecg})
    shutil.copytree(source, folder, dirs_exist_ok=True)
    changed.save_pretrained(folder)
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["feature_extractor"]["patch_length"] = changed.ecg_config.patch_length
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    return changed


__all__ = ["ROWS", "read_row", "write_preset"]
