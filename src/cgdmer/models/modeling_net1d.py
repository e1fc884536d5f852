# SPDX-License-Identifier: Apache-2.0
"""Net1D, the network of ECGFounder (Li et al., NEJM AI 2025, arXiv 2410.04133) and CLEF (arXiv 2512.02180).

Written from a description of what the released weights compute. Batch normalization and dropout, which the authors'
network can have, are off in all released models, so there are none here.

Shapes: B batch, L leads, T samples, N patches, F frames after the convolutions, C channels.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_net1d import Net1DConfig
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification


class SameConv1d(nn.Conv1d):
    """(B, C, F) -> (B, channels, F / stride rounded up): padded by zeros, and by the smaller half in front."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        kernel, stride, length = self.kernel_size[0], self.stride[0], hidden.shape[-1]
        total = max(0, (-(-length // stride) - 1) * stride + kernel - length)
        return super().forward(F.pad(hidden, (total // 2, total - total // 2)))


class Net1DBlock(nn.Module):
    """Three convolutions, of which the middle one is grouped, weighted by channel, plus the input.

    Args:
        inputs, width: channels before and after.
        halves: whether the block halves the length: a stage's first one does.
        activates_first: the very first block of the network does not.
    """

    def __init__(self, config: Net1DConfig, inputs: int, width: int, halves: bool, activates_first: bool):
        super().__init__()
        inner, self.halves, self.activates_first = int(width * config.width_ratio), halves, activates_first
        self.conv1 = SameConv1d(inputs, inner, 1)
        groups = width // config.group_size
        self.conv2 = SameConv1d(inner, inner, config.kernel_size, stride=2 if halves else 1, groups=groups)
        self.conv3 = SameConv1d(inner, width, 1)
        self.squeeze = nn.Linear(width, width // 2)
        self.excite = nn.Linear(width // 2, width)
        growth = width - inputs
        self.new_channels = (growth // 2, growth - growth // 2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        changed = self.conv1(F.silu(hidden) if self.activates_first else hidden)
        changed = self.conv3(F.silu(self.conv2(F.silu(changed))))
        weights_BC = self.excite(F.silu(self.squeeze(changed.mean(dim=-1)))).sigmoid()
        if self.halves:  # the zero on the right is part of the last window if the length is odd
            hidden = F.max_pool1d(F.pad(hidden, (0, 1)), kernel_size=2, stride=2)
        return changed * weights_BC[..., None] + F.pad(hidden, (0, 0, *self.new_channels))


class Net1DModel(AllLeadsEncoder):
    """A residual network of grouped convolutions with squeeze and excitation, along time.

    Absent leads, and samples beyond a recording's end, are zeros, on which the network was not trained: the feature is
    the mean over the frames within the recording.
    """

    config: Net1DConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_net1d.Net1DModel",
        "AutoModelForAudioClassification": "modeling_net1d.Net1DForECGClassification",
    }
    supports_gradient_checkpointing = False
    _can_record_outputs: ClassVar = {"hidden_states": Net1DBlock}

    def __init__(self, config: Net1DConfig):
        super().__init__(config)
        self.stem = SameConv1d(len(config.leads), config.stem_channels, config.kernel_size, stride=2)
        blocks: list[nn.Module] = []
        before = config.stem_channels
        for width, count in zip(config.hidden_channels or (), config.stage_blocks or (), strict=True):
            for number in range(count):
                blocks.append(Net1DBlock(config, before, width, halves=number == 0, activates_first=bool(blocks)))
                before = width
        self.layers = nn.ModuleList(blocks)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.stem

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        hidden = F.silu(self.stem(signal_BLT))
        for layer in self.layers:
            hidden = layer(hidden)
        mask_BF = None
        if patch_mask_BN is not None:
            frames = hidden.shape[-1]
            # The patch in which a frame begins; a frame is about as long as the window is by its number of frames.
            starts = torch.arange(frames, device=hidden.device) * patch_mask_BN.shape[1] // frames
            mask_BF = patch_mask_BN[:, starts]
        return hidden.transpose(1, 2), mask_BF


class Net1DForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature, such as ECGFounder's for 150 statements."""

    config: Net1DConfig
    encoder_class = Net1DModel
    auto_classes = Net1DModel.auto_classes
