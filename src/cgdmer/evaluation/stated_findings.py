# SPDX-License-Identifier: Apache-2.0
"""Which findings a text states, and how a text about an ECG compares with what is true of it.

Overlap of words (ROUGE) rewards the most frequent sentence. What matters is whether a text names what is there and
invents nothing. So findings are read back from the text through the model's own table of findings and wordings
(`findings.json`): sentence by sentence, denials understood.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgdmer.data.general_terms import GeneralTerms
from cgdmer.evaluation.estimates import mean_with_interval
from cgdmer.models.prompt_findings import Findings

_SENTENCES = re.compile(r"[.;\n]+(?=\s|$)|\n")
_PARTS = re.compile(r",| and | with ")  # of a sentence that names no finding as a whole


@dataclass(frozen=True)
class Stated:
    """What a text says.

    Attributes:
        present, absent: names of findings that it states, and that it denies.
        unread: sentences in which no finding was recognized.
    """

    present: frozenset[str]
    absent: frozenset[str]
    unread: tuple[str, ...] = ()

    @property
    def contradictions(self) -> frozenset[str]:
        """The findings that it both states and denies."""
        return self.present & self.absent


def stated_in(text: str, findings: Findings) -> Stated:
    """Read the findings back from a text."""
    present, absent, unread = set[str](), set[str](), list[str]()
    for sentence in filter(None, (part.strip() for part in _SENTENCES.split(text))):
        whole = findings.meaning(sentence)
        meanings = [whole] if whole.finding else [findings.meaning(part) for part in _PARTS.split(sentence) if part]
        named = [(meaning.finding, meaning.negated) for meaning in meanings if meaning.finding]
        for finding, negated in named:
            (absent if negated else present).add(finding)
        if not named:
            unread.append(sentence)
    return Stated(frozenset(present), frozenset(absent), tuple(unread))


def compare_texts(
    texts: Sequence[str],
    true: Sequence[Collection[str]],
    patients: Sequence[str],
    findings: Findings,
) -> dict[str, Any]:
    """Findings in texts against those that are true of the records.

    A finding is invented if it is neither true nor a general term of a true one, and missed if neither it nor a more
    specific one is stated.

    Args:
        texts: one per record.
        true: the names of each record's findings, as in `findings`; only known ones count.
        patients: of each record, for intervals.

    Returns:
        Means over records with 95 % intervals over patients: `invented`, `missed`, `contradictions`, and `unread`
        (sentences) per text; `precision` and `recall`, of records with a stated or a true finding; and `by_finding`:
        of each finding that is true of ten or more records, how many there are, and in what share of them it is
        stated.
    """
    general, known = GeneralTerms(findings), {one.name for one in findings.findings if one.known}
    rows: dict[str, list[float]] = {name: [] for name in ("invented", "missed", "contradictions", "unread")}
    shares: dict[str, list[float]] = {"precision": [], "recall": []}
    held_by: dict[str, list[bool]] = {}
    for text, own in zip(texts, true, strict=True):
        said, wanted = stated_in(text, findings), set(own) & known
        implied, covered = general.with_general(wanted), general.with_general(said.present)
        invented, missed = said.present - implied, wanted - covered
        rows["invented"].append(len(invented))
        rows["missed"].append(len(missed))
        rows["contradictions"].append(len(said.contradictions))
        rows["unread"].append(len(said.unread))
        shares["precision"].append(1 - len(invented) / len(said.present) if said.present else np.nan)
        shares["recall"].append(1 - len(missed) / len(wanted) if wanted else np.nan)
        for name in wanted:
            held_by.setdefault(name, []).append(name not in missed)
    result: dict[str, Any] = {}
    for name, values in {**rows, **shares}.items():
        counted = np.isfinite(values)
        kept = [patient for patient, counts in zip(patients, counted, strict=True) if counts]
        if kept:
            highest = 1.0 if name in shares else np.inf
            result[name], result[f"{name}_interval"] = mean_with_interval(np.array(values)[counted], kept, highest)
    result["by_finding"] = _frequent(held_by)
    return result


def _frequent(held_by: Mapping[str, Sequence[bool]], fewest: int = 10) -> dict[str, dict[str, float]]:
    ordered = sorted(held_by.items(), key=lambda pair: -len(pair[1]))
    return {
        name: {"records": len(stated), "stated": float(np.mean(stated))}
        for name, stated in ordered
        if len(stated) >= fewest
    }
