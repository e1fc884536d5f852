# SPDX-License-Identifier: Apache-2.0
"""Which findings a model's training texts name, for `findings.json` in its folder (see `cgdmer.models`)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cgdmer.data.wordings import Wordings
from cgdmer.models.prompt_findings import FEWEST_RECORDS, Finding, Findings


def trained_findings(rows: Iterable[Mapping[str, Any]], wordings: Wordings, worded: bool) -> Findings:
    """The findings of training records, each record counted once however often it comes.

    Those with wordings are listed even if no record has them, so that their names are not taken for others. A finding
    without wordings is listed if enough records have it: what few records state may be about persons.

    Args:
        rows: of a prepared dataset; the columns `fingerprint`, `labels`, and `statements`.
        worded: whether the texts stated findings in the wordings too, and not only as the corpus does.
    """
    counts: Counter[str] = Counter()
    stated: dict[str, dict[str, None]] = {}  # by finding, in order: the name, and then other statements
    seen = set()
    for row in rows:
        if row["fingerprint"] in seen:
            continue
        seen.add(row["fingerprint"])
        labels = row["labels"] or row["statements"]
        held = dict.fromkeys(wordings.finding(label) for label in labels)
        counts.update([*held, *wordings.general_terms(held)])
        for label, statement in zip(labels, row["statements"], strict=False):
            stated.setdefault(wordings.finding(label), _name_of_condition(label))[_as_name(statement)] = None
    return Findings(_findings(counts, {finding: tuple(texts) for finding, texts in stated.items()}, wordings, worded))


def findings_of_counts(counts_of_labels: Mapping[str, int], wordings: Wordings, worded: bool) -> Findings:
    """The findings of records of which only the number per label is known. General terms may count records twice."""
    return Findings(_findings(wordings.counts(counts_of_labels), {}, wordings, worded))


def _findings(
    counts: Mapping[str, int], statements: Mapping[str, tuple[str, ...]], wordings: Wordings, worded: bool
) -> Iterable[Finding]:
    names = set()
    for finding in dict.fromkeys([*counts, *wordings.of_finding]):
        count, words = counts.get(finding, 0), wordings.of_finding.get(finding, ())
        if not words and count < FEWEST_RECORDS:
            continue
        own = statements.get(finding, ()) if count >= FEWEST_RECORDS else ()
        name = own[0] if own else _name_of(finding, words)
        if name in names:  # two codes of a corpus with one statement
            name = f"{name} ({finding})"
        names.add(name)
        trained = dict.fromkeys([name, *own, *(words if worded or not own else ())])
        others = dict.fromkeys([*words, *wordings.other_languages.get(finding, ())])
        yield Finding(name, count, tuple(trained), tuple(text for text in others if text not in trained))


def merged(findings: Findings, earlier: Findings | None) -> Findings:
    """The findings of a model that was trained on from an earlier one.

    Of a finding that both list, the larger count holds, since they may be of the same records.
    """
    if earlier is None:
        return findings
    before = {finding.name: finding for finding in earlier.findings}
    kept = []
    for finding in findings.findings:
        other = before.pop(finding.name, finding)
        texts = dict.fromkeys([*finding.wordings, *(other.wordings if other.known else ())])
        synonyms = dict.fromkeys([*finding.synonyms, *other.synonyms])
        kept.append(
            Finding(
                finding.name,
                max(finding.count, other.count),
                tuple(texts),
                tuple(text for text in synonyms if text not in texts),
            )
        )
    return Findings([*kept, *before.values()])


def _as_name(statement: str) -> str:
    text = statement.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _name_of_condition(label: str) -> dict[str, None]:
    """The name in a label like "atrial_fibrillation" of simulated patients, whose statements are paraphrases."""
    return {label.replace("_", " "): None} if label.islower() and "_" in label.strip("_") else {}


def _name_of(finding: str, words: tuple[str, ...]) -> str:
    """The name of a finding that no corpus at hand states."""
    if finding in words or not words:
        return finding
    return next((text for text in words if " " in text), words[0])
