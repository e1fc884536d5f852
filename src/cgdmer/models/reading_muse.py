# SPDX-License-Identifier: Apache-2.0
"""GE MUSE XML (RestingECG): the eight independent leads, as 16-bit integers in base64."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from .channels import LeadNames, channels_to_read
from .clinic_files import (
    check_size,
    in_millivolts,
    make_record,
    number,
    scaled,
    stack_leads,
    whole_number,
    wrong_size,
)
from .ecg_record import ECGRecord, in_standard_order
from .errors import RecordFileError, shown
from .leads import STANDARD_LEADS, derive_limb_leads
from .safe_xml import child

# Fields that shift a lead relative to the others. MUSE writes zeros.
_SHIFTS = ("LeadTimeOffset", "LeadOffsetFirstSample", "FirstSampleBaseline")


def read_muse(
    path: Path, root: Element, leads: Sequence[str] | None = None, lead_names: LeadNames | None = None
) -> ECGRecord:
    """The rhythm of a MUSE file, with all twelve leads, and further ones (V3R, V7) behind them.

    III, aVR, aVL, and aVF are computed as MUSE does: II - I, -(I + II)/2, I - II/2, and II - I/2. A lead marked as off
    is NaN.

    Args:
        root: the file's RestingECG element. Median beats, patient, and report are ignored.
        leads: the ones that are needed, whatever is in others; None: all.
        lead_names: see `renamed_channels`.

    Raises:
        ECGInputError: one of `leads` or `lead_names` is not there exactly once.
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
    channels = waveform.findall("LeadData")
    stated = child(waveform, "NumberofLeads")
    if stated is not None and whole_number(str(path), "NumberofLeads", stated) != len(channels):
        raise RecordFileError(
            f"{path}: it states {stated} leads, but has {len(channels)}. Export the recording again."
        )
    check_size(str(path), len(channels), 1, rate)
    given = [child(channel, "LeadID") for channel in channels]
    rows, names = channels_to_read(given, leads, lead_names, str(path))
    signals = [_lead(f"{path}, lead {given[row] or row + 1}", channels[row]) for row in rows]
    return _with_limb_leads(make_record(path, stack_leads(path, signals), rate, names))


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
    scale = in_millivolts(where, "LeadAmplitudeUnitsPerBit", scale, child(lead, "LeadAmplitudeUnits"))
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
    if num_samples < 1 or num_bytes != 2 * num_samples:
        raise RecordFileError(
            f"{where}: it states {num_samples} samples of 2 bytes, but {num_bytes} bytes in all. Export the recording "
            "again."
        )
    if len(content) != num_bytes:
        raise wrong_size(f"{where}: its WaveFormData", len(content), num_bytes, f"{num_samples} samples of 2 bytes")
    return np.frombuffer(content, dtype="<i2")


def _with_limb_leads(record: ECGRecord) -> ECGRecord:
    """With all limb leads, in the order of the twelve leads, and others last; the record itself without I and II."""
    names = record.lead_names
    if not {"I", "II"} <= set(names):
        return record
    rows = [row for row, name in enumerate(names) if name in STANDARD_LEADS]
    others = [row for row in range(len(names)) if row not in rows]
    signal, present = derive_limb_leads(*in_standard_order(record.signal[rows], [names[row] for row in rows]))
    twelve = tuple(name for name, there in zip(STANDARD_LEADS, present, strict=True) if there)
    return replace(
        record,
        signal=np.concatenate([signal[present], record.signal[others]]),
        lead_names=(*twelve, *(names[row] for row in others)),
        derived_leads=tuple(name for name in twelve if name not in names),
    )
