# SPDX-License-Identifier: Apache-2.0
"""ETP and MERL against references written here, on several processes, and saved."""

import math

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step
from transformers import AutoModel

from cgdmer import CGDMERForZeroShot, CGDMERModel
from cgdmer.models.errors import ConfigurationError
from cgdmer.training.objectives import objective_class
from cgdmer.training.objectives.base import Batch, Objective
from cgdmer.training.objectives.merl import DROPOUT, MERL
from models.tiny import tiny_config

METHODS = ["etp", "merl", "c_melt"]
SUPPORTED = [("etp", "lead_time"), ("etp", "vit"), ("etp", "resnet")]
SUPPORTED += [("merl", "lead_time"), ("merl", "vit"), ("merl", "resnet"), ("c_melt", "lead_time")]


@torch.no_grad()
def embeds(objective: Objective, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    model = objective.model
    ecg = model.get_ecg_features(batch["ecg_values"], return_dict=True).pooler_output
    text = model.get_text_features(batch["input_ids"], batch["attention_mask"], return_dict=True).pooler_output
    return ecg, text


def is_satisfied(batch: Batch, ecg: int, text: int) -> bool:
    held = set(batch["ecg_statement_ids"][ecg].tolist())
    return all(number == 0 or number in held for number in batch["text_statement_ids"][text].tolist())


def info_nce(ecg: torch.Tensor, text: torch.Tensor, left_out) -> float:
    """Both directions' cross-entropies in sum, averaged over pairs, at a temperature of 0.07.

    Args:
        left_out: whether an ECG and another record's text are no pair to tell apart, by their rows.
    """
    total, count = 0.0, len(ecg)
    for row in range(count):
        own = math.exp(ecg[row] @ text[row] / 0.07)
        others = [other for other in range(count) if other != row]
        texts = [math.exp(ecg[row] @ text[other] / 0.07) for other in others if not left_out(row, other)]
        ecgs = [math.exp(ecg[other] @ text[row] / 0.07) for other in others if not left_out(other, row)]
        total -= math.log(own / (own + sum(texts))) + math.log(own / (own + sum(ecgs)))
    return total / count


def test_etp_is_the_contrast_of_pairs_without_texts_that_hold():
    objective, batch = objective_on("etp"), batch_for("etp")
    assert is_satisfied(batch, 6, 0) and not is_satisfied(batch, 0, 6)
    expected = info_nce(*embeds(objective, batch), lambda ecg, text: is_satisfied(batch, ecg, text)) / 2
    found = step(objective, batch)["losses"]
    assert found["contrastive_loss"].item() == pytest.approx(expected, rel=1e-9)
    assert found["loss"] == found["contrastive_loss"]


def test_merl_adds_the_contrast_of_two_heads_on_one_feature():
    objective, batch = objective_on("merl"), batch_for("merl")
    with torch.no_grad():
        pooled = objective.ecg_model(batch["ecg_values"]).pooler_output
        weights = [(head[0].weight, head[0].bias) for head in objective.views_of_feature]
        views = [pooled @ weight.T + bias for weight, bias in weights]
    cross = info_nce(*embeds(objective, batch), lambda ecg, text: is_satisfied(batch, ecg, text))
    uni = info_nce(*(view / view.norm(dim=1, keepdim=True) for view in views), lambda first, second: False)
    found = step(objective, batch)["losses"]
    assert found["cross_modal_loss"].item() == pytest.approx(cross, rel=1e-9)
    assert found["uni_modal_loss"].item() == pytest.approx(uni, rel=1e-9)
    assert found["loss"].item() == pytest.approx(cross + uni, rel=1e-9)


def test_merl_s_views_of_a_feature_differ_by_their_dropout():
    torch.manual_seed(0)
    objective = MERL(CGDMERModel(tiny_config()))
    first, second = objective.views_of_feature
    assert first[1].p == second[1].p == DROPOUT == 0.1
    second.load_state_dict(first.state_dict())
    feature = torch.randn(4, objective.hidden_size)
    dropped = [view(feature) == 0 for view in (first, second)]
    for zeros in dropped:
        assert 0.05 < zeros.float().mean() < 0.15
    assert not torch.equal(*dropped)
    objective.eval()
    assert torch.equal(first(feature), second(feature))


@pytest.mark.parametrize(("name", "encoder"), SUPPORTED)
def test_every_weight_that_is_trained_has_a_gradient(name, encoder):
    """DDP refuses others."""
    gradients = step(objective_on(name, encoder), batch_for(name))["gradients"]
    for key, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all(), key
    assert any(key.startswith("model.text_model.") for key in gradients)


@pytest.mark.parametrize("name", METHODS)
def test_heads_that_no_loss_reaches_are_frozen(name):
    torch.manual_seed(0)
    objective = objective_class(name)(CGDMERModel(tiny_config(orthogonality_loss_weight=1.0))).double()
    frozen = {key for key, weight in objective.named_parameters() if not weight.requires_grad}
    assert frozen and all("_specific_head." in key for key in frozen)
    assert all(gradient is not None for gradient in step(objective, batch_for(name))["gradients"].values())


def two_texts_each(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each record's own text, then that of the record before, which now also holds for it."""
    texts = ("input_ids", "attention_mask", "special_tokens_mask", "text_noise", "text_statement_ids")
    more = {part: torch.stack([batch[part], batch[part].roll(1, dims=0)], dim=1).flatten(0, 1) for part in texts}
    held = torch.cat([batch["ecg_statement_ids"], batch["ecg_statement_ids"].roll(1, dims=0)[:, :1]], dim=1)
    stated = torch.cat([more["text_statement_ids"], torch.zeros(len(more["input_ids"]), 1).long()], dim=1)
    return batch | more | {"ecg_statement_ids": held, "text_statement_ids": stated}


@pytest.mark.parametrize(("name", "loss", "scale"), [("etp", "contrastive", 0.5), ("merl", "cross_modal", 1.0)])
def test_each_of_several_texts_is_a_pair_with_its_ecg(name, loss, scale):
    objective, batch = objective_on(name), two_texts_each(batch_for(name))
    ecg, text = embeds(objective, batch)

    def left_out(pair: int, other: int) -> bool:
        return is_satisfied(batch, pair // 2, other)

    expected = scale * info_nce(ecg.repeat_interleave(2, dim=0), text, left_out)
    assert step(objective, batch)["losses"][f"{loss}_loss"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_several_texts_without_statements_are_refused(name):
    batch = two_texts_each(batch_for(name))
    del batch["ecg_statement_ids"], batch["text_statement_ids"]
    with pytest.raises(ConfigurationError, match="several texts per ECG need ecg_statement_ids"):
        step(objective_on(name), batch)


@pytest.mark.parametrize(("name", "encoder"), [pair for pair in SUPPORTED if pair[0] != "etp"])
def test_the_saved_model_has_both_towers_and_nothing_else(name, encoder, tmp_path):
    objective = objective_on(name, encoder)
    step(objective, batch_for(name))
    objective.float().eval().model.save_pretrained(tmp_path)
    batch = {key: value.float() if value.is_floating_point() else value for key, value in batch_for(name).items()}
    expected = embeds(objective, batch)
    model = AutoModel.from_pretrained(tmp_path)
    assert type(model) is CGDMERModel and model.state_dict().keys() == objective.model.state_dict().keys()
    zero_shot = CGDMERForZeroShot.from_pretrained(tmp_path)
    scored = zero_shot(batch["ecg_values"], batch["input_ids"], batch["attention_mask"])
    for loaded in (model(batch["ecg_values"], batch["input_ids"], batch["attention_mask"]), scored):
        assert torch.equal(loaded.ecg_embeds, expected[0]) and torch.equal(loaded.text_embeds, expected[1])
