# SPDX-License-Identifier: Apache-2.0
"""Operations of a training step against a count by hand, and against a step with real numbers."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, DebertaV2Config, DistilBertConfig, MPNetConfig

from cgdmer import CGDMERConfig, CGDMERForPreTraining, ECGResNetConfig, ECGViTConfig
from cgdmer.families import Purpose, class_for, ecg_config_of
from cgdmer.training.flops import peak_teraflops, step_flops
from cgdmer.training.setup import checkpoint_activations, freeze_text_layers
from small_families import FAMILIES, small_config

LENGTH, MASKED, VISIBLE, PATCHES = 50, 8, 12 * 7, 12 * 25  # tokens per report, of them masked; patches
LOSSES = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")
RECONSTRUCTION_ALONE = {f"{name}_loss_weight": 0.0 for name in LOSSES if name != "ecg_reconstruction"}
WHOLE_SIGNALS = {"contrast_view": "full", "ecg_reconstruction_loss_weight": 0.0}


def configuration(**options) -> CGDMERConfig:
    """All sizes differ, so that none can be mistaken for another unnoticed."""
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
    }
    text_config = BertConfig(
        vocab_size=1000,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
    )
    sizes = {"projection_hidden_size": 40, "projection_size": 24, "mask_token_id": 4}
    return CGDMERConfig(**{"ecg_config": ecg_config, "text_config": text_config, **sizes, **options})


def batch_of(config, records: int, texts: int = 0, length: int = LENGTH, distinct: int = 0) -> dict[str, torch.Tensor]:
    ecg = ecg_config_of(config)
    batch = {"ecg_values": torch.randn(records, ecg.num_leads, ecg.num_samples)}
    if texts:
        batch["input_ids"] = torch.randint(5, 1000, (texts, length))
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    if distinct:
        batch["distinct_texts"], batch["text_index"] = torch.arange(distinct), torch.arange(texts) % distinct
    return batch


def layer(tokens: int, width: int, intermediate: int) -> int:
    """One forward pass: four projections, the scores, their product with the values, and two more maps."""
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * intermediate


TEXT_LAYER, POOLER = layer(LENGTH, 64, 96), 2 * 64**2


def test_the_count_equals_one_by_hand():
    features = 16 * 10  # ten positions per patch
    convolution = 2 * 15 * features
    tokenizer = convolution + 2 * (2 * 3 * 16 * features) + 2 * (features + 40) * 48
    encoder = VISIBLE * tokenizer + 2 * layer(VISIBLE, 48, 80)
    restored = -(-(PATCHES - VISIBLE) // 4)  # a quarter, in training
    asking = 4 * (restored + VISIBLE) * 32**2 + 4 * restored * VISIBLE * 32 + 4 * restored * 32 * 112
    decoder = 2 * VISIBLE * 48 * 32 + 3 * asking + 2 * restored * 32 * 40
    across = 4 * (MASKED + LENGTH) * 64**2 + 4 * MASKED * LENGTH * 64
    text_decoder = 2 * (layer(MASKED, 64, 256) + across) + 2 * MASKED * 64 * (64 + 1000)
    heads = 2 * 2 * 40 * (48 + 24) + 2 * 2 * 40 * (64 + 24)
    forward = encoder + decoder + 3 * TEXT_LAYER + POOLER + text_decoder + heads
    # A product costs the same again for the gradient of each factor; the signal needs none.
    per_pair = 3 * forward - VISIBLE * convolution
    config = configuration()
    model = CGDMERForPreTraining(config)
    assert step_flops(model, batch_of(config, 3, 3)) == 3 * per_pair
    assert step_flops(model, batch_of(config, 6, 6)) == 6 * per_pair


@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_layers_need_no_gradients(frozen):
    config = configuration()
    model = CGDMERForPreTraining(config)
    whole = step_flops(model, batch_of(config, 2, 2))
    freeze_text_layers(model, frozen)
    # The lowest trained layer's queries, keys, and values pass no gradient on; the output shares the word embeddings.
    saved = 2 * frozen * TEXT_LAYER + 3 * 2 * LENGTH * 64**2 + 2 * MASKED * 64 * 1000
    assert whole - step_flops(model, batch_of(config, 2, 2)) == 2 * saved


def test_a_text_that_comes_again_is_not_encoded_again():
    config = configuration(**WHOLE_SIGNALS, text_reconstruction_loss_weight=0.0)
    model = CGDMERForPreTraining(config)
    whole = step_flops(model, batch_of(config, 3, 6, distinct=6))
    assert whole == step_flops(model, batch_of(config, 3, 6))
    assert whole - step_flops(model, batch_of(config, 3, 6, distinct=2)) == 4 * 3 * (3 * TEXT_LAYER + POOLER)


@pytest.mark.parametrize(
    "config",
    [
        *(small_config(family) for family in FAMILIES),
        configuration(text_objective="mlm", text_pooling="mean"),
        configuration(**RECONSTRUCTION_ALONE),
        configuration(ecg_config=ECGViTConfig(hidden_size=48, num_hidden_layers=1), **WHOLE_SIGNALS),
        configuration(ecg_config=ECGResNetConfig(hidden_size=64), **WHOLE_SIGNALS),
        configuration(text_config=DistilBertConfig(dim=64, n_heads=2, n_layers=1), text_pooling="mean"),
        configuration(text_config=DebertaV2Config(hidden_size=64, num_attention_heads=2, num_hidden_layers=1)),
        configuration(text_config=MPNetConfig(hidden_size=64, num_attention_heads=2, num_hidden_layers=1)),
    ],
    ids=lambda config: f"{config.model_type} {ecg_config_of(config).model_type}",
)
def test_every_model_is_counted_as_a_real_step_of_it(config):
    if getattr(getattr(config, "text_config", None), "model_type", None) == "deberta-v2":
        config.text_pooling = "mean"  # it has no pooler
    model = class_for(config, Purpose.PRETRAINING)(config).train()
    model.set_attn_implementation("eager")
    batch = batch_of(config, 2, 2 if model.takes_texts else 0, length=20)
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    compared = counter.get_total_flops() - step_flops(model, batch)
    # A few products of two ECGs with two texts, and their gradients.
    product = 2 * 2 * 2 * config.projection_size
    assert compared % product == 0
    assert 0 <= compared // product <= 9


def test_what_is_computed_twice_counts_once_and_absent_leads_count_whole():
    config = configuration()
    model, batch = CGDMERForPreTraining(config), batch_of(config, 2, 2)
    count = step_flops(model, batch)
    checkpoint_activations(model)
    assert step_flops(model, batch) == count
    lead_mask = torch.ones(2, 12)
    lead_mask[:, 3:] = 0
    assert step_flops(model, {**batch, "lead_mask": lead_mask}) == count


def test_counting_leaves_everything_as_it_was():
    config = configuration()
    model, batch = CGDMERForPreTraining(config).eval(), batch_of(config, 2, 2)
    freeze_text_layers(model, 1)
    model(**batch).loss.backward()

    def state() -> tuple[list, list]:
        tensors = [
            *model.state_dict().values(),
            *(weight.grad for weight in model.parameters()),
            torch.get_rng_state(),
        ]
        trained = [weight.requires_grad for weight in model.parameters()]
        tensors = [tensor if tensor is None else tensor.clone() for tensor in tensors]
        return tensors, [trained, model.config.to_dict(), model.config._attn_implementation, model.training]

    tensors, others = state()
    step_flops(model, batch)
    torch.testing.assert_close(state()[0], tensors, rtol=0, atol=0)
    assert state()[1] == others
    assert torch.nn.Linear(4, 4).weight.any()  # weights are initialized again


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-40GB", 312.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("Tesla T4", 65.0),
        ("NVIDIA GeForce RTX 3090", 71.0),
        ("NVIDIA T400 4GB", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_peaks_depend_on_the_whole_name(device, peak):
    assert peak_teraflops(device) == peak
