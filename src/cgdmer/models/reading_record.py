# SPDX-License-Identifier: Apache-2.0
"""One recording from a file of whatever format: WFDB, DICOM, HL7 aECG, GE MUSE XML, EDF. The content says which."""

import os
from collections.abc import Sequence
from pathlib import Path

from .clinic_files import shown
from .ecg_record import ECGRecord, keep_leads
from .errors import ECGInputError, RecordFileError
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
        path: a WFDB record, with or without `.hea`; or a file in DICOM (needs `pydicom`), HL7 aECG, GE MUSE XML or
            EDF, whatever its suffix.
        leads: those of the twelve standard leads to use, in any spelling; other channels, such as Frank's VX, VY and
            VZ, or breathing, are left out; in a WFDB record they must have a unit of voltage nevertheless. None: all
            channels, each of which must be a lead.

    Returns:
        The record: signal in float32 millivolts, shape (leads, time), with the rate and leads that the file states.
        Nothing that it says of the patient is in it.

    Raises:
        RecordFileError: the file is absent, in no such format, damaged, or silent about something that must not be
            guessed: unit, scale, rate, names of leads.
        ECGInputError: it has not each of `leads` once.
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
        raise RecordFileError(f"{path} is a folder. Name a record in it; `cgdmer score` takes all that it holds.")
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
                f"{path} is XML, but its root is {shown(root.tag)}: neither an HL7 aECG (AnnotatedECG) nor of GE MUSE "
                "(RestingECG). Export the recording in one of them."
            )
        return _XML_READERS[root.tag](path, root)
    if path.suffix in (".dat", ".mat"):
        return read_wfdb(path)  # says what to name instead
    raise RecordFileError(
        f"{path} is in none of the formats that are read: a WFDB record (named by its header), DICOM, HL7 aECG, GE "
        "MUSE XML, EDF. Export the recording in one of them; a table of numbers, load it yourself and pass the array."
    )
