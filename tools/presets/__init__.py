# SPDX-License-Identifier: Apache-2.0
"""The presets, one module per family. Its `presets(tokenizer)` yields each preset's name, its configuration, and the
tokenizer if it has its own text tower."""

from collections.abc import Iterator

from transformers import PreTrainedConfig, PreTrainedTokenizerFast

Presets = Iterator[tuple[str, PreTrainedConfig, PreTrainedTokenizerFast | None]]
