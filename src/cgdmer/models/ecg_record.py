# SPDX-License-Identifier: Apache-2.0
"""The one record type, from the corpus to the feature extractor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import ECGInputError
from .leads import known_spelling, recorded_span, standard_lead_names


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """One recording and what is known about it.

    Attributes:
        signal: float32 millivolts, shape (leads, time); NaN where a sample is missing.
        sampling_rate: samples per second (Hz).
        lead_names: one per row of `signal`, as the source spells them.
        record_id: unique within its corpus.
        patient_id: the same for all records of one person; None if the source does not say.
        text: the report as written; None if there is none.
        statements: the findings as separate English sentences, if the corpus has them. If there are labels too, there
            is one statement per label, in the same order: two statements of the same label say the same thing.
        labels: label names in the corpus's own vocabulary (for PTB-XL, its SCP codes).
        fold: the corpus's own cross-validation fold; None if there is none.
        age: in years; None if unknown.
        sex: "female", "male", or None.
        source: where it comes from, such as the hospital or the device; None if that is not known.
        gain: analog-to-digital units per millivolt, one per lead, if `signal` came from integers.
        baseline: the integer that stands for 0 mV, one per lead. With `gain` it gives back the exact integers.
    """

    signal: np.ndarray
    sampling_rate: float
    lead_names: tuple[str, ...]
    record_id: str = ""
    patient_id: str | None = None
    text: str | None = None
    statements: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fold: int | None = None
    age: float | None = None
    sex: str | None = None
    source: str | None = None
    gain: tuple[float, ...] | None = field(default=None, repr=False)
    baseline: tuple[int, ...] | None = field(default=None, repr=False)


def is_record(value: object) -> bool:
    """Whether a value is an `ECGRecord`, from any copy of this file.

    As remote code, the pipeline and the feature extractor each load their own copy, so `isinstance` would fail.
    """
    return all(hasattr(value, name) for name in ("signal", "sampling_rate", "lead_names"))


def keep_leads(record: ECGRecord, leads: Sequence[str]) -> ECGRecord:
    """The record with only these of the twelve standard leads, in this order.

    Raises:
        ECGInputError: `leads` is empty, or names a lead that is not standard or comes twice; or the record has no
            such lead, or has it twice.
    """
    who = f"record {record.record_id!r}" if record.record_id else "the record"
    rows = rows_of_leads(record.lead_names, leads, who)
    return replace(
        record,
        signal=record.signal[rows],
        lead_names=tuple(known_spelling(record.lead_names[row]) or "" for row in rows),
        gain=None if record.gain is None else tuple(record.gain[row] for row in rows),
        baseline=None if record.baseline is None else tuple(record.baseline[row] for row in rows),
    )


def rows_of_leads(names: Sequence[str], leads: Sequence[str], who: str) -> list[int]:
    """The rows of these of the twelve standard leads, in the order of `leads`.

    Args:
        names: the channels of a recording, as its file names them.
        who: the recording, for messages.

    Raises:
        ECGInputError: as in `keep_leads`.
    """
    wanted = [] if isinstance(leads, str) else standard_lead_names(list(leads))
    if not wanted:
        raise ECGInputError(f'leads is {leads!r}; expected a list with at least one name, e.g. ["I", "II", "V1"].')
    standard = [known_spelling(str(name)) for name in names]
    for lead in wanted:
        if standard.count(lead) != 1:
            found = f"has {standard.count(lead)} leads {lead}" if lead in standard else f"has no lead {lead}"
            raise ECGInputError(f"{who} {found}; it has {', '.join(map(str, names))}.")
    return [standard.index(lead) for lead in wanted]


def without_filled_ends(record: ECGRecord) -> ECGRecord:
    """The record cut to its `recorded_span`."""
    first, last = recorded_span(record.signal, record.sampling_rate)
    return replace(record, signal=record.signal[:, first:last])
