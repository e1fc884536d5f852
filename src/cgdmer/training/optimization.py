# SPDX-License-Identifier: Apache-2.0
"""The optimizer, its schedule, and skipping steps whose gradients are not finite."""

from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import get_scheduler

from cgdmer.models.errors import TrainingError

MOST_SKIPPED_IN_A_ROW = 10


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW on the trainable parameters.

    As usual, only matrices decay: not biases, norms, embeddings, or the loss's scale.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            (decayed if weight.ndim > 1 and "embedding" not in name else others).append(weight)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def schedule(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, kind: str, num_steps: int, num_warmup_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule, to be passed to `accelerator.prepare`.

    Args:
        kind: one of transformers' schedules.
        num_steps: optimizer steps, which all processes take together.
        num_warmup_steps: steps over which the learning rate rises.
    """
    per_step = accelerator.num_processes  # Accelerate advances it this many times
    return get_scheduler(
        kind, optimizer, num_warmup_steps=num_warmup_steps * per_step, num_training_steps=num_steps * per_step
    )


class FiniteSteps:
    """Skips optimizer steps whose gradients are not all finite, without waiting for the device.

    The decision stays on the device: a fused optimizer leaves weights and moments alone when its `found_inf` is 1,
    which torch's gradient scaler uses too. With such a scaler (float16), this class only counts.

    Args:
        optimizer: torch's own, fused.
        device: where the gradients are.
        has_scaler: a gradient scaler decides.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device, has_scaler: bool):
        self._optimizer, self._has_scaler = optimizer, has_scaler
        self._skipped, self._in_a_row, self._longest = (torch.zeros((), device=device) for _ in range(3))

    def judge(self, gradient_norm: torch.Tensor) -> None:
        """Call it between computing the gradients and the optimizer's step.

        Args:
            gradient_norm: of all gradients together, after averaging over processes, so that all decide alike.
        """
        found = (~torch.isfinite(gradient_norm)).float()
        if not self._has_scaler:
            self._optimizer.grad_scale = None  # type: ignore[attr-defined]
            self._optimizer.found_inf = found  # type: ignore[attr-defined]
        self._skipped += found
        self._in_a_row = (self._in_a_row + 1) * found
        self._longest = torch.maximum(self._longest, self._in_a_row)

    def skipped(self) -> int:
        """The number of steps skipped so far; waits for the device.

        Raises:
            TrainingError: more than `MOST_SKIPPED_IN_A_ROW` in a row.
        """
        if self._longest > MOST_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"{int(self._longest)} steps in a row had gradients that are not finite: training has diverged. "
                "Start over, or from an earlier checkpoint with --model, with a lower --learning_rate (or, in "
                "pretraining, more --num_warmup_steps or a lower --max_grad_norm). With mixed_precision fp16, try "
                "bf16."
            )
        return int(self._skipped)

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": int(self._skipped), "in_a_row": int(self._in_a_row), "longest": int(self._longest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._skipped.fill_(state["skipped"])
        self._in_a_row.fill_(state["in_a_row"])
        self._longest.fill_(state["longest"])
