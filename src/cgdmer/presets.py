# SPDX-License-Identifier: Apache-2.0
"""Where to find the presets (next to the sources or in the installed package) and the model shipped with it."""

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
    known = sorted({path.parent.name for place in _PLACES for path in place.glob("*/config.json")})
    raise ConfigurationError(
        f"{name} is neither a folder with a config.json nor a preset. Presets: {', '.join(known)}."
    )


def model_source(model: str | PathLike[str]) -> str:
    """The folder of the model that comes with the package, given its name; any other folder or Hub id unchanged."""
    shipped = fspath(model) == SHIPPED_MODEL.name and not Path(model).exists()
    return fspath(SHIPPED_MODEL if shipped else model)
