# SPDX-License-Identifier: Apache-2.0
"""Where to find the presets (next to the sources or in the installed package) and the model shipped with it."""

import json
from os import PathLike, fspath
from pathlib import Path

from cgdmer.models.errors import ConfigurationError

SHIPPED_MODEL = Path(__file__).parent / "pretrained" / "cgdmer-tiny-ptbxl"
_PLACES = (Path(__file__).parent / "hub_configs", Path(__file__).parents[2] / "hub_configs")


def preset_folder(name: str) -> Path:
    """The folder of a preset, given its path or its name (`cgdmer-tiny`).

    Raises:
        ConfigurationError: there is no such folder; the message lists the presets.
    """
    if (Path(name) / "config.json").is_file():
        return Path(name)
    for place in _PLACES:
        if (place / name / "config.json").is_file():
            return place / name
    raise ConfigurationError(
        f"{name} is neither a folder with a config.json nor a preset. Presets: {', '.join(presets())}."
    )


def presets() -> dict[str, Path]:
    """The folder of each preset by its name."""
    found = {path.parent.name: path.parent for place in reversed(_PLACES) for path in place.glob("*/config.json")}
    return dict(sorted(found.items()))


def preset_in_words(folder: Path) -> str:
    """What a preset decides: the window, the masks, and where its text tower comes from; read without transformers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ecg = config.get("ecg_config", config)
    rate = ecg["sampling_rate"]
    masks = {"uniform": "of the patches", "time": "of the columns", "lead": "of the leads", "dual": "of the columns"}
    words = (
        f"{ecg['num_samples'] / rate:g} s at {rate} Hz in patches of {ecg['patch_length'] / rate:g} s, "
        f"{ecg['mask_ratio']:.0%} {masks[ecg['mask_strategy']]} masked"
    )
    if ecg["mask_strategy"] == "dual":
        words += f" and {ecg['lead_mask_ratio']:.0%} of the leads"
    if "text_config" not in config:
        return f"{words}; signals alone, no texts"
    shape = config.get("text_model_name")
    if shape is None:
        return f"{words}; its own small text tower"
    return f"{words}; text tower in the shape of {shape}, with random weights unless --text_model {shape} loads them"


def model_source(model: str | PathLike[str]) -> str:
    """The folder of the model that comes with the package, given its name; any other folder or Hub id unchanged."""
    shipped = fspath(model) == SHIPPED_MODEL.name and not Path(model).exists()
    return fspath(SHIPPED_MODEL if shipped else model)
