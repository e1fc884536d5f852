# SPDX-License-Identifier: Apache-2.0
"""Where scores and what was measured on the signal do not fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from cgdmer.measurement.heart_rate import HeartRate

# Per minute. Bradycardia is below 60 and tachycardia above 100; near these limits nothing is said.
_SLOW, _NOT_SLOW, _NOT_FAST, _FAST = 55.0, 65.0, 95.0, 105.0
_POSITIVE = 0.5  # a score, where no threshold was calibrated
_FINDINGS = ("bradycardia", "sinus bradycardia", "tachycardia", "sinus tachycardia")


def contradictions(rows: Sequence[Mapping[str, Any]], measured: HeartRate) -> list[str]:
    """A sentence for each score of bradycardia or tachycardia that the measured heart rate does not fit.

    A sinus bradycardia that is scored low at a low rate may be another rhythm, so the sentence says what was found and
    not who is right.

    Args:
        rows: of a `Scorer`.
    """
    return [sentence for row in rows if (sentence := _contradiction(row, measured.heart_rate))]


def _contradiction(row: Mapping[str, Any], rate: float) -> str:
    finding = str(row.get("finding") or row["label"]).casefold()
    if finding not in _FINDINGS or row["score"] is None:
        return ""
    given = row.get("positive")
    positive = bool(row["score"] >= _POSITIVE if given is None else given) != bool(row.get("negated"))
    slow = finding.endswith("bradycardia")
    fits = (rate < _NOT_SLOW if slow else rate > _NOT_FAST) if positive else (rate >= _SLOW if slow else rate <= _FAST)
    if fits:
        return ""
    return f"{row['label']} is scored {row['score']:.1%}, but the measured heart rate is {rate:.0f}/min."
