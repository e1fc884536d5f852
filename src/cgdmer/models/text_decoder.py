# SPDX-License-Identifier: Apache-2.0
"""Masked report reconstruction (eq. 3): predict a report's masked tokens from its corrupted text.

Shapes: B batch, S tokens per report, K masked tokens, H text width, V vocabulary.
"""

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from .transformer_layers import ECGLayer


class VocabularyHead(nn.Module):
    """Scores over the vocabulary with the encoder's own word embeddings as the output matrix."""

    def __init__(self, hidden_size: int, vocab_size: int):
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.LayerNorm(hidden_size))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    @torch.no_grad()
    def resize(self, vocab_size: int) -> None:
        """Follow the word embeddings; new words start without a bias."""
        bias = self.bias.new_zeros(vocab_size)
        kept = min(vocab_size, len(self.bias))
        bias[:kept] = self.bias[:kept]
        self.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)

    def forward(self, hidden_states: torch.Tensor, word_embeddings_VH: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.transform(hidden_states), word_embeddings_VH, self.bias)


class MaskedTokenDecoder(nn.Module):
    """A small causal decoder that predicts the masked tokens in reading order, given the corrupted report.

    Step k sees the true masked tokens before the k-th, the position that it has to fill, and, through cross-attention,
    all tokens of the corrupted report.
    """

    def __init__(self, config, text_config):
        super().__init__()
        self.config = text_config
        width = text_config.hidden_size
        # The same dropout as in the ECG encoder; a residual network has none.
        hidden_dropout = getattr(config.ecg_config, "hidden_dropout", 0.0)
        attention_dropout = getattr(config.ecg_config, "attention_dropout", 0.0)
        self.start = nn.Parameter(torch.zeros(width))
        self.position_embedding = nn.Embedding(text_config.max_position_embeddings, width)
        self.layers = nn.ModuleList(
            ECGLayer(
                text_config,
                width,
                text_config.num_attention_heads,
                4 * width,
                "gelu",
                hidden_dropout,
                attention_dropout,
                is_causal=True,
                cross_attention=True,
            )
            for _ in range(config.text_decoder_num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self,
        masked_tokens_BKH: torch.Tensor,
        positions_BK: torch.Tensor,
        valid_BK: torch.Tensor,
        report_BSH: torch.Tensor,
        attention_mask_BS: torch.Tensor,
    ) -> torch.Tensor:
        """Returns (B, K, H), from which `VocabularyHead` predicts the K masked tokens.

        Args:
            masked_tokens_BKH: word embeddings of the true masked tokens.
            positions_BK: their positions in the report.
            valid_BK: False for padding.
            report_BSH: the text encoder's states for the corrupted report.
            attention_mask_BS: its padding mask.
        """
        start = self.start.to(masked_tokens_BKH.dtype).expand(len(masked_tokens_BKH), 1, -1)
        hidden = torch.cat([start, masked_tokens_BKH[:, :-1]], dim=1) + self.position_embedding(positions_BK)
        # Padding comes last, where a causal decoder's earlier steps never look, so it needs no mask.
        causal_mask = create_causal_mask(self.config, hidden, None, None)
        report_mask = create_bidirectional_mask(
            self.config, hidden, attention_mask_BS, encoder_hidden_states=report_BSH
        )
        for layer in self.layers:
            hidden = layer(hidden, causal_mask, report_BSH, report_mask)
        return self.norm(hidden)
