# SPDX-License-Identifier: Apache-2.0
"""The one record type, from the corpus to the feature extractor."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .channels import rows_of_leads, wanted_leads
from .leads import STANDARD_LEADS, derive_limb_leads, known_spelling
from .missing_samples import numbers_of
from .recorded_span import recorded_span


@dataclass(frozen=True, eq=False)
class ECGRecord:
    """One recording and what is known about it.

    Attributes:
        signal: float32 millivolts, shape (leads, time); NaN where a sample is missing. What else `numbers_of` takes,
            such as a masked array, becomes that.
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
        derived_leads: the leads, in standard spelling, that were computed from two others when the file was read.
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
    derived_leads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if type(self.signal) is not np.ndarray or self.signal.dtype.kind == "O":
            object.__setattr__(self, "signal", numbers_of(self.signal, "signal"))


def is_record(value: object) -> bool:
    """Whether a value is an `ECGRecord`, from any copy of this file.

    As remote code, the pipeline and the feature extractor each load their own copy, so `isinstance` would fail.
    """
    return all(hasattr(value, name) for name in ("signal", "sampling_rate", "lead_names"))


def keep_leads(record: ECGRecord, leads: Sequence[str]) -> ECGRecord:
    """The record with only these of the twelve standard leads, in this order.

    A limb lead that the record lacks is computed from two others; the record then has no `gain` and `baseline`.

    Raises:
        ECGInputError: `leads` is empty, or names a lead that is not standard or comes twice; or the record has no
            such lead and it is not determined, or has it twice.
    """
    who = f"record {record.record_id!r}" if record.record_id else "the record"
    wanted = wanted_leads(leads)
    needed = rows_of_leads(record.lead_names, wanted, who)
    names = [known_spelling(str(record.lead_names[row])) or "" for row in needed]
    derived = tuple(lead for lead in wanted if lead in record.derived_leads or lead not in names)
    if set(wanted) <= set(names):
        rows = [needed[names.index(lead)] for lead in wanted]
        return replace(
            record,
            signal=record.signal[rows],
            lead_names=tuple(wanted),
            gain=None if record.gain is None else tuple(record.gain[row] for row in rows),
            baseline=None if record.baseline is None else tuple(record.baseline[row] for row in rows),
            derived_leads=derived,
        )
    signal, _ = derive_limb_leads(*in_standard_order(record.signal[needed], names))
    rows = [STANDARD_LEADS.index(lead) for lead in wanted]
    return replace(
        record,
        signal=signal[rows],
        lead_names=tuple(wanted),
        gain=None,
        baseline=None,
        derived_leads=derived,
    )


def in_standard_order(signal: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Some of the twelve leads in their places: (12, time), zero where there is none; and (12,) bool, which are there.

    Args:
        signal: (leads, time).
        names: standard spellings, one per row.
    """
    rows = [STANDARD_LEADS.index(name) for name in names]
    placed = np.zeros((len(STANDARD_LEADS), signal.shape[1]), dtype=signal.dtype)
    present = np.zeros(len(STANDARD_LEADS), dtype=bool)
    placed[rows], present[rows] = signal, True
    return placed, present


def without_filled_ends(record: ECGRecord) -> ECGRecord:
    """The record cut to its `recorded_span`."""
    first, last = recorded_span(record.signal, record.sampling_rate)
    return replace(record, signal=record.signal[:, first:last])
