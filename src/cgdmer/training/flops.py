# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of a training step, counted on paper from the configuration.

Counted are the matrix products and convolutions, a multiplication and an addition as two operations. Norms,
activations, the softmax of attention and the losses are left out: together they are below one per cent. Attention
counts whole, masked places and a causal decoder's upper half included. What is computed twice to save memory counts
once, so that this divided by seconds and by a device's peak rate is its model FLOP utilisation.

A product with a trained matrix costs three times its forward pass: its gradients by input and by weight cost the same
again each.
"""

import math

from transformers import PreTrainedConfig

from cgdmer.families import ecg_config_of
from cgdmer.models.configuration_lead_time_encoder import LeadTimeEncoderConfig
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.masking import most_visible

_TRAINED = 3  # times its forward pass
_TEXT_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")


def is_countable(config: PreTrainedConfig) -> bool:
    """Whether `training_step_flops` knows the towers."""
    text = getattr(config, "text_config", None)
    knows_text = text is None or all(getattr(text, name, None) is not None for name in _TEXT_SIZES)
    return knows_text and isinstance(ecg_config_of(config), LeadTimeEncoderConfig)


def training_step_flops(
    config: PreTrainedConfig,
    batch_size: int,
    text_length: int,
    frozen_text_layers: int = 0,
    distinct_texts: float = 1.0,
) -> float:
    """Operations of forward and backward pass over one batch, all branches that the configuration switches on.

    Args:
        config: of the model that is trained.
        batch_size: pairs in the batch (for the rate of several devices: of all of them together).
        text_length: tokens a text, padding included.
        frozen_text_layers: as `cgdmer.training.setup.freeze_text_layers` has them: these layers of the text tower and
            its word embeddings get no gradients.
        distinct_texts: share of the texts that are encoded whole; the others are another record's text again.

    Raises:
        ConfigurationError: the ECG encoder has no lead-time tokens, or the text tower's configuration does not state
            its sizes in BERT's names.
    """
    ecg, passes = ecg_config_of(config), config.training_passes
    if not isinstance(ecg, LeadTimeEncoderConfig):
        raise ConfigurationError(f"operations of an encoder of type {ecg.model_type!r} cannot be counted.")
    num_visible = visible_tokens(ecg)
    a_record = passes.masked * encoder_step_flops(ecg, num_visible)
    a_record += passes.whole * encoder_step_flops(ecg, ecg.num_leads * ecg.num_patches)
    a_record += passes.decoded * _TRAINED * ecg_decoder_flops(ecg, num_visible)
    a_record += passes.ecg_heads * _head_step(config, ecg.hidden_size)
    if passes.masked_texts or passes.whole_texts:
        a_record += _text_step(config, text_length, frozen_text_layers, distinct_texts)
    if passes.text_heads:
        a_record += passes.text_heads * _head_step(config, _text_size(config, "hidden_size"))
    return batch_size * a_record


def visible_tokens(config: LeadTimeEncoderConfig) -> int:
    """Tokens that the encoder sees of a record while patches are masked."""
    return most_visible(
        config.num_leads, config.num_patches, config.mask_strategy, config.mask_ratio, config.lead_mask_ratio
    )


def encoder_flops(config: LeadTimeEncoderConfig, num_tokens: int) -> float:
    """One forward pass of the ECG encoder, tokenizer included, over one record's `num_tokens` tokens."""
    tokenizer = _first_convolution(config) + _other_convolutions(config) + _token_projection(config)
    layer = layer_flops(num_tokens, config.hidden_size, config.intermediate_size)
    return num_tokens * tokenizer + config.num_hidden_layers * layer


def encoder_step_flops(config: LeadTimeEncoderConfig, num_tokens: int) -> float:
    """Forward and backward pass of the ECG encoder over one record's tokens; the signal itself needs no gradient."""
    return _TRAINED * encoder_flops(config, num_tokens) - num_tokens * _first_convolution(config)


def ecg_decoder_flops(config: LeadTimeEncoderConfig, num_visible: int) -> float:
    """One forward pass of the decoder that restores one record's masked patches."""
    num_places, width = config.num_leads * config.num_patches, config.decoder_hidden_size
    layer = layer_flops(num_places, width, config.decoder_intermediate_size)
    embedding, prediction = 2 * num_visible * config.hidden_size * width, 2 * num_places * width * config.patch_length
    return embedding + config.decoder_num_hidden_layers * layer + prediction


def layer_flops(num_tokens: int, width: int, intermediate_size: int, num_source_tokens: int = 0) -> float:
    """One forward pass of a transformer layer; with `num_source_tokens`, of one that also attends to those."""
    projections = 4 * 2 * num_tokens * width**2
    attention = 2 * 2 * num_tokens**2 * width
    feed_forward = 2 * 2 * num_tokens * width * intermediate_size
    cross_attention = 0
    if num_source_tokens:
        cross_attention = 2 * 2 * (num_tokens + num_source_tokens) * width**2
        cross_attention += 2 * 2 * num_tokens * num_source_tokens * width
    return projections + attention + feed_forward + cross_attention


def _features_a_channel(config: LeadTimeEncoderConfig) -> int:
    return (config.patch_length - 1) // config.tokenizer_stride + 1


def _first_convolution(config: LeadTimeEncoderConfig) -> float:
    """On one patch: from one channel, 15 samples wide."""
    return 2 * 15 * config.tokenizer_channels * _features_a_channel(config)


def _other_convolutions(config: LeadTimeEncoderConfig) -> float:
    """On one patch: two, from all channels, 3 wide."""
    return 2 * 2 * 3 * config.tokenizer_channels**2 * _features_a_channel(config)


def _token_projection(config: LeadTimeEncoderConfig) -> float:
    num_features = config.tokenizer_channels * _features_a_channel(config)
    return 2 * (num_features + (config.patch_length if config.raw_patch else 0)) * config.hidden_size


def _text_step(config: PreTrainedConfig, length: int, frozen_layers: int, distinct: float) -> float:
    """The text tower, and what predicts the masked tokens of one report."""
    passes = config.training_passes
    flops = _text_tower_step(config, length, frozen_layers) * (passes.masked_texts + distinct * passes.whole_texts)
    if not passes.masked_texts:
        return flops
    width, vocab_size = _text_size(config, "hidden_size"), _text_size(config, "vocab_size")
    num_masked = max(1, math.ceil(length * config.text_mask_ratio))
    if config.text_objective == "causal":
        layer = layer_flops(num_masked, width, 4 * width, num_source_tokens=length)
        flops += _TRAINED * config.text_decoder_num_hidden_layers * layer
        if frozen_layers >= _text_size(config, "num_hidden_layers"):
            flops -= config.text_decoder_num_hidden_layers * 2 * 2 * length * width**2  # no gradient by the report
    flops += _TRAINED * 2 * num_masked * width**2
    # The word embeddings are the output matrix: frozen, they need no gradient.
    return flops + (_TRAINED - (frozen_layers > 0)) * 2 * num_masked * width * vocab_size


def _text_tower_step(config: PreTrainedConfig, length: int, frozen_layers: int) -> float:
    """One pass over one text."""
    width, num_layers = _text_size(config, "hidden_size"), _text_size(config, "num_hidden_layers")
    layer = layer_flops(length, width, _text_size(config, "intermediate_size"))
    pooler = 2 * width**2 if config.text_pooling == "pooler" else 0
    num_trained = max(0, num_layers - frozen_layers)
    flops = (num_layers - num_trained) * layer + _TRAINED * (num_trained * layer + pooler)
    if frozen_layers and num_trained:
        flops -= 3 * 2 * length * width**2  # queries, keys and values of the lowest trained layer: no input gradient
    return flops


def _head_step(config: PreTrainedConfig, width: int) -> float:
    """One two-layer head on the features of one record or text."""
    return _TRAINED * 2 * config.projection_hidden_size * (width + config.projection_size)


def _text_size(config: PreTrainedConfig, name: str) -> int:
    size = getattr(config.text_config, name, None)
    if size is None:
        raise ConfigurationError(
            f"text_config ({config.text_config.model_type}) does not state {name!r}, from which the operations of a "
            "training step are counted. Only text towers with BERT's names for their sizes can be counted."
        )
    return size
