# SPDX-License-Identifier: Apache-2.0
"""A row of the comparison (a file in rows/, applied to base.json), and the preset that it trains from."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from cgdmer.families import ecg_config_of
from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import preset_folder

FOLDER = Path(__file__).resolve().parent / "rows"
ROWS = sorted(path.stem for path in FOLDER.glob("*.json"))


def read_row(name: str, base_file: Path) -> dict[str, Any]:
    """`about`, `training`, `preset`, and the changes: to the model's `config`, to its `feature_extractor`, and to the
    `options` of `cgdmer.pretrain`; also `views` of a record in a step if it is not one, `passes_factor`, by which the
    row has more passes than the command says, `share_for_choice`, the share of them after which its learning rate is
    chosen, and `starts_from`, another row from whose weights (with the same seed) it goes on."""
    if name not in ROWS:
        raise ConfigurationError(f"there is no row {name!r}. Rows: {', '.join(ROWS)}.")
    base, row = json.loads(base_file.read_text()), json.loads((FOLDER / f"{name}.json").read_text())
    options = base["options"] | row.get("options", {})
    return {"training": "pretraining", "config": {}, "feature_extractor": {}} | base | row | {"options": options}


def write_preset(folder: Path, row: dict[str, Any]) -> PreTrainedConfig:
    """Write the row's preset. An ECG encoder of another type takes the preset's sizes where it has such options."""
    source = preset_folder(row["preset"])
    changes, config = dict(row["config"]), json.loads((source / "config.json").read_text())
    if "ecg_config" in changes:
        ecg = {"model_type": config["ecg_config"]["model_type"], **changes.pop("ecg_config")}
        known = CONFIG_MAPPING[ecg["model_type"]].__dataclass_fields__
        config["ecg_config"] = {name: value for name, value in config["ecg_config"].items() if name in known} | ecg
    changed = CONFIG_MAPPING[config["model_type"]](**config | changes)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    changed.save_pretrained(folder)
    name = next(name for name in ("processor_config.json", "preprocessor_config.json") if (folder / name).is_file())
    processor = json.loads((folder / name).read_text())
    extractor = processor.get("feature_extractor", processor)
    extractor.update(row["feature_extractor"], patch_length=ecg_config_of(changed).patch_length)
    (folder / name).write_text(json.dumps(processor, indent=2) + "\n")
    return changed
