# SPDX-License-Identifier: Apache-2.0
"""Pretraining: branches switch off, gradients reach everything, and nothing sees what it must predict."""

import math

import pytest
import torch
from tiny import (
    LOSSES,
    MASK,
    NUM_LEADS,
    NUM_PATCHES,
    PATCH_LENGTH,
    TABLE_3,
    only_losses,
    spread,
    tiny_batch,
    tiny_config,
    tiny_ecg,
    tiny_reports,
    tiny_text_config,
)

from cgdmer import CGDMERConfig, CGDMERForPreTraining
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.masking import mask_report_tokens
from cgdmer.models.text_decoder import MaskedTokenDecoder

PARTS_OF = {
    "ecg_reconstruction": ("ecg_decoder.",),
    "text_reconstruction": ("text_decoder.", "vocabulary_head."),
    "orthogonality": ("ecg_specific_head.", "text_specific_head."),
    "siglip": ("siglip_log_scale", "siglip_bias"),
    "contrastive": (),
}


def build(**overrides) -> CGDMERForPreTraining:
    torch.manual_seed(0)
    return spread(CGDMERForPreTraining(tiny_config(**overrides)))


def signals_alone(batch: dict) -> dict:
    return {name: batch[name] for name in ("ecg_values", "noise")}


def masked_tokens(model, batch: dict) -> torch.Tensor:
    maskable = batch["attention_mask"].bool() & ~batch["special_tokens_mask"].bool()
    return mask_report_tokens(batch["text_noise"], maskable, model.config.text_mask_ratio)[0]


def with_other_masked_words(model, batch: dict) -> dict:
    """The same batch, but every masked token was another word (still not a special one)."""
    masked = masked_tokens(model, batch)
    assert masked.any(dim=1).all()
    others = (batch["input_ids"] - MASK - 1 + 7) % (40 - MASK - 1) + MASK + 1
    return batch | {"input_ids": torch.where(masked, others, batch["input_ids"])}


# Branches.


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_zero_removes_its_branch(name):
    whole, without = build(), build(**{f"{name}_loss_weight": 0})
    removed = whole.state_dict().keys() - without.state_dict().keys()
    assert removed == {weight for weight in whole.state_dict() if weight.startswith(PARTS_OF[name])}
    assert {weight.split(".")[0] for weight in removed} == {part.rstrip(".") for part in PARTS_OF[name]}
    outputs = without(**tiny_batch())
    assert f"{name}_loss" not in outputs
    for other in LOSSES:
        if other != name:
            assert outputs[f"{other}_loss"].isfinite()
    assert (outputs.reconstructed_patches is None) == (name == "ecg_reconstruction")


def test_the_loss_is_the_weighted_sum():
    weights = dict(zip(LOSSES, (0.5, 2, 3.0, 0.25, 0.1), strict=True))
    model = build(**{f"{name}_loss_weight": weight for name, weight in weights.items()})
    outputs = model(**tiny_batch())
    total = sum(weight * outputs[f"{name}_loss"] for name, weight in weights.items())
    torch.testing.assert_close(outputs.loss, total)
    plain = build()(**tiny_batch())
    for name in LOSSES:
        torch.testing.assert_close(outputs[f"{name}_loss"], plain[f"{name}_loss"])


VARIANTS = [
    *(pytest.param(only_losses(*names), id="+".join(names)) for names in TABLE_3),
    pytest.param(only_losses("ecg_reconstruction"), id="signals alone"),
    pytest.param(only_losses("text_reconstruction"), id="reports alone"),
    pytest.param(only_losses("siglip"), id="siglip alone"),
    pytest.param({"text_objective": "mlm"}, id="mlm"),
    pytest.param({"contrast_view": "full"}, id="full view"),
    pytest.param({"contrast_view": "full", "text_objective": "mlm"}, id="full view, mlm"),
    pytest.param({"contrast_view": "full", **only_losses("contrastive")}, id="full view, contrastive"),
    pytest.param({"text_pooling": "mean"}, id="mean"),
    pytest.param({"text_pooling": "mean", **only_losses("text_reconstruction")}, id="mean, reports alone"),
    pytest.param({"ecg_config": {"mask_ratio": 0}, "ecg_reconstruction_loss_weight": 0.0}, id="nothing masked"),
]


@pytest.mark.parametrize("overrides", VARIANTS)
def test_every_trainable_parameter_gets_a_gradient(overrides):
    """So that DDP need not search for unused parameters; the others are frozen."""
    model = build(**overrides).train()
    outputs = model(**tiny_batch())
    assert outputs.loss.isfinite()
    outputs.loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), name
    assert sum(parameter.requires_grad for parameter in model.parameters()) > 10


def test_signals_alone_need_no_reports():
    model = build(**only_losses("ecg_reconstruction"))
    outputs = model(**signals_alone(tiny_batch()))
    assert outputs.loss == outputs.ecg_reconstruction_loss
    assert outputs.ecg_embeds is None
    assert not any(parameter.requires_grad for parameter in model.text_model.parameters())
    with pytest.raises(ConfigurationError, match="input_ids is missing"):
        build()(**signals_alone(tiny_batch()))


def test_frozen_parts_stay_frozen_after_loading(tmp_path):
    model = build(**only_losses("ecg_reconstruction"))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert "ecg_shared_head.fc1.weight" in frozen
    assert any(name.startswith("text_model.encoder") for name in frozen)
    assert not any(name.startswith(("ecg_model.", "ecg_decoder.")) for name in frozen)
    model.save_pretrained(tmp_path)
    loaded = CGDMERForPreTraining.from_pretrained(tmp_path)
    assert {name for name, parameter in loaded.named_parameters() if not parameter.requires_grad} == frozen


def test_the_sigmoid_loss_starts_at_its_scale_and_bias(tmp_path):
    """At scale 1 and bias 0, it would be the printed eq. 6, which rewards collapse."""
    other = {"siglip_initial_scale": 5, "siglip_initial_bias": -2}
    for options, scale, bias in (({}, 10.0, -10.0), (other, 5.0, -2.0)):
        model = CGDMERForPreTraining(tiny_config(**options))
        assert model.siglip_log_scale.exp().item() == pytest.approx(scale)
        assert model.siglip_bias.item() == bias
        assert model.siglip_log_scale.requires_grad
        assert model.siglip_bias.requires_grad
    with torch.no_grad():
        model.siglip_bias.fill_(-3.0)
    model.save_pretrained(tmp_path)
    assert CGDMERForPreTraining.from_pretrained(tmp_path).siglip_bias.item() == -3.0


# Randomness.


def test_the_noise_determines_the_loss():
    model = build()
    first, second = model(**tiny_batch()), model(**tiny_batch())
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.bool_masked_pos, second.bool_masked_pos)
    for name in ("noise", "text_noise"):
        torch.manual_seed(5)
        batch = {key: value for key, value in tiny_batch().items() if key != name}
        drawn = [model(**batch).loss for _ in range(2)]
        assert drawn[0] != drawn[1], f"{name} is drawn again"
        torch.manual_seed(5)
        assert model(**batch).loss == drawn[0]


@pytest.mark.parametrize("strategy", ["uniform", "time", "lead", "dual"])
def test_the_mask_follows_the_configuration(strategy):
    batch = tiny_batch()
    masks = {"lead_mask": torch.ones(4, NUM_LEADS), "patch_mask": torch.ones(4, NUM_PATCHES)}
    masks["lead_mask"][1, 4:] = 0
    masks["patch_mask"][2, 4:] = 0
    outputs = build(ecg_config={"mask_strategy": strategy, "lead_mask_ratio": 0.25})(**batch, **masks)
    counts = outputs.bool_masked_pos.sum(dim=(1, 2)).tolist()
    complete = {"uniform": 48, "time": 48, "lead": 48, "dual": 96 - 4 * 9}[strategy]
    assert counts[0] == counts[3] == complete
    assert counts[1] == {"uniform": 16, "time": 16, "lead": 16, "dual": 32 - 4 * 3}[strategy]
    assert counts[2] == {"uniform": 24, "time": 24, "lead": 24, "dual": 48 - 2 * 9}[strategy]
    for name in LOSSES:
        assert outputs[f"{name}_loss"].isfinite()


# What the encoder and the decoders must not see.


def test_the_encoder_does_not_see_masked_patches():
    model, batch = build(), tiny_batch()
    before = model(**batch)
    hidden = before.bool_masked_pos.repeat_interleave(PATCH_LENGTH, dim=2)
    changed = batch | {"ecg_values": torch.where(hidden, 3 * torch.randn(hidden.shape), batch["ecg_values"])}
    after = model(**changed)
    for name in ("ecg_embeds", "text_embeds", "reconstructed_patches", "contrastive_loss", "siglip_loss"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert torch.equal(before.orthogonality_loss, after.orthogonality_loss)
    assert abs(before.ecg_reconstruction_loss - after.ecg_reconstruction_loss) > 1e-3
    visible = batch | {"ecg_values": torch.where(hidden, batch["ecg_values"], 2 * batch["ecg_values"] + 1)}
    assert not torch.allclose(before.ecg_embeds, model(**visible).ecg_embeds, atol=1e-3)


def test_only_predictions_of_masked_patches_are_trained():
    outputs = build()(**tiny_batch())
    gradient = torch.autograd.grad(outputs.ecg_reconstruction_loss, outputs.reconstructed_patches)[0]
    assert torch.equal(gradient.any(dim=-1), outputs.bool_masked_pos)


def test_masked_patches_are_told_apart_by_their_place():
    """All masked patches enter the decoder as the same token; lead and time embeddings tell them apart."""
    outputs = build()(**tiny_batch())
    predicted = outputs.reconstructed_patches[0][outputs.bool_masked_pos[0]]
    distances = torch.cdist(predicted, predicted) + torch.eye(len(predicted))
    assert distances.min() > 1e-3


@pytest.mark.parametrize("objective", ["causal", "mlm"])
def test_the_text_encoder_does_not_see_masked_words(objective):
    model, batch = build(text_objective=objective), tiny_batch()
    before, after = model(**batch), model(**with_other_masked_words(model, batch))
    for name in ("text_embeds", "ecg_embeds", "contrastive_loss", "siglip_loss", "orthogonality_loss"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert abs(before.text_reconstruction_loss - after.text_reconstruction_loss) > 1e-3
    kept = batch | {"input_ids": torch.where(masked_tokens(model, batch), batch["input_ids"], 9)}
    assert not torch.allclose(before.text_embeds, model(**kept).text_embeds, atol=1e-3)


@pytest.mark.parametrize("objective", ["causal", "mlm"])
def test_the_text_loss_is_the_cross_entropy_of_the_masked_words(objective):
    """By hand: corrupt, encode, score against the word embeddings, and average per report, then over reports."""
    model, batch = build(text_objective=objective, text_mask_ratio=0.4), tiny_batch()
    masked = masked_tokens(model, batch)
    corrupted = torch.where(masked, MASK, batch["input_ids"])
    states = model.text_model(corrupted, attention_mask=batch["attention_mask"]).last_hidden_state
    words = model.text_model.get_input_embeddings()
    total = 0.0
    for row in range(4):
        places = masked[row].nonzero().flatten()
        tokens = batch["input_ids"][row, places]
        predicted = states[row, places]
        if objective == "causal":
            predicted = model.text_decoder(
                words(tokens)[None],
                places[None],
                torch.ones(1, len(places), dtype=torch.bool),
                states[row : row + 1],
                batch["attention_mask"][row : row + 1],
            )[0]
        head = model.vocabulary_head
        scores = head.transform(predicted) @ words.weight.T + head.bias
        total += torch.nn.functional.cross_entropy(scores, tokens)
    torch.testing.assert_close(model(**batch).text_reconstruction_loss, total / 4, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_causal_decoder_sees_neither_the_word_it_predicts_nor_later_ones(attention):
    torch.manual_seed(0)
    text_config = tiny_text_config()
    text_config._attn_implementation = attention
    decoder = MaskedTokenDecoder(tiny_config(text_decoder_num_hidden_layers=2), text_config).eval()
    torch.nn.init.normal_(decoder.start)
    words, report = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    positions = torch.tensor([[1, 2, 4, 6, 7], [1, 3, 4, 5, 8]])
    valid, attention_mask = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 9, dtype=torch.int64)
    attention_mask[:, 7:] = 0

    def decode(words=words, positions=positions, report=report):
        return decoder(words, positions, valid, report, attention_mask)

    before = decode()
    assert before.shape == (2, 5, 16)
    for k in range(5):
        other = words.clone()
        other[:, k] += torch.randn(16)
        different = (decode(words=other) - before).abs().amax(dim=(0, 2)) > 1e-4
        assert different.tolist() == [False] * (k + 1) + [True] * (4 - k)
    for k in range(5):
        other = positions.clone()
        other[:, k] += 10
        different = (decode(positions=other) - before).abs().amax(dim=(0, 2)) > 1e-4
        assert different.tolist() == [False] * k + [True] * (5 - k), "the place to fill is known"
    padding, seen = report.clone(), report.clone()
    padding[:, 7:] += 1
    seen[:, 6] += 1
    torch.testing.assert_close(decode(report=padding), before)
    assert ((decode(report=seen) - before).abs().amax(dim=(0, 2)) > 1e-4).all()


def test_special_tokens_and_padding_are_never_corrupted():
    model, batch = build(text_mask_ratio=1.0), tiny_batch()
    seen = []
    model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    model(**batch)
    special = batch["special_tokens_mask"].bool()
    assert torch.equal(seen[0][special], batch["input_ids"][special])
    assert (seen[0][~special] == MASK).all()


# Views, matching pairs, padding.


def test_the_full_view_embeds_unmasked_inputs():
    batch = tiny_batch()
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    for view, equal in (("full", True), ("masked", False)):
        model = build(contrast_view=view)
        outputs = model(**batch)
        ecg = model.get_ecg_features(batch["ecg_values"]).pooler_output
        text = model.get_text_features(**texts).pooler_output
        assert torch.allclose(outputs.ecg_embeds, ecg, atol=1e-5) is equal
        assert torch.allclose(outputs.text_embeds, text, atol=1e-5) is equal
    full, masked = build(contrast_view="full")(**batch), build()(**batch)
    for name in ("ecg_reconstruction_loss", "text_reconstruction_loss"):
        torch.testing.assert_close(getattr(full, name), getattr(masked, name))


def test_the_full_view_without_reconstruction_runs_the_encoder_once():
    batch, model = tiny_batch(), build(contrast_view="full", **only_losses("contrastive"))
    calls = []
    model.ecg_model.register_forward_hook(lambda *_: calls.append(1))
    outputs = model(**batch)
    assert len(calls) == 1
    assert outputs.bool_masked_pos is None
    torch.testing.assert_close(outputs.ecg_embeds, model.get_ecg_features(batch["ecg_values"]).pooler_output)


def test_without_text_reconstruction_the_report_is_not_corrupted():
    model, batch = build(text_reconstruction_loss_weight=0), tiny_batch()
    text = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
    torch.testing.assert_close(model(**batch).text_embeds, text)


def test_matching_pairs_reach_both_losses():
    model, batch = build(), tiny_batch()
    statements = torch.tensor([[1, 2], [2, 0], [1, 2], [3, 0]])
    plain = model(**batch)
    matched = model(**batch, ecg_statement_ids=statements, text_statement_ids=statements)
    assert matched.contrastive_loss < plain.contrastive_loss
    assert matched.siglip_loss != plain.siglip_loss
    own = torch.arange(1, 5)[:, None]
    distinct = model(**batch, ecg_statement_ids=own, text_statement_ids=own)
    assert torch.equal(distinct.loss, plain.loss)


@pytest.mark.parametrize("view", ["masked", "masked_ecg", "full"])
def test_each_of_several_texts_per_ecg_forms_a_pair_with_it(view):
    """Compared with the naive way: the ECG repeated once per text."""
    model, texts = build(contrast_view=view), tiny_reports(8)
    text_noise = torch.rand(texts["input_ids"].shape, generator=torch.Generator().manual_seed(3))
    signals = {name: tiny_batch()[name] for name in ("ecg_values", "noise")}
    held = torch.tensor([[1, 2, 9], [3, 4, 9], [5, 2, 0], [7, 8, 0]])
    stated = torch.tensor([[1], [2], [3], [9], [5], [2], [7], [8]])
    several = model(**signals, **texts, text_noise=text_noise, ecg_statement_ids=held, text_statement_ids=stated)
    again = {name: rows.repeat_interleave(2, dim=0) for name, rows in signals.items()}
    held_again = held.repeat_interleave(2, dim=0)
    naive = model(**again, **texts, text_noise=text_noise, ecg_statement_ids=held_again, text_statement_ids=stated)
    torch.testing.assert_close(several.text_embeds, naive.text_embeds)
    for name in ("contrastive", "siglip", "ecg_reconstruction"):
        torch.testing.assert_close(several[f"{name}_loss"], naive[f"{name}_loss"])
    first = {name: rows[::2] for name, rows in texts.items()}
    one = model(**signals, **first, text_noise=text_noise[::2])
    torch.testing.assert_close(several.orthogonality_loss, one.orthogonality_loss)
    corrupted = naive if view == "masked" else one  # every text is corrupted only if embeddings need it
    torch.testing.assert_close(several.text_reconstruction_loss, corrupted.text_reconstruction_loss)


def test_several_texts_per_ecg_need_statements():
    with pytest.raises(ConfigurationError, match="need ecg_statement_ids"):
        build()(tiny_ecg(), **tiny_reports(8))


def test_attention_mask_and_special_tokens_may_be_left_out():
    batch = {name: tiny_batch()[name] for name in ("ecg_values", "input_ids", "noise", "text_noise")}
    assert build()(**batch).loss.isfinite()


# The paper's size.


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_default_is_as_large_as_the_paper_says():
    with torch.device("meta"):
        model = CGDMERForPreTraining(CGDMERConfig())
    tokenizer = model.ecg_model.tokenizer
    assert (tokenizer.lead_embedding.shape, tokenizer.time_embedding.shape) == ((12, 768), (100, 768))
    assert len(model.ecg_model.layers) == 8
    assert count(model.ecg_model) == 56_873_280
    assert count(model.text_model) == 109_482_240
    assert count(model) == 190_734_254


@pytest.mark.slow
def test_one_step_at_the_size_of_the_paper():
    torch.manual_seed(0)
    model = CGDMERForPreTraining(CGDMERConfig()).train()
    generator = torch.Generator().manual_seed(0)
    ecg_values = torch.randn(2, 12, 5000, generator=generator)
    input_ids = torch.randint(1000, 30000, (2, 16), generator=generator)
    tokens = []
    hook = model.ecg_model.layers[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape))
    outputs = model(ecg_values, input_ids)
    hook.remove()
    assert tokens == [(2, 300, 768)]
    assert outputs.bool_masked_pos.sum(dim=2).unique().tolist() == [75]
    assert outputs.reconstructed_patches.shape == (2, 12, 100, 50)
    # At first, nothing is reconstructed yet, and every word is about as likely as any other.
    assert 0.9 < outputs.ecg_reconstruction_loss.item() < 5
    assert outputs.text_reconstruction_loss.item() == pytest.approx(math.log(30522), abs=0.7)
    outputs.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("view", "text_changes", "ecg_changes"),
    [("masked", True, True), ("masked_ecg", False, True), ("full", False, False)],
)
def test_which_masks_reach_the_embeddings(view, text_changes, ecg_changes):
    model = build(contrast_view=view)
    batch = tiny_batch()
    other = {**batch, "noise": 1 - batch["noise"], "text_noise": 1 - batch["text_noise"]}
    with torch.no_grad():
        first, second = model(**batch), model(**other)
    assert torch.allclose(first.text_embeds, second.text_embeds, atol=1e-6) is not text_changes
    assert torch.allclose(first.ecg_embeds, second.ecg_embeds, atol=1e-6) is not ecg_changes
