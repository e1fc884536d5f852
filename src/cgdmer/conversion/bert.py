# SPDX-License-Identifier: Apache-2.0
"""BERT as a part of released models."""

import re
from typing import Any

import torch
from transformers import BertConfig

from cgdmer.conversion.kind import ReleasedTensors

_HEAD_SIZE = 64


def bert_of(tensors: ReleasedTensors, prefix: str, **options: Any) -> tuple[BertConfig, dict[str, torch.Tensor]]:
    """Its configuration, and its weights without the prefix.

    Args:
        options: of the configuration that follow from no tensor.
    """
    tensors.drop(rf"{re.escape(prefix)}embeddings\.position_ids")  # in files of older versions of transformers
    tables = (f"{prefix}embeddings.{one}_embeddings.weight" for one in ("word", "position", "token_type"))
    words, positions, types = (tensors.dimension(table, 0) for table in tables)
    width = tensors.dimension(f"{prefix}embeddings.word_embeddings.weight", 1)
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=len([name for name in tensors.names(prefix) if name.endswith("self.query.weight")]),
        num_attention_heads=max(1, width // _HEAD_SIZE),
        intermediate_size=tensors.dimension(f"{prefix}encoder.layer.0.intermediate.dense.weight", 0),
        max_position_embeddings=positions,
        type_vocab_size=types,
        **options,
    )
    return config, tensors.take_all(prefix)
