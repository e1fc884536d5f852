# SPDX-License-Identifier: Apache-2.0
"""Attention and pre-norm layers shared by the ECG encoders and both decoders.

Attention goes through transformers' attention interface: sdpa, eager, flash, or flex by `attn_implementation`.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Plain attention that also returns the weights. query, key, value: (batch, heads, tokens, head width)."""
    scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class ECGAttention(nn.Module):
    """Multi-head attention within one sequence, or from it to another (`key_value_states`)."""

    def __init__(
        self,
        config,
        hidden_size: int,
        num_heads: int,
        attention_dropout: float,
        is_causal: bool = False,
        qkv_bias: bool = True,
    ):
        super().__init__()
        self.config = config
        self.head_size = hidden_size // num_heads
        self.scaling = self.head_size**-0.5
        self.attention_dropout = attention_dropout
        self.is_causal = is_causal
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        key_value_states: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        source = hidden_states if key_value_states is None else key_value_states

        def split(states: torch.Tensor) -> torch.Tensor:
            return states.unflatten(-1, (-1, self.head_size)).transpose(1, 2)

        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, weights = attend(
            self,
            split(self.q_proj(hidden_states)),
            split(self.k_proj(source)),
            split(self.v_proj(source)),
            attention_mask,
            is_causal=self.is_causal,
            scaling=self.scaling,
            dropout=self.attention_dropout if self.training else 0.0,
            **kwargs,
        )
        return self.out_proj(attended.flatten(2)), weights


class FeedForward(nn.Module):
    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str):
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.activation = ACT2FN[hidden_act]
        self.fc2 = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class ECGLayer(GradientCheckpointingLayer):
    """One pre-norm layer: self-attention, optional cross-attention, and a feed-forward network."""

    def __init__(
        self,
        config,
        hidden_size: int,
        num_heads: int,
        intermediate_size: int,
        hidden_act: str,
        hidden_dropout: float,
        attention_dropout: float,
        is_causal: bool = False,
        cross_attention: bool = False,
        layer_norm_eps: float = 1e-6,
        qkv_bias: bool = True,
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.attention = ECGAttention(config, hidden_size, num_heads, attention_dropout, is_causal, qkv_bias)
        self.cross_attention = None
        if cross_attention:
            self.cross_attention_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
            self.cross_attention = ECGAttention(config, hidden_size, num_heads, attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, hidden_act)
        self.dropout = nn.Dropout(hidden_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        attended, _ = self.attention(self.attention_norm(hidden_states), attention_mask)
        hidden_states = hidden_states + self.dropout(attended)
        if self.cross_attention is not None:
            attended, _ = self.cross_attention(
                self.cross_attention_norm(hidden_states), encoder_attention_mask, encoder_hidden_states
            )
            hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))


def pre_norm_layers(config, qkv_bias: bool = True) -> nn.ModuleList:
    """An encoder's layers by its configuration."""
    return nn.ModuleList(
        ECGLayer(
            config,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.hidden_act,
            config.hidden_dropout,
            config.attention_dropout,
            layer_norm_eps=config.layer_norm_eps,
            qkv_bias=qkv_bias,
        )
        for _ in range(config.num_hidden_layers)
    )
