# SPDX-License-Identifier: Apache-2.0
"""DICOM waveforms (PS3.3 A.34 and C.10.9): 12-lead ECG, general ECG and what else has the leads of an ECG.

pydicom takes the file apart. The samples are decoded here: its own decoder takes bytes for those of the machine, and
an absent sensitivity for 1.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .clinic_files import (
    check_size,
    in_millivolts,
    make_record,
    number,
    read_bytes,
    scaled,
    shown,
    whole_number,
)
from .ecg_record import ECGRecord, rows_of_leads
from .errors import RecordFileError

_MOST_BYTES = 2**30 + 2**20
_FIRST_TAG = 132  # after the preamble and "DICM"
# Whether samples are little-endian, by transfer syntax. The deflated one could unfold to any size.
_LITTLE_ENDIAN = {"1.2.840.10008.1.2": True, "1.2.840.10008.1.2.1": True, "1.2.840.10008.1.2.2": False}
_SAMPLES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
# The places of ISO/IEC 11073-10102 ("MDC", such as "2:1") and SCP-ECG ("5.6.3-9-1") end in the same numbers.
_LEAD_NUMBERS = {
    **{"1": "I", "2": "II", "61": "III", "62": "aVR", "63": "aVL", "64": "aVF"},
    **{str(number): f"V{number - 2}" for number in range(3, 9)},
}
# Channel Status (PS3.3 C.10.9); "UNCALIBRATED", "UNZEROED", "TEST DATA" and any other are refused.
_STATUS_OF_SIGNAL, _STATUS_OF_NONE = {"OK", "QUESTIONABLE"}, {"DISCONNECTED", "INVALID"}
_LEAD_PREFIXES = {"MDC": "2:", "SCPECG": "5.6.3-9-"}
_MDC_NAME = "MDC_ECG_LEAD_"  # where a file names the place instead


@dataclass(frozen=True)
class _Channel:
    """Texts as in the file, None where it has none."""

    label: str | None
    scheme: str | None
    code: str | None
    sensitivity: str | None
    correction: str | None
    baseline: str | None
    unit: str | None
    sample_skew: str | None
    time_skew: str | None
    offset: str | None
    status: tuple[str, ...]


@dataclass(frozen=True)
class _Group:
    """One multiplex group; texts as in the file, None where it has none."""

    originality: str | None
    rate: str | None
    num_channels: str | None
    num_samples: str | None
    bits: str | None
    interpretation: str | None
    padding: bytes | None
    data: bytes
    channels: tuple[_Channel, ...]


def read_dicom(path: Path, leads: Sequence[str] | None = None) -> ECGRecord:
    """Read the waveform of a DICOM file: the one multiplex group that it calls original.

    Channel sensitivity, its correction factor and baseline are honoured, and samples that are padding become NaN.
    Derived groups, such as median beats, are left out. Of a channel that was disconnected or is invalid all is NaN.

    Args:
        leads: those to read, whatever other channels hold; None: all channels.

    Raises:
        ECGInputError: it has not each of `leads` once.
        RecordFileError: pydicom is not installed, or cannot take the file apart; there is no original group, or
            several (leads recorded one after the other); rate, unit, sensitivity, correction factor, baseline or name
            of a channel are missing; sizes do not fit; channels are skewed, or their status says that they are no
            millivolts; the transfer syntax is a compressed one.
    """
    content = read_bytes(path, _MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, on values that are checked here
            little_endian, groups = _take_apart(path, content)
    except (RecordFileError, MemoryError):
        raise
    except Exception as error:  # pydicom raises whatever occurs to it
        raise RecordFileError(f"{path}: pydicom cannot take it apart: {error}. Fetch the file again.") from error
    original = [group for group in groups if group.originality == "ORIGINAL"]
    if len(original) != 1:
        raise RecordFileError(
            f"{path}: {len(original)} of its {len(groups)} waveform groups are original; expected one, in which all "
            "leads were recorded at once. Is it a picture of an ECG? Else export one group."
        )
    return _record(path, original[0], "<" if little_endian else ">", leads)


def _take_apart(path: Path, content: bytes) -> tuple[bool, list[_Group]]:
    """Whether samples are little-endian, and the multiplex groups."""
    try:
        from pydicom import dcmread
        from pydicom.filereader import data_element_generator
    except ImportError as error:
        raise RecordFileError(
            f"{path} is a DICOM file, which is read with pydicom, which is not installed. Run: pip install pydicom"
        ) from error
    file = io.BytesIO(content)  # not the file itself, which would be asked for any number of bytes
    file.seek(_FIRST_TAG)
    syntax = "none"
    for element in data_element_generator(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2):
        if element.tag == 0x00020010:
            syntax = bytes(element.value or b"").decode("latin-1").strip("\0 ")
    if syntax not in _LITTLE_ENDIAN:
        raise RecordFileError(
            f"{path}: its transfer syntax is {shown(syntax)}; uncompressed ones are read here "
            f"({', '.join(_LITTLE_ENDIAN)}). Convert it, for example with dcmconv +te."
        )
    file.seek(0)
    dataset = dcmread(file, specific_tags=["WaveformSequence"])
    return _LITTLE_ENDIAN[syntax], [_group(item) for item in dataset.get("WaveformSequence") or []]


def _group(item: Any) -> _Group:
    return _Group(
        originality=_text(item, "WaveformOriginality"),
        rate=_text(item, "SamplingFrequency"),
        num_channels=_text(item, "NumberOfWaveformChannels"),
        num_samples=_text(item, "NumberOfWaveformSamples"),
        bits=_text(item, "WaveformBitsAllocated"),
        interpretation=_text(item, "WaveformSampleInterpretation"),
        padding=item.get("WaveformPaddingValue"),
        data=bytes(item.get("WaveformData") or b""),
        channels=tuple(_channel(channel) for channel in item.get("ChannelDefinitionSequence") or []),
    )


def _channel(item: Any) -> _Channel:
    source = (item.get("ChannelSourceSequence") or [{}])[0]
    unit = (item.get("ChannelSensitivityUnitsSequence") or [{}])[0]
    return _Channel(
        label=_text(item, "ChannelLabel"),
        scheme=_text(source, "CodingSchemeDesignator"),
        code=_text(source, "CodeValue"),
        sensitivity=_text(item, "ChannelSensitivity"),
        correction=_text(item, "ChannelSensitivityCorrectionFactor"),
        baseline=_text(item, "ChannelBaseline"),
        unit=_text(unit, "CodeValue"),
        sample_skew=_text(item, "ChannelSampleSkew"),
        time_skew=_text(item, "ChannelTimeSkew"),
        offset=_text(item, "ChannelOffset"),
        status=_status(item.get("ChannelStatus")),
    )


def _status(value: Any) -> tuple[str, ...]:
    """One status or several, in capitals."""
    values = [value] if isinstance(value, str) else value or []
    return tuple(str(one).strip().upper() for one in values if str(one).strip())


def _text(item: Any, keyword: str) -> str | None:
    value = item.get(keyword)
    return None if value is None else str(value)


def _record(path: Path, group: _Group, byte_order: str, leads: Sequence[str] | None) -> ECGRecord:
    where = str(path)
    rate = number(where, "sampling frequency", group.rate)
    num_channels = whole_number(where, "number of channels", group.num_channels)
    num_samples = whole_number(where, "number of samples", group.num_samples)
    check_size(where, num_channels, num_samples, rate)
    if num_channels != len(group.channels):
        raise RecordFileError(
            f"{path}: the number of channels is given as {num_channels}, but {len(group.channels)} are defined. Fetch "
            "the file again."
        )
    kind = _SAMPLES.get(group.interpretation or "")
    if kind is None or group.bits != str(8 * int(kind[1])):
        raise RecordFileError(
            f"{path}: its samples are {group.interpretation} in {group.bits} bits; integers ({', '.join(_SAMPLES)}) "
            "in 8, 16 or 32 bits are read here. Convert it."
        )
    num_bytes = num_channels * num_samples * int(kind[1])
    if len(group.data) not in (num_bytes, num_bytes + num_bytes % 2):  # DICOM pads to an even number
        raise RecordFileError(
            f"{path}: its waveform holds {len(group.data)} bytes, but {num_samples} samples of {num_channels} "
            f"channels are {num_bytes}. The file is truncated: fetch it again."
        )
    counts = np.frombuffer(group.data[:num_bytes], dtype=byte_order + kind).reshape(num_samples, num_channels).T
    names = [_lead_name(channel) for channel in group.channels]
    rows = list(range(num_channels))
    if leads is not None:
        rows = rows_of_leads([name or "" for name in names], leads, str(path))
    signal = np.stack([_millivolts(f"{path}, channel {row + 1}", group.channels[row], counts[row]) for row in rows])
    if group.padding is not None:
        signal[counts[rows] == _padding(path, group.padding, byte_order + kind)] = np.nan
    return make_record(path, signal, rate, [names[row] for row in rows])


def _millivolts(where: str, channel: _Channel, counts: np.ndarray) -> np.ndarray:
    """(time,): sensitivity * correction factor * sample + baseline, in the channel's unit; NaN of no electrode."""
    for what, shift in (("skew", channel.sample_skew), ("skew", channel.time_skew), ("offset", channel.offset)):
        if shift is not None and number(where, what, shift) != 0:
            raise RecordFileError(
                f"{where}: it is shifted in time ({what} {shown(shift)}), which is not read here. Align it."
            )
    if not set(channel.status) <= _STATUS_OF_SIGNAL | _STATUS_OF_NONE:
        raise RecordFileError(
            f"{where}: its status is {shown(', '.join(channel.status))}, so that its samples are no millivolts of a "
            "heart. Leave the channel out."
        )
    if _STATUS_OF_NONE & set(channel.status):
        return np.full(len(counts), np.nan, dtype=np.float32)
    scale = number(where, "channel sensitivity", channel.sensitivity)
    scale *= number(where, "channel sensitivity correction factor", channel.correction)
    baseline = number(where, "channel baseline", channel.baseline)
    return scaled(
        where,
        counts,
        in_millivolts(where, "channel sensitivity", scale, channel.unit),
        in_millivolts(where, "channel baseline", baseline, channel.unit),
    )


def _padding(path: Path, value: bytes, kind: str) -> np.generic:
    size = int(kind[2])
    if not isinstance(value, bytes) or len(value) not in (size, size + size % 2):
        raise RecordFileError(f"{path}: its padding value {value!r:.60} is not one sample. Fetch the file again.")
    return np.frombuffer(value[:size], dtype=kind)[0]


def _lead_name(channel: _Channel) -> str | None:
    """By the code of its source; by the label where there is none, or one of an unknown scheme."""
    prefix = _LEAD_PREFIXES.get((channel.scheme or "").upper())
    if prefix is not None and channel.code is not None and channel.code.startswith(prefix):
        number_in_scheme = channel.code.removeprefix(prefix)
        return _LEAD_NUMBERS.get(number_in_scheme, f"{channel.scheme} {channel.code}")
    if prefix is not None and channel.code:  # another place of the same scheme, whatever the label says
        return channel.code.removeprefix(_MDC_NAME)
    return channel.label
