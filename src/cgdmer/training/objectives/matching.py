# SPDX-License-Identifier: Apache-2.0
"""Wrong texts, for methods that ask whether an ECG and a text belong together.

Shapes: b records in this process, B in all of them.
"""

import torch

FARTHEST = 8  # a wrong text is one of that many that resemble the record's own least


def texts_to_fuse(
    similarity_bB: torch.Tensor,
    holds_bB: torch.Tensor,
    own_b: torch.Tensor,
    replaced_b: torch.Tensor,
    number_b: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which text each ECG is fused with: its own or, where replaced, one of the `FARTHEST` least similar wrong ones.

    Args:
        similarity_bB: of each record's text and those of the global batch, cosines.
        holds_bB: whether the text is true of the ECG. A record for which all are keeps its own.
        own_b: the place of each record in the global batch.
        replaced_b: bool.
        number_b: uniform numbers that decide among the least similar.

    Returns:
        (b,) int64 places in the global batch, and (b,) bool, whether it is the own text.
    """
    # Copies of a text are equal up to rounding: rounded, they come in the order of the batch on any machine.
    rounded_bB = (similarity_bB * 1e5).round().masked_fill(holds_bB, torch.inf)
    order_bB = rounded_bB.argsort(dim=1, stable=True)
    candidates_b = (~holds_bB).sum(dim=1).clamp(max=FARTHEST)
    places_b = (number_b * candidates_b).long()
    wrong_b = order_bB.gather(1, places_b[:, None]).squeeze(1)
    replaced_b = replaced_b & (candidates_b > 0)
    return torch.where(replaced_b, wrong_b, own_b), ~replaced_b
