# SPDX-License-Identifier: Apache-2.0
"""Frequency dynamic augmentation for CoRe-ECG: the less important a spectrum bin, the more it is perturbed.

The paper states a learnable importance map that guides the perturbation; the form is ours. The closest public
relative, FreRA (KDD 2025), drops bins by a random gate and amplifies others.

Shapes: B batch, L leads, T samples, F = T / 2 + 1 bins, M maps (1 or L).
"""

import torch
from torch import nn


class FrequencyAugmentation(nn.Module):
    """Attenuates spectrum bins at random; less important bins are attenuated more.

    A bin of importance s is multiplied by s + (1 - s) u, with u uniform in [0, 1), drawn anew for each view, record,
    lead, and bin. Phases do not change, so waves stay in place; nothing is amplified. Protected bins have s = 1.

    s = sigmoid(logit / temperature) is learned with the other weights from the losses of the views. A bin where views
    of the same record agree, and differ from other records, helps to align them: perturbing it hurts, so s grows.
    Weakening a bin where views disagree helps, so s falls. In an empty bin, s falls because of the regularizer alone.
    The regularizer keeps the mean importance at a share: without it, making every bin important would be the easiest
    solution; with it, bins compete.

    Args:
        config: a `CoReECGConfig`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        # A vector even for several maps: weight decay is for matrices.
        self.logits = nn.Parameter(torch.zeros(self.num_maps * config.num_bins))

    @property
    def num_maps(self) -> int:
        return self.config.num_leads if self.config.importance_per_lead else 1

    def frequencies(self) -> torch.Tensor:
        """(F,) Hz"""
        bins = torch.arange(self.config.num_bins, device=self.logits.device, dtype=torch.float64)
        return bins * self.config.sampling_rate / self.config.num_samples

    def protected(self) -> torch.Tensor:
        """(F,) bool, the bins of the protected band."""
        frequencies = self.frequencies()
        return (frequencies >= self.config.protected_from_hz) & (frequencies <= self.config.protected_to_hz)

    def importance(self) -> torch.Tensor:
        """(M, F) in 0..1"""
        learned_MF = torch.sigmoid(self.logits / self.config.importance_temperature).unflatten(0, (self.num_maps, -1))
        return learned_MF.masked_fill(self.protected(), 1.0)

    def forward(self, ecg_values_BLT: torch.Tensor, noise_BLF: torch.Tensor) -> torch.Tensor:
        """A view of each record, (B, L, T).

        Samples beyond a recording's end may change too; the model has no patches there.

        Args:
            noise_BLF: uniform numbers in [0, 1).
        """
        # In half precision, only lengths that are powers of two can be transformed.
        signal_BLT = ecg_values_BLT.to(torch.promote_types(ecg_values_BLT.dtype, torch.float32))
        importance_MF = self.importance().to(signal_BLT.dtype)
        factor_BLF = importance_MF + (1 - importance_MF) * noise_BLF.to(signal_BLT.dtype)
        return torch.fft.irfft(torch.fft.rfft(signal_BLT) * factor_BLF, n=signal_BLT.shape[-1])

    def share_loss(self) -> torch.Tensor:
        """Squared distance of the unprotected bins' mean importance from the target share."""
        return (self.importance()[:, ~self.protected()].mean() - self.config.importance_share).square()
