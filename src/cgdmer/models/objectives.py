# SPDX-License-Identifier: Apache-2.0
"""Losses over the global batch of all processes: the five of CG-DMER (arXiv 2602.21154), which the families share.

Whatever precision the towers run in, similarities and what comes of them are in single precision or better.

Shapes: b records on this process, B on all of them, E embedding width, M statements a record at most, L leads,
N patches a lead, P samples a patch, K masked tokens, V vocabulary.
"""

import math

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


def _shifted(local: torch.Tensor, by: int) -> torch.Tensor:
    """What the process `by` places before this one holds, in a ring."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    received = torch.empty_like(local, memory_format=torch.contiguous_format)
    exchanges = [
        dist.P2POp(dist.isend, local.contiguous(), (rank + by) % world_size),
        dist.P2POp(dist.irecv, received, (rank - by) % world_size),
    ]
    for exchange in dist.batch_isend_irecv(exchanges):
        exchange.wait()
    return received


class _FromPreviousProcess(torch.autograd.Function):
    """Pass a tensor on to the next process in a ring; its gradient comes back the other way."""

    @staticmethod
    def forward(ctx, local):
        return _shifted(local, by=1)

    @staticmethod
    def backward(ctx, gradient):
        return _shifted(gradient, by=-1)


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
    held = ecg_statement_ids.sort(dim=1).values
    stated = text_statement_ids.flatten().expand(len(held), -1).contiguous()
    places = torch.searchsorted(held, stated).clamp(max=held.shape[1] - 1)
    holds = (held.gather(1, places) == stated) | (stated == 0)
    return holds.unflatten(1, text_statement_ids.shape).all(dim=2)


def contrastive_loss(
    ecg_bE: torch.Tensor,
    text_bE: torch.Tensor,
    temperature: float,
    ecg_statement_ids_bM: torch.Tensor | None = None,
    text_statement_ids_bM: torch.Tensor | None = None,
) -> torch.Tensor:
    """Symmetric cross-entropy on the diagonal (eqs. 7-9 as MERL's code has them: the positive is in the denominator).

    A pair off the diagonal that matches as well (`satisfied_pairs`; without statements there is none) is left out of
    the denominator: it is no negative. Each process holds its own b rows of the two B x B matrices.

    Args:
        ecg_bE, text_bE: this process's unit vectors, paired by row.
        temperature: cosines are divided by it.
        ecg_statement_ids_bM, text_statement_ids_bM: see `satisfied_pairs`.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    target_b = _own_places(ecg_bE)

    def one_direction(own_bE: torch.Tensor, others_bE: torch.Tensor, left_out_bB: torch.Tensor | None) -> torch.Tensor:
        logits_bB = _cosines(own_bE, gather_over_processes(others_bE)) / temperature
        if left_out_bB is not None:
            logits_bB = logits_bB.masked_fill(left_out_bB, -torch.inf)
        return F.cross_entropy(logits_bB, target_b)

    by_ecg_bB = by_text_bB = None
    if ecg_statement_ids_bM is not None and text_statement_ids_bM is not None:
        by_ecg_bB, by_text_bB = _no_negatives(target_b, ecg_statement_ids_bM, text_statement_ids_bM)
    to_text, to_ecg = one_direction(ecg_bE, text_bE, by_ecg_bB), one_direction(text_bE, ecg_bE, by_text_bB)
    return (to_text + to_ecg) / 2


def _cosines(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(a, b) of unit vectors (a, E) and (b, E). Autocast would take half precision, in which near ones are alike."""
    with torch.autocast(first.device.type, enabled=False):
        return first @ second.T


def _own_places(local_bE: torch.Tensor) -> torch.Tensor:
    """Where this process's rows are among those of all processes."""
    rank = dist.get_rank() if _several_processes() else 0
    return torch.arange(len(local_bE), device=local_bE.device) + rank * len(local_bE)


def _no_negatives(
    target_b: torch.Tensor, ecg_statement_ids_bM: torch.Tensor, text_statement_ids_bM: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, B) bool each: for each ECG the texts of others that match as well, and for each text the ECGs."""
    by_ecg_bB = satisfied_pairs(ecg_statement_ids_bM, gather_over_processes(text_statement_ids_bM))
    by_text_bB = satisfied_pairs(gather_over_processes(ecg_statement_ids_bM), text_statement_ids_bM).T
    is_own_bB = F.one_hot(target_b, by_ecg_bB.shape[1]).bool()
    return by_ecg_bB & ~is_own_bB, by_text_bB & ~is_own_bB


@torch.no_grad()
def information_bound(ecg_bE: torch.Tensor, text_bE: torch.Tensor, temperature: float) -> torch.Tensor:
    """log B - InfoNCE in nats, a lower bound of the mutual information of both sides (arXiv 1807.03748).

    Over all pairs: with those left out that match as well (`contrastive_loss`) it would be none, since texts that come
    often would count as told apart. At most log B. For several texts an ECG it bounds what the ECG tells of them
    together, and is at most the logarithm of the ECGs.

    Args:
        ecg_bE, text_bE, temperature: see `contrastive_loss`; without statements.
    """
    total = len(text_bE) * (dist.get_world_size() if _several_processes() else 1)
    return math.log(total) - contrastive_loss(ecg_bE, text_bE, temperature)


def siglip_loss(
    ecg_bE: torch.Tensor,
    text_bE: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    ecg_statement_ids_bM: torch.Tensor | None = None,
    text_statement_ids_bM: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sigmoid loss of eq. 6 with a learnable scale and bias: -1/B sum_i sum_j log sigmoid(y_ij (scale cos_ij + bias)).

    Without scale and bias, unit vectors and this sum reward collapse: all ECGs at v and all texts at -v. Pairs off the
    diagonal that match as well count as matches: this loss, unlike the contrastive one, allows several. The texts go
    round: each process compares its ECGs with the texts of one process at a time, b x b pairs, and never gathers all
    (arXiv 2303.15343, section 3.3).

    Args:
        scale, bias: scalars.

    The others, and what is returned, are as in `contrastive_loss`.
    """
    positive_bb = torch.eye(len(ecg_bE), dtype=torch.bool, device=ecg_bE.device)
    total_b = torch.zeros(len(ecg_bE), dtype=ecg_bE.dtype, device=ecg_bE.device)
    for hop in range(dist.get_world_size() if _several_processes() else 1):
        if hop:
            text_bE = _FromPreviousProcess.apply(text_bE)
            positive_bb = torch.zeros_like(positive_bb)
        if ecg_statement_ids_bM is not None and text_statement_ids_bM is not None:
            if hop:
                text_statement_ids_bM = _shifted(text_statement_ids_bM, by=1)
            positive_bb = positive_bb | satisfied_pairs(ecg_statement_ids_bM, text_statement_ids_bM)
        signs_bb = torch.where(positive_bb, 1.0, -1.0)
        total_b = total_b - F.logsigmoid(signs_bb * (scale * _cosines(ecg_bE, text_bE) + bias)).sum(dim=1)
    return total_b.mean()


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
