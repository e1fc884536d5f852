# SPDX-License-Identifier: Apache-2.0
"""One recording from a file in any format: WFDB, DICOM, HL7 aECG, GE MUSE XML, EDF, CSV, NPY.

The content decides which, but for tables of numbers, which are known by their suffix.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from .channels import LeadNames
from .ecg_record import ECGRecord, keep_leads
from .errors import ECGInputError, RecordFileError, shown
from .leads import standard_lead_names
from .reading_aecg import read_aecg
from .reading_array_file import ARRAY_SUFFIXES, is_array_file, read_array_file
from .reading_dicom import read_dicom
from .reading_edf import read_edf
from .reading_muse import read_muse
from .reading_wfdb import read_wfdb
from .safe_xml import parse_xml
from .wfdb_header import header_path_of, open_record_file

CLINIC_SUFFIXES = (".dcm", ".edf", ".xml")
_XML_READERS = {"AnnotatedECG": read_aecg, "RestingECG": read_muse}
_EDF_START = b"0       "
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0<")


def read_record(
    path: str | os.PathLike[str],
    leads: Sequence[str] | None = None,
    *,
    lead_names: LeadNames | None = None,
    sampling_rate: float | None = None,
    unit: str | None = None,
) -> ECGRecord:
    """Read one recording.

    Args:
        path: a WFDB record, with or without `.hea`; a file in DICOM (needs `pydicom`), HL7 aECG, GE MUSE XML, or EDF,
            whatever its suffix; or a table of numbers (.csv, .tsv, .txt, .npy; see `read_array_file`).
        leads: which of the twelve standard leads to use, in any spelling. Other channels, such as the Frank leads VX,
            VY, and VZ, or respiration, are left out, whatever is in them. A limb lead that the file lacks is computed
            from two others. None: all channels, each of which must be a standard lead.
        lead_names: which leads channels are, if the file does not say so: `{"ECG": "II"}`, or one name per channel.
        sampling_rate, unit: in Hz, and of voltage, for a table that does not state them.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), with the rate and leads that the file states.
        It has no information about the patient.

    Raises:
        RecordFileError: the file is missing, in another format, damaged, or does not state something that must not be
            guessed: unit, scale, rate, lead names.
        ECGInputError: one of `leads` or `lead_names` is not there exactly once; or `sampling_rate` or `unit` is given
            for a file that states its own.
    """
    header = header_path_of(path)
    if os.path.isdir(path) and not os.path.isfile(header):
        raise RecordFileError(f"{path} is a folder. Name a record in it, or score all of it with `cgdmer score`.")
    is_wfdb = os.path.isfile(header) or not os.path.isfile(path)
    if not is_wfdb and is_array_file(path):
        return read_array_file(path, sampling_rate, unit, lead_names, leads)
    if sampling_rate is not None or unit is not None:
        given = "unit" if sampling_rate is None else "sampling_rate"
        raise ECGInputError(
            f"{given} is for tables of numbers ({', '.join(ARRAY_SUFFIXES)}); {path} states its own. Leave it out."
        )
    record = _read_wfdb(path, leads, lead_names) if is_wfdb else _read_clinic_file(Path(path), leads, lead_names)
    if leads is not None:
        return keep_leads(record, leads)
    try:
        standard_lead_names(record.lead_names)
    except ECGInputError as error:
        raise RecordFileError(f"{path}: {error}") from error
    return record


def is_clinic_file(path: str | os.PathLike[str]) -> bool:
    """Whether the content of a file, whatever its name, is that of DICOM, EDF, HL7 aECG, or MUSE XML.

    Raises:
        RecordFileError: it is no regular file, or cannot be read.
    """
    path = Path(path)
    with open_record_file(path, path.parent) as (file, _):
        start = file.read(4096)
    if start[128:132] == b"DICM" or start.startswith(_EDF_START):
        return True
    tags = [mark + root for root in _XML_READERS for mark in ("<", ":")]  # a colon ends the prefix of a namespace
    encodings = ("ascii", "utf-16-le", "utf-16-be")
    is_xml = start.lstrip().startswith(_XML_STARTS)
    return is_xml and any(tag.encode(encoding) in start for tag in tags for encoding in encodings)


def _read_wfdb(path: str | os.PathLike[str], leads: Sequence[str] | None, lead_names: LeadNames | None) -> ECGRecord:
    header = header_path_of(path)
    if not os.path.lexists(path) and not os.path.lexists(header):
        if Path(path).suffix.lower() in (*CLINIC_SUFFIXES, *ARRAY_SUFFIXES, ".hea"):
            raise RecordFileError(f"{path} does not exist. Check the path.")
        raise RecordFileError(
            f"{path} does not exist, nor does {header}, by which a WFDB record is named. Check the path."
        )
    return read_wfdb(path, leads=leads, lead_names=lead_names)


def _read_clinic_file(path: Path, leads: Sequence[str] | None, lead_names: LeadNames | None) -> ECGRecord:
    with open_record_file(path, path.parent) as (file, _):
        start = file.read(132)
    if start[128:] == b"DICM":
        return read_dicom(path, leads, lead_names)
    if start.startswith(_EDF_START):
        return read_edf(path, leads, lead_names)
    if start.lstrip().startswith(_XML_STARTS):
        root = parse_xml(path)
        if root.tag not in _XML_READERS:
            raise RecordFileError(
                f"{path} is XML with the root {shown(root.tag)}; expected AnnotatedECG (HL7 aECG) or RestingECG (GE "
                "MUSE). Export the recording in one of these formats."
            )
        return _XML_READERS[root.tag](path, root, leads, lead_names)
    if path.suffix in (".dat", ".mat"):
        return read_wfdb(path)  # says what to name instead
    raise RecordFileError(
        f"{path} is in none of the formats that can be read: WFDB (named by its header), DICOM, HL7 aECG, GE MUSE "
        f"XML, EDF, or a table of numbers ({', '.join(ARRAY_SUFFIXES)}). Export the recording in one of them."
    )
