# SPDX-License-Identifier: Apache-2.0
"""What was used of a recording, and what was not: part of every answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import BatchFeature

from .leads import STANDARD_LEADS

NOT_GIVEN = "not given"  # a reason for not using a lead; others are in `signal_checks`
BEYOND_WINDOW, PART_OF_PATCH = "beyond the window", "rest of a patch"  # what is cut off


@dataclass(frozen=True)
class RecordUse:
    """What the model sees of a recording.

    Each of the twelve standard leads is in one of the first three.

    Attributes:
        leads_used: as they were recorded.
        leads_derived: computed from two limb leads; by lead, why: as below.
        leads_not_used: by lead, why: "not given", "flat", "gap of 2.4 s", "75 % missing".
        seconds_used: how much of the recording the model sees.
        seconds_filled: by lead used, how much of it was missing and is interpolated.
        seconds_cut: by reason, how much was cut off: "filled end", "calibration pulse", "beyond the window", "rest of
            a patch" (patches are seen whole or not at all).
        doubts: what casts doubt on the recording, in sentences (see `signal_quality`): an implausible size, noise,
            contradicting limb leads.
    """

    leads_used: tuple[str, ...]
    leads_derived: Mapping[str, str] = field(default_factory=dict)
    leads_not_used: Mapping[str, str] = field(default_factory=dict)
    seconds_used: float = 0.0
    seconds_filled: Mapping[str, float] = field(default_factory=dict)
    seconds_cut: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def refused_leads(self) -> dict[str, str]:
        """The leads that were recorded but not used, and why, whether or not they were derived instead."""
        reasons = {**self.leads_derived, **self.leads_not_used}
        return {lead: reasons[lead] for lead in STANDARD_LEADS if reasons.get(lead, NOT_GIVEN) != NOT_GIVEN}

    @property
    def is_beyond_doubt(self) -> bool:
        """Whether everything was used, and nothing casts doubt on it."""
        return self.is_everything and not self.doubts

    @property
    def is_everything(self) -> bool:
        """Whether all twelve leads were used as recorded, nothing filled in, and nothing cut off."""
        return len(self.leads_used) == len(STANDARD_LEADS) and not self.seconds_filled and not self.seconds_cut

    def as_json(self) -> dict[str, Any]:
        """All attributes, in a form that JSON can hold."""
        return {
            name: dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }

    def sentences(self) -> list[str]:
        """The same in words."""
        if self.is_everything:
            return ["All twelve leads were used.", *self.doubts]
        lines = [f"Leads used: {', '.join(self.leads_used)}."]
        if self.leads_derived:
            lines.append(f"Derived from two of them: {by_reason(self.leads_derived)}.")
        if self.leads_not_used:
            lines.append(f"Not used: {by_reason(self.leads_not_used)}.")
        if self.seconds_filled:
            filled = ", ".join(f"{lead} {_seconds(length)}" for lead, length in self.seconds_filled.items())
            lines.append(f"Missing samples interpolated: {filled}.")
        if self.seconds_cut:
            cut = ", ".join(f"{_seconds(length)} ({reason})" for reason, length in self.seconds_cut.items())
            lines.append(f"Cut off: {cut}.")
        return [*lines, *self.doubts]

    def __str__(self) -> str:
        return " ".join(self.sentences())


def by_reason(reasons: Mapping[str, str]) -> str:
    """Leads grouped by the reason: "V1, V2 (flat); V3 (gap of 2.4 s)"."""
    groups: dict[str, list[str]] = {}
    for lead, reason in reasons.items():
        groups.setdefault(reason, []).append(lead)
    return "; ".join(f"{', '.join(leads)} ({reason})" for reason, leads in groups.items())


def names_refused_leads(reasons: str) -> bool:
    """Whether a text of `by_reason` names a lead that was given."""
    return any(group and not group.endswith(f"({NOT_GIVEN})") for group in reasons.split("; "))


def _seconds(length: float) -> str:
    return f"{length:.3g} s"


class ECGBatch(BatchFeature):
    """The model's inputs, and what was used of each recording.

    Attributes:
        record_use: a `RecordUse` for each recording. It is no input of the model, so it is not a key.
    """

    record_use: tuple[RecordUse, ...] = ()

    def __init__(
        self, data: dict[str, Any] | None = None, tensor_type: Any = None, record_use: Sequence[RecordUse] = ()
    ):
        super().__init__(data, tensor_type)
        self.record_use = tuple(record_use)

    def __getstate__(self):  # that of BatchFeature keeps only the mapping
        return {**super().__getstate__(), "record_use": self.record_use}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.record_use = state["record_use"]
