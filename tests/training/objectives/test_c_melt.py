# SPDX-License-Identifier: Apache-2.0
"""C-MELT's losses against references written here, one record at a time and without padding."""

import math
from typing import NamedTuple

import pytest
import torch
from batches import batch_for
from in_processes import objective_on, step
from test_text_methods import embeds, is_satisfied, two_texts_each

from cgdmer import MERITModel
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.masking import mask_patches
from cgdmer.training.objectives.base import Batch
from cgdmer.training.objectives.c_melt import CMELT
from cgdmer.training.objectives.matching import FARTHEST, texts_to_fuse
from models.tiny import MASK, tiny_ecg_options, tiny_text_config

RECORDS = 8


class Pair(NamedTuple):
    """One ECG and one text as the method sees them: what is masked, and the tokens after each layer of the fusion."""

    masked_patches: torch.Tensor
    visible: torch.Tensor
    masked_tokens: list[int]
    fused: list
    pooled: torch.Tensor


def centered(batch: Batch) -> CMELT:
    """As at the start of a run: before, all texts have nearly the same embedding."""
    objective = objective_on("c_melt")
    assert isinstance(objective, CMELT)
    objective.center_heads(dict(batch))
    return objective


@torch.no_grad()
def pair(objective, batch: Batch, ecg: int, text: int) -> Pair:
    model, config = objective.model, objective.ecg_model.config
    masked = mask_patches(batch["noise"][[ecg]], torch.ones(1, 12, 8).bool(), "uniform", config.mask_ratio)
    visible = model.ecg_model(batch["ecg_values"][[ecg]], bool_masked_pos=masked)
    length = int(batch["attention_mask"][text].sum())
    words = [place for place in range(length) if not batch["special_tokens_mask"][text, place]]
    places = sorted(words, key=lambda place: batch["text_noise"][text, place])[: round(0.25 * len(words))]
    corrupted = batch["input_ids"][[text], :length].clone()
    corrupted[0, places] = MASK
    hidden = model.encode_text(corrupted).last_hidden_state
    everything = torch.ones(1, visible.last_hidden_state.shape[1]), torch.ones(1, length)
    fused = objective.fusion(visible.last_hidden_state, everything[0], hidden, everything[1])
    return Pair(masked[0], visible.visible_indices, places, fused, visible.pooler_output)


@torch.no_grad()
def chosen_texts(objective, batch: Batch) -> list[int]:
    """The place of each record's text, by the method's rule in plain words."""
    _, text = embeds(objective, batch)
    order = sorted(range(RECORDS), key=lambda row: float(batch["noise"][row].sum() % 1))
    chosen = list(range(RECORDS))
    for row in order[: RECORDS // 2]:
        wrong = [other for other in range(RECORDS) if not is_satisfied(batch, row, other)]
        wrong.sort(key=lambda other: float(text[row] @ text[other]))
        wrong = wrong[:FARTHEST]
        chosen[row] = wrong[int(batch["text_noise"][row, 0] * len(wrong))]
    return chosen


@torch.no_grad()
def fused_losses(objective, batch: Batch) -> dict[str, float]:
    chosen = chosen_texts(objective, batch)
    assert sum(text != row for row, text in enumerate(chosen)) == RECORDS // 2
    losses = dict.fromkeys(("matching", "text_reconstruction", "ecg_reconstruction"), 0.0)
    for row, text in enumerate(chosen):
        one = pair(objective, batch, row, text)
        halfway, last = one.fused[0], one.fused[1]
        logit = float(objective.match_head(torch.cat([last.ecg[0].mean(dim=0), last.text[0].mean(dim=0)])))
        losses["matching"] += math.log1p(math.exp(-logit if text == row else logit)) / RECORDS
        words = objective.model.text_model.get_input_embeddings().weight
        for place in one.masked_tokens:
            scores = (
                objective.vocabulary_head.transform(last.text[0, place]) @ words.T + objective.vocabulary_head.bias
            )
            probability = scores.softmax(dim=0)[batch["input_ids"][text, place]]
            losses["text_reconstruction"] -= math.log(probability) / len(one.masked_tokens) / RECORDS
        places = one.masked_patches.flatten().nonzero().T
        valid = torch.ones_like(one.visible).bool()
        restored = objective.ecg_decoder(halfway.ecg, one.visible, valid, places)[0]
        signal = batch["ecg_values"][row]
        patches = signal.unflatten(1, (8, 8)).flatten(0, 1)[places[0]]
        variance = (signal - signal.mean(dim=1, keepdim=True)).square().mean()
        losses["ecg_reconstruction"] += float((restored - patches).square().mean() / variance) / RECORDS
    return losses


def test_the_losses_of_fused_tokens():
    batch = batch_for("c_melt", RECORDS)
    objective = centered(batch)
    found = step(objective, batch)["losses"]
    for name, value in fused_losses(objective, batch).items():
        # The reconstruction's loss adds 1e-6 to a variance, and is computed in single precision.
        assert found[f"{name}_loss"].item() == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("texts", [1, 2])
def test_the_sigmoid_loss_is_a_mean_over_all_pairs(texts):
    batch = batch_for("c_melt", RECORDS)
    objective = centered(batch)
    if texts == 2:
        batch = two_texts_each(batch)
    objective.log_scale.data.fill_(1.3)
    objective.bias.data.fill_(-0.7)
    _, text = embeds(objective, batch)
    pooled = torch.cat([pair(objective, batch, row, 0).pooled for row in range(RECORDS)])
    ecg = objective.model.project("ecg", pooled).detach()  # of the masked signal
    total = 0.0
    for row in range(RECORDS * texts):
        for other in range(RECORDS * texts):
            holds = row == other or is_satisfied(batch, row // texts, other)
            logit = math.exp(1.3) * float(ecg[row // texts] @ text[other]) - 0.7
            total += math.log1p(math.exp(-logit if holds else logit))
    found = step(objective, batch)["losses"]
    assert found["siglip_loss"].item() == pytest.approx(total / (RECORDS * texts) ** 2, rel=1e-6)
    assert found["loss"].item() == pytest.approx(
        sum(value.item() for name, value in found.items() if name.endswith("_loss")), rel=1e-6
    )


def test_of_several_texts_the_first_is_fused():
    batch = batch_for("c_melt", RECORDS)
    objective = centered(batch)
    # What holds for an ECG must stay the same, since wrong texts are drawn from those that do not hold.
    one = batch | {"ecg_statement_ids": two_texts_each(batch)["ecg_statement_ids"]}
    one["text_statement_ids"] = two_texts_each(batch)["text_statement_ids"][::2]
    found = [step(objective, each)["losses"] for each in (one, two_texts_each(batch))]
    for name in ("matching_loss", "text_reconstruction_loss", "ecg_reconstruction_loss"):
        torch.testing.assert_close(found[0][name], found[1][name])


def test_a_wrong_text_is_one_of_the_least_similar_that_do_not_hold():
    count = FARTHEST + 4
    similarity = torch.arange(count).expand(count, -1) / 100.0
    holds = torch.eye(count).bool()
    holds[0, :2] = True  # the first record's least similar texts also hold for it
    holds[1] = True  # everything holds
    replaced = torch.ones(count).bool()
    replaced[2] = False
    own = torch.arange(count)
    for number, first, third in (
        (0.0, 2, 0),
        (0.999, FARTHEST + 1, FARTHEST - 1),
        (0.5, 2 + FARTHEST // 2, FARTHEST // 2),
    ):
        chosen, is_own = texts_to_fuse(similarity, holds, own, replaced, torch.full((count,), number))
        assert chosen[0] == first
        assert chosen[1] == 1 and is_own[1]
        assert chosen[2] == 2 and is_own[2]
        assert chosen[3] == third + (third >= 3)
        assert is_own.tolist() == [row in (1, 2) for row in range(count)]


def test_copies_of_a_text_come_in_the_order_of_the_batch():
    similarity = torch.tensor([[1.0, 0.3 + 1e-7, 0.3, 0.3 - 1e-7]])
    holds, one = torch.tensor([[True, False, False, False]]), torch.ones(1).bool()
    places = [
        texts_to_fuse(similarity, holds, torch.zeros(1).long(), one, torch.tensor([number]))[0].item()
        for number in (0.1, 0.5, 0.9)
    ]
    assert places == [1, 2, 3]


def test_each_loss_moves_what_it_should():
    """The ECG is restored from tokens that have seen the text, after half of the layers; copies come from nowhere."""
    objective, batch = objective_on("c_melt").train(), batch_for("c_melt", RECORDS)
    outputs = objective(**batch)

    def moves(loss: str, part: torch.nn.Module) -> bool:
        weights = list(part.parameters())
        gradients = torch.autograd.grad(outputs[f"{loss}_loss"], weights, retain_graph=True, allow_unused=True)
        return any(gradient is not None and bool(gradient.any()) for gradient in gradients)

    fusion, model = objective.fusion, objective.model
    for loss in ("ecg_reconstruction", "text_reconstruction", "matching"):
        assert moves(loss, model.ecg_model) and moves(loss, model.text_model)
        assert not moves(loss, model.ecg_shared_head) and not moves(loss, model.text_shared_head)
    assert not moves("ecg_reconstruction", fusion.ecg_layers[1])
    assert moves("ecg_reconstruction", fusion.ecg_layers[0])
    assert moves("matching", fusion.ecg_layers[1]) and moves("text_reconstruction", fusion.text_layers[1])
    assert moves("siglip", model.ecg_shared_head) and not moves("siglip", fusion)


def test_parts_for_training_start_like_those_of_a_model():
    objective = objective_on("c_melt")
    for name in ("mask_token", "lead_embedding", "time_embedding"):
        assert getattr(objective.ecg_decoder, name).abs().max() > 0, name
    assert objective.match_head.bias.abs().max() == 0


@pytest.mark.parametrize("encoder", ["vit", "resnet"])
def test_an_encoder_that_cannot_hide_patches_is_refused(encoder):
    with pytest.raises(ConfigurationError, match=r"ecg_(vit|resnet).*--config_name cgdmer-tiny"):
        objective_on("c_melt", encoder)


def test_a_model_of_another_family_is_refused():
    config = MERITModel.config_class(ecg_config=tiny_ecg_options(), text_config=tiny_text_config())
    with pytest.raises(ConfigurationError, match=r"MERITModel.*cgdmer-tiny"):
        CMELT(MERITModel(config))


def test_a_mask_that_hides_nothing_is_refused():
    objective = objective_on("c_melt")
    objective.ecg_model.config.mask_ratio = 0.0
    with pytest.raises(ConfigurationError, match="mask_ratio hides none"):
        CMELT(objective.model)
