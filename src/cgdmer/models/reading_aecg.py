# SPDX-License-Identifier: Apache-2.0
"""HL7 annotated ECG (aECG; HL7 V3 "Annotated ECG", implementation guide of 21 March 2005): numbers as text in XML."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from .clinic_files import check_size, in_millivolts, make_record, number, scaled, shown
from .ecg_record import ECGRecord
from .errors import RecordFileError

_SECONDS_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_LEAD_PREFIX = "MDC_ECG_LEAD_"
# Possessive (++, *+): otherwise every number so far is remembered to come back to, 1.8 GB for a file of 16 MiB.
_DIGITS = re.compile(r"(?:[+-]?[0-9]{1,10}+[ \t\r\n]++)*+[+-]?[0-9]{1,10}")


def read_aecg(path: Path, root: Element) -> ECGRecord:
    """The rhythm of an aECG: the one sequence set of its one series of the kind RHYTHM.

    Args:
        root: the file's element AnnotatedECG. Representative beats and annotations in it are left out.

    Raises:
        RecordFileError: there is no such sequence set, or several (leads recorded one after the other); increment,
            origin, scale, unit or name are missing; leads differ in length.
    """
    series = [one for one in root.findall("component/series") if _code(one) == "RHYTHM"]
    sets = [one for rhythm in series for one in rhythm.findall("component/sequenceSet")]
    if len(sets) != 1:
        raise RecordFileError(
            f"{path}: it has {len(series)} series of the kind RHYTHM with {len(sets)} sequence sets; expected one "
            "set, in which all leads were recorded at once. Export one of them."
        )
    sequences = sets[0].findall("component/sequence")
    times = [one for one in sequences if _code(one) in _TIMES]
    leads = [one for one in sequences if _code(one) not in _TIMES]
    if len(times) != 1 or not leads:
        raise RecordFileError(
            f"{path}: its sequence set has {len(times)} sequences of times and {len(leads)} leads; expected one, and "
            "at least one. Export the recording again."
        )
    rate = _sampling_rate(path, times[0])
    check_size(str(path), len(leads), 1, rate)
    rows = [_lead(f"{path}, lead {position}", one) for position, one in enumerate(leads, 1)]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise RecordFileError(
            f"{path}: its leads have {', '.join(map(str, lengths))} samples; all must have the same number. The file "
            "is truncated, or the leads differ in rate: export the recording again."
        )
    names = [(_code(one) or "").removeprefix(_LEAD_PREFIX) for one in leads]
    return make_record(path, np.stack(rows), rate, names)


def _code(element: Element) -> str | None:
    code = element.find("code")
    return None if code is None else code.get("code")


def _sampling_rate(path: Path, times: Element) -> float:
    increment = times.find("value/increment")
    value = number(str(path), "increment of time", None if increment is None else increment.get("value"))
    unit = None if increment is None else increment.get("unit")
    if unit not in _SECONDS_PER_UNIT:
        problem = "missing" if unit is None else shown(unit)
        raise RecordFileError(
            f"{path}: the unit of the increment of time is {problem}; expected s, ms or us. It is not guessed: export "
            "the recording with it."
        )
    for name in ("denominator", "period"):  # HL7's lists of times can have them: steps in parts, or repeated
        if times.find(f"value/{name}") is not None:
            raise RecordFileError(
                f"{path}: its times have a {name}, which is not read here. Export the recording with head and "
                "increment alone."
            )
    if not 1e-6 <= value <= 1e6:
        raise RecordFileError(f"{path}: the increment of time is {value:g} {unit}, which is not one of an ECG.")
    return round(1 / (value * _SECONDS_PER_UNIT[unit]), 6)  # 250 for 4 ms, not 250.00000000000003


def _lead(where: str, sequence: Element) -> np.ndarray:
    """(time,) float32 millivolts: origin + scale * digits."""
    bounds = []
    for name in ("scale", "origin"):
        element = sequence.find(f"value/{name}")
        value = number(where, name, None if element is None else element.get("value"))
        assert element is not None
        bounds.append(in_millivolts(where, name, value, element.get("unit")))
    text = (sequence.findtext("value/digits") or "").strip(" \t\r\n")
    if not _DIGITS.fullmatch(text):
        raise RecordFileError(
            f"{where}: its digits are missing, or are not whole numbers with blanks between. Export the recording "
            "again."
        )
    return scaled(where, np.fromstring(text, dtype=np.int64, sep=" "), *bounds)
