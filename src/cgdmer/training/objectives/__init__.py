# SPDX-License-Identifier: Apache-2.0
"""Methods that pretrain an encoder, for fair comparisons: one file each, on any encoder of the package.

They are not part of a saved model: `pretrain --objective NAME` saves the encoder (with texts: both towers) alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from cgdmer.models.errors import ConfigurationError

if TYPE_CHECKING:
    from cgdmer.training.objectives.base import Objective

# The name of each method, its file, and its class.
OBJECTIVES = {
    "byol": "byol.BYOL",
    "c_melt": "c_melt.CMELT",
    "etp": "etp.ETP",
    "merl": "merl.MERL",
    "simclr": "simclr.SimCLR",
}


def objective_class(name: str) -> "type[Objective]":
    """The method of that name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in OBJECTIVES:
        raise ConfigurationError(f"--objective is {name!r}; expected one of {', '.join(sorted(OBJECTIVES))}.")
    module, class_name = OBJECTIVES[name].split(".")
    found: type[Objective] = getattr(import_module(f"{__name__}.{module}"), class_name)
    return found
