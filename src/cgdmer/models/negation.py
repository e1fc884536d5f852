# SPDX-License-Identifier: Apache-2.0
"""Prompts that deny a finding, and prompts that ask for a comparison, which no score can answer.

Encoders of texts hardly tell "no atrial fibrillation" from "atrial fibrillation". So a denied finding is scored as one
minus the finding. Only a denial at the start counts: in "infarction without ST elevation", it qualifies the finding.
And only of a simple phrase: in "no P waves; instead fibrillatory waves", it describes one.
"""

import re

# English, German, French, Spanish, Italian, and Portuguese.
_DENIALS = (
    r"no hay |nessun segno di |(?:(?:the )?patient )?(?:does|do) not have (?:an? )?",
    r"(?:there (?:is|are) )?no (?!longer)(?:(?:evidence|signs?|indications?|features|criteria) (?:of|for) )?",
    r"without (?:any )?(?:(?:evidence|signs?) of )?",
    r"absence of |negative for |free (?:of|from) |not (?:an? )?",
    r"keine?[nrs]? (?:(?:hinweise?|zeichen|nachweis|anhalt|anzeichen) (?:auf|für|von|einer) )?|ohne |nicht ",
    r"pas (?:de |d['’])|sans (?:signes? (?:de |d['’]))?|absence (?:de |d['’])|aucune? ",
    r"sin (?:signos de )?|ausencia de |ningún |ninguna ",
    r"senza (?:segni di )?|assenza (?:di |d['’])|nessun[oa]? |nessun['’]",
    r"sem (?:sinais de )?|ausência de |nenhuma? ",
)
_DENIED = re.compile(rf"\s*(?:{'|'.join(_DENIALS)})(?=\S)", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"(?<=\S)\s+(?:(?:is |are |was |were )?(?:absent|ruled out|excluded|not (?:present|seen))"
    r"|(?:(?:wurde|ist) )?ausgeschlossen|absente?s?|exclue?s?|ausentes?|descartad[oa]s?|assenti|assente|esclus[oa]"
    r"|exclu[ií]d[oa]s?)[.\s]*$",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:no|not|without|never|absent|absence|excluded|kein\w*|nicht|ohne|pas|sans|aucune?|sin|sem|senza|nessun\w*"
    r"|ning[uú]n\w*|nenhum\w*|n't)\b",
    re.IGNORECASE,
)
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
    if (found := _DENIED_AFTER.search(finding)) is not None:
        finding, denied = finding[: found.start()], not denied
    return finding, denied


def still_denies(finding: str) -> bool:
    """Whether a finding has a word of denial left, which then may mean anything: "infarction without Q waves"."""
    return _DENIES.search(finding) is not None


def asks_to_compare(prompt: str) -> bool:
    """Whether a prompt is about a number's limit or another recording."""
    return _COMPARES.search(prompt) is not None
