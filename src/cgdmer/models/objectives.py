# SPDX-License-Identifier: Apache-2.0
"""The five losses of CG-DMER (arXiv 2602.21154), over the global batch of all processes.

Shapes: b records on this process, B on all of them, E embedding width, M statements a record at most, L leads,
N patches a lead, P samples a patch, K masked tokens, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.nn import functional as F


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate a tensor over processes; each process gets back the gradients that all of them hold for its part.

    Each process has its own share of the loss, and DDP averages parameter gradients: together they give the gradient
    of the mean of the shares. (`accelerator.gather` and plain `all_gather` cut the gradient.)
    """

    @staticmethod
    def forward(ctx, local):
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd may use the original elsewhere
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather_over_processes(local: torch.Tensor) -> torch.Tensor:
    """(b, ...) on each process -> (B, ...) on all, in the order of ranks; gradients flow back. Equal b is required."""
    if not _several_processes():
        return local
    if local.is_floating_point():
        return _GatherWithGradient.apply(local)
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def satisfied_pairs(ecg_statement_ids: torch.Tensor, text_statement_ids: torch.Tensor) -> torch.Tensor:
    """Which ECG satisfies which text: every statement of the text holds for the ECG.

    A statement is any number that stands for a finding, or for a whole report; 0 is filling. With whole reports two
    records with the same text satisfy each other's; with single findings an ECG also satisfies every subset of its
    own.

    Args:
        ecg_statement_ids: (ECGs, M) int64, all that holds for each ECG.
        text_statement_ids: (texts, M) int64, what each text states.

    Returns:
        (ECGs, texts) bool.
    """
    satisfied = torch.ones(
        len(ecg_statement_ids), len(text_statement_ids), dtype=torch.bool, device=ecg_statement_ids.device
    )
    for statement in text_statement_ids.T:
        holds = (ecg_statement_ids[:, None, :] == statement[None, :, None]).any(dim=-1)
        satisfied &= holds | (statement == 0)
    return satisfied


@dataclass
class PairedRows:
    """This process's rows of both B x B similarity matrices, and which pairs off the diagonal match as well."""

    ecg_to_text: torch.Tensor  # (b, B) cosines
    text_to_ecg: torch.Tensor  # (b, B)
    target: torch.Tensor  # (b,) column of each row's own partner
    ecg_to_text_matches: torch.Tensor  # (b, B) bool, False on the diagonal
    text_to_ecg_matches: torch.Tensor


def paired_rows(
    ecg_bE: torch.Tensor,
    text_bE: torch.Tensor,
    ecg_statement_ids_bM: torch.Tensor | None = None,
    text_statement_ids_bM: torch.Tensor | None = None,
) -> PairedRows:
    """Compare this process's unit vectors with everybody's. Without statements nothing off the diagonal matches."""
    rank = dist.get_rank() if _several_processes() else 0
    all_ecg_BE, all_text_BE = gather_over_processes(ecg_bE), gather_over_processes(text_bE)
    target = torch.arange(len(ecg_bE), device=ecg_bE.device) + rank * len(ecg_bE)
    if ecg_statement_ids_bM is None or text_statement_ids_bM is None:
        by_ecg = by_text = torch.zeros(len(ecg_bE), len(all_ecg_BE), dtype=torch.bool, device=ecg_bE.device)
    else:
        not_own = ~F.one_hot(target, len(all_ecg_BE)).bool()
        by_ecg = satisfied_pairs(ecg_statement_ids_bM, gather_over_processes(text_statement_ids_bM)) & not_own
        by_text = satisfied_pairs(gather_over_processes(ecg_statement_ids_bM), text_statement_ids_bM).T & not_own
    return PairedRows(ecg_bE @ all_text_BE.T, text_bE @ all_ecg_BE.T, target, by_ecg, by_text)


def contrastive_loss(rows: PairedRows, temperature: float) -> torch.Tensor:
    """Symmetric cross-entropy on the diagonal (eqs. 7-9 as MERL's code has them: the positive is in the denominator).

    A pair off the diagonal that matches as well is left out of the denominator: it is no negative.
    """

    def one_direction(cosines, matches):
        return F.cross_entropy((cosines / temperature).masked_fill(matches, -torch.inf), rows.target)

    to_text = one_direction(rows.ecg_to_text, rows.ecg_to_text_matches)
    to_ecg = one_direction(rows.text_to_ecg, rows.text_to_ecg_matches)
    return (to_text + to_ecg) / 2


def siglip_loss(rows: PairedRows, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Sigmoid loss of eq. 6 with a learnable scale and bias: -1/B sum_i sum_j log sigmoid(y_ij (scale cos_ij + bias)).

    Without scale and bias, unit vectors and this sum reward collapse: all ECGs at v and all texts at -v.
    Pairs off the diagonal that match as well count as matches: this loss, unlike the contrastive one, allows several.
    """
    positive = F.one_hot(rows.target, rows.ecg_to_text.shape[1]).bool() | rows.ecg_to_text_matches
    signs = torch.where(positive, 1.0, -1.0)
    return -F.logsigmoid(signs * (scale * rows.ecg_to_text + bias)).sum(dim=1).mean()


def reconstruction_loss(
    predicted_BLNP: torch.Tensor, ecg_values_BLT: torch.Tensor, masked_BLN: torch.Tensor, normalize: bool
) -> torch.Tensor:
    """Squared error over masked patches (eq. 2, with the mean instead of the sum over a patch's samples).

    The mean is taken over each record's masked patches first, then over records.
    """
    target_BLNP = ecg_values_BLT.unflatten(-1, (-1, predicted_BLNP.shape[-1])).float()
    if normalize:
        mean = target_BLNP.mean(dim=-1, keepdim=True)
        variance = target_BLNP.var(dim=-1, keepdim=True, unbiased=False)
        target_BLNP = (target_BLNP - mean) / torch.sqrt(variance + 1e-6)
    error_BLN = (predicted_BLNP.float() - target_BLNP).square().mean(dim=-1)
    return _mean_over_masked(error_BLN.flatten(1), masked_BLN.flatten(1))


def masked_token_loss(logits_BKV: torch.Tensor, tokens_BK: torch.Tensor, valid_BK: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over a report's masked tokens, then the mean over reports (eq. 3)."""
    losses_BK = F.cross_entropy(logits_BKV.float().transpose(1, 2), tokens_BK, reduction="none")
    return _mean_over_masked(losses_BK, valid_BK)


def _mean_over_masked(values_BM: torch.Tensor, masked_BM: torch.Tensor) -> torch.Tensor:
    counts = masked_BM.sum(dim=1).clamp(min=1)
    return (values_BM.masked_fill(~masked_BM, 0.0).sum(dim=1) / counts).mean()


def orthogonality_loss(
    ecg_specific: torch.Tensor, ecg_shared: torch.Tensor, text_specific: torch.Tensor, text_shared: torch.Tensor
) -> torch.Tensor:
    """Squared cosine between the shared and the specific part, both modalities added (eq. 5). All (b, E)."""
    ecg = F.cosine_similarity(ecg_specific, ecg_shared, dim=-1).square()
    text = F.cosine_similarity(text_specific, text_shared, dim=-1).square()
    return (ecg + text).mean()


__all__ = [
    "contrastive_loss",
    "gather_over_processes",
    "masked_token_loss",
    "orthogonality_loss",
    "paired_rows",
    "reconstruction_loss",
    "satisfied_pairs",
    "siglip_loss",
]
