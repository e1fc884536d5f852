# SPDX-License-Identifier: Apache-2.0
"""What the signal says by itself, beside the scores of a recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cgdmer.measurement.contradictions import contradictions
from cgdmer.measurement.heart_rate import (
    LOWEST_RATE,
    NOT_INSTALLED,
    HeartRate,
    can_measure,
    find_beats,
    measurable_leads,
    rate_of_beats,
)
from cgdmer.measurement.intervals import Intervals, intervals_of_beats
from cgdmer.models.ecg_record import ECGRecord


@dataclass(frozen=True)
class Measured:
    """The heart rate, and the intervals and axis of the typical beat; None if there is no such beat."""

    rate: HeartRate
    intervals: Intervals | None

    def as_json(self) -> dict[str, Any]:
        """The attributes of the heart rate, and those of the intervals under their name."""
        return {**self.rate.as_json(), "intervals": None if self.intervals is None else self.intervals.as_json()}

    def __str__(self) -> str:
        return f"Measured on the signal: {'; '.join(str(one) for one in (self.rate, self.intervals) if one)}."


def remarks_on(record: ECGRecord, rows: Sequence[Mapping[str, Any]] = ()) -> tuple[Measured | None, list[str]]:
    """What was measured, and sentences: the same or why there is nothing, and which scores it does not fit.

    Args:
        rows: of a `Scorer`; none for values that are no scores.
    """
    if not can_measure():
        return None, [f"Not measured: {NOT_INSTALLED}"]
    sampling_rate = record.sampling_rate
    if sampling_rate < LOWEST_RATE:
        return None, [f"Not measured: that needs {LOWEST_RATE:g} samples a second."]
    leads = measurable_leads(record)
    beats = find_beats(leads.signal, sampling_rate)
    rate = rate_of_beats(beats, sampling_rate)
    if rate is None:
        return None, ["Not measured: fewer than three heart beats were found."]
    measured = Measured(rate, intervals_of_beats(leads, beats, sampling_rate))
    return measured, [str(measured), *contradictions(rows, rate, measured.intervals)]
