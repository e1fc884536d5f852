# SPDX-License-Identifier: Apache-2.0
"""Losses over the global batch of all processes: the five of CG-DMER (arXiv 2602.21154), shared by all families.

Whatever precision the towers run in, similarities and losses are computed in single precision or better.

Shapes: b records in this process, B in all of them, E embedding width, M maximum statements per record, L leads,
N patches per lead, P samples per patch, K masked tokens, V vocabulary.
"""

import math

import torch
import torch.distributed as dist
from torch.nn import functional as F


def rank_and_world_size() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate a tensor over processes; each process gets back the gradients of all of them for its part.

    Each process has its own share of the loss, and DDP averages parameter gradients. Together they give the gradient
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
    """The tensor of the process `by` places before this one in a ring."""
    rank, world_size = rank_and_world_size()
    received = torch.empty_like(local, memory_format=torch.contiguous_format)
    exchanges = [
        dist.P2POp(dist.isend, local.contiguous(), (rank + by) % world_size),
        dist.P2POp(dist.irecv, received, (rank - by) % world_size),
    ]
    for exchange in dist.batch_isend_irecv(exchanges):
        exchange.wait()
    return received


class _FromPreviousProcess(torch.autograd.Function):
    """Pass a tensor to the next process in a ring; its gradient comes back the other way."""

    @staticmethod
    def forward(ctx, local):
        return _shifted(local, by=1)

    @staticmethod
    def backward(ctx, gradient):
        return _shifted(gradient, by=-1)


def gather_over_processes(local: torch.Tensor) -> torch.Tensor:
    """(b, ...) in each process -> (B, ...) in all, in rank order; gradients flow back. b must be equal everywhere."""
    return local if rank_and_world_size()[1] == 1 else _GatherWithGradient.apply(local)


def satisfied_pairs(ecg_statement_ids: torch.Tensor, text_statement_ids: torch.Tensor) -> torch.Tensor:
    """Which ECG satisfies which text, that is, every statement of the text holds for the ECG.

    A statement is any number that represents a finding or a whole report; 0 is padding. With whole reports, two
    records with the same text satisfy each other's; with single findings, an ECG also satisfies every subset of its
    own.

    Args:
        ecg_statement_ids: (ECGs, M) int64, everything that holds for each ECG.
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
    """Symmetric cross-entropy on the diagonal (eqs. 7-9 as in MERL's code, with the positive in the denominator).

    A pair off the diagonal that also matches (`satisfied_pairs`; without statements, there is none) is not a negative:
    it is left out of the denominator. Each process computes its own b rows of the two B x B matrices.

    Args:
        ecg_bE, text_bE: this process's unit vectors, paired by row.
        temperature: divides the cosines.
        ecg_statement_ids_bM, text_statement_ids_bM: see `satisfied_pairs`.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    rank, _ = rank_and_world_size()
    target_b = torch.arange(len(ecg_bE), device=ecg_bE.device) + rank * len(ecg_bE)

    def one_direction(own_bE: torch.Tensor, others_bE: torch.Tensor, left_out_bB: torch.Tensor | None) -> torch.Tensor:
        logits_bB = _cosines(own_bE, gather_over_processes(others_bE)) / temperature
        if left_out_bB is not None:
            logits_bB = logits_bB.masked_fill(left_out_bB, -torch.inf)
        return F.cross_entropy(logits_bB, target_b)

    texts_of_others_bB = ecgs_of_others_bB = None
    if ecg_statement_ids_bM is not None and text_statement_ids_bM is not None:
        matching_texts_bB = satisfied_pairs(ecg_statement_ids_bM, gather_over_processes(text_statement_ids_bM))
        matching_ecgs_bB = satisfied_pairs(gather_over_processes(ecg_statement_ids_bM), text_statement_ids_bM).T
        is_own_bB = F.one_hot(target_b, matching_texts_bB.shape[1]).bool()
        texts_of_others_bB, ecgs_of_others_bB = matching_texts_bB & ~is_own_bB, matching_ecgs_bB & ~is_own_bB
    to_text = one_direction(ecg_bE, text_bE, texts_of_others_bB)
    to_ecg = one_direction(text_bE, ecg_bE, ecgs_of_others_bB)
    return (to_text + to_ecg) / 2


def _cosines(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(a, b) of unit vectors (a, E) and (b, E). Autocast would use half precision, where close ones are equal."""
    with torch.autocast(first.device.type, enabled=False):
        return first @ second.T


@torch.no_grad()
def information_bound(ecg_bE: torch.Tensor, text_bE: torch.Tensor, temperature: float) -> torch.Tensor:
    """log B - InfoNCE in nats, a lower bound on the mutual information of both sides (arXiv 1807.03748).

    It uses all pairs. Without those that also match (`contrastive_loss`), it would not be a bound: repeated texts
    would count as told apart. At most log B. With several texts per ECG, it bounds what the ECG tells about all of
    them together, and is at most the logarithm of the number of ECGs.

    Args:
        ecg_bE, text_bE, temperature: see `contrastive_loss`; without statements.
    """
    _, world_size = rank_and_world_size()
    return math.log(world_size * len(text_bE)) - contrastive_loss(ecg_bE, text_bE, temperature)


def siglip_loss(
    ecg_bE: torch.Tensor,
    text_bE: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    ecg_statement_ids_bM: torch.Tensor | None = None,
    text_statement_ids_bM: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sigmoid loss of eq. 6 with a learnable scale and bias: -1/B sum_i sum_j log sigmoid(y_ij (scale cos_ij + bias)).

    Without scale and bias, this sum rewards collapse on unit vectors: all ECGs at v and all texts at -v. Pairs off the
    diagonal that also match count as positives: unlike the contrastive loss, this one allows several. The texts are
    passed around: each process compares its ECGs with the texts of one process at a time, b x b pairs, and never
    gathers all of them (arXiv 2303.15343, section 3.3).

    Args:
        scale, bias: scalars.

    For the other arguments and the returned value, see `contrastive_loss`.
    """
    positive_bb = torch.eye(len(ecg_bE), dtype=torch.bool, device=ecg_bE.device)
    total_b = torch.zeros(len(ecg_bE), dtype=ecg_bE.dtype, device=ecg_bE.device)
    for hop in range(rank_and_world_size()[1]):
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
    predicted_BLNP: torch.Tensor,
    ecg_values_BLT: torch.Tensor,
    masked_BLN: torch.Tensor,
    normalize: bool,
    present_BLN: torch.Tensor | None = None,
) -> torch.Tensor:
    """Squared error over masked patches (eq. 2, but with the mean over a patch's samples instead of the sum).

    Averaged over each record's masked patches first, then over records. Without normalized patches, a record's error
    is divided by its variance around each lead's mean (ours): a prediction of those means costs about 1, whatever the
    unit, and a record with large amplitudes counts no more than others.

    Args:
        normalize: the target is each patch with mean 0 and standard deviation 1.
        present_BLN: the patches that exist; None: all.
    """
    target_BLNP = _patch_targets(ecg_values_BLT, predicted_BLNP.shape[-1], normalize)
    error_BLN = (predicted_BLNP.float() - target_BLNP).square().mean(dim=-1)
    if not normalize:
        present_BLN = torch.ones_like(masked_BLN) if present_BLN is None else present_BLN
        error_BLN = error_BLN / _variance(target_BLNP, present_BLN)[:, None, None]
    return _mean_over_masked(error_BLN.flatten(1), masked_BLN.flatten(1))


def _variance(signal_BLNP: torch.Tensor, present_BLN: torch.Tensor) -> torch.Tensor:
    """(B,) of a record's samples around their lead's mean."""
    means_BL = _lead_means(signal_BLNP, present_BLN)
    deviations_BLNP = (signal_BLNP - means_BL[..., None, None]).masked_fill(~present_BLN[..., None], 0.0)
    counts_B = present_BLN.sum(dim=(1, 2)) * signal_BLNP.shape[-1]
    return deviations_BLNP.square().sum(dim=(1, 2, 3)) / counts_B.clamp(min=1) + 1e-6


def _lead_means(signal_BLNP: torch.Tensor, present_BLN: torch.Tensor) -> torch.Tensor:
    """(B, L), over the patches that exist."""
    counts_BL = present_BLN.sum(dim=2) * signal_BLNP.shape[-1]
    return signal_BLNP.masked_fill(~present_BLN[..., None], 0.0).sum(dim=(2, 3)) / counts_BL.clamp(min=1)


@torch.no_grad()
def reconstruction_r2(
    predicted_BLNP: torch.Tensor,
    ecg_values_BLT: torch.Tensor,
    masked_BLN: torch.Tensor,
    normalize: bool,
    present_BLN: torch.Tensor | None = None,
) -> torch.Tensor:
    """The share of the masked patches' variance that is restored: 1 for all, 0 for no more than each lead's mean.

    1 - squared error / squared deviation, summed over all masked samples. A normalized patch deviates from its own
    mean. NaN if nothing deviates. Ours: the loss alone does not tell whether anything is learned. For the arguments,
    see `reconstruction_loss`.
    """
    target_BLNP = _patch_targets(ecg_values_BLT, predicted_BLNP.shape[-1], normalize)
    present_BLN = torch.ones_like(masked_BLN) if present_BLN is None else present_BLN
    level = 0.0 if normalize else _lead_means(target_BLNP, present_BLN)[..., None, None]
    masked_BLN1 = masked_BLN[..., None]
    error = (predicted_BLNP.float() - target_BLNP).square().masked_fill(~masked_BLN1, 0.0).sum()
    return 1 - error / (target_BLNP - level).square().masked_fill(~masked_BLN1, 0.0).sum()


def _patch_targets(ecg_values_BLT: torch.Tensor, patch_length: int, normalize: bool) -> torch.Tensor:
    """(B, L, N, P): what the decoder predicts."""
    target_BLNP = ecg_values_BLT.unflatten(-1, (-1, patch_length)).float()
    if normalize:
        mean = target_BLNP.mean(dim=-1, keepdim=True)
        variance = target_BLNP.var(dim=-1, keepdim=True, unbiased=False)
        target_BLNP = (target_BLNP - mean) / torch.sqrt(variance + 1e-6)
    return target_BLNP


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
    """Squared cosine between shared and specific part, summed over both modalities (eq. 5). All inputs are (b, E)."""
    ecg = F.cosine_similarity(ecg_specific, ecg_shared, dim=-1).square()
    text = F.cosine_similarity(text_specific, text_shared, dim=-1).square()
    return (ecg + text).mean()
