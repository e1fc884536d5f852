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

from cgdmer.models.configuration_cgdmer import CGDMERConfig, CGDMERECGConfig
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.masking import most_visible

_TRAINED = 3  # times its forward pass
_TEXT_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")


def is_countable(config: CGDMERConfig) -> bool:
    """Whether `training_step_flops` knows both towers."""
    knows_text = all(getattr(config.text_config, name, None) is not None for name in _TEXT_SIZES)
    return knows_text and config.ecg_config.model_type == CGDMERECGConfig.model_type


def training_step_flops(
    config: CGDMERConfig,
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
        ConfigurationError: the ECG encoder is not CG-DMER's own, or the text tower's configuration does not state its
            sizes in BERT's names.
    """
    ecg = config.ecg_config
    if ecg.model_type != CGDMERECGConfig.model_type:
        raise ConfigurationError(f"operations of an encoder of type {ecg.model_type!r} cannot be counted.")
    reconstructs, aligns = config.ecg_reconstruction_loss_weight > 0, _uses_embeddings(config)
    uses_text = aligns or config.text_reconstruction_loss_weight > 0
    num_places = ecg.num_leads * ecg.num_patches
    num_visible = visible_tokens(ecg)
    a_record = 0.0
    if reconstructs or (aligns and config.contrast_view != "full"):
        a_record += encoder_step_flops(ecg, num_visible)
    if reconstructs:
        a_record += _TRAINED * ecg_decoder_flops(ecg, num_visible)
    if aligns and config.contrast_view == "full":
        a_record += encoder_step_flops(ecg, num_places)
    if uses_text:
        a_record += _text_step(config, text_length, frozen_text_layers, distinct_texts)
    if aligns:
        a_record += _heads_step(config)
    return batch_size * a_record


def visible_tokens(config: CGDMERECGConfig) -> int:
    """Tokens that the encoder sees of a record while patches are masked."""
    return most_visible(
        config.num_leads, config.num_patches, config.mask_strategy, config.mask_ratio, config.lead_mask_ratio
    )


def encoder_flops(config: CGDMERECGConfig, num_tokens: int) -> float:
    """One forward pass of the ECG encoder, tokenizer included, over one record's `num_tokens` tokens."""
    tokenizer = _first_convolution(config) + _other_convolutions(config) + _token_projection(config)
    layer = layer_flops(num_tokens, config.hidden_size, config.intermediate_size)
    return num_tokens * tokenizer + config.num_hidden_layers * layer


def encoder_step_flops(config: CGDMERECGConfig, num_tokens: int) -> float:
    """Forward and backward pass of the ECG encoder over one record's tokens; the signal itself needs no gradient."""
    return _TRAINED * encoder_flops(config, num_tokens) - num_tokens * _first_convolution(config)


def ecg_decoder_flops(config: CGDMERECGConfig, num_visible: int) -> float:
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


def _uses_embeddings(config: CGDMERConfig) -> bool:
    return config.aligns or config.orthogonality_loss_weight > 0


def _features_a_channel(config: CGDMERECGConfig) -> int:
    return (config.patch_length - 1) // config.tokenizer_stride + 1


def _first_convolution(config: CGDMERECGConfig) -> float:
    """On one patch: from one channel, 15 samples wide."""
    return 2 * 15 * config.tokenizer_channels * _features_a_channel(config)


def _other_convolutions(config: CGDMERECGConfig) -> float:
    """On one patch: two, from all channels, 3 wide."""
    return 2 * 2 * 3 * config.tokenizer_channels**2 * _features_a_channel(config)


def _token_projection(config: CGDMERECGConfig) -> float:
    num_features = config.tokenizer_channels * _features_a_channel(config)
    return 2 * (num_features + (config.patch_length if config.raw_patch else 0)) * config.hidden_size


def _text_step(config: CGDMERConfig, length: int, frozen_layers: int, distinct: float) -> float:
    """The text tower, once or twice, and what predicts the masked tokens of one report."""
    tower = _text_tower_step(config, length, frozen_layers)
    if config.text_reconstruction_loss_weight == 0:
        return distinct * tower
    encodes_whole = _uses_embeddings(config) and config.contrast_view != "masked"
    flops = tower * (1 + distinct) if encodes_whole else tower
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


def _text_tower_step(config: CGDMERConfig, length: int, frozen_layers: int) -> float:
    """One pass over one text."""
    width, num_layers = _text_size(config, "hidden_size"), _text_size(config, "num_hidden_layers")
    layer = layer_flops(length, width, _text_size(config, "intermediate_size"))
    pooler = 2 * width**2 if config.text_pooling == "pooler" else 0
    num_trained = max(0, num_layers - frozen_layers)
    flops = (num_layers - num_trained) * layer + _TRAINED * (num_trained * layer + pooler)
    if frozen_layers and num_trained:
        flops -= 3 * 2 * length * width**2  # queries, keys and values of the lowest trained layer: no input gradient
    return flops


def _heads_step(config: CGDMERConfig) -> float:
    """The shared heads, and the specific ones where orthogonality asks for them, on one pair."""
    widths = config.ecg_config.hidden_size + _text_size(config, "hidden_size")
    pair = 2 * (widths * config.projection_hidden_size + 2 * config.projection_hidden_size * config.projection_size)
    heads = 2 if config.orthogonality_loss_weight > 0 else 1
    return _TRAINED * heads * pair


def _text_size(config: CGDMERConfig, name: str) -> int:
    size = getattr(config.text_config, name, None)
    if size is None:
        raise ConfigurationError(
            f"text_config ({config.text_config.model_type}) does not state {name!r}, from which the operations of a "
            "training step are counted. Only text towers with BERT's names for their sizes can be counted."
        )
    return size


__all__ = [
    "ecg_decoder_flops",
    "encoder_flops",
    "encoder_step_flops",
    "is_countable",
    "layer_flops",
    "training_step_flops",
    "visible_tokens",
]
