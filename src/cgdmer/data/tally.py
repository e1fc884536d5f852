# SPDX-License-Identifier: Apache-2.0
"""Counts records while they are written, for `summary.json`. The tallies of parts add up to that of the whole."""

import math
from collections import Counter
from collections.abc import Mapping
from statistics import median_low
from typing import Any

import numpy as np

from cgdmer.files.hashing import short_hash
from cgdmer.models.ecg_record import ECGRecord

_COUNTED = (
    "records",
    "seconds",
    "sampling_rates",
    "gains",
    "leads",
    "labels",
    "texts",
    "patients",
    "unknown_codes",
    "sources",
)
_MOST_LISTED = 20  # of the gains and sets of leads; a corpus has one or two


class Tally:
    """Counts over the records of one split.

    Texts and patients are counted by 64-bit hashes: 800,000 reports would fill the memory, and files of counts must
    not reveal what a report says.

    Attributes:
        counts: for each quantity, the number of records per value. JSON represents it exactly.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self.counts: dict[str, Counter[str]] = {name: Counter((counts or {}).get(name, {})) for name in _COUNTED}

    @classmethod
    def checked(cls, counts: Mapping[str, Mapping[str, int]], num_rows: int) -> "Tally":
        """The tally of a part, read from a file.

        Args:
            num_rows: of the part; no value can be counted more often.

        Raises:
            ValueError: the counts are not those of such a part.
        """
        unknown = set(counts) - set(_COUNTED)
        if unknown or not all(0 <= number <= num_rows for counter in counts.values() for number in counter.values()):
            raise ValueError("the counts are not those of this part")
        for name in ("seconds", "sampling_rates"):
            if not all(math.isfinite(float(value)) for value in counts.get(name, {})):
                raise ValueError(f"{name} are no numbers")
        tally = cls(counts)
        for name in ("seconds", "sampling_rates", "leads"):  # every record has one of each
            if tally.counts[name].total() != tally.num_records:
                raise ValueError(f"{name} are not counted for each record")
        return tally

    @property
    def num_records(self) -> int:
        return self.counts["records"]["all"]

    def add(self, record: ECGRecord) -> None:
        """Count a record."""
        records = self.counts["records"]
        records["all"] += 1
        records["with_text"] += record.text is not None
        records["with_labels"] += bool(record.labels)
        records["with_missing_samples"] += bool(np.isnan(record.signal).any())
        self.counts["seconds"][f"{record.signal.shape[1] / record.sampling_rate:.3f}"] += 1
        self.counts["sampling_rates"][f"{record.sampling_rate:g}"] += 1
        self.counts["gains"].update({f"{gain:g}" for gain in record.gain or ()})
        self.counts["leads"][" ".join(record.lead_names)] += 1
        self.counts["labels"].update(set(record.labels))
        if record.source is not None:
            self.counts["sources"][record.source] += 1
        if record.text is not None:
            self.counts["texts"][_hash(record.text)] += 1
        if record.patient_id is not None:
            self.counts["patients"][_hash(record.patient_id)] += 1

    def update(self, other: "Tally") -> None:
        """Add another tally's counts."""
        for name, counter in other.counts.items():
            self.counts[name].update(counter)


def summarize(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """What `summary.json` says about the records, from one tally per split.

    Returns:
        Total `hours`; `seconds` (shortest, median, and longest record); the `unit` of loaded signals; the number of
        records per `sampling_rates` (Hz), `gains` (stored integers per mV), and `leads`; the number of records
        `with_missing_samples`, `with_text`, and `with_labels`; `texts_distinct`, and how many of these are
        `texts_repeated` (in more than one record); `patients`, and how many of them are `patients_in_several_splits`;
        the number of records per `sources`; `labels`, the number of records per label and split; `unknown_codes`, the
        number of records per diagnosis code that is in no table.
    """
    whole = Tally()
    for tally in tallies.values():
        whole.update(tally)
    counts = whole.counts
    durations = sorted((float(seconds), number) for seconds, number in counts["seconds"].items())
    splits_of_patient = Counter(patient for tally in tallies.values() for patient in tally.counts["patients"])
    labels = sorted(counts["labels"])
    return {
        "hours": round(sum(seconds * number for seconds, number in durations) / 3600, 3),
        "seconds": {
            "shortest": durations[0][0],
            "median": median_low(Counter(dict(durations)).elements()),
            "longest": durations[-1][0],
        },
        "sampling_rates": dict(sorted(counts["sampling_rates"].items(), key=lambda item: float(item[0]))),
        "unit": "mV",
        "gains": _most_frequent(counts["gains"]),
        "leads": _most_frequent(counts["leads"]),
        "with_missing_samples": counts["records"]["with_missing_samples"],
        "with_text": counts["records"]["with_text"],
        "texts_distinct": len(counts["texts"]),
        "texts_repeated": sum(number > 1 for number in counts["texts"].values()),
        "patients": len(splits_of_patient),
        "patients_in_several_splits": sum(number > 1 for number in splits_of_patient.values()),
        "sources": dict(sorted(counts["sources"].items())),
        "with_labels": counts["records"]["with_labels"],
        "labels": {
            label: {split: tally.counts["labels"][label] for split, tally in tallies.items()} for label in labels
        },
        "unknown_codes": dict(sorted(counts["unknown_codes"].items())),
    }


def _hash(text: str) -> str:
    return short_hash(text.encode("utf-8", "surrogatepass")).hex()


def _most_frequent(counter: Counter[str]) -> dict[str, int]:
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    listed = dict(ordered[:_MOST_LISTED])
    if len(ordered) > _MOST_LISTED:
        listed["others"] = sum(number for _, number in ordered[_MOST_LISTED:])
    return listed
