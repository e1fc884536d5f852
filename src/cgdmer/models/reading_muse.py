# SPDX-License-Identifier: Apache-2.0
"""GE MUSE XML (RestingECG): 16-bit integers in base64, of the eight leads that are independent."""

import base64
import binascii
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from .clinic_files import check_size, in_millivolts, make_record, number, scaled, shown, whole_number
from .ecg_record import ECGRecord
from .errors import RecordFileError
from .leads import STANDARD_LEADS, derive_limb_leads
from .safe_xml import child

_UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV", "VOLTS": "V"}
# What shifts a lead against the others. MUSE writes zeros.
_SHIFTS = ("LeadTimeOffset", "LeadOffsetFirstSample", "FirstSampleBaseline")


def read_muse(path: Path, root: Element) -> ECGRecord:
    """The rhythm of a MUSE file, all twelve leads.

    III, aVR, aVL and aVF are II - I, -(I + II)/2, I - II/2 and II - I/2, as MUSE itself makes them. A lead that the
    file calls off is NaN.

    Args:
        root: the file's element RestingECG. Median beats, patient and report in it are left out.

    Raises:
        RecordFileError: there is no waveform of the type Rhythm, or several; rate, unit, scale, number of samples or
            name are missing; sizes do not fit, or the base64 is damaged.
    """
    types = [(child(waveform, "WaveformType") or "none").lower() for waveform in root.findall("Waveform")]
    if types.count("rhythm") != 1:
        raise RecordFileError(
            f"{path}: it has {types.count('rhythm')} waveforms of the type Rhythm (types: "
            f"{shown(', '.join(types)) if types else 'none'}); expected one. Export the recording again."
        )
    waveform = root.findall("Waveform")[types.index("rhythm")]
    rate = _sampling_rate(path, waveform)
    leads = waveform.findall("LeadData")
    announced = child(waveform, "NumberofLeads")
    if announced is not None and whole_number(str(path), "NumberofLeads", announced) != len(leads):
        raise RecordFileError(f"{path}: it announces {announced} leads, but {len(leads)} follow. Fetch it again.")
    check_size(str(path), len(leads), 1, rate)
    names = [child(lead, "LeadID") for lead in leads]
    rows = [
        _lead(f"{path}, lead {name or position}", lead)
        for position, (name, lead) in enumerate(zip(names, leads, strict=True), 1)
    ]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise RecordFileError(
            f"{path}: its leads have {', '.join(map(str, lengths))} samples; all must have the same number. Export "
            "the recording again."
        )
    record = make_record(path, np.stack(rows), rate, names)
    return _with_limb_leads(path, record)


def _sampling_rate(path: Path, waveform: Element) -> float:
    base = number(str(path), "SampleBase (sampling rate)", child(waveform, "SampleBase"))
    exponent = whole_number(str(path), "SampleExponent", child(waveform, "SampleExponent") or "0")
    if not -9 <= exponent <= 9:
        raise RecordFileError(f"{path}: the SampleExponent is {exponent}; expected a power of ten, mostly 0.")
    return base * 10.0**exponent


def _lead(where: str, lead: Element) -> np.ndarray:
    """(time,) float32 millivolts."""
    for name in _SHIFTS:
        if number(where, name, child(lead, name) or "0") != 0:
            raise RecordFileError(
                f"{where}: its {name} is {child(lead, name)}, so that it is shifted against other leads, which is not "
                "read here. Export leads that were recorded at once."
            )
    scale = number(where, "LeadAmplitudeUnitsPerBit", child(lead, "LeadAmplitudeUnitsPerBit"))
    unit = child(lead, "LeadAmplitudeUnits")
    scale = in_millivolts(where, "LeadAmplitudeUnitsPerBit", scale, None if unit is None else _UNITS.get(unit, unit))
    counts = _counts(where, lead)
    signal = scaled(where, counts, scale, 0.0)
    off = (child(lead, "LeadOff") or "FALSE").strip().upper()
    if off not in ("TRUE", "FALSE"):
        raise RecordFileError(f"{where}: its LeadOff is {shown(off)}; expected TRUE or FALSE. Export it again.")
    if off == "TRUE":
        signal[:] = np.nan
    return signal


def _counts(where: str, lead: Element) -> np.ndarray:
    if whole_number(where, "LeadSampleSize", child(lead, "LeadSampleSize") or "2") != 2:
        raise RecordFileError(f"{where}: its samples have {child(lead, 'LeadSampleSize')} bytes; 2 are read here.")
    num_samples = whole_number(where, "LeadSampleCountTotal", child(lead, "LeadSampleCountTotal"))
    text = "".join((lead.findtext("WaveFormData") or "").split())
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecordFileError(
            f"{where}: its WaveFormData is damaged base64: {error}. Fetch the file again."
        ) from error
    num_bytes = whole_number(where, "LeadByteCountTotal", child(lead, "LeadByteCountTotal") or str(len(content)))
    if num_samples < 1 or len(content) != 2 * num_samples or len(content) != num_bytes:
        raise RecordFileError(
            f"{where}: its WaveFormData holds {len(content)} bytes, but {num_samples} samples of 2 bytes, {num_bytes} "
            "bytes in all, are announced. The file is truncated: fetch it again."
        )
    return np.frombuffer(content, dtype="<i2")


def _with_limb_leads(path: Path, record: ECGRecord) -> ECGRecord:
    """Twelve leads, or what the file has, where that is not both I and II, or other channels too."""
    if not {"I", "II"} <= set(record.lead_names) <= set(STANDARD_LEADS):
        return record
    signal = np.zeros((len(STANDARD_LEADS), record.signal.shape[1]), dtype=np.float32)
    present = np.zeros(len(STANDARD_LEADS), dtype=bool)
    for name, row in zip(record.lead_names, record.signal, strict=True):
        signal[STANDARD_LEADS.index(name)] = row
        present[STANDARD_LEADS.index(name)] = True
    signal, present = derive_limb_leads(signal, present)
    names = [name for name, there in zip(STANDARD_LEADS, present, strict=True) if there]
    return make_record(path, signal[present], record.sampling_rate, names)
