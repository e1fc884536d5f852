# SPDX-License-Identifier: Apache-2.0
"""CLOCS (Kiyasseh, Zhu, and Clifton, ICML 2021, arXiv 2005.13249): other times and leads of a patient are alike.

Shapes: b records in this process, B in all of them, D width of the encoder, L leads, N patches per lead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from cgdmer.models.objectives import gather_over_processes, rank_and_world_size
from cgdmer.training.objectives.base import Batch, Computed, Objective, precise
from cgdmer.training.objectives.views import View

TEMPERATURE = 0.1


@dataclass(frozen=True)
class Segments:
    """The `segmentNUMBER_` masks of a sample: halves of the record, single leads of it, or both.

    Attributes:
        halves: both halves in time; else one of them, drawn.
        leads: two of the recorded leads, drawn, one in each segment; else all leads together.
    """

    halves: bool
    leads: bool

    @property
    def number(self) -> int:
        """How many segments there are."""
        return 2 ** (self.halves + self.leads)

    def __call__(self, view: View, generator: torch.Generator) -> dict[str, np.ndarray]:
        leads_L, patches_N = view.lead_mask, view.patch_mask
        lead_masks, patch_masks = [leads_L], []
        if self.leads:
            recorded = leads_L.nonzero().flatten()
            drawn = recorded[torch.randperm(len(recorded), generator=generator)]
            # Of a record with one lead, it is the same twice.
            lead_masks = [F.one_hot(drawn[place], len(leads_L)) for place in (0, min(1, len(drawn) - 1))]
        end = int(patches_N.sum())  # what is missing is at the end
        half = max(1, end // 2)
        for start in (0, min(half, end - half)):
            mask = torch.zeros_like(patches_N)
            mask[start : start + half] = 1
            patch_masks.append(mask)
        if not self.halves:
            patch_masks = [patch_masks[int(torch.randint(2, (), generator=generator))]]
        parts = {}
        for number, (lead_mask, patch_mask) in enumerate(product(lead_masks, patch_masks)):
            parts[f"segment{number}_lead_mask"] = lead_mask.numpy()
            parts[f"segment{number}_patch_mask"] = patch_mask.numpy()
        return parts


class CLOCS(Objective):
    """CMSMLC: every segment of a patient, of any time and lead, is alike."""

    views: ClassVar[Segments] = Segments(halves=True, leads=True)

    def compute(self, batch: Batch) -> Computed:
        pooled = []
        for number in range(self.views.number):
            masks = {part: batch[f"segment{number}_{part}"] for part in ("lead_mask", "patch_mask")}
            pooled.append(self.encode({"ecg_values": batch["ecg_values"], **masks}).pooler_output)
        losses = {"contrastive": patient_contrast(pooled, batch["patient_ids"], TEMPERATURE)}
        return Computed(losses, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"contrastive": 1.0}


class HalvesCLOCS(CLOCS):
    """CMSC: the two halves of a record, all leads of each."""

    views: ClassVar[Segments] = Segments(halves=True, leads=False)


class LeadsCLOCS(CLOCS):
    """CMLC: two leads of a record at the same time."""

    views: ClassVar[Segments] = Segments(halves=False, leads=True)


def patient_contrast(segments: Sequence[torch.Tensor], patients_b: torch.Tensor, temperature: float) -> torch.Tensor:
    """Cross-entropy of segments of the same patient among one kind of segment of the global batch, both ways.

    For each two kinds of segments, there are two terms for the same record, and two for pairs of other records of the
    same patient, averaged over these pairs; the latter are left out if there is none. As in the authors' code, such a
    pair is also in the denominator of the others.

    Args:
        segments: this process's embeddings, (b, D) of each kind of segment.
        patients_b: int64, a number for each record's patient.

    Returns:
        This process's share of the mean of the terms; the loss is the mean of all shares.
    """
    rank, world_size = rank_and_world_size()
    b = len(patients_b)
    own = torch.arange(b, device=patients_b.device)
    same_bB = patients_b[:, None] == gather_over_processes(patients_b)
    same_bB[own, own + rank * b] = False
    pairs = gather_over_processes(same_bB.sum()[None]).sum()

    mine = [F.normalize(precise(one), dim=-1) for one in segments]
    everything = [gather_over_processes(one) for one in mine]
    sums = []
    for first, second in combinations(range(len(segments)), 2):
        for query, other in ((first, second), (second, first)):
            with torch.autocast(mine[query].device.type, enabled=False):
                surprise_bB = -F.log_softmax(mine[query] @ everything[other].T / temperature, dim=1)
            # The pairs are counted over all processes, and shares are averaged.
            of_others = (surprise_bB * same_bB).sum() * world_size / pairs.clamp(min=1)
            sums.append(surprise_bB[own, own + rank * b].mean() + of_others)
    return torch.stack(sums).mean() / (1 + (pairs > 0))
