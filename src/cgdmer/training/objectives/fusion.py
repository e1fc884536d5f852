# SPDX-License-Identifier: Apache-2.0
"""A small transformer in which the tokens of an ECG and of a text see each other.

Shapes: b pairs, K tokens of an ECG, S tokens of a text, D width of the ECG encoder, H width of the text tower and of
all layers here.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.masking_utils import create_bidirectional_mask

from cgdmer.models.transformer_layers import ECGLayer


class Fused(NamedTuple):
    """Tokens of both after one layer.

    Attributes:
        ecg: (b, K, H).
        text: (b, S, H).
    """

    ecg: torch.Tensor
    text: torch.Tensor


class Fusion(nn.Module):
    """In each layer, tokens attend to those of their own kind and then to those of the other before the layer.

    Args:
        ecg_config: of the encoder, for D, dropout, and how attention is computed.
        text_config: of the text tower, for H and its heads.
        layers: how many.
    """

    def __init__(self, ecg_config: Any, text_config: PreTrainedConfig, layers: int):
        super().__init__()
        self.config = ecg_config
        width, heads = text_config.hidden_size, text_config.num_attention_heads
        dropout = ecg_config.hidden_dropout, ecg_config.attention_dropout

        def stack() -> nn.ModuleList:
            return nn.ModuleList(
                ECGLayer(ecg_config, width, heads, 4 * width, "gelu", *dropout, cross_attention=True)
                for _ in range(layers)
            )

        def norms() -> nn.ModuleList:
            return nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))

        self.from_ecg = nn.Linear(ecg_config.hidden_size, width)
        self.ecg_layers, self.text_layers = stack(), stack()
        self.ecg_norms, self.text_norms = norms(), norms()

    def forward(
        self, ecg_bKD: torch.Tensor, ecg_mask_bK: torch.Tensor, text_bSH: torch.Tensor, text_mask_bS: torch.Tensor
    ) -> list[Fused]:
        """The tokens after each layer.

        Args:
            ecg_mask_bK, text_mask_bS: False or 0 for padding.
        """
        ecg, text = self.from_ecg(ecg_bKD), text_bSH
        ecg_mask, text_mask = ecg_mask_bK.bool(), text_mask_bS.bool()
        ecg_own, text_own = self._mask(ecg, ecg_mask), self._mask(text, text_mask)
        ecg_to_text, text_to_ecg = self._mask(ecg, text_mask, text), self._mask(text, ecg_mask, ecg)
        after = []
        for ecg_layer, ecg_norm, text_layer, text_norm in zip(
            self.ecg_layers, self.ecg_norms, self.text_layers, self.text_norms, strict=True
        ):
            ecg, text = (
                ecg_norm(ecg_layer(ecg, ecg_own, text, ecg_to_text)),
                text_norm(text_layer(text, text_own, ecg, text_to_ecg)),
            )
            after.append(Fused(ecg, text))
        return after

    def _mask(self, tokens: torch.Tensor, mask: torch.Tensor, others: torch.Tensor | None = None) -> Any:
        return create_bidirectional_mask(self.config, tokens, mask, encoder_hidden_states=others)
