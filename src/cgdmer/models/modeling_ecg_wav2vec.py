# SPDX-License-Identifier: Apache-2.0
"""The encoder of ECG-FM (JAMIA Open 2025, arXiv 2408.05178), MELP (ICML 2025, arXiv 2506.21803), and D-BETA.

Written from a description of what the released weights compute; nothing for their pretraining is here. It is like the
encoder of wav2vec 2.0 (Baevski et al., NeurIPS 2020, arXiv 2006.11477), with all leads as channels.

Shapes: B batch, L leads, T samples, N patches, C channels, K tokens, D their width, Q queries, E their width.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_ecg_wav2vec import ECGWav2VecConfig
from .modeling_all_leads import AllLeadsEncoder
from .modeling_classifier import ECGEncoderForClassification
from .transformer_layers import ECGAttention, FeedForward

_INITIAL_DEVIATION = 0.02  # of the class token and of queries


class Convolutions(nn.Module):
    """(B, L, T) -> (B, C, K): each takes two samples at a time, without overlap or bias.

    After the first, each channel is normalized over time.
    """

    def __init__(self, config: ECGWav2VecConfig):
        super().__init__()
        channels = config.conv_channels
        inputs = [len(config.leads)] + [channels] * (config.conv_layers - 1)
        self.layers = nn.ModuleList(nn.Conv1d(size, channels, 2, stride=2, bias=False) for size in inputs)
        self.norm = nn.GroupNorm(channels, channels, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            hidden = self.activation(self.norm(hidden) if number == 0 else hidden)
        return hidden


class ConvolutionalPositions(nn.Module):
    """(B, K, D) -> (B, K, D), added to the tokens: a grouped convolution over them tells them where they are.

    The released files store its weights as directions and a length for each place in the kernel. A converter
    multiplies them out.
    """

    def __init__(self, config: ECGWav2VecConfig):
        super().__init__()
        width, kernel = config.token_size, config.position_kernel
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.position_groups)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, hidden_BKD: torch.Tensor) -> torch.Tensor:
        # An even kernel gives one output more than there are tokens.
        found = self.convolution(hidden_BKD.transpose(1, 2))[..., : hidden_BKD.shape[1]]
        return self.activation(found).transpose(1, 2)


class PostNormLayer(GradientCheckpointingLayer):
    """Self-attention and a feed-forward network; the sum of each and its input is normalized."""

    def __init__(self, config: ECGWav2VecConfig):
        super().__init__()
        width = config.token_size
        self.attention = ECGAttention(config, width, config.num_attention_heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(width, config.intermediate_size, config.hidden_act)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        attended, _ = self.attention(hidden_states, attention_mask)
        hidden_states = self.attention_norm(hidden_states + self.dropout(attended))
        return self.feed_forward_norm(hidden_states + self.dropout(self.feed_forward(hidden_states)))


class QueryPooler(nn.Module):
    """Learned queries attend to the tokens; the feature is the mean of what they find."""

    def __init__(self, config: ECGWav2VecConfig):
        super().__init__()
        size, width, eps = config.query_size, config.token_size, config.layer_norm_eps
        self.head_size = size // config.num_query_heads
        self.queries = nn.Parameter(torch.zeros(config.num_queries, size))
        self.query_norm = nn.LayerNorm(size, eps=eps)
        self.token_norm = nn.LayerNorm(width, eps=eps)
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(width, size)
        self.v_proj = nn.Linear(width, size)
        self.out_proj = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=eps)

    def answers(self, tokens_BKD: torch.Tensor, mask_BK: torch.Tensor | None) -> torch.Tensor:
        """(B, Q, E), one for each query."""

        def split(states: torch.Tensor) -> torch.Tensor:
            return states.unflatten(-1, (-1, self.head_size)).transpose(1, 2)

        tokens = self.token_norm(tokens_BKD)
        queries = self.q_proj(self.query_norm(self.queries)).expand(tokens.shape[0], -1, -1)
        mask = None if mask_BK is None else mask_BK.bool()[:, None, None]
        found = F.scaled_dot_product_attention(
            split(queries), split(self.k_proj(tokens)), split(self.v_proj(tokens)), attn_mask=mask
        )
        return self.norm(self.out_proj(found.transpose(1, 2).flatten(2)))

    def forward(self, tokens_BKD: torch.Tensor, mask_BK: torch.Tensor | None) -> torch.Tensor:
        """(B, E)."""
        return self.answers(tokens_BKD, mask_BK).mean(dim=1)


class ECGWav2VecModel(AllLeadsEncoder):
    """Convolutions over all leads together, and a transformer over their outputs.

    Absent leads, and samples beyond a recording's end, are zeros, on which the released weights were not trained.
    Tokens beyond the end are attended to by none and not part of the feature. But the first convolution's outputs are
    normalized over the whole window, so that zeros in it change the other tokens a little.
    """

    config: ECGWav2VecConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_ecg_wav2vec.ECGWav2VecModel",
        "AutoModelForAudioClassification": "modeling_ecg_wav2vec.ECGWav2VecForECGClassification",
    }
    _no_split_modules: ClassVar = ["PostNormLayer"]
    _can_record_outputs: ClassVar = {"hidden_states": PostNormLayer, "attentions": ECGAttention}

    def __init__(self, config: ECGWav2VecConfig):
        super().__init__(config)
        width, eps = config.token_size, config.layer_norm_eps
        self.convolutions = Convolutions(config)
        self.channel_norm = nn.LayerNorm(config.conv_channels, eps=eps)
        self.projection = nn.Linear(config.conv_channels, width)
        self.positions = ConvolutionalPositions(config)
        if config.pooling == "class_token":
            self.class_token = nn.Parameter(torch.zeros(width))
        self.token_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(PostNormLayer(config) for _ in range(config.num_hidden_layers))
        if config.pooling == "queries":
            self.pooler = QueryPooler(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.convolutions.layers[0]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self and self.config.pooling == "class_token":
            init.trunc_normal_(self.class_token, std=_INITIAL_DEVIATION)
        elif isinstance(module, QueryPooler):
            init.trunc_normal_(module.queries, std=_INITIAL_DEVIATION)

    def encode(self, signal_BLT, lead_mask_BL, patch_mask_BN):
        hidden = self.projection(self.channel_norm(self.convolutions(signal_BLT).transpose(1, 2)))
        mask_BK = None
        if patch_mask_BN is not None:
            # Tokens that begin within the recording. The window's last samples may be too few for a token.
            starts = torch.arange(hidden.shape[1], device=hidden.device) * self.config.samples_per_token
            mask_BK = patch_mask_BN.bool()[:, starts // self.config.patch_length]
            hidden = hidden.masked_fill(~mask_BK[..., None], 0.0)
        hidden = hidden + self.positions(hidden)
        if self.config.pooling == "class_token":  # it has no position
            hidden = torch.cat([self.class_token.expand(hidden.shape[0], 1, -1), hidden], dim=1)
            mask_BK = None if mask_BK is None else F.pad(mask_BK, (1, 0), value=True)
        hidden = self.dropout(self.token_norm(hidden))
        attention_mask = None
        if mask_BK is not None:
            attention_mask = create_bidirectional_mask(self.config, hidden, mask_BK)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        return hidden, mask_BK

    def pool(self, hidden_BKD, mask_BK):
        if self.config.pooling == "class_token":
            return hidden_BKD[:, 0]
        if self.config.pooling == "queries":
            return self.pooler(hidden_BKD, mask_BK)
        return super().pool(hidden_BKD, mask_BK)


class ECGWav2VecForECGClassification(ECGEncoderForClassification):
    """The encoder with a linear classifier on its feature, such as ECG-FM's for 17 statements."""

    config: ECGWav2VecConfig
    encoder_class = ECGWav2VecModel
    auto_classes = ECGWav2VecModel.auto_classes
    _no_split_modules: ClassVar = ["PostNormLayer"]
