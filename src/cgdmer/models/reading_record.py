# SPDX-License-Identifier: Apache-2.0
"""One recording from a file in any format: WFDB, DICOM, HL7 aECG, GE MUSE XML, EDF. The content decides which."""

import os
from collections.abc import Sequence
from pathlib import Path

from .ecg_record import ECGRecord, keep_leads
from .errors import ECGInputError, RecordFileError, shown
from .leads import standard_lead_names
from .reading_aecg import read_aecg
from .reading_dicom import read_dicom
from .reading_edf import read_edf
from .reading_muse import read_muse
from .reading_wfdb import read_wfdb
from .safe_xml import parse_xml
from .wfdb_header import header_path_of, open_record_file

CLINIC_SUFFIXES = (".dcm", ".edf", ".xml")
_XML_READERS = {"AnnotatedECG": read_aecg, "RestingECG": read_muse}
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def read_record(path: str | os.PathLike[str], leads: Sequence[str] | None = None) -> ECGRecord:
    """Read one recording.

    Args:
        path: a WFDB record, with or without `.hea`; or a file in DICOM (needs `pydicom`), HL7 aECG, GE MUSE XML, or
            EDF, whatever its suffix.
        leads: which of the twelve standard leads to use, in any spelling. Other channels, such as the Frank leads VX,
            VY, and VZ, or respiration, are left out; in a WFDB record they still need a unit of voltage. None: all
            channels, each of which must be a standard lead.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), with the rate and leads that the file states.
        It has no information about the patient.

    Raises:
        RecordFileError: the file is missing, in another format, damaged, or does not state something that must not be
            guessed: unit, scale, rate, lead names.
        ECGInputError: one of `leads` is not there exactly once.
    """
    record = _read(path, leads)
    if leads is not None:
        return keep_leads(record, leads)
    try:
        standard_lead_names(record.lead_names)
    except ECGInputError as error:
        raise RecordFileError(f"{path}: {error}") from error
    return record


def _read(path: str | os.PathLike[str], leads: Sequence[str] | None) -> ECGRecord:
    header = header_path_of(path)
    if os.path.isdir(path) and not os.path.isfile(header):
        raise RecordFileError(f"{path} is a folder. Name a record in it, or score all of it with `cgdmer score`.")
    if os.path.isfile(header) or not os.path.isfile(path):
        return read_wfdb(path)
    path = Path(path)
    with open_record_file(path, path.parent) as (file, _):
        start = file.read(132)
    if start[128:] == b"DICM":
        return read_dicom(path, leads)
    if start.startswith(b"0       "):
        return read_edf(path, leads)
    if start.lstrip().startswith(_XML_STARTS):
        root = parse_xml(path)
        if root.tag not in _XML_READERS:
            raise RecordFileError(
                f"{path} is XML with the root {shown(root.tag)}; expected AnnotatedECG (HL7 aECG) or RestingECG (GE "
                "MUSE). Export the recording in one of these formats."
            )
        return _XML_READERS[root.tag](path, root)
    if path.suffix in (".dat", ".mat"):
        return read_wfdb(path)  # says what to name instead
    raise RecordFileError(
        f"{path} is in none of the formats that can be read: WFDB (named by its header), DICOM, HL7 aECG, GE MUSE "
        "XML, EDF. Export the recording in one of them. If it is a table of numbers, load it yourself and pass the "
        "array."
    )
