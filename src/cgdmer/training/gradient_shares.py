# SPDX-License-Identifier: Apache-2.0
"""How much each loss moves the ECG encoder. A weight says little: losses differ in size by factors of thousands."""

from typing import Any

import torch
from accelerate import Accelerator


def gradient_shares(accelerator: Accelerator, model: Any, outputs: Any) -> dict[str, float]:
    """The gradient of each weighted loss at the ECG encoder, before the gradients are added up and clipped.

    It costs a backward pass per loss. The graph is kept, so the step can go on as usual.

    Args:
        model: a `models.pretraining_base.PreTrainingMixin`, not wrapped.
        outputs: what it returned, with graph.

    Returns:
        For each loss, `NAME_gradient_norm`, averaged over processes, and `NAME_gradient_share`, the same divided by
        the sum over all losses; 0 for a loss that does not reach the encoder.
    """
    weights = [weight for weight in model.base_model.parameters() if weight.requires_grad]
    names, norms = [], []
    for name, loss_weight in model.loss_weights().items():
        loss = outputs.get(f"{name}_loss")
        if loss is None:
            continue
        names.append(name)
        norms.append(_norm(loss_weight * loss, weights))
    averaged = accelerator.reduce(torch.stack(norms), "mean").tolist()
    total = sum(averaged) or 1.0
    return {f"{name}_gradient_norm": norm for name, norm in zip(names, averaged, strict=True)} | {
        f"{name}_gradient_share": norm / total for name, norm in zip(names, averaged, strict=True)
    }


def _norm(loss: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    if not loss.requires_grad or not weights:
        return torch.zeros((), device=loss.device)
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return torch.stack([loss.new_zeros(()), *(one.float().norm() for one in gradients if one is not None)]).norm()
