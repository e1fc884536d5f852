# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands share, and reading the recording that they name."""

from typing import TYPE_CHECKING, Annotated, Any

from cgdmer.options import Marker, option

if TYPE_CHECKING:
    from cgdmer.models.ecg_record import ECGRecord

RECORD_HELP = "a WFDB record, with or without .hea; or a DICOM, HL7 aECG, GE MUSE XML, EDF, CSV or NPY file"
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


def lead_names_option() -> Any:
    return option(
        'which leads channels are, if the file does not say so: "ECG=II", or one name per channel in order (default: '
        "as the file says)",
        None,
        metavar="CHANNEL=LEAD",
    )


def sampling_rate_option() -> Any:
    return option("in Hz, of a CSV or NPY file that does not state it", None, metavar="HZ")


def unit_option() -> Any:
    return option("such as mV or uV, of a CSV or NPY file that does not state it", None)


def read_recording(arguments: Any) -> "ECGRecord":
    """The recording that `record` names; the arguments have `leads`, `lead_names`, `sampling_rate`, `unit` too."""
    from cgdmer.models.reading_record import read_record

    return read_record(
        arguments.record,
        arguments.leads,
        lead_names=separated(arguments.lead_names),
        sampling_rate=arguments.sampling_rate,
        unit=arguments.unit,
    )


def separated(lead_names: list[str] | None) -> list[str] | None:
    """Names that may also be separated by commas, as in `--leads`; names of channels may have blanks in them."""
    if lead_names is None:
        return None
    return [name.strip() for names in lead_names for name in names.split(",") if name.strip()]


def force_unknown_option() -> Any:
    return option("also score findings that the model was not trained on; such scores mean nothing", False)


def abstain_option() -> Any:
    return option(
        "give no scores for recordings that are doubted (see doubts) or less familiar than this share of recordings "
        "like those of training, such as 0.05; 0: only for doubted ones (default: all get scores)",
        None,
        metavar="SHARE",
    )


def model_option() -> Any:
    return option(f"{MODEL_HELP} (default: cgdmer-tiny-ptbxl, which comes with the package)", None)
