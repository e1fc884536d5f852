# SPDX-License-Identifier: Apache-2.0
"""CoRe-ECG's two views: what is aligned, what is restored, and that a disabled branch costs nothing."""

from copy import deepcopy

import pytest
import torch
from test_frequency_augmentation import tiny_coreecg_config
from tiny import tiny_ecg
from torch.nn import functional as F

from cgdmer import CoReECGForPreTraining, CoReECGModel
from cgdmer.evaluation.frequency_importance import draw_frequency_importance, importance_figure
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.models.masking import mask_patches


def tiny_coreecg(**options) -> CoReECGForPreTraining:
    torch.manual_seed(0)
    model = CoReECGForPreTraining(tiny_coreecg_config(mask_strategy="dual", lead_mask_ratio=0.2, **options)).eval()
    if model.config.frequency_augmentation:
        with torch.no_grad():
            model.frequency_augmentation.logits.normal_(0.0, 0.1)
    return model


def noise_of(model, records: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(records, *shape, generator=generator) for name, shape in model.config.noise_shapes.items()
    }


@torch.no_grad()
def test_the_losses_are_those_of_two_views_one_by_one():
    model, ecg = tiny_coreecg(normalize_patches=False), tiny_ecg(3)
    noise = noise_of(model)
    lead_mask = torch.ones(3, 12, dtype=torch.int64)
    lead_mask[1, 7:] = 0
    outputs = model(ecg, lead_mask=lead_mask, **noise)
    embeds, errors = [], []
    for view in range(2):
        perturbed = model.frequency_augmentation(ecg, noise["spectrum_noise"][:, view])
        present = lead_mask.bool()[:, :, None].expand(-1, -1, 8)
        masked = mask_patches(noise["noise"][:, view], present, "dual", 0.5, 0.2)
        encoded = model.ecg_model(perturbed, lead_mask=lead_mask, bool_masked_pos=masked)
        embeds.append(F.normalize(model.ecg_head(encoded.pooler_output), dim=-1))
        visible = (encoded.last_hidden_state, encoded.visible_indices, encoded.visible_mask)
        decoded = model.ecg_decoder(*visible, torch.arange(96).expand(3, -1)).unflatten(1, (12, 8))
        clean = ecg.unflatten(-1, (-1, 8))  # the target is the original signal, not the perturbed one
        for record in range(3):
            recorded = ecg[record, lead_mask[record].bool()]
            variance = (recorded - recorded.mean(dim=1, keepdim=True)).square().mean()
            errors.append((decoded[record] - clean[record])[masked[record]].square().mean() / variance)
        if view == 0:
            assert torch.equal(outputs.bool_masked_pos, masked)
            torch.testing.assert_close(outputs.reconstructed_patches, decoded)
    torch.testing.assert_close(torch.stack([outputs.first_embeds, outputs.second_embeds]), torch.stack(embeds))
    logits, own = embeds[0] @ embeds[1].T / 0.1, torch.arange(3)
    contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(outputs.contrastive_loss, contrast, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.ecg_reconstruction_loss, torch.stack(errors).mean())
    weights = model.loss_weights()
    total = sum(weights[name] * outputs[f"{name}_loss"] for name in weights)
    torch.testing.assert_close(outputs.loss, total)


@pytest.mark.parametrize(
    ("options", "losses", "views"),
    [
        ({}, ("contrastive", "ecg_reconstruction", "importance"), 2),
        ({"ecg_reconstruction_loss_weight": 0.0}, ("contrastive", "importance"), 2),
        ({"contrastive_loss_weight": 0.0}, ("ecg_reconstruction", "importance"), 1),
        ({"frequency_augmentation": False}, ("contrastive", "ecg_reconstruction"), 2),
    ],
    ids=str,
)
def test_disabled_parts_do_not_exist_and_all_others_are_trained(options, losses, views):
    model = tiny_coreecg(**options)
    passes = []
    model.ecg_model.register_forward_hook(lambda module, arguments, output: passes.append(len(output.pooler_output)))
    outputs = model(tiny_ecg(3), **noise_of(model))
    assert {name.removesuffix("_loss") for name in outputs if name.endswith("_loss")} == set(losses)
    assert passes == [3 * views]
    outputs.loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_without_a_loss_there_is_nothing_to_train():
    with pytest.raises(ConfigurationError, match="nothing to train on"):
        tiny_coreecg(ecg_reconstruction_loss_weight=0.0, contrastive_loss_weight=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance_loss_weight": float("nan")}, "importance_loss_weight is nan"),
        ({"protected_from_hz": 40.0, "protected_to_hz": 0.5}, "no less than that"),
        ({"mask_ratio": 0.01, "lead_mask_ratio": 0.05}, "nothing to reconstruct"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        tiny_coreecg_config(**{"mask_strategy": "dual", "lead_mask_ratio": 0.2} | options)


def test_each_view_of_each_step_is_perturbed_and_masked_anew():
    model, ecg = tiny_coreecg().train(), tiny_ecg(2)
    views, masks = [], []
    model.frequency_augmentation.register_forward_hook(lambda module, given, made: views.extend(made.chunk(2)))
    for _ in range(2):
        masks.extend(model(ecg).bool_masked_pos.chunk(2))
    for drawn in (views, masks):
        assert len(drawn) == 4
        assert all(not torch.equal(drawn[one], drawn[other]) for one in range(4) for other in range(one))


def test_centered_heads_spread_the_records():
    model, ecg = tiny_coreecg(), tiny_ecg(40)

    def mean_cosine() -> float:
        with torch.no_grad():
            embeds = F.normalize(model.ecg_head(model.ecg_model(ecg).pooler_output), dim=-1)
        return float((embeds @ embeds.T).mean())

    assert mean_cosine() > 0.5
    model.center_heads({"ecg_values": ecg})
    assert mean_cosine() < 0.1


def test_the_figure_shows_the_learned_map(tmp_path):
    model = tiny_coreecg(importance_per_lead=True)
    (axes,) = importance_figure(model).axes
    assert [line.get_label() for line in axes.lines][:2] == ["I", "II"] and len(axes.lines) == 12
    learned = model.frequency_augmentation.importance().detach()
    for line, curve in zip(axes.lines, learned, strict=True):
        torch.testing.assert_close(torch.as_tensor(line.get_xdata()), torch.arange(33, dtype=torch.float64) / 2)
        torch.testing.assert_close(torch.as_tensor(line.get_ydata()), curve)
    draw_frequency_importance(tmp_path / "importance.png", deepcopy(model).to(torch.bfloat16))
    assert (tmp_path / "importance.png").stat().st_size > 10_000
    model.save_pretrained(tmp_path / "run")
    again = CoReECGForPreTraining.from_pretrained(tmp_path / "run").frequency_augmentation.importance()
    torch.testing.assert_close(again.detach(), learned)
    with pytest.raises(ModelFolderError, match="frequency_augmentation is False"):
        importance_figure(tiny_coreecg(frequency_augmentation=False))
    with pytest.raises(ModelFolderError, match="learns no importance"):
        importance_figure(CoReECGModel.from_pretrained(tmp_path / "run"))
