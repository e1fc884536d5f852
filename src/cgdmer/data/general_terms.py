# SPDX-License-Identifier: Apache-2.0
"""Which of a model's findings are general terms of others, such as "arrhythmia" of "atrial fibrillation"."""

from collections.abc import Collection

from cgdmer.data.wordings import load_wordings
from cgdmer.models.prompt_findings import Findings


class GeneralTerms:
    """The table of `cgdmer.data.wordings`, by the names that a model gives to findings.

    Args:
        findings: of the model. Those that the table does not have imply nothing.
    """

    def __init__(self, findings: Findings):
        wordings = load_wordings()
        names: dict[str, set[str]] = {}  # by the table's code; a model may have two names for what is one there
        for code, words in wordings.of_finding.items():
            meanings = [findings.meaning(text) for text in (code, *words[:1])]
            names[code] = {one.finding for one in meanings if one.finding and one.similarity == 1 and not one.negated}
        self._above: dict[str, set[str]] = {}
        for code, own in names.items():
            above = {name for term in wordings.general_of.get(code, ()) for name in names.get(term, ())}
            for name in own:
                self._above.setdefault(name, set()).update(above - own)

    def of(self, name: str) -> frozenset[str]:
        """The findings that this one implies, without itself."""
        return frozenset(self._above.get(name, ()))

    def with_general(self, names: Collection[str]) -> set[str]:
        """The findings and all that they imply."""
        return {*names, *(term for name in names for term in self.of(name))}
