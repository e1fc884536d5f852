# SPDX-License-Identifier: Apache-2.0
"""Finding an ECG's own text among all texts, and the other way round: what contrastive training is meant to teach.

Shapes: Q queries, C candidates, B pairs, U distinct texts, E embedding width, M statements per record at most.
"""

import numpy as np
import torch

from cgdmer.models.objectives import satisfied_pairs

RECALL_AT = (1, 5, 10)


def partner_ranks(
    cosines_QC: torch.Tensor, partners_Q: torch.Tensor, matches_QC: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The place of each query's own partner among the candidates that do not match the query as well.

    Args:
        cosines_QC: the similarities that order the candidates.
        partners_Q: int64, the column of each query's partner.
        matches_QC: bool, the candidates that fit the query. Beside the partner they are left out: no rank is worse
            for them.

    Returns:
        The ranks (Q,), 1 being the best; a candidate as similar as the partner counts half, so that a model to which
        everything looks the same stands where chance does. And how many candidates each partner was one of (Q,).
    """
    own_Q1 = cosines_QC.gather(1, partners_Q[:, None])
    rivals_QC = ~matches_QC.scatter(1, partners_Q[:, None], True)
    before_Q = ((cosines_QC > own_Q1) & rivals_QC).sum(dim=1)
    tied_Q = ((cosines_QC == own_Q1) & rivals_QC).sum(dim=1)
    return 1 + before_Q + tied_Q / 2, 1 + rivals_QC.sum(dim=1)


def retrieval_metrics(
    ecg_embeds_BE: torch.Tensor,
    text_embeds_BE: torch.Tensor,
    ecg_statement_ids_BM: torch.Tensor,
    text_statement_ids_BM: torch.Tensor,
) -> dict[str, float]:
    """Median rank and recall of B pairs, from an ECG to its text and, with "text_to_ecg_" in front, back.

    Texts that state the same are one candidate. A text that an ECG satisfies although it is another record's (see
    `objectives.satisfied_pairs`) is no rival of its own; nor is, for a text, another ECG that satisfies it.

    Returns:
        "median_rank"; "recall_at_1", "_5" and "_10", the share of pairs whose partner has at most that rank; and
        "candidates", the harmonic mean of how many candidates the partners were one of: by chance recall at k is
        k / candidates.
    """
    # The order in which a text states its findings makes no other text of it.
    stated_BM = text_statement_ids_BM.sort(dim=1).values.numpy()
    _, first_U, text_of_pair_B = np.unique(stated_BM, axis=0, return_index=True, return_inverse=True)
    firsts_U, texts_B = torch.from_numpy(first_U), torch.from_numpy(text_of_pair_B.reshape(-1))
    used_M = (text_statement_ids_BM != 0).any(dim=0)
    satisfied_BU = satisfied_pairs(ecg_statement_ids_BM, text_statement_ids_BM[firsts_U][:, used_M])
    cosines_BU = ecg_embeds_BE.float() @ text_embeds_BE[firsts_U].float().T
    to_text = partner_ranks(cosines_BU, texts_B, satisfied_BU)
    to_ecg = partner_ranks(cosines_BU.T[texts_B], torch.arange(len(texts_B)), satisfied_BU.T[texts_B])
    return {**_summary(*to_text), **{f"text_to_ecg_{name}": value for name, value in _summary(*to_ecg).items()}}


def _summary(ranks: torch.Tensor, candidates: torch.Tensor) -> dict[str, float]:
    recalls = {f"recall_at_{limit}": float((ranks <= limit).double().mean()) for limit in RECALL_AT}
    # numpy's median: torch's is the lower of the two in the middle.
    return {
        "median_rank": float(np.median(ranks.numpy())),
        **recalls,
        "candidates": float(1 / (1 / candidates.double()).mean()),
    }
