# SPDX-License-Identifier: Apache-2.0
"""Which patches and which report tokens are hidden during pretraining.

Masks are computed from uniform noise, so that any number of processes can draw the same ones.

Shapes: B batch, L leads, N patches per lead, M tokens, S tokens per report, K masked tokens.
"""

import math

import torch


def _lowest(noise: torch.Tensor, eligible: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Along the last axis: `count` of the eligible places, those with the lowest noise."""
    ranks = noise.masked_fill(~eligible, torch.inf).argsort(dim=-1).argsort(dim=-1)
    return (ranks < count) & eligible


def _lowest_share(noise: torch.Tensor, eligible: torch.Tensor, ratio: float) -> torch.Tensor:
    """Along the last axis: floor(ratio * number eligible) of the eligible places, those with the lowest noise."""
    # The small number keeps 0.29 * 100 = 28.999... from becoming 28.
    return _lowest(noise, eligible, torch.floor(eligible.sum(dim=-1, keepdim=True) * ratio + 1e-4))


def mask_patches(
    noise_BLN: torch.Tensor,
    present_BLN: torch.Tensor,
    strategy: str,
    mask_ratio: float,
    lead_mask_ratio: float = 0.0,
) -> torch.Tensor:
    """Choose the patches to mask.

    Args:
        noise_BLN: uniform numbers in [0, 1).
        present_BLN: bool, the patches that exist (lead recorded, time not padded).
        strategy: `"uniform"`: the same share of every lead, positions independent. `"time"`: whole columns.
            `"lead"`: whole leads. `"dual"`: columns by `mask_ratio` and leads by `lead_mask_ratio`.

    Returns:
        (B, L, N) bool, True where masked; never True where a patch is absent. Counts are exact: the floor of the ratio
        times the number present, so something always stays visible.
    """
    if strategy == "uniform":
        return _lowest_share(noise_BLN, present_BLN, mask_ratio)
    # A sum of uniform numbers modulo one is uniform too: the same noise gives one number per column and per lead.
    columns_BN = _lowest_share(noise_BLN.sum(dim=1) % 1, present_BLN.any(dim=1), mask_ratio)
    lead_ratio = mask_ratio if strategy == "lead" else lead_mask_ratio
    leads_BL = _lowest_share(noise_BLN.sum(dim=2) % 1, present_BLN.any(dim=2), lead_ratio)
    columns, leads = columns_BN[:, None, :], leads_BL[:, :, None]
    return {"time": columns, "lead": leads, "dual": columns | leads}[strategy] & present_BLN


def most_visible(num_leads: int, num_patches: int, strategy: str, mask_ratio: float, lead_mask_ratio: float) -> int:
    """The most tokens that any record keeps visible; known in advance, so no step waits for the device."""

    def kept(count: int, ratio: float) -> int:
        return count - math.floor(count * ratio + 1e-4)

    if strategy == "lead":
        return kept(num_leads, mask_ratio) * num_patches
    leads = kept(num_leads, lead_mask_ratio) if strategy == "dual" else num_leads
    return leads * kept(num_patches, mask_ratio)


def choose_masked(noise_BLN: torch.Tensor, masked_BLN: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count): indices of masked patches drawn at random; in a record with fewer of them, other patches too.

    Args:
        noise_BLN: the uniform numbers that decided what is masked. Their later digits decide here.
    """
    later_BM = (noise_BLN * 4096 % 1).flatten(1)
    return later_BM.masked_fill(~masked_BLN.flatten(1), 2.0).argsort(dim=1, stable=True)[:, :count]


def gather_visible(visible_BM: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the visible tokens in ascending order.

    Args:
        visible_BM: bool over all M tokens.
        count: number of indices to return; at least the largest number visible in any record.

    Returns:
        indices (B, count) and a bool (B, count) that is False where a record has fewer visible tokens than `count`.
    """
    order = torch.argsort((~visible_BM).to(torch.uint8), dim=1, stable=True)[:, :count]
    return order, visible_BM.gather(1, order)


def mask_report_tokens(
    noise_BS: torch.Tensor, maskable_BS: torch.Tensor, ratio: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose the report tokens to mask: `ratio` of the maskable ones, rounded, and at least one if there are any.

    Returns:
        masked (B, S) bool; positions (B, K) of the masked tokens in reading order; valid (B, K) bool, False where a
        report has fewer than K masked tokens. K depends only on S.
    """
    count = torch.round(maskable_BS.sum(dim=-1, keepdim=True) * ratio).clamp(min=1)
    masked_BS = _lowest(noise_BS, maskable_BS, count)
    positions_BK, valid_BK = gather_visible(masked_BS, max(1, math.ceil(noise_BS.shape[1] * ratio)))
    return masked_BS, positions_BK, valid_BK
