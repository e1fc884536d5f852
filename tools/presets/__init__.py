# SPDX-License-Identifier: Apache-2.0
"""The presets, a module per family: its `presets(tokenizer)` gives the name of each, its configuration, and the
tokenizer where it has a text tower of its own."""

from collections.abc import Iterator

from transformers import PreTrainedConfig, PreTrainedTokenizerFast

Presets = Iterator[tuple[str, PreTrainedConfig, PreTrainedTokenizerFast | None]]
