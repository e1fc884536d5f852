# SPDX-License-Identifier: Apache-2.0
"""Batches for objectives, as the loader makes them."""

import numpy as np
import torch

from cgdmer.training.objectives import objective_class
from cgdmer.training.objectives.base import Objective
from cgdmer.training.objectives.views import View
from models.tiny import NUM_LEADS, NUM_PATCHES, PATCH_LENGTH, tiny_batch


def batch_for(name: str, records: int = 8, seed: int = 0) -> dict[str, torch.Tensor]:
    """In double precision; two records of each patient. Texts, if the method takes them, are tiny reports."""
    batch = tiny_batch(records, seed)
    views = objective_class(name).views
    if views is not None:
        made: list[dict[str, np.ndarray]] = []
        for row in range(records):
            view = View(batch["ecg_values"][row], torch.ones(NUM_LEADS).long(), torch.ones(NUM_PATCHES).long())
            made.append(views(view, torch.Generator().manual_seed(seed + row)))
        for part in made[0]:
            batch[part] = torch.from_numpy(np.stack([one[part] for one in made]))
        batch["patient_ids"] = torch.arange(records) % (records // 2)  # on two processes, one record is in each
    if not objective_class(name).takes_texts:
        for part in ("input_ids", "attention_mask", "special_tokens_mask", "text_noise"):
            del batch[part]
    else:
        batch = with_statements(batch, records)
    return {part: value.double() if value.is_floating_point() else value for part, value in batch.items()}


def with_statements(batch: dict[str, torch.Tensor], records: int) -> dict[str, torch.Tensor]:
    """Longer texts come first, so that two processes pad to different lengths. The last two records have findings of
    the first two, whose texts hold for them, but not the other way around."""
    order = batch["attention_mask"].sum(dim=1).argsort(descending=True, stable=True)
    for part in ("input_ids", "attention_mask", "special_tokens_mask", "text_noise"):
        batch[part] = batch[part][order]
    own = torch.arange(1, records + 1)
    shared = torch.where(own > records - 2, own - records + 2, 0)
    batch["ecg_statement_ids"] = torch.stack([own, shared], dim=1)
    batch["text_statement_ids"] = torch.stack([own, torch.zeros_like(own)], dim=1)
    return batch


def assert_absent_places_have_no_part(objective: Objective, batch: dict[str, torch.Tensor]) -> None:
    """With leads and an end missing, a batch of three is the mean of its records, whatever stands where nothing is."""
    batch["lead_mask"], batch["patch_mask"] = torch.ones(3, NUM_LEADS).long(), torch.ones(3, NUM_PATCHES).long()
    batch["lead_mask"][1, 2:5], batch["patch_mask"][2, 5:] = 0, 0
    alone = [objective(**{name: part[row : row + 1] for name, part in batch.items()}).loss for row in range(3)]
    before = objective(**batch).loss
    torch.testing.assert_close(before, sum(alone) / 3)
    batch["ecg_values"][1, 2:5] += 1.0
    batch["ecg_values"][2, :, 5 * PATCH_LENGTH :] += 1.0
    torch.testing.assert_close(objective(**batch).loss, before)
