# SPDX-License-Identifier: Apache-2.0
"""What the signal says by itself, beside the scores of a recording."""

from collections.abc import Mapping, Sequence
from typing import Any

from cgdmer.measurement.contradictions import contradictions
from cgdmer.measurement.heart_rate import LOWEST_RATE, NOT_INSTALLED, HeartRate, can_measure, measure_heart_rate
from cgdmer.models.ecg_record import ECGRecord


def remarks_on(record: ECGRecord, rows: Sequence[Mapping[str, Any]] = ()) -> tuple[HeartRate | None, list[str]]:
    """The measured heart rate, and sentences: the rate or why there is none, and which scores it does not fit.

    Args:
        rows: of a `Scorer`; none for values that are no scores.
    """
    if not can_measure():
        return None, [f"Not measured: {NOT_INSTALLED}"]
    if record.sampling_rate < LOWEST_RATE:
        return None, [f"Not measured: that needs {LOWEST_RATE:g} samples a second."]
    measured = measure_heart_rate(record)
    if measured is None:
        return None, ["Not measured: fewer than three heart beats were found."]
    return measured, [str(measured), *contradictions(rows, measured)]
