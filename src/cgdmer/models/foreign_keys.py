# SPDX-License-Identifier: Apache-2.0
"""Keys that others leave in the JSON files of a model: transformers of any version, and libraries that build on it.

They load. Any other key that is not an option is a misspelled one, which would silently have no effect.
"""

import difflib
import inspect
from collections.abc import Iterable
from dataclasses import fields, is_dataclass

from transformers import GenerationConfig, PreTrainedConfig

from .errors import ConfigurationError, shown

# Passed on by transformers, or written by it into several of a model's files. Not transformers_weights, which can name
# a pickle.
_OF_TRANSFORMERS = """
    attn_implementation auto_map custom_pipelines device device_map dtype experts_implementation feature_extractor_type
    fusion_config image_processor_type loss_type name_or_path num_labels output_attentions processor_class
    quantization_config tie_last_hidden_states tie_word_embeddings tokenizer_class torch_dtype
    video_processor_type
"""
# Written for every model by earlier versions.
_OF_EARLIER_VERSIONS = """
    add_cross_attention cross_attention_hidden_size finetuning_task gradient_checkpointing is_decoder prefix
    pruned_heads sep_token_id task_specific_params tf_legacy_loss tie_encoder_decoder torchscript use_bfloat16
    vocab_size xla_device
"""
# Adapters, compressed-tensors, Neuron, TRL, tensor parallelism, Sentence Transformers, Transformers.js, Unsloth.
_OF_OTHER_LIBRARIES = """
    adapters compression_config distributed_config model_max_length neuron pretraining_tp sentence_transformers
    transformers.js_config unsloth_fixed
"""
_WRITTEN = frozenset((_OF_TRANSFORMERS + _OF_EARLIER_VERSIONS + _OF_OTHER_LIBRARIES).split())


def is_written_by_others(key: str) -> bool:
    return (
        key in _WRITTEN
        or hasattr(PreTrainedConfig, key)
        # `generate` took its options from here, and Trainer sets use_cache. An installed transformers knows its own.
        or key in vars(GenerationConfig())
        or key.startswith("_")
        or key.endswith("_version")  # of the library that wrote the file
    )


def hides_part_of(owner: type, key: str) -> bool:
    """Whether an attribute of this name would replace a method or a constant of the class."""
    missing = object()
    found = inspect.getattr_static(owner, key, missing)
    if found is missing:
        return key.startswith("__")
    if isinstance(found, property):
        return found.fset is None
    return not is_dataclass(owner) or key not in {field.name for field in fields(owner)}


def refuse_unknown_options(owner: type, given: Iterable[str], options: Iterable[str]) -> None:
    """Raise a ConfigurationError for the first key that is no option of `owner`, and that others do not write."""
    for key in given:
        if is_written_by_others(key) and not hides_part_of(owner, key):
            continue
        close = difflib.get_close_matches(key[:100], list(options), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"{owner.__name__} has no option {shown(key)}.{hint}")
