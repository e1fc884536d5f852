# SPDX-License-Identifier: Apache-2.0
"""MELP (ICML 2025, arXiv 2506.21803) with its text tower: zero-shot scores.

Written from a description of what its weights compute; parts for pretraining alone, and embeddings of single heart
beats, sentences, and tokens, are left out.

Shapes: B batch, S tokens per text, E embedding width.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_melp import MELPConfig
from .modeling_ecg_text import ECGTextModel, ZeroShotMixin
from .modeling_ecg_wav2vec import ECGWav2VecModel


class MELPModel(ECGTextModel):
    """Both towers and their heads: map ECGs and texts to unit vectors in one space.

    The text tower reads from left to right. Every text is padded to one length, and what the tower makes of one more
    token at its end stands for the text. The position of that token is the same for all texts, so the padding before
    it matters, although no token attends to it.
    """

    config: MELPConfig
    ecg_models: ClassVar = {ECGWav2VecModel.config_class.model_type: ECGWav2VecModel}
    auto_classes: ClassVar = {
        "AutoModel": "modeling_melp.MELPModel",
        "AutoModelForZeroShotImageClassification": "modeling_melp.MELPForZeroShot",
    }
    _no_split_modules: ClassVar = ["PostNormLayer"]

    def __init__(self, config: MELPConfig):
        super().__init__(config)
        size = config.projection_size
        self.ecg_head = nn.Linear(config.ecg_config.hidden_size, size, bias=False)
        self.text_head = nn.Sequential(
            nn.Linear(config.text_config.hidden_size, size), nn.GELU(), nn.Linear(size, size)
        )
        self.post_init()

    def head_of(self, modality: str) -> nn.Module:
        return self.ecg_head if modality == "ecg" else self.text_head

    def encode_text(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        """As in the base class.

        Args:
            input_ids, attention_mask: (B, S) from a tokenizer of BERT, padded on the right. Its first token is
                replaced by the one with which MELP's texts begin; what is longer than `config.text_length` is cut.
            token_type_ids: ignored; there is one kind of text.
        """
        config, length = self.config, self.config.text_length
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        missing = max(0, length - input_ids.shape[1])
        first, last = (
            torch.full_like(input_ids[:, :1], token) for token in (config.start_token_id, config.closing_token_id)
        )
        words = F.pad(input_ids[:, 1:length], (0, missing), value=config.text_config.pad_token_id or 0)
        mask = F.pad(F.pad(mask[:, :length], (0, missing)), (0, 1), value=1)
        return super().encode_text(torch.cat([first, words, last], dim=1), mask, **kwargs)


class MELPForZeroShot(ZeroShotMixin, MELPModel):
    """Prompts in, one score per prompt out."""
