# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands have."""

from typing import Annotated, Any

from cgdmer.options import Marker, option

RECORD_HELP = "a WFDB record, with or without .hea; or a file in DICOM, HL7 aECG, GE MUSE XML or EDF"
LABELS_HELP = 'e.g. "atrial fibrillation" "normal ECG"'

Positional = Annotated[str, Marker.POSITIONAL]
Leads = Annotated[list[str] | None, Marker.LIST_WITH_COMMAS]


def leads_option(help: str = "those of the twelve leads to use (default: all channels, which must be leads)") -> Any:
    return option(help, None, metavar="LEAD")


def model_option() -> Any:
    return option("a pretrained model's folder or Hub id (default: cgdmer-tiny-ptbxl, which the package brings)", None)
