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
    "astcl": "astcl.ASTCL",
    "barlow_twins": "barlow_twins.BarlowTwins",
    "byol": "byol.BYOL",
    "c_melt": "c_melt.CMELT",
    "clocs": "clocs.CLOCS",
    "clocs_halves": "clocs.HalvesCLOCS",
    "clocs_leads": "clocs.LeadsCLOCS",
    "cpc": "cpc.CPC",
    "crt": "crt.CRT",
    "etp": "etp.ETP",
    "jepa": "jepa.JEPA",
    "merl": "merl.MERL",
    "moco_v3": "moco_v3.MoCoV3",
    "simclr": "simclr.SimCLR",
    "simsiam": "simsiam.SimSiam",
    "ts_tcc": "ts_tcc.TSTCC",
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
