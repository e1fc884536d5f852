# SPDX-License-Identifier: Apache-2.0
"""DICOM waveforms (PS3.3 A.34 and C.10.9): 12-lead ECG, general ECG, and other objects that hold ECG leads.

pydicom parses the file. The samples are decoded here, because pydicom's decoder assumes the byte order of the machine,
and takes a missing sensitivity for 1.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .channels import LeadNames, channels_to_read
from .clinic_files import (
    check_size,
    in_millivolts,
    make_record,
    number,
    read_bytes,
    scaled,
    whole_number,
    wrong_size,
)
from .dicom_structure import check_structure
from .ecg_record import ECGRecord
from .errors import RecordFileError, shown

_MOST_BYTES = 2**30 + 2**20
_FIRST_TAG = 132  # after the preamble and "DICM"
_MOST_META_ELEMENTS = 100
_LONGEST_TEXT = 4096  # bytes of a value that is no waveform; the standard allows 64 for nearly all that are read here
_IMPLICIT = "1.2.840.10008.1.2"
# Whether samples are little-endian, by transfer syntax. The deflated one is left out: it could expand to any size.
_LITTLE_ENDIAN = {"1.2.840.10008.1.2": True, "1.2.840.10008.1.2.1": True, "1.2.840.10008.1.2.2": False}
_SAMPLES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
# Codes of ISO/IEC 11073-10102 ("MDC", such as "2:1") and of SCP-ECG ("5.6.3-9-1") end in the same numbers.
_LEAD_NUMBERS = {
    **{"1": "I", "2": "II", "61": "III", "62": "aVR", "63": "aVL", "64": "aVF"},
    **{str(code): f"V{code - 2}" for code in range(3, 9)},
}
_LEAD_PREFIXES = {"MDC": "2:", "SCPECG": "5.6.3-9-"}
_MDC_NAME = "MDC_ECG_LEAD_"  # some files have a name instead of a code
# Channel Status (PS3.3 C.10.9). All others are refused: "UNCALIBRATED", "UNZEROED", "TEST DATA", and unknown ones.
_STATUS_WITH_SIGNAL, _STATUS_WITHOUT_SIGNAL = {"OK", "QUESTIONABLE"}, {"DISCONNECTED", "INVALID"}

_GROUP_KEYWORDS = (
    "WaveformOriginality",
    "SamplingFrequency",
    "NumberOfWaveformChannels",
    "NumberOfWaveformSamples",
    "WaveformBitsAllocated",
    "WaveformSampleInterpretation",
)
_CHANNEL_KEYWORDS = (
    "ChannelLabel",
    "ChannelSensitivity",
    "ChannelSensitivityCorrectionFactor",
    "ChannelBaseline",
    "ChannelSampleSkew",
    "ChannelTimeSkew",
    "ChannelOffset",
)


@dataclass(frozen=True)
class _Channel:
    """Texts as in the file, None where it has none; `texts` by DICOM keyword."""

    texts: dict[str, str | None]
    scheme: str | None
    code: str | None
    unit: str | None
    status: tuple[str, ...]  # in upper case


@dataclass(frozen=True)
class _Group:
    """One multiplex group; `texts` by DICOM keyword, None where the file has none."""

    texts: dict[str, str | None]
    padding: bytes | None
    data: bytes
    channels: tuple[_Channel, ...]


def read_dicom(path: Path, leads: Sequence[str] | None = None, lead_names: LeadNames | None = None) -> ECGRecord:
    """Read the waveform of a DICOM file: its one original multiplex group.

    Channel sensitivity, correction factor, and baseline are applied. Padding samples become NaN, and so do channels
    that were disconnected or are invalid. Derived groups, such as median beats, are ignored.

    Args:
        leads: the ones to read, whatever is in other channels; None: all channels.
        lead_names: see `renamed_channels`.

    Raises:
        ECGInputError: one of `leads` or `lead_names` is not there exactly once.
        RecordFileError: pydicom is not installed, or cannot parse the file; there is no original group, or several
            (leads recorded one after the other); rate, or a channel's unit, sensitivity, correction factor, baseline,
            or name are missing; sizes do not match; channels are skewed, or have a status that rules out millivolts;
            the transfer syntax is compressed.
    """
    content = read_bytes(path, _MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about values that are checked here
            little_endian, groups = _parse(path, content)
    except (RecordFileError, MemoryError):
        raise
    except Exception as error:  # pydicom can raise anything
        raise RecordFileError(f"{path}: pydicom cannot parse it: {error}. Export the recording again.") from error
    original = [group for group in groups if group.texts["WaveformOriginality"] == "ORIGINAL"]
    if len(original) != 1:
        raise RecordFileError(
            f"{path}: {len(original)} of its {len(groups)} waveform groups are original; expected one, with all leads "
            "recorded at once. Is it a picture of an ECG? Otherwise export only one group."
        )
    return _record(path, original[0], "<" if little_endian else ">", leads, lead_names)


def _parse(path: Path, content: bytes) -> tuple[bool, list[_Group]]:
    """Whether samples are little-endian, and the multiplex groups."""
    try:
        from pydicom import dcmread
        from pydicom.filereader import data_element_generator
    except ImportError as error:
        raise RecordFileError(
            f"{path} is a DICOM file, which needs pydicom, which is not installed. Run: pip install pydicom"
        ) from error
    file = io.BytesIO(content)  # from the file itself, pydicom would ask for any number of bytes
    file.seek(_FIRST_TAG)
    syntax = "none"
    for count, element in enumerate(
        data_element_generator(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    ):
        if element.tag == 0x00020010:
            syntax = bytes(element.value[:100] if isinstance(element.value, bytes) else b"").decode("latin-1")
            syntax = syntax.strip("\0 ")
        if count > _MOST_META_ELEMENTS:
            raise RecordFileError(f"{path} has more than {_MOST_META_ELEMENTS} elements of meta information.")
    if syntax not in _LITTLE_ENDIAN:
        raise RecordFileError(
            f"{path}: its transfer syntax is {shown(syntax)}; only uncompressed ones are supported "
            f"({', '.join(_LITTLE_ENDIAN)}). Convert it, for example with dcmconv +te."
        )
    little_endian = _LITTLE_ENDIAN[syntax]
    check_structure(path, content, file.tell(), explicit=syntax != _IMPLICIT, little_endian=little_endian)
    file.seek(0)
    dataset = dcmread(file, specific_tags=["WaveformSequence"])
    return little_endian, [_group(str(path), item) for item in _items(str(path), dataset, "WaveformSequence")]


def _group(where: str, item: Any) -> _Group:
    data = _bytes(where, item, "WaveformData")
    return _Group(
        texts={keyword: _text(where, item, keyword) for keyword in _GROUP_KEYWORDS},
        padding=_bytes(where, item, "WaveformPaddingValue"),
        data=data or b"",
        channels=tuple(_channel(where, channel) for channel in _items(where, item, "ChannelDefinitionSequence")),
    )


def _channel(where: str, item: Any) -> _Channel:
    source: Any = next(iter(_items(where, item, "ChannelSourceSequence")), {})
    unit: Any = next(iter(_items(where, item, "ChannelSensitivityUnitsSequence")), {})
    status = _text(where, item, "ChannelStatus", several=True) or ""
    return _Channel(
        texts={keyword: _text(where, item, keyword) for keyword in _CHANNEL_KEYWORDS},
        scheme=_text(where, source, "CodingSchemeDesignator"),
        code=_text(where, source, "CodeValue"),
        unit=_text(where, unit, "CodeValue"),
        status=tuple(one.strip().upper() for one in status.split("\\") if one.strip()),
    )


def _items(where: str, item: Any, keyword: str) -> Sequence[Any]:
    value = item.get(keyword)
    if value is None or (hasattr(value, "__len__") and not len(value)):
        return []
    if not hasattr(value, "is_undefined_length"):  # of pydicom's sequences
        raise RecordFileError(f"{where}: its {keyword} is no sequence. Export the recording again.")
    return value


def _text(where: str, item: Any, keyword: str, *, several: bool = False) -> str | None:
    """A value in words, with a backslash between several; None if there is none."""
    _check_length(where, item, keyword)
    value = item.get(keyword)
    if several and not isinstance(value, str) and isinstance(value, Sequence):
        return "\\".join(map(str, value))
    return None if value is None else str(value)


def _check_length(where: str, item: Any, keyword: str) -> None:
    """Before pydicom makes objects of a value, of which there could be many."""
    value = getattr(item.get_item(keyword), "value", None) if keyword in item else None
    if isinstance(value, bytes) and len(value) > _LONGEST_TEXT:
        raise RecordFileError(
            f"{where}: its {keyword} has {len(value)} bytes; expected at most {_LONGEST_TEXT}. Export the "
            "recording again."
        )


def _bytes(where: str, item: Any, keyword: str) -> bytes | None:
    """A value as stored. Samples are bytes or words (OB, OW); of any other kind, pydicom makes numbers."""
    if keyword not in item:
        return None
    raw = item.get_item(keyword)
    if raw.VR not in ("OB", "OW", None, "UN") or not isinstance(raw.value or b"", bytes):
        raise RecordFileError(
            f"{where}: its {keyword} has the value representation {shown(str(raw.VR))}; expected OB or OW. Export the "
            "recording again."
        )
    return raw.value or b""


def _record(
    path: Path, group: _Group, byte_order: str, leads: Sequence[str] | None, lead_names: LeadNames | None
) -> ECGRecord:
    where = str(path)
    rate = number(where, "sampling frequency", group.texts["SamplingFrequency"])
    num_channels = whole_number(where, "number of channels", group.texts["NumberOfWaveformChannels"])
    num_samples = whole_number(where, "number of samples", group.texts["NumberOfWaveformSamples"])
    check_size(where, num_channels, num_samples, rate)
    if num_channels != len(group.channels):
        raise RecordFileError(
            f"{path}: the number of channels is {num_channels}, but {len(group.channels)} are defined. Export the "
            "recording again."
        )
    interpretation, bits = group.texts["WaveformSampleInterpretation"], group.texts["WaveformBitsAllocated"]
    kind = _SAMPLES.get(interpretation or "")
    if kind is None or bits != str(8 * int(kind[1])):
        raise RecordFileError(
            f"{path}: its samples are {interpretation} in {bits} bits; only integers ({', '.join(_SAMPLES)}) in 8, "
            "16, or 32 bits are supported. Convert it."
        )
    num_bytes = num_channels * num_samples * int(kind[1])
    if len(group.data) not in (num_bytes, num_bytes + num_bytes % 2):  # DICOM pads to an even number
        what = f"{num_samples} samples of {num_channels} channels"
        raise wrong_size(f"{path}: its waveform", len(group.data), num_bytes, what)
    counts = np.frombuffer(group.data[:num_bytes], dtype=byte_order + kind).reshape(num_samples, num_channels).T
    rows, names = channels_to_read([_lead_name(channel) for channel in group.channels], leads, lead_names, where)
    signal = np.stack([_millivolts(f"{path}, channel {row + 1}", group.channels[row], counts[row]) for row in rows])
    if group.padding is not None:
        signal[counts[rows] == _padding(path, group.padding, byte_order + kind)] = np.nan
    return make_record(path, signal, rate, names)


def _millivolts(where: str, channel: _Channel, counts: np.ndarray) -> np.ndarray:
    """(time,): sensitivity * correction factor * sample + baseline, converted; NaN if there is no signal."""
    for what, keyword in (("skew", "ChannelSampleSkew"), ("skew", "ChannelTimeSkew"), ("offset", "ChannelOffset")):
        shift = channel.texts[keyword]
        if shift is not None and number(where, what, shift) != 0:
            raise RecordFileError(
                f"{where}: it is shifted in time ({what} {shown(shift)}), which is not supported. Align it."
            )
    if not set(channel.status) <= _STATUS_WITH_SIGNAL | _STATUS_WITHOUT_SIGNAL:
        raise RecordFileError(
            f"{where}: its status is {shown(', '.join(channel.status))}, so its samples are not millivolts of a "
            "heart. Leave the channel out."
        )
    if _STATUS_WITHOUT_SIGNAL & set(channel.status):
        return np.full(len(counts), np.nan, dtype=np.float32)
    scale = number(where, "channel sensitivity", channel.texts["ChannelSensitivity"])
    scale *= number(
        where, "channel sensitivity correction factor", channel.texts["ChannelSensitivityCorrectionFactor"]
    )
    baseline = number(where, "channel baseline", channel.texts["ChannelBaseline"])
    return scaled(
        where,
        counts,
        in_millivolts(where, "channel sensitivity", scale, channel.unit),
        in_millivolts(where, "channel baseline", baseline, channel.unit),
    )


def _padding(path: Path, value: bytes, kind: str) -> np.generic:
    size = int(kind[2])
    if not isinstance(value, bytes) or len(value) not in (size, size + size % 2):
        raise RecordFileError(
            f"{path}: its padding value {shown(value)} is not one sample. Export the recording again."
        )
    return np.frombuffer(value[:size], dtype=kind)[0]


def _lead_name(channel: _Channel) -> str | None:
    """From the code of its source; from the label if there is no code, or one of an unknown scheme."""
    prefix = _LEAD_PREFIXES.get((channel.scheme or "").upper())
    if prefix is None or not channel.code:
        return channel.texts["ChannelLabel"]
    if channel.code.startswith(prefix):
        return _LEAD_NUMBERS.get(channel.code.removeprefix(prefix), f"{channel.scheme} {channel.code}")
    return channel.code.removeprefix(_MDC_NAME)  # another code of the same scheme counts, whatever the label says
