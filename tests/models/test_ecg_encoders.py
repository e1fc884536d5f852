# SPDX-License-Identifier: Apache-2.0
"""Other encoders instead of CG-DMER's own: what they compute, what they refuse, saving and loading."""

import pytest
import torch
from tiny import (
    NUM_LEADS,
    NUM_PATCHES,
    NUM_SAMPLES,
    PATCH_LENGTH,
    only_losses,
    present_patches,
    some_masks,
    spread,
    tiny_batch,
    tiny_config_with,
    tiny_ecg,
    tiny_processor,
    tiny_resnet_config,
    tiny_vit_config,
)
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining

from cgdmer import (
    CGDMERConfig,
    CGDMERECGModel,
    CGDMERForPreTraining,
    CGDMERModel,
    ECGResNetConfig,
    ECGResNetModel,
    ECGViTConfig,
    ECGViTModel,
)
from cgdmer.models.errors import ConfigurationError, ECGInputError, ModelFolderError
from cgdmer.presets import preset_folder

CONFIGS = {ECGViTModel: tiny_vit_config, ECGResNetModel: tiny_resnet_config}
CLASSES = list(CONFIGS)


def build(cls, **overrides):
    """In evaluation mode; parameters and running averages are moved, so that every part matters."""
    torch.manual_seed(0)
    model = spread(cls(CONFIGS[cls](**overrides)))
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(0.5 * torch.rand_like(buffer))
    return model


# What they compute.


@pytest.mark.parametrize(("cls", "places"), [(ECGViTModel, NUM_PATCHES), (ECGResNetModel, NUM_SAMPLES // 16)])
def test_there_is_a_token_per_time_and_none_per_lead(cls, places):
    outputs = build(cls)(tiny_ecg())
    assert outputs.last_hidden_state.shape == (4, places, 16)
    assert outputs.pooler_output.shape == (4, 16)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(dim=1))


@pytest.mark.parametrize("cls", CLASSES)
def test_leads_are_told_apart(cls):
    model = build(cls)
    difference = model(tiny_ecg()).pooler_output - model(tiny_ecg().flip(1)).pooler_output
    assert (difference.abs().amax(dim=1) > 1e-2).all()


def test_a_token_of_the_vit_is_a_convolution_over_all_leads():
    """Before the layers, the tokens are those of a strided convolution with the leads as channels."""
    model = build(ECGViTModel)
    weight = model.projection.weight.view(16, NUM_LEADS, PATCH_LENGTH)
    tokens = F.conv1d(tiny_ecg(), weight, model.projection.bias, stride=PATCH_LENGTH).transpose(1, 2)
    seen = []
    model.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(tiny_ecg())
    torch.testing.assert_close(seen[0], tokens + model.time_embedding, atol=1e-5, rtol=1e-5)


def test_the_residual_network_is_that_of_the_paper():
    """Written out from the named weights, with the normalization's formula."""
    model = build(ECGResNetModel)
    state = model.state_dict()

    def normed(signal, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{name}.{part}"][:, None] for part in parts)
        return (signal - mean) / (var + 1e-5).sqrt() * weight + bias

    hidden = F.conv1d(tiny_ecg(), state["stem.0.weight"], stride=2, padding=3)
    hidden = normed(hidden, "stem.1").relu()
    strides = [1, 1, 2, 1, 2, 1, 2, 1]
    assert len(model.layers) == len(strides)
    for number, stride in enumerate(strides):
        name = f"layers.{number}"
        changed = F.conv1d(hidden, state[f"{name}.conv1.weight"], stride=stride, padding=1)
        changed = normed(changed, f"{name}.norm1").relu()
        changed = normed(F.conv1d(changed, state[f"{name}.conv2.weight"], padding=1), f"{name}.norm2")
        if stride == 2:
            hidden = normed(F.conv1d(hidden, state[f"{name}.shortcut.0.weight"], stride=2), f"{name}.shortcut.1")
        hidden = (hidden + changed).relu()
    torch.testing.assert_close(model(tiny_ecg()).last_hidden_state, hidden.mT, atol=1e-4, rtol=1e-4)


def test_the_default_residual_network_has_18_layers_of_the_usual_widths():
    model = ECGResNetModel(ECGResNetConfig())
    weighted = [weight for name, weight in model.named_parameters() if weight.ndim == 3 and "shortcut" not in name]
    assert len(weighted) + 1 == 18  # the last of a ResNet-18 is its classifier
    assert [layer.conv2.out_channels for layer in model.layers] == [64, 64, 128, 128, 256, 256, 512, 512]


@pytest.mark.parametrize("cls", CLASSES)
def test_gradients_reach_every_parameter(cls):
    model = build(cls).train()
    model(tiny_ecg(), **some_masks()).pooler_output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("cls", CLASSES)
def test_pretraining_reaches_every_parameter(cls):
    torch.manual_seed(0)
    model = CGDMERForPreTraining(tiny_config_with(CONFIGS[cls]()))
    outputs = model(**tiny_batch())
    outputs.loss.backward()
    assert outputs.ecg_reconstruction_loss is None and outputs.bool_masked_pos is None
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name
    assert any(parameter.grad.abs().max() > 0 for parameter in model.ecg_model.parameters())


# Sizes for a comparison with the encoder of the tiny preset.


@pytest.mark.parametrize("encoder", ["resnet18", "vit"])
def test_a_preset_with_another_encoder_is_like_the_tiny_one(encoder):
    """It has about as many weights, and the same window, text tower, and heads."""
    tiny, other = (CGDMERConfig.from_pretrained(preset_folder(f"cgdmer-tiny{end}")) for end in ("", f"-{encoder}"))
    differ = {"ecg_config", "contrast_view", "ecg_reconstruction_loss_weight"}
    own, same = other.to_dict(), tiny.to_dict()
    assert {name for name in same if own[name] != same[name]} == differ
    for name in ("sampling_rate", "num_samples", "patch_length"):
        assert getattr(other.ecg_config, name) == getattr(tiny.ecg_config, name)
    encoders = [CGDMERModel(config).ecg_model for config in (tiny, other)]
    assert encoders[1].num_parameters() == pytest.approx(encoders[0].num_parameters(), rel=0.15)


# Absent leads and padded patches.


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_values_in_absent_places_never_matter(cls, attention):
    model, masks = build(cls), some_masks()
    model.set_attn_implementation(attention)
    absent = ~present_patches(**masks).repeat_interleave(PATCH_LENGTH, dim=2)
    garbage = tiny_ecg().masked_fill(absent, torch.nan)
    left, right = model(tiny_ecg(), **masks), model(garbage, **masks)
    torch.testing.assert_close(left.pooler_output, right.pooler_output)
    assert left.pooler_output.isfinite().all()


@pytest.mark.parametrize("cls", CLASSES)
def test_masks_of_ones_are_no_masks(cls):
    ones = {"lead_mask": torch.ones(4, NUM_LEADS), "patch_mask": torch.ones(4, NUM_PATCHES)}
    model = build(cls)
    torch.testing.assert_close(
        model(tiny_ecg()).pooler_output, model(tiny_ecg(), **ones).pooler_output, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_an_absent_lead_is_one_of_zeros(cls):
    lead_mask = some_masks()["lead_mask"]
    model = build(cls)
    zeros = tiny_ecg() * lead_mask[:, :, None]
    torch.testing.assert_close(model(tiny_ecg(), lead_mask).pooler_output, model(zeros).pooler_output)


def test_padded_patches_do_not_enter_the_vit():
    """The patches within the recording through the same layers, without any mask."""
    model = build(ECGViTModel)
    padded = model(tiny_ecg(), patch_mask=some_masks()["patch_mask"])
    model.time_embedding = torch.nn.Parameter(model.time_embedding[:5])
    model.config.num_samples = 5 * PATCH_LENGTH
    alone = model(tiny_ecg()[2:3, :, : 5 * PATCH_LENGTH])
    torch.testing.assert_close(padded.pooler_output[2:3], alone.pooler_output, atol=1e-5, rtol=1e-5)


def test_padded_frames_do_not_enter_the_mean_of_the_residual_network():
    """40 of 64 samples: of the frames around samples 0, 16, 32, and 48, the first three count."""
    outputs = build(ECGResNetModel)(tiny_ecg(), patch_mask=some_masks()["patch_mask"])
    torch.testing.assert_close(outputs.pooler_output[2], outputs.last_hidden_state[2, :3].mean(dim=0))
    torch.testing.assert_close(outputs.pooler_output[0], outputs.last_hidden_state[0].mean(dim=0))


@pytest.mark.parametrize("samples", [63, 64, 65, 81, 100])
def test_the_frame_mask_has_the_right_length(samples):
    window = {"num_samples": samples, "patch_length": 1}
    patch_mask = torch.ones(4, samples)
    outputs = build(ECGResNetModel, **window)(torch.randn(4, 12, samples), patch_mask=patch_mask)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(dim=1))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_record_without_anything_spoils_neither_itself_nor_others(cls, attention):
    model, masks = build(cls), some_masks()
    model.set_attn_implementation(attention)
    before = model(tiny_ecg(), **masks).pooler_output
    masks["lead_mask"][1], masks["patch_mask"][1] = 0, 0
    after = model(tiny_ecg(), **masks).pooler_output
    assert after.isfinite().all()
    torch.testing.assert_close(after[[0, 2, 3]], before[[0, 2, 3]])


# What they refuse.


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    "options",
    [
        {"contrast_view": "masked"},
        {"contrast_view": "masked_ecg"},
        {"ecg_reconstruction_loss_weight": 1.0},
        only_losses("ecg_reconstruction"),
    ],
)
def test_hidden_patches_are_refused(cls, options):
    with pytest.raises(ConfigurationError, match=r"cannot hide patches.*contrast_view.*ecg_reconstruction"):
        tiny_config_with(CONFIGS[cls](), **options)
    with pytest.raises(ConfigurationError, match="cannot hide patches"):
        build(cls)(tiny_ecg(), bool_masked_pos=torch.zeros(4, NUM_LEADS, NUM_PATCHES, dtype=torch.bool))


@pytest.mark.parametrize("cls", CLASSES)
def test_other_shapes_are_refused(cls):
    with pytest.raises(ECGInputError, match="ecg_values has shape"):
        build(cls)(tiny_ecg()[:, :, 1:])
    with pytest.raises(ECGInputError, match="patch_mask has shape"):
        build(cls)(tiny_ecg(), patch_mask=torch.ones(4, NUM_PATCHES + 1))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ECGViTConfig, {"patch_length": 33}, "patch_length.*divide"),
        (ECGViTConfig, {"hidden_size": 190}, "multiple of num_attention_heads"),
        (ECGViTConfig, {"hidden_dropout": 1.0}, "hidden_dropout is 1.0"),
        (ECGViTConfig, {"num_leads": 8}, "twelve standard leads"),
        (ECGViTConfig, {"mask_ratio": 0.5}, "ECGViTConfig has no option 'mask_ratio'"),
        (ECGResNetConfig, {"hidden_size": 20}, "multiple of 8"),
        (ECGResNetConfig, {"blocks_per_stage": 0}, "blocks_per_stage is 0"),
        (ECGResNetConfig, {"num_hidden_layers": 2}, "ECGResNetConfig has no option"),
    ],
)
def test_values_without_meaning_are_refused(make, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**options)


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ConfigurationError, match="model_type 'ecg_mamba'; expected 'cgdmer_ecg' or 'ecg_vit'"):
        CGDMERConfig(ecg_config={"model_type": "ecg_mamba"})


# Saving and loading.


@pytest.mark.parametrize("cls", CLASSES)
def test_a_saved_encoder_gives_the_same_bits(cls, tmp_path):
    model = build(cls)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is cls and type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    assert torch.equal(
        loaded(tiny_ecg(), **some_masks()).pooler_output, model(tiny_ecg(), **some_masks()).pooler_output
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_a_joint_model_loads_as_every_class_of_its_parts(cls, tmp_path):
    torch.manual_seed(0)
    joint = CGDMERForPreTraining(tiny_config_with(CONFIGS[cls]())).eval()
    joint.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is CGDMERForPreTraining
    both = AutoModel.from_pretrained(tmp_path)
    assert type(both) is CGDMERModel and type(both.ecg_model) is cls
    assert type(both.config.ecg_config) is type(joint.config.ecg_config)
    for model in (both.ecg_model, cls.from_pretrained(tmp_path)):
        state, expected = model.state_dict(), joint.ecg_model.state_dict()
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(state[name], value), name


@pytest.mark.parametrize("cls", CLASSES)
def test_the_encoder_of_cgdmer_does_not_load_from_another_ones_checkpoint(cls, tmp_path):
    CGDMERModel(tiny_config_with(CONFIGS[cls]())).save_pretrained(tmp_path)
    with pytest.raises((ModelFolderError, ConfigurationError)):
        CGDMERECGModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("cls", CLASSES)
def test_parts_missing_from_a_checkpoint_are_initialized_as_by_the_constructor(cls):
    torch.use_deterministic_algorithms(True)  # fills new tensors with NaN
    try:
        torch.manual_seed(0)
        built = cls(CONFIGS[cls](hidden_size=64)).state_dict()
        loaded = cls.from_pretrained(None, config=CONFIGS[cls](hidden_size=64), state_dict={}).state_dict()
    finally:
        torch.use_deterministic_algorithms(False)
    assert built.keys() == loaded.keys()
    for name, value in loaded.items():
        assert value.isfinite().all() and built[name].isfinite().all(), name
        if built[name].unique().numel() == 1 or name == "time_embedding":
            assert torch.equal(value, built[name]), name
        else:
            assert value.std().item() == pytest.approx(built[name].std().item(), rel=0.5), name


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (ECGViTModel, {"projection.weight", "time_embedding", "layers.1.attention.q_proj.weight", "norm.bias"}),
        (
            ECGResNetModel,
            {"stem.0.weight", "stem.1.running_var", "layers.7.conv2.weight", "layers.2.shortcut.1.bias"},
        ),
    ],
)
def test_weight_names_are_those_of_saved_checkpoints(cls, names):
    assert names <= build(cls).state_dict().keys()


@pytest.mark.parametrize("cls", CLASSES)
def test_hidden_states_are_returned(cls):
    model = build(cls)
    assert len(model(tiny_ecg(), output_hidden_states=True).hidden_states) >= len(model.layers)
