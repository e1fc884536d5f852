# SPDX-License-Identifier: Apache-2.0
"""GE MUSE XML (RestingECG): the eight independent leads, as 16-bit integers in base64."""

import base64
import binascii
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from .clinic_files import check_size, in_millivolts, make_record, number, scaled, stack_leads, whole_number
from .ecg_record import ECGRecord
from .errors import RecordFileError, shown
from .leads import STANDARD_LEADS, derive_limb_leads
from .safe_xml import child

_UNITS = {"MICROVOLTS": "uV", "MILLIVOLTS": "mV", "VOLTS": "V"}
# Fields that shift a lead relative to the others. MUSE writes zeros.
_SHIFTS = ("LeadTimeOffset", "LeadOffsetFirstSample", "FirstSampleBaseline")


def read_muse(path: Path, root: Element) -> ECGRecord:
    """The rhythm of a MUSE file, with all twelve leads.

    III, aVR, aVL, and aVF are computed as MUSE does: II - I, -(I + II)/2, I - II/2, and II - I/2. A lead marked as off
    is NaN.

    Args:
        root: the file's RestingECG element. Median beats, patient, and report are ignored.

    Raises:
        RecordFileError: there is no Rhythm waveform, or several; rate, unit, scale, number of samples, or name are
            missing; sizes do not match, or the base64 is damaged.
    """
    types = [(child(waveform, "WaveformType") or "none").lower() for waveform in root.findall("Waveform")]
    if types.count("rhythm") != 1:
        raise RecordFileError(
            f"{path}: it has {types.count('rhythm')} waveforms of type Rhythm (types: "
            f"{shown(', '.join(types)) if types else 'none'}); expected one. Export the recording again."
        )
    waveform = root.findall("Waveform")[types.index("rhythm")]
    rate = _sampling_rate(path, waveform)
    leads = waveform.findall("LeadData")
    stated = child(waveform, "NumberofLeads")
    if stated is not None and whole_number(str(path), "NumberofLeads", stated) != len(leads):
        raise RecordFileError(f"{path}: it states {stated} leads, but has {len(leads)}. Export the recording again.")
    check_size(str(path), len(leads), 1, rate)
    names = [child(lead, "LeadID") for lead in leads]
    rows = [
        _lead(f"{path}, lead {name or position}", lead)
        for position, (name, lead) in enumerate(zip(names, leads, strict=True), 1)
    ]
    return _with_limb_leads(make_record(path, stack_leads(path, rows), rate, names))


def _sampling_rate(path: Path, waveform: Element) -> float:
    base = number(str(path), "SampleBase (sampling rate)", child(waveform, "SampleBase"))
    exponent = whole_number(str(path), "SampleExponent", child(waveform, "SampleExponent") or "0")
    if not -9 <= exponent <= 9:
        raise RecordFileError(f"{path}: the SampleExponent is {exponent}; expected a power of ten, usually 0.")
    return base * 10.0**exponent


def _lead(where: str, lead: Element) -> np.ndarray:
    """(time,) float32 millivolts."""
    for name in _SHIFTS:
        if number(where, name, child(lead, name) or "0") != 0:
            raise RecordFileError(
                f"{where}: its {name} is {child(lead, name)}, so it is shifted relative to other leads, which is not "
                "supported. Export leads that were recorded at once."
            )
    scale = number(where, "LeadAmplitudeUnitsPerBit", child(lead, "LeadAmplitudeUnitsPerBit"))
    unit = child(lead, "LeadAmplitudeUnits")
    scale = in_millivolts(where, "LeadAmplitudeUnitsPerBit", scale, None if unit is None else _UNITS.get(unit, unit))
    signal = scaled(where, _counts(where, lead), scale, 0.0)
    off = (child(lead, "LeadOff") or "FALSE").upper()
    if off not in ("TRUE", "FALSE"):
        raise RecordFileError(
            f"{where}: its LeadOff is {shown(off)}; expected TRUE or FALSE. Export the recording again."
        )
    if off == "TRUE":
        signal[:] = np.nan
    return signal


def _counts(where: str, lead: Element) -> np.ndarray:
    if whole_number(where, "LeadSampleSize", child(lead, "LeadSampleSize") or "2") != 2:
        raise RecordFileError(
            f"{where}: its samples have {child(lead, 'LeadSampleSize')} bytes; only 2 bytes are supported."
        )
    num_samples = whole_number(where, "LeadSampleCountTotal", child(lead, "LeadSampleCountTotal"))
    text = "".join((lead.findtext("WaveFormData") or "").split())
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecordFileError(
            f"{where}: its WaveFormData is damaged base64: {error}. Export the recording again."
        ) from error
    num_bytes = whole_number(where, "LeadByteCountTotal", child(lead, "LeadByteCountTotal") or str(len(content)))
    if num_samples < 1 or len(content) != 2 * num_samples or len(content) != num_bytes:
        raise RecordFileError(
            f"{where}: its WaveFormData has {len(content)} bytes, but the file states {num_samples} samples of 2 "
            f"bytes, {num_bytes} bytes in all. The file is truncated: export the recording again."
        )
    return np.frombuffer(content, dtype="<i2")


def _with_limb_leads(record: ECGRecord) -> ECGRecord:
    """All twelve leads; the record itself if it lacks I or II, or has other channels."""
    if not {"I", "II"} <= set(record.lead_names) <= set(STANDARD_LEADS):
        return record
    rows = [STANDARD_LEADS.index(name) for name in record.lead_names]
    signal = np.zeros((len(STANDARD_LEADS), record.signal.shape[1]), dtype=np.float32)
    present = np.zeros(len(STANDARD_LEADS), dtype=bool)
    signal[rows], present[rows] = record.signal, True
    signal, present = derive_limb_leads(signal, present)
    names = tuple(name for name, there in zip(STANDARD_LEADS, present, strict=True) if there)
    return replace(record, signal=signal[present], lead_names=names)
