# SPDX-License-Identifier: Apache-2.0
"""The optimizer, its schedule, and skipping steps whose gradients are not finite."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from transformers import get_scheduler

from cgdmer.models.errors import TrainingError
from cgdmer.models.modeling_base import ECGPreTrainedModel

MOST_SKIPPED_IN_A_ROW = 10


def adamw(
    model: nn.Module, learning_rate: float, weight_decay: float, shares: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Fused AdamW on the trainable parameters.

    As usual, only matrices decay: not biases, norms, embeddings, or the loss's scale.

    Args:
        shares: of the learning rate, by the names of parameters; those without a name here learn at the whole rate.
    """
    # By share, the matrices that decay, and the others.
    groups: dict[float, tuple[list[nn.Parameter], list[nn.Parameter]]] = {1.0: ([], [])}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decayed, others = groups.setdefault((shares or {}).get(name, 1.0), ([], []))
            (decayed if weight.ndim > 1 and "embedding" not in name else others).append(weight)
    return torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": decay, "lr": share * learning_rate}
            for share, parts in groups.items()
            for weights, decay in zip(parts, (weight_decay, 0.0), strict=True)
        ],
        lr=learning_rate,
        fused=True,
    )


def shares_by_layer(model: ECGPreTrainedModel, layer_decay: float) -> dict[str, float]:
    """For `adamw`: each layer of the encoder learns at `layer_decay` times the rate of the layer above it.

    The classifier and the encoder's last norm learn at the whole rate, the last layer at `layer_decay` times that, and
    what is below the first layer (the tokenizer, or the stem) slowest. The layers of a residual network are stages.
    """
    encoder = model.base_model
    per_layer = getattr(encoder.config, "blocks_per_stage", 1)
    count = len(encoder.layers) // per_layer
    prefix = "" if encoder is model else f"{model.base_model_prefix}."
    shares = {}
    for name, _ in encoder.named_parameters():
        part, _, rest = name.partition(".")
        if part == "layers":
            shares[prefix + name] = layer_decay ** (count - int(rest.split(".")[0]) // per_layer)
        elif part != "norm":
            shares[prefix + name] = layer_decay ** (count + 1)
    return shares


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
