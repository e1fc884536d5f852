# SPDX-License-Identifier: Apache-2.0
"""What torch and transformers do to any model: quantize, export, resize, and change its precision."""

import pytest
import torch
from tiny import some_masks, spread, tiny_ecg, tiny_ecg_config, tiny_resnet_config, tiny_vit_config

import cgdmer
from cgdmer.families import Purpose, class_for, ecg_config_of
from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import SHIPPED_MODEL
from small_families import FAMILIES, small_config

ENCODERS = {
    "lead_time": (cgdmer.CGDMERECGModel, tiny_ecg_config),
    "vit": (cgdmer.ECGViTModel, tiny_vit_config),
    "resnet": (cgdmer.ECGResNetModel, tiny_resnet_config),
}


def encoder(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model_class, config = ENCODERS[kind]
    return spread(model_class(config())).eval()


@pytest.mark.filterwarnings("ignore")  # torch deprecates what users still call
@pytest.mark.parametrize("kind", ENCODERS)
def test_dynamic_int8_is_close_to_the_whole_model(kind):
    whole = encoder(kind)
    with torch.no_grad():
        expected = whole(tiny_ecg(), **some_masks()).pooler_output
        quantized = torch.ao.quantization.quantize_dynamic(whole, {torch.nn.Linear}, dtype=torch.qint8)
        found = quantized(tiny_ecg(), **some_masks()).pooler_output
    assert (found - expected).norm() < 0.1 * expected.norm()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("masked", [False, True])
def test_an_exported_program_gives_the_same_features(kind, masked):
    """Also for other masks than those that it was exported with."""
    model, masks = encoder(kind), some_masks() if masked else {}
    complete = {name: torch.ones_like(mask) for name, mask in masks.items()}
    with torch.no_grad():
        program = torch.export.export(model, (tiny_ecg(),), complete).module()
        for given in (complete, masks):
            expected = model(tiny_ecg(), **given).pooler_output
            torch.testing.assert_close(program(tiny_ecg(), **given).pooler_output, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(kind, dtype):
    model = encoder(kind)
    with torch.no_grad():
        expected = model(tiny_ecg(), **some_masks()).pooler_output
        found = model.to(dtype)(tiny_ecg().to(dtype), **some_masks()).pooler_output
    assert found.dtype == dtype and (found.float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_model_without_memory_gives_shapes(kind):
    model, config = ENCODERS[kind]
    with torch.device("meta"):
        built = model(config())
        found = built(torch.zeros(4, 12, config().num_samples)).pooler_output
    assert found.is_meta and found.shape == (4, config().hidden_size)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vocabulary_is_resized_or_there_is_none(family):
    config = small_config(family)
    model = class_for(config, Purpose.PRETRAINING)(config).eval()
    alone = class_for(ecg_config_of(config), Purpose.ENCODING)(ecg_config_of(config))
    with pytest.raises(ConfigurationError, match="no vocabulary"):
        alone.resize_token_embeddings(1200)
    if not model.takes_texts:
        with pytest.raises(ConfigurationError, match="no vocabulary"):
            model.resize_token_embeddings(1200)
        return
    before = model.get_input_embeddings().weight.detach().clone()
    ids = torch.arange(5, 15)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        expected = model.get_text_features(ids, mask).pooler_output
        model.resize_token_embeddings(len(before) + 28, mean_resizing=False)
        torch.testing.assert_close(model.get_text_features(ids, mask).pooler_output, expected)
        assert model.get_text_features(torch.full_like(ids, len(before) + 27), mask).pooler_output.isfinite().all()
    assert model.config.text_config.vocab_size == len(before) + 28
    assert torch.equal(model.get_input_embeddings().weight[: len(before)], before)
    if hasattr(model, "vocabulary_head"):
        assert len(model.vocabulary_head.bias) == len(before) + 28


def test_a_resized_model_is_saved_and_loaded(tmp_path):
    model = cgdmer.CGDMERModel.from_pretrained(SHIPPED_MODEL)
    model.resize_token_embeddings(1200)
    model.save_pretrained(tmp_path)
    again = cgdmer.CGDMERModel.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight.shape[0] == again.config.text_config.vocab_size == 1200
