# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cgdmer.training.pairs import MOST_STATEMENTS
from cgdmer.training.retrieval import RECALL_AT, retrieval_metrics


def unit_vectors(count: int, width: int = 16, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def ids(findings: list[list[int]]) -> torch.Tensor:
    return torch.tensor([row + [0] * (MOST_STATEMENTS - len(row)) for row in findings])


def distinct(count: int) -> torch.Tensor:
    return ids([[number] for number in range(1, count + 1)])


def naive_metrics(ecg: np.ndarray, text: np.ndarray, held: list[list[int]], stated: list[list[int]]):
    """One pair after the other, with sets of findings; each distinct text has its first embedding."""
    first: dict[frozenset[int], int] = {}
    for number, findings in enumerate(stated):
        first.setdefault(frozenset(findings), number)
    result = {}
    for prefix in ("", "text_to_ecg_"):
        ranks, candidates = [], []
        for pair in range(len(ecg)):
            own_text = frozenset(stated[pair])
            own = ecg[pair] @ text[first[own_text]]
            if prefix:
                rivals = [
                    ecg[other] @ text[first[own_text]] for other in range(len(ecg)) if not own_text <= set(held[other])
                ]
            else:
                rivals = [ecg[pair] @ text[at] for said, at in first.items() if not said <= set(held[pair])]
            ranks.append(1 + sum(rival > own for rival in rivals) + sum(rival == own for rival in rivals) / 2)
            candidates.append(1 + len(rivals))
        result[f"{prefix}median_rank"] = np.median(ranks)
        for limit in RECALL_AT:
            result[f"{prefix}recall_at_{limit}"] = np.mean([rank <= limit for rank in ranks])
        result[f"{prefix}candidates"] = len(candidates) / sum(1 / count for count in candidates)
    return result


@pytest.mark.parametrize("noise", [0.05, 0.3, 3.0])
@pytest.mark.parametrize("most_findings", [1, 4])
def test_agrees_with_one_pair_after_the_other(noise, most_findings):
    random = np.random.default_rng(int(100 * noise) + most_findings)
    held = [random.permutation(np.arange(1, 30))[: random.integers(1, most_findings + 1)].tolist() for _ in range(80)]
    stated = [random.permutation(own)[: random.integers(1, len(own) + 1)].tolist() for own in held]
    # With few distinct values, many are exactly as similar as the partner, and products are exact.
    text = random.integers(-2, 3, size=(80, 6)) / 4
    ecg = text + np.round(noise * random.normal(size=text.shape) * 4) / 4
    found = retrieval_metrics(torch.tensor(ecg), torch.tensor(text), ids(held), ids(stated))
    assert found == pytest.approx(naive_metrics(ecg, text, held, stated))


def test_perfect_and_shuffled_embeddings():
    vectors = unit_vectors(200)
    perfect = retrieval_metrics(vectors, vectors, distinct(200), distinct(200))
    # Every text looks like the ECG of its neighbor, so the rank of its own ECG is random.
    shuffled = retrieval_metrics(vectors, vectors.roll(1, dims=0), distinct(200), distinct(200))
    for prefix in ("", "text_to_ecg_"):
        assert perfect[f"{prefix}median_rank"] == perfect[f"{prefix}recall_at_1"] == 1.0
        assert shuffled[f"{prefix}recall_at_1"] == 0.0
        assert shuffled[f"{prefix}median_rank"] == pytest.approx(100, abs=25)
        assert perfect[f"{prefix}candidates"] == pytest.approx(200)


def test_a_collapsed_model_scores_at_chance():
    same = unit_vectors(1).expand(101, -1)
    found = retrieval_metrics(same, same, distinct(101), distinct(101))
    assert found["median_rank"] == found["text_to_ecg_median_rank"] == 51.0
    assert found["recall_at_10"] == 0.0


def test_by_chance_recall_is_the_limit_among_the_candidates():
    random = np.random.default_rng(0)
    held = [random.permutation(np.arange(1, 60))[:4].tolist() for _ in range(1000)]
    found = retrieval_metrics(
        unit_vectors(1000, 64), unit_vectors(1000, 64, seed=1), ids(held), ids([h[:1] for h in held])
    )
    assert found["candidates"] < 60  # one per distinct text, without those that the ECG satisfies
    for prefix in ("", "text_to_ecg_"):
        assert found[f"{prefix}recall_at_10"] == pytest.approx(10 / found[f"{prefix}candidates"], rel=0.35)


def test_a_text_that_records_share_is_found_by_each():
    """Forty ECGs, two reports: ECGs with the same report look the same, and so do the reports."""
    report = torch.arange(40) % 2
    vectors = torch.eye(2)[report]
    found = retrieval_metrics(vectors, vectors, (report + 1)[:, None], (report + 1)[:, None])
    assert found["recall_at_1"] == found["text_to_ecg_recall_at_1"] == 1.0
    assert found["candidates"] == 2.0
    assert found["text_to_ecg_candidates"] == 21.0  # its own ECG and the twenty of the other report


def test_another_text_that_an_ecg_satisfies_is_no_error():
    ecg, text = torch.eye(2), torch.eye(2)[[1, 0]]  # each ECG likes the other's text best
    strict = retrieval_metrics(ecg, text, ids([[1], [2]]), ids([[1], [2]]))
    lenient = retrieval_metrics(ecg, text, ids([[1, 2], [2, 1]]), ids([[1], [2]]))
    for prefix in ("", "text_to_ecg_"):
        assert (strict[f"{prefix}recall_at_1"], strict[f"{prefix}median_rank"]) == (0.0, 2.0)
        assert (lenient[f"{prefix}recall_at_1"], lenient[f"{prefix}median_rank"]) == (1.0, 1.0)


def test_the_order_of_findings_does_not_matter():
    vectors = unit_vectors(3)
    found = retrieval_metrics(vectors, vectors, ids([[1, 2], [2, 1], [3]]), ids([[1, 2], [2, 1], [3]]))
    assert found["candidates"] == 2.0
