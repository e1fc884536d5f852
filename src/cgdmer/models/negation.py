# SPDX-License-Identifier: Apache-2.0
"""Prompts that deny a finding, and prompts that ask for a comparison, which no score can answer.

Encoders of texts hardly tell "no atrial fibrillation" from "atrial fibrillation". So a denied finding is scored as one
minus the finding. Only a denial at the start counts: in "infarction without ST elevation", it qualifies the finding.
And only of a simple phrase: in "no P waves; instead fibrillatory waves", it describes one.
"""

import re

# English, German, French, Spanish, Italian, and Portuguese.
_DENIALS = (
    r"(?:there (?:is|are) )?no (?!longer)(?:(?:evidence|signs?|indications?|features|criteria) (?:of|for) )?",
    r"without (?:any )?(?:(?:evidence|signs?) of )?",
    r"absence of |negative for |free (?:of|from) |not (?:an? )?",
    r"keine?[nrs]? (?:(?:hinweise?|zeichen|nachweis) (?:auf|für|von|einer) )?|ohne |nicht ",
    r"pas (?:de |d['’])|sans |absence (?:de |d['’])|aucune? ",
    r"sin |ausencia de |ningún |ninguna |no hay ",
    r"senza |assenza (?:di |d['’])|nessun[oa]? |nessun['’]",
    r"sem |ausência de |nenhuma? ",
)
_DENIED = re.compile(rf"\s*(?:{'|'.join(_DENIALS)})(?=\S)", re.IGNORECASE)
_SAYS_MORE = re.compile(r"[,;:]|\b(?:but|instead|although|however|aber|sondern|mais|pero|però|mas)\b", re.IGNORECASE)
_COMPARES = re.compile(
    r"[<>≤≥=]|\b(?:(?:more|less|greater|higher|lower|larger|smaller|faster|slower|longer|shorter) than"
    r"|at (?:least|most)|above|below|compared (?:with|to)|unchanged|no longer|(?:now|new) since|since (?:the )?last"
    r"|previous)\b",
    re.IGNORECASE,
)


def without_denial(prompt: str) -> tuple[str, bool]:
    """The finding that a prompt names, and whether the prompt denies it.

    A denial of a denial affirms. A prompt that is nothing but a denial, or that says more, is returned as it is.
    """
    if _SAYS_MORE.search(prompt.rstrip(" .;:")):
        return prompt, False
    finding, denied = prompt, False
    while (found := _DENIED.match(finding)) is not None:
        finding, denied = finding[found.end() :], not denied
    return finding, denied


def asks_to_compare(prompt: str) -> bool:
    """Whether a prompt is about a number's limit or another recording."""
    return _COMPARES.search(prompt) is not None
