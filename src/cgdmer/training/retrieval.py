# SPDX-License-Identifier: Apache-2.0
"""Finding an ECG's own text among all texts, and vice versa: what contrastive training is meant to teach.

Shapes: Q queries, C candidates, B pairs, U distinct texts, E embedding width, M statements per record at most.
"""

import numpy as np
import torch

from cgdmer.models.objectives import satisfied_pairs

RECALL_AT = (1, 5, 10)


def partner_ranks(
    cosines_QC: torch.Tensor, partners_Q: torch.Tensor, matches_QC: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rank of each query's partner among the candidates that do not match the query.

    Args:
        cosines_QC: the similarities that order the candidates.
        partners_Q: int64, the column of each query's partner.
        matches_QC: bool, the candidates that fit the query. Except for the partner, they are left out, so that they
            do not worsen the rank.

    Returns:
        The ranks (Q,), starting at 1, and the number of candidates (Q,), including the partner. A candidate that is
        exactly as similar as the partner counts half, so that a model to which everything looks the same scores at
        chance.
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
    """Median rank and recall of B pairs, from ECG to text and, with the prefix "text_to_ecg_", from text to ECG.

    Texts with the same statements are one candidate. Another record's text that an ECG satisfies (see
    `objectives.satisfied_pairs`) does not compete with its own text, and likewise for ECGs that satisfy a text.

    Returns:
        "median_rank"; "recall_at_1", "_5", and "_10", the share of pairs whose partner has at most that rank; and
        "candidates", the harmonic mean of the number of candidates: by chance, recall at k is k / candidates.
    """
    # The order of its findings does not make a text another one.
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
    # numpy's median, because torch's is the lower of the two middle values.
    return {
        "median_rank": float(np.median(ranks.numpy())),
        **recalls,
        "candidates": float(1 / (1 / candidates.double()).mean()),
    }
