# SPDX-License-Identifier: Apache-2.0
"""How much each loss moves each tower. A weight says little: losses differ in size by factors of thousands."""

from typing import Any

import torch
from accelerate import Accelerator


def gradient_shares(accelerator: Accelerator, model: Any, outputs: Any) -> dict[str, float]:
    """The gradient of each weighted loss at each tower, before the gradients are added up and clipped.

    It costs a backward pass per loss. The graph is kept, so the step can go on as usual.

    Args:
        model: a `models.pretraining_base.PreTrainingMixin`, or an `Objective`, not wrapped.
        outputs: what it returned, with graph.

    Returns:
        For each loss, `NAME_gradient_norm` at the ECG encoder, averaged over processes, and `NAME_gradient_share`, the
        same divided by the sum over all losses; 0 for a loss that does not reach it. For a model with texts, also
        `NAME_text_gradient_norm` and `NAME_text_gradient_share` at the text tower.
    """
    towers = {"": model.base_model, "text_": getattr(model, "text_model", None)}
    weights = {
        tower: [weight for weight in module.parameters() if weight.requires_grad]
        for tower, module in towers.items()
        if module is not None
    }
    losses = {
        name: loss_weight * outputs[f"{name}_loss"]
        for name, loss_weight in model.loss_weights().items()
        if outputs.get(f"{name}_loss") is not None
    }
    norms = torch.stack([_norms(loss, list(weights.values())) for loss in losses.values()])
    averaged = accelerator.reduce(norms, "mean").tolist()
    shares: dict[str, float] = {}
    for column, tower in enumerate(weights):
        total = sum(row[column] for row in averaged) or 1.0
        for name, row in zip(losses, averaged, strict=True):
            shares[f"{name}_{tower}gradient_norm"] = row[column]
            shares[f"{name}_{tower}gradient_share"] = row[column] / total
    return shares


def _norms(loss: torch.Tensor, groups: list[list[torch.Tensor]]) -> torch.Tensor:
    """(groups,) the norm of the loss's gradient at each group of weights."""
    found = [torch.zeros((), device=loss.device)] * len(groups)
    if loss.requires_grad:
        together = [weight for group in groups for weight in group]
        gradients = iter(torch.autograd.grad(loss, together, retain_graph=True, allow_unused=True))
        for number, group in enumerate(groups):
            own = [gradient for gradient in (next(gradients) for _ in group) if gradient is not None]
            if own:
                found[number] = torch.stack([gradient.float().norm() for gradient in own]).norm()
    return torch.stack([norm.float() for norm in found])
