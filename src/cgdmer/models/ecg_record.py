# SPDX-License-Identifier: Apache-2.0
"""The one record type that flows from a corpus to the feature extractor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import ECGInputError
from .leads import known_spelling, recorded_span, standard_lead_names


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """One recording with what is known about it.

    Attributes:
        signal: float32 millivolts, shape (leads, time); NaN where a sample is missing.
        sampling_rate: samples a second (Hz).
        lead_names: one name a row of `signal`, as the source spells them.
        record_id: unique within its corpus.
        patient_id: the same for all records of one person; None where the source does not say.
        text: the report as it was written; None without one.
        statements: the findings as separate English sentences, where the corpus has them in that form. Beside labels
            there is one statement for each label, in their order: two statements of one label say the same.
        labels: label names in the corpus's own vocabulary (for PTB-XL its SCP codes).
        fold: the corpus's own cross-validation fold; None without one.
        age: years. None if unknown.
        sex: "female", "male" or None.
        gain: analogue-to-digital units per millivolt, one a lead, when `signal` came from integers.
        baseline: the integer that stands for 0 mV, one a lead. With `gain` it gives the integers back exactly.
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
    gain: tuple[float, ...] | None = field(default=None, repr=False)
    baseline: tuple[int, ...] | None = field(default=None, repr=False)


def is_record(value: object) -> bool:
    """Whether a value is an `ECGRecord`, from whichever copy of this file.

    Loaded as remote code, the pipeline and the feature extractor each bring a copy of their own: `isinstance` fails.
    """
    return all(hasattr(value, name) for name in ("signal", "sampling_rate", "lead_names"))


def keep_leads(record: ECGRecord, leads: Sequence[str]) -> ECGRecord:
    """The record with these of the twelve standard leads alone, in this order; what else it holds is left out.

    Raises:
        ECGInputError: there is no name, one that is no standard lead's or comes twice; or the record lacks the lead or
            has it twice.
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
    """Where these of the twelve standard leads, in their order, are among the channels of a recording.

    Args:
        names: the channels', as a file has them.
        who: the recording, for messages.

    Raises:
        ECGInputError: as in `keep_leads`.
    """
    wanted = [] if isinstance(leads, str) else standard_lead_names(list(leads))
    if not wanted:
        raise ECGInputError(f'leads is {leads!r}; expected a list of names with one at least, e.g. ["I", "II", "V1"].')
    meant = [known_spelling(str(name)) for name in names]
    for lead in wanted:
        if meant.count(lead) != 1:
            found = f"has {meant.count(lead)} leads {lead}" if lead in meant else f"has no lead {lead}"
            raise ECGInputError(f"{who} {found}; it has {', '.join(map(str, names))}.")
    return [meant.index(lead) for lead in wanted]


def without_filled_ends(record: ECGRecord) -> ECGRecord:
    """The record without what `recorded_span` leaves out."""
    first, last = recorded_span(record.signal, record.sampling_rate)
    return replace(record, signal=record.signal[:, first:last])
