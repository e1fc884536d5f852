# SPDX-License-Identifier: Apache-2.0
"""Where scores and what was measured on the signal do not fit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cgdmer.measurement.heart_rate import HeartRate
from cgdmer.measurement.intervals import Intervals

# Per minute. Bradycardia is below 60 and tachycardia above 100; near these limits nothing is said.
_SLOW, _NOT_SLOW, _NOT_FAST, _FAST = 55.0, 65.0, 95.0, 105.0
_POSITIVE = 0.5  # a score, where no threshold was calibrated
# By finding: the interval that defines it, below which it is not there, and above which it surely is. First-degree
# block is a PR above 0.2 s, a complete bundle branch block a QRS of 0.12 s or more, which has other causes too.
_OF_INTERVALS = {
    "first degree av block": ("pr_interval", 0.18, 0.23),
    "complete bundle branch block": ("qrs_duration", 0.1, math.inf),
    "complete left bundle branch block": ("qrs_duration", 0.1, math.inf),
    "complete right bundle branch block": ("qrs_duration", 0.1, math.inf),
}
_FINDINGS = ("bradycardia", "sinus bradycardia", "tachycardia", "sinus tachycardia")


def contradictions(
    rows: Sequence[Mapping[str, Any]], rate: HeartRate, intervals: Intervals | None = None
) -> list[str]:
    """A sentence for each score of a finding that is defined by a rate or an interval, and that does not fit it.

    A sinus bradycardia that is scored low at a low rate may be another rhythm, so the sentence says what was found and
    not who is right.

    Args:
        rows: of a `Scorer`.
    """
    return [sentence for row in rows if (sentence := _contradiction(row, rate.heart_rate, intervals))]


def _contradiction(row: Mapping[str, Any], rate: float, intervals: Intervals | None) -> str:
    finding = str(row.get("finding") or row["label"]).casefold()
    if row["score"] is None:
        return ""
    if intervals is not None and finding in _OF_INTERVALS:
        return _of_interval(row, finding, intervals)
    if finding not in _FINDINGS:
        return ""
    positive = _is_positive(row)
    slow = finding.endswith("bradycardia")
    fits = (rate < _NOT_SLOW if slow else rate > _NOT_FAST) if positive else (rate >= _SLOW if slow else rate <= _FAST)
    if fits:
        return ""
    return f"{row['label']} is scored {row['score']:.1%}, but the measured heart rate is {rate:.0f}/min."


def _of_interval(row: Mapping[str, Any], finding: str, intervals: Intervals) -> str:
    name, too_short, surely = _OF_INTERVALS[finding]
    seconds: float | None = getattr(intervals, name)
    if seconds is None or (seconds >= too_short if _is_positive(row) else seconds <= surely):
        return ""
    measured = f"{'PR' if name == 'pr_interval' else 'QRS'} is {1000 * seconds:.0f} ms"
    return f"{row['label']} is scored {row['score']:.1%}, but the measured {measured}."


def _is_positive(row: Mapping[str, Any]) -> bool:
    """Whether the answer says that the finding is there."""
    given = row.get("positive")
    return bool(row["score"] >= _POSITIVE if given is None else given) != bool(row.get("negated"))
