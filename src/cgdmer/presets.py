# SPDX-License-Identifier: Apache-2.0
"""Where to find the presets (next to the sources or in the installed package) and the model shipped with it."""

import difflib
import json
from os import PathLike, fspath
from pathlib import Path

from cgdmer.models.errors import ConfigurationError, shown

SHIPPED_MODEL = Path(__file__).parent / "pretrained" / "cgdmer-tiny-ptbxl"
_PLACES = (Path(__file__).parent / "hub_configs", Path(__file__).parents[2] / "hub_configs")

_MASKS = {"uniform": "of the patches", "time": "of the columns", "lead": "of the leads", "dual": "of the columns"}
_WITHOUT_MASKS = {"ecg_vit": "a transformer over all leads at once", "ecg_resnet": "a residual network"}


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
    words = f"{ecg['num_samples'] / rate:g} s at {rate} Hz in patches of {ecg['patch_length'] / rate:g} s, "
    if ecg["model_type"] in _WITHOUT_MASKS:
        words += f"{_WITHOUT_MASKS[ecg['model_type']]}, nothing masked"
    else:
        words += f"{ecg['mask_ratio']:.0%} {_MASKS[ecg['mask_strategy']]} masked"
        if ecg["mask_strategy"] == "dual":
            words += f" and {ecg['lead_mask_ratio']:.0%} of the leads"
    if "text_config" not in config:
        return f"{words}; signals alone, no texts"
    shape = config.get("text_model_name")
    if shape is None:
        return f"{words}; its own small text tower"
    return f"{words}; text tower in the shape of {shape}, with random weights unless --text_model {shape} loads them"


def model_path(name: str) -> str:
    """The folder of a model that comes with the package, for transformers and for anything else that takes a folder.

    Raises:
        ConfigurationError: there is none of that name.

    Example:
        >>> from transformers import AutoModel
        >>> type(AutoModel.from_pretrained(cgdmer.model_path("cgdmer-tiny-ptbxl"))).__name__
        'CGDMERModel'
    """
    if name != SHIPPED_MODEL.name:
        raise ConfigurationError(f"no model {shown(name)} comes with the package. There is {SHIPPED_MODEL.name}.")
    return fspath(SHIPPED_MODEL)


def model_source(model: str | PathLike[str]) -> str:
    """The folder of the model that comes with the package, given its name; any other folder or Hub id unchanged.

    Raises:
        ConfigurationError: it is almost that name, or the name of a preset, which the Hub would be asked for.
    """
    name = fspath(model)
    if "/" in name or Path(model).exists():
        return name
    if name == SHIPPED_MODEL.name:
        return fspath(SHIPPED_MODEL)
    if any((place / name / "config.json").is_file() for place in _PLACES):
        raise ConfigurationError(
            f"{name} is a preset, which has no weights. Pretrain one (--config_name {name}), or use the model that "
            f"comes with the package: {SHIPPED_MODEL.name}."
        )
    if difflib.get_close_matches(name.lower(), [SHIPPED_MODEL.name], cutoff=0.8):
        raise ConfigurationError(
            f"{name} is no folder, and no model of that name comes with the package. Did you mean "
            f"{SHIPPED_MODEL.name!r}?"
        )
    return name
