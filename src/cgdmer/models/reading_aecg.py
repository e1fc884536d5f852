# SPDX-License-Identifier: Apache-2.0
"""HL7 annotated ECG (aECG; HL7 V3 "Annotated ECG", implementation guide of 21 March 2005): numbers as text in XML."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from .channels import LeadNames, channels_to_read
from .clinic_files import check_size, in_millivolts, make_record, number, scaled, stack_leads
from .ecg_record import ECGRecord
from .errors import RecordFileError, shown

_SECONDS_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_LEAD_PREFIX = "MDC_ECG_LEAD_"
# Possessive (++, *+): otherwise the matcher keeps every number for backtracking, 1.8 GB for a file of 16 MiB.
_DIGITS = re.compile(r"(?:[+-]?[0-9]{1,10}+[ \t\r\n]++)*+[+-]?[0-9]{1,10}")


def read_aecg(
    path: Path, root: Element, leads: Sequence[str] | None = None, lead_names: LeadNames | None = None
) -> ECGRecord:
    """The rhythm of an aECG: the only sequence set of its only RHYTHM series.

    Args:
        root: the file's AnnotatedECG element. Representative beats and annotations are ignored.
        leads: the ones to read, whatever the unit and length of other sequences; None: all.
        lead_names: see `renamed_channels`.

    Raises:
        ECGInputError: one of `leads` or `lead_names` is not there exactly once.
        RecordFileError: there is no such sequence set, or several (leads recorded one after the other); increment,
            origin, scale, unit, or name are missing; leads differ in length.
    """
    series = [element for element in root.findall("component/series") if _code(element) == "RHYTHM"]
    sets = [element for rhythm in series for element in rhythm.findall("component/sequenceSet")]
    if len(sets) != 1:
        raise RecordFileError(
            f"{path}: it has {len(series)} RHYTHM series with {len(sets)} sequence sets; expected one set, with all "
            "leads recorded at once. Export only that one."
        )
    sequences = sets[0].findall("component/sequence")
    times = [element for element in sequences if _code(element) in _TIMES]
    channels = [element for element in sequences if _code(element) not in _TIMES]
    if len(times) != 1 or not channels:
        raise RecordFileError(
            f"{path}: its sequence set has {len(times)} sequences of times and {len(channels)} leads; expected one "
            "sequence of times, and at least one lead. Export the recording again."
        )
    rate = _sampling_rate(path, times[0])
    check_size(str(path), len(channels), 1, rate)
    given = [(_code(channel) or "").removeprefix(_LEAD_PREFIX) for channel in channels]
    rows, names = channels_to_read(given, leads, lead_names, str(path))
    signal = stack_leads(path, [_lead(f"{path}, lead {row + 1} ({given[row]})", channels[row]) for row in rows])
    return make_record(path, signal, rate, names)


def _code(element: Element) -> str | None:
    code = element.find("code")
    return None if code is None else code.get("code")


def _quantity(element: Element, name: str) -> tuple[str | None, str | None]:
    """The value and the unit of a child of the element's value; None where the file has none."""
    child = element.find(f"value/{name}")
    return (None, None) if child is None else (child.get("value"), child.get("unit"))


def _sampling_rate(path: Path, times: Element) -> float:
    text, unit = _quantity(times, "increment")
    value = number(str(path), "time increment", text)
    if unit not in _SECONDS_PER_UNIT:
        raise RecordFileError(
            f"{path}: the unit of the time increment is {'missing' if unit is None else shown(unit)}; expected s, ms, "
            "or us. It is not guessed: export the recording with it."
        )
    for name in ("denominator", "period"):  # HL7's lists of times can have fractional or repeated steps
        if times.find(f"value/{name}") is not None:
            raise RecordFileError(
                f"{path}: its times have a {name}, which is not supported. Export the recording with head and "
                "increment only."
            )
    if not 1e-6 <= value <= 1e6:
        raise RecordFileError(f"{path}: the time increment is {value:g} {unit}, which is not that of an ECG.")
    return round(1 / (value * _SECONDS_PER_UNIT[unit]), 6)  # 250 for 4 ms, not 250.00000000000003


def _lead(where: str, sequence: Element) -> np.ndarray:
    """(time,) float32 millivolts: origin + scale * digits."""
    bounds = []
    for name in ("scale", "origin"):
        text, unit = _quantity(sequence, name)
        bounds.append(in_millivolts(where, name, number(where, name, text), unit))
    digits = (sequence.findtext("value/digits") or "").strip(" \t\r\n")
    if not _DIGITS.fullmatch(digits):
        raise RecordFileError(
            f"{where}: its digits are missing, or are not whole numbers with blanks between. Export the recording "
            "again."
        )
    return scaled(where, np.fromstring(digits, dtype=np.int64, sep=" "), *bounds)
