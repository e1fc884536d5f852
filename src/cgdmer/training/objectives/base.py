# SPDX-License-Identifier: Apache-2.0
"""What every method has in common: an encoder, views, losses, and the parts that heads are made of.

Shapes: b records in this process, B in all of them, D features.
"""

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.objectives import gather_over_processes
from cgdmer.training.objectives.views import Views

Batch = Mapping[str, torch.Tensor]


class Computed(NamedTuple):
    """What a method makes of a batch.

    Attributes:
        losses: this process's share of each loss by name; the loss is the mean over processes.
        embeds: (b, D), the encoder's, to watch for collapse.
        ecg_embeds, text_embeds: (b, E) and (texts, E) unit vectors, of methods with texts.
    """

    losses: dict[str, torch.Tensor]
    embeds: torch.Tensor
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


class Objective(nn.Module):
    """A method that pretrains an encoder. Its `forward` takes a batch as keyword arguments, and returns `loss`, each
    of its parts as `NAME_loss`, and `embedding_deviation` (see `deviation`).

    Attributes:
        views: makes further parts of a sample from a record, in the loader; None: the record as it is.
        takes_texts: it trains a model with a text tower, which is saved whole; else an ECG encoder.
        contrasts: whether records of a batch are compared with each other, so that it needs two at least.

    Args:
        model: what is trained and saved: an ECG encoder, or a model with both towers.
    """

    views: ClassVar[Views | None] = None
    takes_texts: ClassVar[bool] = False
    contrasts: ClassVar[bool] = True

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__()
        self.model, self.config = model, model.config
        self.progress = 0.0  # the share of the training that is done

    @property
    def ecg_model(self) -> ECGPreTrainedModel:
        """The ECG encoder."""
        found: ECGPreTrainedModel = self.model.ecg_model if self.takes_texts else self.model
        return found

    @property
    def base_model(self) -> nn.Module:
        return self.ecg_model

    @property
    def aligns(self) -> bool:
        return self.takes_texts

    @property
    def hidden_size(self) -> int:
        size: int = self.ecg_model.config.hidden_size
        return size

    def compute(self, batch: Batch) -> Computed:
        raise NotImplementedError

    def loss_weights(self) -> dict[str, float]:
        """The weight of each loss by its name."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each step of the optimizer."""

    def forward(self, **batch: torch.Tensor) -> ModelOutput:
        computed, weights = self.compute(batch), self.loss_weights()
        output = ModelOutput(loss=sum(weights[name] * value for name, value in computed.losses.items()))
        for name, value in computed.losses.items():
            output[f"{name}_loss"] = value
        output["embedding_deviation"] = deviation(computed.embeds)
        if computed.ecg_embeds is not None:
            output["ecg_embeds"], output["text_embeds"] = computed.ecg_embeds, computed.text_embeds
        return output

    def encode(self, batch: Batch, view: str = "", encoder: nn.Module | None = None) -> Any:
        """The ECG encoder's output for one view; without `view`, for the record itself."""
        prefix = f"{view}_" if view else ""
        names = ("ecg_values", "lead_mask", "patch_mask")
        inputs = {name: batch[prefix + name] for name in names if prefix + name in batch}
        return (encoder or self.ecg_model)(**inputs, return_dict=True)

    def center_heads(self, batch: dict[str, torch.Tensor]) -> None:
        """See `PreTrainingMixin`; for methods with texts."""
        if self.takes_texts:
            self.model.center_heads(batch)


def precise(values: torch.Tensor) -> torch.Tensor:
    """In single precision or better, as losses are computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@torch.no_grad()
def deviation(embeds_bD: torch.Tensor) -> torch.Tensor:
    """How far embeddings are from collapse: the deviation of unit vectors over the global batch, times sqrt(D).

    About 1 if they point everywhere, 0 if all are the same.
    """
    unit_BD = gather_over_processes(F.normalize(precise(embeds_bD), dim=-1))
    return unit_BD.std(dim=0, unbiased=False).mean() * unit_BD.shape[1] ** 0.5


class GlobalBatchNorm(nn.BatchNorm1d):
    """Batch normalization of (b, D) over the global batch of all processes, with its gradient, also without a GPU.

    The heads of these methods rely on it: with the statistics of each process, a run on two would be another method.
    """

    def forward(self, hidden_bD: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(hidden_bD)
        with torch.autocast(hidden_bD.device.type, enabled=False):
            hidden_bD = precise(hidden_bD)
            everything_BD = gather_over_processes(hidden_bD)
            mean_D = everything_BD.mean(dim=0)
            variance_D = everything_BD.var(dim=0, unbiased=False)
            self._remember(mean_D.detach(), variance_D.detach(), len(everything_BD))
            normalized_bD = (hidden_bD - mean_D) * torch.rsqrt(variance_D + self.eps)
            return normalized_bD * self.weight + self.bias if self.affine else normalized_bD

    @torch.no_grad()
    def _remember(self, mean_D: torch.Tensor, variance_D: torch.Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean_D, self.momentum)
        self.running_var.lerp_(variance_D * count / max(1, count - 1), self.momentum)
        self.num_batches_tracked += 1


def mlp(*widths: int, norm_last: bool = False) -> nn.Sequential:
    """Linear layers with batch normalization and ReLU between them; with `norm_last`, the output is normalized too."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        is_last = number == len(widths) - 2
        layers.append(nn.Linear(inputs, outputs, bias=is_last and not norm_last))
        if not is_last:
            layers += [GlobalBatchNorm(outputs), nn.ReLU()]
        elif norm_last:
            layers.append(GlobalBatchNorm(outputs, affine=False))
    return nn.Sequential(*layers)


class MomentumCopy(nn.Module):
    """Moving averages of modules' weights, without gradients; a checkpoint holds them like other weights.

    Args:
        modules: by name; the copies are attributes of the same names.
    """

    encoder: nn.Module
    projector: nn.Module

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, copy.deepcopy(module).requires_grad_(False))

    @torch.no_grad()
    def follow(self, momentum: float, **modules: nn.Module) -> None:
        """copy = momentum * copy + (1 - momentum) * weight; statistics of batch normalization are taken over."""
        for name, module in modules.items():
            mine = getattr(self, name)
            for old, new in zip(mine.parameters(), module.parameters(), strict=True):
                old.lerp_(new, 1 - momentum)
            for buffer, taken in zip(mine.buffers(), module.buffers(), strict=True):
                buffer.copy_(taken)
