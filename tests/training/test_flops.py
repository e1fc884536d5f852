# SPDX-License-Identifier: Apache-2.0
"""The count on paper against torch's own counter, which watches every operation of a real step."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, DistilBertConfig

from cgdmer import CGDMERConfig, CGDMERForPreTraining, ECGViTConfig
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_cgdmer import CGDMERECGModel
from cgdmer.presets import preset_folder
from cgdmer.training.flops import (
    encoder_flops,
    encoder_step_flops,
    is_countable,
    training_step_flops,
    visible_tokens,
)
from cgdmer.training.setup import freeze_text_layers

LOSSES = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")


def configuration(**options) -> CGDMERConfig:
    """Every size another number, so that none can stand for another one unnoticed."""
    ecg_config = {
        "sampling_rate": 100,
        "num_samples": 1000,
        "patch_length": 40,
        "tokenizer_channels": 16,
        "tokenizer_stride": 4,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 80,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 3,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 112,
        **options.pop("ecg_config", {}),
    }
    text_config = BertConfig(
        vocab_size=1000,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
    )
    return CGDMERConfig(
        **{
            "ecg_config": ecg_config,
            "text_config": text_config,
            "mask_token_id": 4,
            "projection_hidden_size": 40,
            "projection_size": 24,
            **options,
        }
    )


def without(*names: str) -> dict[str, float]:
    return {f"{name}_loss_weight": 0.0 for name in names}


def counted_step(config: CGDMERConfig, batch_size: int, text_length: int, frozen_text_layers: int = 0) -> int:
    model = CGDMERForPreTraining(config).train()
    # The counter does not know the fused attention of the CPU; written out, attention is matrix products.
    model.set_attn_implementation("eager")
    freeze_text_layers(model, frozen_text_layers)
    ecg = config.ecg_config
    with FlopCounterMode(display=False) as counter:
        model(
            ecg_values=torch.randn(batch_size, ecg.num_leads, ecg.num_samples),
            input_ids=torch.randint(5, 1000, (batch_size, text_length)),
            attention_mask=torch.ones(batch_size, text_length, dtype=torch.long),
        ).loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(without(name) for name in LOSSES),
        without(*(name for name in LOSSES if name != "ecg_reconstruction")),
        without(*(name for name in LOSSES if name != "contrastive")),
        without("contrastive", "siglip", "orthogonality"),
        {"contrast_view": "masked_ecg"},
        {"contrast_view": "full"},
        {"contrast_view": "full"} | without("ecg_reconstruction"),
        {"contrast_view": "full"} | without("contrastive", "siglip", "orthogonality"),
        {"text_objective": "mlm"},
        {"text_pooling": "mean"},
        {"ecg_config": {"mask_strategy": "lead", "raw_patch": False}},
        {"ecg_config": {"mask_strategy": "dual"}},
    ],
    ids=str,
)
def test_step_is_counted_as_torch_counts_it(options):
    config = configuration(**options)
    assert training_step_flops(config, 3, 50) == pytest.approx(counted_step(config, 3, 50), rel=0.005)


@pytest.mark.parametrize("frozen_text_layers", [1, 2, 3])
@pytest.mark.parametrize("contrast_view", ["masked", "full"])
def test_frozen_text_layers_cost_less(frozen_text_layers, contrast_view):
    config = configuration(contrast_view=contrast_view, **without("ecg_reconstruction"))
    counted = counted_step(config, 2, 90, frozen_text_layers)
    assert training_step_flops(config, 2, 90, frozen_text_layers) == pytest.approx(counted, rel=0.02)
    assert counted < 0.98 * training_step_flops(config, 2, 90)


def test_preset_is_counted_as_torch_counts_it():
    config = CGDMERConfig.from_pretrained(preset_folder("cgdmer-tiny"))
    assert training_step_flops(config, 4, 30) == pytest.approx(counted_step(config, 4, 30), rel=0.02)


def test_encoder_alone_is_counted_as_torch_counts_it():
    config = configuration().ecg_config
    assert visible_tokens(config) == 12 * 7  # three quarters of 25 patches are hidden: 18 of them
    model = CGDMERECGModel(config)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        pooled = model(torch.randn(2, 12, 1000)).pooler_output
        forward = counter.get_total_flops()
        pooled.sum().backward()
    assert encoder_flops(config, 300) * 2 == forward
    assert encoder_step_flops(config, 300) * 2 == counter.get_total_flops()


def test_what_cannot_be_counted_is_refused_and_known_beforehand():
    """A run on a GPU asks beforehand, so that it does not fail at its first step."""
    other_text = configuration(text_config=DistilBertConfig(), text_pooling="mean")
    other_ecg = CGDMERConfig(ecg_config=ECGViTConfig(), contrast_view="full", **without("ecg_reconstruction"))
    for config, message in ((other_text, "'intermediate_size'"), (other_ecg, "type 'ecg_vit' cannot be counted")):
        assert not is_countable(config)
        with pytest.raises(ConfigurationError, match=message):
            training_step_flops(config, 1, 10)
    assert is_countable(configuration())
