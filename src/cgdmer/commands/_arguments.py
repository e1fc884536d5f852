# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands share."""

from typing import Annotated, Any

from cgdmer.options import Marker, option

RECORD_HELP = "a WFDB record, with or without .hea; or a DICOM, HL7 aECG, GE MUSE XML or EDF file"
LABELS_HELP = (
    'findings in free text, e.g. "atrial fibrillation" "normal ECG"; of a fine-tuned classifier, its own labels '
    "(default: all of them)"
)
MODEL_HELP = "folder or Hub id of a pretrained model or a fine-tuned classifier"
PLOT_HELP = "the picture to write"

Positional = Annotated[str, Marker.POSITIONAL]
Leads = Annotated[list[str] | None, Marker.LIST_WITH_COMMAS]


def leads_option(help: str = "which of the twelve leads to use (default: all channels, which must be leads)") -> Any:
    return option(help, None, metavar="LEAD")


def model_option() -> Any:
    return option(f"{MODEL_HELP} (default: cgdmer-tiny-ptbxl, which comes with the package)", None)
