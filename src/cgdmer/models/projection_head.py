# SPDX-License-Identifier: Apache-2.0
"""The two-layer network from a tower's features to the space where embeddings are compared."""

import torch
from torch import nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """(B, input size) -> (B, projection size), not normalized."""

    def __init__(self, config, input_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.fc1 = nn.Linear(input_size, config.projection_hidden_size)
        self.dropout = nn.Dropout(config.projection_dropout)
        self.fc2 = nn.Linear(config.projection_hidden_size, config.projection_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(F.gelu(self.fc1(self.norm(features)))))

    @torch.no_grad()
    def center(self, features: torch.Tensor) -> None:
        """Shift the last layer so that its outputs for these features average to zero."""
        self.fc2.bias.sub_(self(features).mean(dim=0))
