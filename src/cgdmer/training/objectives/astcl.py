# SPDX-License-Identifier: Apache-2.0
"""A method in the spirit of ASTCL (IEEE TNNLS 2024), of which there is no public code: see docs/methods/astcl.md.

Shapes: b records in this process, B in all of them, D width of the encoder, E of the projection, L leads, T samples.
"""

import math
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.objectives import gather_over_processes
from cgdmer.training.objectives.base import Batch, Computed, Objective, mlp, precise
from cgdmer.training.objectives.views import TwoViews, View, crop, jitter, mask_leads

NOISE = 0.2  # deviation of the added noise, in units of the record's own
REVERSAL = 0.1  # of the discriminator's gradient in the encoder, at the end
PROJECTION, BOTTLENECK, DISCRIMINATOR = 512, 128, 128
_SMOOTHED = 9  # frequencies over which power is averaged


def denoise(view: View, generator: torch.Generator) -> View:
    """A Wiener filter: each frequency times the share of its power, in all leads together, that is not noise.

    Noise is taken for white, with the median power of the upper half of all frequencies. Draws nothing.
    """
    spectrum = torch.fft.rfft(view.ecg_values)
    power = spectrum.abs().square().mean(dim=0)
    power = F.avg_pool1d(power[None], _SMOOTHED, stride=1, padding=_SMOOTHED // 2, count_include_pad=False)[0]
    noise = power[len(power) // 2 :].median()
    share = (1 - noise / power.clamp(min=torch.finfo(power.dtype).tiny)).clamp(min=0.0)
    return replace(view, ecg_values=torch.fft.irfft(spectrum * share, n=view.ecg_values.shape[1]))


class ASTCL(Objective):
    """Predict the denoised view from the noisy one and back, of another stretch and other leads, for a patient's
    records alike, while a discriminator fails to tell the two kinds of view apart.
    """

    views: ClassVar = TwoViews(
        (partial(jitter, deviation=NOISE), crop, mask_leads),
        (denoise, crop, mask_leads),
    )

    def __init__(self, model: ECGPreTrainedModel):
        super().__init__(model)
        self.projector = mlp(self.hidden_size, PROJECTION, PROJECTION, norm_last=True)
        self.predictor = mlp(PROJECTION, BOTTLENECK, PROJECTION)
        # Without batch normalization, whose statistics would mix the two views.
        self.discriminator = nn.Sequential(
            nn.Linear(self.hidden_size, DISCRIMINATOR), nn.ReLU(), nn.Linear(DISCRIMINATOR, 1)
        )

    def compute(self, batch: Batch) -> Computed:
        pooled = [self.encode(batch, view).pooler_output for view in ("first", "second")]
        first, second = (self.projector(one) for one in pooled)
        patients = batch["patient_ids"]
        prediction = patient_prediction(self.predictor(first), second, patients)
        prediction = prediction + patient_prediction(self.predictor(second), first, patients)
        logits = precise(self.discriminator(_Reversed.apply(torch.cat(pooled), self.reversal)).flatten())
        is_denoised = torch.zeros_like(logits)
        is_denoised[len(patients) :] = 1.0
        discrimination = F.binary_cross_entropy_with_logits(logits, is_denoised)
        return Computed({"prediction": prediction / 2, "discrimination": discrimination}, pooled[0])

    def loss_weights(self) -> dict[str, float]:
        return {"prediction": 1.0, "discrimination": 1.0}

    @property
    def reversal(self) -> float:
        """Rises from 0, so that the encoder does not fight a discriminator that knows nothing yet.

        As in Ganin and Lempitsky (ICML 2015, arXiv 1409.7495, section 4).
        """
        return REVERSAL * (2 / (1 + math.exp(-10 * self.progress)) - 1)


def patient_prediction(predicted_bE: torch.Tensor, target_bE: torch.Tensor, patients_b: torch.Tensor) -> torch.Tensor:
    """1 - the cosine to the targets of the same patient in the global batch, averaged over them; 0 to 2.

    Args:
        predicted_bE, target_bE: this process's, paired by row; no gradient reaches the targets.
        patients_b: int64, a number for each record's patient.

    Returns:
        This process's share; the loss is the mean of all shares.
    """
    target_BE = gather_over_processes(F.normalize(precise(target_bE.detach()), dim=-1))
    same_bB = patients_b[:, None] == gather_over_processes(patients_b)
    with torch.autocast(predicted_bE.device.type, enabled=False):
        cosines_bB = F.normalize(precise(predicted_bE), dim=-1) @ target_BE.T
    return 1 - ((cosines_bB * same_bB).sum(dim=1) / same_bB.sum(dim=1)).mean()


class _Reversed(torch.autograd.Function):
    """The same values; their gradient is multiplied by minus `strength`."""

    @staticmethod
    def forward(ctx, values, strength):
        ctx.strength = strength
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient, None
