# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from cgdmer.evaluation.rouge import rouge

WORDS = ["sinus", "rhythm", "left", "axis", "st", "depression"]


def naive(candidate: list[str], reference: list[str]) -> dict[str, float]:
    """By definition: n-grams are crossed off one by one, and all subsequences are tried."""

    def f1(shared: int, own: int, wanted: int) -> float:
        if shared == 0:
            return 0.0
        precision, recall = shared / own, shared / wanted
        return 2 * precision * recall / (precision + recall)

    found = {}
    for name, length in (("rouge1", 1), ("rouge2", 2)):
        grams = [
            list(zip(*(text[start:] for start in range(length)), strict=False)) for text in (candidate, reference)
        ]
        left, shared = list(grams[1]), 0
        for gram in grams[0]:
            if gram in left:
                left.remove(gram)
                shared += 1
        found[name] = f1(shared, len(grams[0]), len(grams[1]))

    def subsequences(words):
        return {part for size in range(len(words) + 1) for part in itertools.combinations(words, size)}

    longest = max(len(part) for part in subsequences(candidate) & subsequences(reference))
    found["rougeL"] = f1(longest, len(candidate), len(reference))
    return found


def test_equals_the_definitions():
    random = np.random.default_rng(0)
    for _ in range(60):
        candidate, reference = (list(random.choice(WORDS, random.integers(1, 9))) for _ in range(2))
        assert rouge(" ".join(candidate), " ".join(reference)) == pytest.approx(naive(candidate, reference))


def test_words_are_those_of_the_usual_tokenizer():
    same = rouge("Sinus-Rhythm, 72/min.", "sinus rhythm 72 min")
    assert same == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert rouge("", "sinus rhythm") == {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}


def test_equals_the_reference_package_where_it_is_installed():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"])
    random = np.random.default_rng(1)
    for _ in range(30):
        candidate, reference = (" ".join(random.choice(WORDS, random.integers(1, 20))) for _ in range(2))
        expected = {name: score.fmeasure for name, score in scorer.score(reference, candidate).items()}
        assert rouge(candidate, reference) == pytest.approx(expected)
