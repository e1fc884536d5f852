# SPDX-License-Identifier: Apache-2.0
"""Frequency dynamic augmentation for CoRe-ECG: bins of the spectrum are perturbed by how little they matter.

The paper states a learnable map of importance and perturbation by it; the form is ours. Its nearest public relative,
FreRA (KDD 2025), drops bins by a random gate and amplifies others.

Shapes: B batch, L leads, T samples, F = T / 2 + 1 bins, M maps (1, or L).
"""

import torch
from torch import nn


class FrequencyAugmentation(nn.Module):
    """Attenuates the bins of a spectrum at random, the more the less important they are.

    A bin of importance s is multiplied by s + (1 - s) u, with u uniform in [0, 1), drawn afresh for each view, record,
    lead and bin. Phases stay, so that waves stay where they are; nothing is amplified. Protected bins have s = 1.

    s = sigmoid(logit / temperature) is learnt with the rest, by the losses of the views. A bin in which views of the
    same record agree, and differ from other records', helps their alignment: perturbing it hurts, and s grows. A bin
    in which views disagree is better weakened: s falls. So is one in which nothing stands, by the regulariser alone,
    which holds the mean importance at a share: without it everything important would be the easiest task, and with
    it bins compete.

    Args:
        config: a `CoReECGConfig`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        # A vector, also for several maps: weight decay is for matrices.
        self.logits = nn.Parameter(torch.zeros(self.num_maps * config.num_bins))

    @property
    def num_maps(self) -> int:
        return self.config.num_leads if self.config.importance_per_lead else 1

    def frequencies(self) -> torch.Tensor:
        """(F,) Hz"""
        bins = torch.arange(self.config.num_bins, device=self.logits.device, dtype=torch.float64)
        return bins * self.config.sampling_rate / self.config.num_samples

    def protected(self) -> torch.Tensor:
        """(F,) bool, the bins of the physiological band."""
        frequencies = self.frequencies()
        return (frequencies >= self.config.protected_from_hz) & (frequencies <= self.config.protected_to_hz)

    def importance(self) -> torch.Tensor:
        """(M, F) in 0..1"""
        learnt_MF = torch.sigmoid(self.logits / self.config.importance_temperature).unflatten(0, (self.num_maps, -1))
        return learnt_MF.masked_fill(self.protected(), 1.0)

    def forward(self, ecg_values_BLT: torch.Tensor, noise_BLF: torch.Tensor) -> torch.Tensor:
        """A view of each record, (B, L, T).

        What lies beyond a recording's end may change as well; there the model has no patch.

        Args:
            noise_BLF: uniform numbers in [0, 1).
        """
        # In half precision there is no transform of lengths other than powers of two.
        signal_BLT = ecg_values_BLT.to(torch.promote_types(ecg_values_BLT.dtype, torch.float32))
        importance_MF = self.importance().to(signal_BLT.dtype)
        factor_BLF = importance_MF + (1 - importance_MF) * noise_BLF.to(signal_BLT.dtype)
        return torch.fft.irfft(torch.fft.rfft(signal_BLT) * factor_BLF, n=signal_BLT.shape[-1])

    def share_loss(self) -> torch.Tensor:
        """Squared distance of the mean importance, over bins that may be perturbed, from the share asked for."""
        return (self.importance()[:, ~self.protected()].mean() - self.config.importance_share).square()
