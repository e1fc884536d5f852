# SPDX-License-Identifier: Apache-2.0
"""Which findings are general terms of others, so that a reading states the most specific ones."""

from collections.abc import Sequence

from cgdmer.data.wordings import load_wordings
from cgdmer.inference.scorers import Scorer


def general_terms_of(findings: Sequence[str], scorer: Scorer) -> dict[str, tuple[str, ...]]:
    """By finding, those of the other findings that it implies, by the package's table of wordings.

    A classifier's labels, and findings that the table does not know, imply nothing.
    """
    known = None if scorer.own_labels is not None else scorer.pipeline.processor.findings
    if known is None:
        return {}
    wordings = load_wordings()
    names = {finding: known.meaning(finding).finding for finding in findings}
    codes: dict[str, str] = {}  # by the model's name of a finding, the table's
    for code, words in wordings.of_finding.items():
        for text in (code, *words[:1]):
            meaning = known.meaning(text)
            if meaning.finding is not None and not meaning.negated and meaning.similarity == 1.0:
                codes.setdefault(meaning.finding, code)
    terms: dict[str, tuple[str, ...]] = {}
    for finding, name in names.items():
        of_table = codes.get(name or finding)
        implied = () if of_table is None else wordings.general_of.get(wordings.finding(of_table), ())
        terms[finding] = tuple(
            other for other, its in names.items() if other != finding and codes.get(its or other) in implied
        )
    return terms
