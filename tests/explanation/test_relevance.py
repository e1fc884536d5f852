# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of relevance on tiny models, compared with its definition."""

import pytest
import tiny
import torch

from cgdmer import CGDMERForZeroShot
from cgdmer.explanation import relevance as module
from cgdmer.explanation.relevance import (
    LabelLogit,
    gradient_relevance,
    integrated_gradients,
    integration_path,
    occluded_pieces,
    occlusion_relevance,
)
from cgdmer.inference.scorers import TextHead
from cgdmer.models.prompt_findings import meaning_of

ENCODERS = ("cgdmer_ecg", "ecg_vit", "ecg_resnet")


@pytest.fixture(params=ENCODERS)
def model(request):
    torch.manual_seed(0)
    config = {
        "cgdmer_ecg": lambda: tiny.tiny_config(ecg_config={"initializer_range": 0.5}),
        "ecg_vit": lambda: tiny.tiny_config_with(tiny.tiny_vit_config()),
        "ecg_resnet": lambda: tiny.tiny_config_with(tiny.tiny_resnet_config()),
    }[request.param]()
    model = CGDMERForZeroShot(config).double().eval()
    for name, bias in model.ecg_model.named_parameters():
        if ".norm" in name and name.endswith("bias"):
            torch.nn.init.normal_(bias)  # at zero a ResNet only scales its input, and its slope jumps at a flat line
    return model


@pytest.fixture
def inputs():
    """Lead aVF was not recorded, the last patch is beyond the end, and both contain garbage."""
    lead_mask, patch_mask = torch.ones(1, tiny.NUM_LEADS), torch.ones(1, tiny.NUM_PATCHES)
    lead_mask[0, 5] = patch_mask[0, -1] = 0
    return {"ecg_values": tiny.tiny_ecg(1, seed=3).double(), "lead_mask": lead_mask, "patch_mask": patch_mask}


@pytest.fixture
def embed():
    return torch.nn.functional.normalize(torch.randn(6, generator=torch.Generator().manual_seed(1)), dim=0).double()


def of(model, embed) -> LabelLogit:
    return LabelLogit(model, TextHead(model, [meaning_of("a finding", None)], embed[None]))


def logit(model, inputs, embed, **changed):
    with torch.no_grad():
        return float(of(model, embed)({**inputs, **changed}))


def patch_scaled(values, lead, number, factor):
    values = values.clone()
    values[0, lead, number * tiny.PATCH_LENGTH : (number + 1) * tiny.PATCH_LENGTH] *= factor
    return values


def test_gradient_times_input_is_the_slope_of_the_logit_along_each_patch(model, inputs, embed):
    found = gradient_relevance(of(model, embed), inputs, path=(1.0,), weights=(1.0,))
    step = 1e-5
    for lead, number in [(0, 0), (3, 4), (7, 2), (11, 6)]:
        up = logit(model, inputs, embed, ecg_values=patch_scaled(inputs["ecg_values"], lead, number, 1 + step))
        down = logit(model, inputs, embed, ecg_values=patch_scaled(inputs["ecg_values"], lead, number, 1 - step))
        assert float(found[lead, number]) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-7)


def test_along_the_whole_path_relevance_adds_up_to_the_difference_from_a_flat_line(model, inputs, embed):
    steps = 200
    path = [(step + 0.5) / steps for step in range(steps)]
    found = gradient_relevance(of(model, embed), inputs, path, weights=[1 / steps] * steps)
    flat = logit(model, inputs, embed, ecg_values=torch.zeros_like(inputs["ecg_values"]))
    difference = logit(model, inputs, embed) - flat
    assert abs(difference) > 0.05
    assert float(found.sum()) == pytest.approx(difference, rel=0.02)


def test_steps_are_doubled_until_little_is_missing(model, inputs, embed, monkeypatch):
    flat = logit(model, inputs, embed, ecg_values=torch.zeros_like(inputs["ecg_values"]))
    difference = logit(model, inputs, embed) - flat
    for largest, steps in ((10.0, 16), (0.0, 128)):
        monkeypatch.setattr(module, "LARGEST_REST", largest)
        found, rest = integrated_gradients(of(model, embed), inputs)
        torch.testing.assert_close(found, gradient_relevance(of(model, embed), inputs, *integration_path(steps)))
        assert float(found.sum()) + rest == pytest.approx(difference, abs=1e-6)


def test_the_path_to_the_recording_is_an_integral():
    """Of x^2, which starts slowly, and of the root of x, which starts steeply."""
    places, weights = integration_path(64)
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    for power in (2.0, 0.5):
        found = sum(weight * place**power for place, weight in zip(places, weights, strict=True))
        assert found == pytest.approx(1 / (power + 1), abs=1e-3)


def occluded(logit_of, inputs) -> torch.Tensor:
    return occlusion_relevance(logit_of, inputs, occluded_pieces(logit_of.encoder, inputs))


def integrated(*inputs) -> torch.Tensor:
    return integrated_gradients(*inputs)[0]


@pytest.mark.parametrize("method", [integrated, occluded])
def test_what_is_absent_has_no_relevance_and_no_influence(method, model, inputs, embed):
    found = method(of(model, embed), inputs)
    assert not found[5].any() and not found[:, -1].any()
    present = found[[lead for lead in range(12) if lead != 5], :-1]
    assert (present != 0).all()
    others = inputs["ecg_values"].clone()
    others[0, 5], others[0, :, -tiny.PATCH_LENGTH :] = 7.0, -3.0
    torch.testing.assert_close(method(of(model, embed), {**inputs, "ecg_values": others}), found)


def test_occlusion_is_what_a_loop_over_single_pieces_finds(model, inputs, embed, monkeypatch):
    monkeypatch.setattr(module, "OCCLUDED_SECONDS", 0.4)
    config = model.config.ecg_config
    assert config.patch_length / config.sampling_rate * 2 > module.OCCLUDED_SECONDS * 1.2  # a piece is a patch or two
    length = max(1, round(module.OCCLUDED_SECONDS * config.sampling_rate / config.patch_length))
    found = occluded(of(model, embed), inputs)
    whole = logit(model, inputs, embed)
    for lead in (0, 4, 11):
        for start in range(0, tiny.NUM_PATCHES - 1, length):
            hidden = torch.zeros(1, tiny.NUM_LEADS, tiny.NUM_PATCHES, dtype=torch.bool)
            hidden[0, lead, start : start + length] = True
            hidden[..., -1] = False
            if config.model_type == "cgdmer_ecg":
                fall = whole - logit(model, inputs, embed, bool_masked_pos=hidden)
            else:
                values = inputs["ecg_values"].clone()
                values[hidden.repeat_interleave(tiny.PATCH_LENGTH, dim=2)] = 0.0
                fall = whole - logit(model, inputs, embed, ecg_values=values)
            piece = found[lead, start : start + length].sum()
            assert float(piece) == pytest.approx(fall, rel=1e-4, abs=1e-8)


def test_a_piece_as_long_as_the_lead_is_an_absent_lead(inputs, embed, monkeypatch):
    torch.manual_seed(0)
    model = CGDMERForZeroShot(tiny.tiny_config()).double().eval()
    monkeypatch.setattr(module, "OCCLUDED_SECONDS", 100.0)
    found = occluded(of(model, embed), inputs)
    for lead in (1, 9):
        lead_mask = inputs["lead_mask"].clone()
        lead_mask[0, lead] = 0
        fall = logit(model, inputs, embed) - logit(model, inputs, embed, lead_mask=lead_mask)
        assert float(found[lead].sum()) == pytest.approx(fall, rel=1e-4)
        assert len(found[lead, :-1].unique()) == 1


def test_a_piece_that_is_all_there_is_has_no_fall(inputs, embed, monkeypatch):
    model = CGDMERForZeroShot(tiny.tiny_config()).double().eval()
    monkeypatch.setattr(module, "OCCLUDED_SECONDS", 100.0)
    lead_mask = torch.zeros_like(inputs["lead_mask"])
    lead_mask[0, 3] = 1
    assert not occluded(of(model, embed), {**inputs, "lead_mask": lead_mask}).any()
