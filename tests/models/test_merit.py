# SPDX-License-Identifier: Apache-2.0
"""MERIT's objective: its two terms, and the logged bounds."""

import math

import pytest
import torch
from tiny import tiny_batch, tiny_ecg_options, tiny_text_config
from torch.nn import functional as F

from cgdmer import MERITConfig, MERITForPreTraining
from cgdmer.models.errors import ConfigurationError


def tiny_merit(**options) -> MERITForPreTraining:
    torch.manual_seed(0)
    config = MERITConfig(
        ecg_config=tiny_ecg_options(),
        text_config=tiny_text_config(),
        **{"text_pooling": "mean", "projection_hidden_size": 12, "projection_size": 6, **options},
    )
    return MERITForPreTraining(config).eval()


@torch.no_grad()
def test_the_loss_is_the_error_of_masked_patches_plus_beta_times_infonce():
    model, batch = tiny_merit(beta=0.1, ecg_reconstruction_loss_weight=3.0), tiny_batch()
    model.config.ecg_config.normalize_patches = False
    outputs = model(**batch)
    target = batch["ecg_values"].unflatten(-1, (-1, 8))
    ecgs = batch["ecg_values"]
    variances = (ecgs - ecgs.mean(dim=2, keepdim=True)).square().mean(dim=(1, 2))
    masked = outputs.bool_masked_pos
    errors = [
        (outputs.reconstructed_patches[record] - target[record])[masked[record]].square().mean() / variances[record]
        for record in range(4)
    ]
    # Branch 2 sees the whole ECG and the whole text.
    ecg = model.get_ecg_features(batch["ecg_values"]).pooler_output
    text = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
    torch.testing.assert_close(outputs.ecg_embeds, ecg)
    torch.testing.assert_close(outputs.text_embeds, text)
    logits, own = ecg @ text.T / 0.07, torch.arange(4)
    infonce = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(outputs.loss, 3.0 * torch.stack(errors).mean() + 0.1 * infonce, atol=1e-5, rtol=1e-5)
    # In units of the record's standard deviation and with sigma^2 = 1/2, the density of a sample is
    # exp(-error) / sqrt(pi).
    units = variances.sqrt()[:, None, None, None]
    normal = torch.distributions.Normal(outputs.reconstructed_patches / units, math.sqrt(0.5))
    density = normal.log_prob(target / units)
    by_record = [density[record][masked[record]].mean() for record in range(4)]
    bound = torch.stack(by_record).mean() + math.log(math.pi) / 2
    torch.testing.assert_close(outputs.signal_bound, bound, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs.alignment_bound, math.log(4) - infonce)


def test_the_alignment_bound_is_the_information_in_perfect_embeddings():
    """For repeated texts, it is their entropy, although the loss leaves them out; for equal embeddings, it is 0."""
    model = tiny_merit()
    ids = torch.arange(1, 6)[:, None]
    repeated = torch.tensor([1] * 28 + [2, 3, 4, 4])[:, None]
    counts = torch.tensor([28.0, 1.0, 1.0, 2.0]) / 32
    for records, texts, known in (
        (ids, 1, math.log(5)),
        (repeated, 1, float(-(counts * counts.log()).sum())),
        (ids, 4, math.log(5)),  # the number of records, not of the twenty texts
    ):
        statements = (records, records.repeat_interleave(texts, dim=0))
        for embeds, wanted in ((torch.eye(6), known), (torch.ones(6, 6) / math.sqrt(6), 0.0)):
            ecg, text = (embeds[each.flatten() - 1] for each in statements)
            output = model.output_class(ecg_embeds=ecg, text_embeds=text)
            bound = model.with_losses(output, model.alignment_losses(ecg, text, *statements), statements[0])
            assert float(bound.alignment_bound) == pytest.approx(wanted, abs=1e-4)


def test_each_term_can_be_left_out():
    batch = tiny_batch()
    without_signal = tiny_merit(ecg_reconstruction_loss_weight=0.0)
    outputs = without_signal(**batch)
    assert outputs.ecg_reconstruction_loss is None and outputs.signal_bound is None and outputs.bool_masked_pos is None
    assert not hasattr(without_signal, "ecg_decoder")
    without_text = tiny_merit(beta=0.0)
    outputs = without_text(batch["ecg_values"], noise=batch["noise"])
    assert outputs.contrastive_loss is None and outputs.alignment_bound is None
    outputs.loss.backward()
    trained = {name for name, weight in without_text.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in without_text.named_parameters() if weight.grad is not None}
    with pytest.raises(ConfigurationError, match="nothing to train on"):
        tiny_merit(beta=0.0, ecg_reconstruction_loss_weight=0.0)
    with pytest.raises(ConfigurationError, match="trained on reports"):
        tiny_merit()(batch["ecg_values"])
