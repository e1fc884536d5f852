# SPDX-License-Identifier: Apache-2.0
"""Where the presets of hub_configs are, beside the sources or inside the installed package, and the weights that ship
with it."""

from pathlib import Path

from cgdmer.models.errors import ConfigurationError

SHIPPED_MODEL = Path(__file__).parent / "pretrained" / "cgdmer-tiny-ptbxl"
_PLACES = (Path(__file__).parent / "hub_configs", Path(__file__).parents[2] / "hub_configs")


def preset_folder(name_or_path: str) -> Path:
    """The folder of a preset, by its path or by its bare name (`cgdmer-tiny`).

    Raises:
        ConfigurationError: there is no such folder; the message lists the presets.
    """
    if (Path(name_or_path) / "config.json").is_file():
        return Path(name_or_path)
    for place in _PLACES:
        if (place / name_or_path / "config.json").is_file():
            return place / name_or_path
    known = sorted({path.parent.name for place in _PLACES for path in place.glob("*/config.json")})
    raise ConfigurationError(
        f"{name_or_path} is neither a folder with a config.json nor a preset. Presets: {', '.join(known)}."
    )


def model_source(name: str) -> str:
    """The folder of the model that comes with the package, by its name; any other folder or Hub id as it is."""
    shipped = name == SHIPPED_MODEL.name and not Path(name).exists()
    return str(SHIPPED_MODEL) if shipped else name


__all__ = ["SHIPPED_MODEL", "model_source", "preset_folder"]
