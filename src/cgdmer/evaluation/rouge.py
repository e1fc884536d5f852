# SPDX-License-Identifier: Apache-2.0
"""ROUGE (Lin, 2004), the overlap of a candidate text with a reference text, as an F1 score of words.

Words are lower-case runs of letters and digits, without stemming, so values agree with those of the package
`rouge-score` and its default tokenizer.
"""

import re
from collections import Counter

NAMES = ("rouge1", "rouge2", "rougeL")
_WORD = re.compile(r"[a-z0-9]+")


def rouge(candidate: str, reference: str) -> dict[str, float]:
    """`rouge1` and `rouge2` (shared words and pairs of words), and `rougeL` (the longest common subsequence)."""
    own, wanted = _WORD.findall(candidate.lower()), _WORD.findall(reference.lower())
    return {
        "rouge1": _of_ngrams(own, wanted, 1),
        "rouge2": _of_ngrams(own, wanted, 2),
        "rougeL": _f1(_longest_common_subsequence(own, wanted), len(own), len(wanted)),
    }


def _of_ngrams(own: list[str], wanted: list[str], length: int) -> float:
    counts = [
        Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))
        for words in (own, wanted)
    ]
    return _f1((counts[0] & counts[1]).total(), counts[0].total(), counts[1].total())


def _longest_common_subsequence(own: list[str], wanted: list[str]) -> int:
    lengths = [0] * (len(wanted) + 1)
    for word in own:
        diagonal = 0
        for place, other in enumerate(wanted, start=1):
            above = lengths[place]
            lengths[place] = diagonal + 1 if word == other else max(above, lengths[place - 1])
            diagonal = above
    return lengths[-1]


def _f1(shared: int, of_candidate: int, of_reference: int) -> float:
    return 2 * shared / (of_candidate + of_reference) if shared else 0.0
