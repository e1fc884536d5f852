# SPDX-License-Identifier: Apache-2.0
"""Findings in many words: what cardiologists, other corpora, and laypeople call them.

`wordings/scp.json` covers PTB-XL's 71 SCP codes, `wordings/snomed.json` the SNOMED CT codes in `snomed_findings.csv`,
and `wordings/simulated.json` the conditions of the simulated cohort, most of which are SCP codes by another name. They
were written for this package, from standard electrocardiography and the tables of statements of PTB-XL and CSN. Each
file has:

- `findings`: for each code, wordings that are true of every ECG with it, in addition to the corpus's own statement:
  names, long and short, American and British, and at the end what the ECG shows.
- `general`: terms that are true of every ECG with any of their `codes`, which may themselves be general terms. A term
  is either a name ("myocardial infarction") with `wordings`, or a code that covers more specific ones (an anteroseptal
  infarction is an anterior one).
- `same_as`: codes with the same meaning as another code or a general term.

`wordings/languages.json` has what findings are called in German, French, Spanish, Italian, and Portuguese reports,
with abbreviations. These were written for this package from common usage, and no native speaker reviewed them.
Nothing is trained on them: a prompt in one of them is taken for the finding.

A code that only makes a term likely is not among its `codes`: subendocardial injury does not count as an infarction,
as in PTB-XL's classes, nor sinus tachycardia as an abnormal ECG.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_FILES = ("scp.json", "snomed.json", "simulated.json")
_LANGUAGES = "languages.json"


@dataclass(frozen=True)
class Wordings:
    """What is known about labels. The name of a finding is a label or a general term.

    Attributes:
        of_finding: the wordings of each finding, without a final period.
        same_as: labels that stand for another finding.
        general_of: the general terms that a finding implies.
        other_languages: what findings are called in other languages than English.
    """

    of_finding: Mapping[str, tuple[str, ...]]
    same_as: Mapping[str, str]
    general_of: Mapping[str, tuple[str, ...]]
    other_languages: Mapping[str, tuple[str, ...]]

    def finding(self, label: str) -> str:
        """The finding that a label stands for: itself unless `same_as` has another."""
        return self.same_as.get(label, label)

    def general_terms(self, findings: Iterable[str]) -> list[str]:
        """The general terms that these findings imply, without repeats and without the findings themselves."""
        held = dict.fromkeys(findings)
        terms = dict.fromkeys(term for finding in held for term in self.general_of.get(finding, ()))
        return [term for term in terms if term not in held]

    def counts(self, counts_of_labels: Mapping[str, int]) -> Counter[str]:
        """The number of records per finding and general term, from the number per label.

        A record with several labels that imply one term counts several times for it. The counts per label, which are
        all that a stream has, do not tell such records apart.
        """
        counts: Counter[str] = Counter()
        for label, count in counts_of_labels.items():
            finding = self.finding(label)
            for held in (finding, *self.general_terms([finding])):
                counts[held] += count
        return counts


@cache
def load_wordings() -> Wordings:
    """The wordings that come with the package. No label is in two of the files."""
    of_finding: dict[str, list[str]] = {}
    codes_of: dict[str, list[str]] = {}
    same_as: dict[str, str] = {}
    for name in _FILES:
        content = _read(name)
        of_finding.update(content["findings"])
        same_as.update(content.get("same_as", {}))
        for term, entry in content["general"].items():
            codes_of.setdefault(term, []).extend(entry["codes"])
            of_finding.setdefault(term, []).extend(entry.get("wordings", ()))
    terms_of: dict[str, list[str]] = {}
    for term, codes in codes_of.items():
        for code in codes:
            terms_of.setdefault(code, []).append(term)
    return Wordings(
        of_finding={finding: tuple(wordings) for finding, wordings in of_finding.items()},
        same_as=same_as,
        general_of={finding: _all_above(finding, terms_of) for finding in of_finding},
        other_languages={
            finding: tuple(text for texts in by_language.values() for text in texts)
            for finding, by_language in _read(_LANGUAGES)["findings"].items()
        },
    )


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((resources.files("cgdmer.data") / "wordings" / name).read_text("utf-8"))
    return content


def _all_above(finding: str, terms_of: Mapping[str, list[str]]) -> tuple[str, ...]:
    """The terms that a finding implies, those that these imply, and so on, nearest first."""
    above: dict[str, None] = {}
    waiting = list(terms_of.get(finding, ()))
    for term in waiting:
        if term not in above:
            above[term] = None
            waiting.extend(terms_of.get(term, ()))
    return tuple(above)
