# SPDX-License-Identifier: Apache-2.0
"""The decoder of masked patches against a naive reference, and whether it learns to restore anything."""

from itertools import islice

import pytest
import torch
from tiny import NUM_LEADS, NUM_PATCHES, only_losses, some_masks, tiny_config, tiny_ecg, tiny_ecg_config
from torch.nn import functional as F

from cgdmer import CGDMERForPreTraining
from cgdmer.models.ecg_decoder import ECGDecoder
from cgdmer.models.masking import choose_masked
from cgdmer.simulation.cohort import simulate_cohort

PLACES = NUM_LEADS * NUM_PATCHES


def decoder_with(**options) -> ECGDecoder:
    """Every weight matters."""
    torch.manual_seed(0)
    decoder = ECGDecoder(tiny_ecg_config(decoder_num_hidden_layers=2, **options)).eval().double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return decoder


def naive(decoder: ECGDecoder, tokens: dict[int, torch.Tensor], place: int, reach: int | None) -> torch.Tensor:
    """The patch at one place, from the visible tokens by their place."""

    def embedded(where: int) -> torch.Tensor:
        return decoder.lead_embedding[where // NUM_PATCHES] + decoder.time_embedding[where % NUM_PATCHES]

    def apart(where: int) -> int:
        return abs(where % NUM_PATCHES - place % NUM_PATCHES)

    near = [where for where in tokens if reach is None or apart(where) <= reach] or list(tokens)
    visible = torch.stack([decoder.embedding(tokens[where]) + embedded(where) for where in near])
    hidden = decoder.mask_token + embedded(place)
    for layer in decoder.layers:
        attention = layer.attention
        query = attention.q_proj(layer.attention_norm(hidden)).view(2, 4)
        keys = attention.k_proj(layer.visible_norm(visible)).view(-1, 2, 4)
        values = attention.v_proj(layer.visible_norm(visible)).view(-1, 2, 4)
        attended = []
        for head in range(2):
            weights = torch.softmax(keys[:, head] @ query[head] / 4**0.5, dim=0)
            attended.append(weights @ values[:, head])
        hidden = hidden + attention.out_proj(torch.cat(attended))
        hidden = hidden + layer.feed_forward(layer.feed_forward_norm(hidden))
    return decoder.prediction(decoder.norm(hidden))


@pytest.mark.parametrize("reach", [None, 1, 2, 7])
def test_each_place_asks_the_visible_tokens_in_reach(reach):
    decoder = decoder_with(decoder_reach=reach)
    generator = torch.Generator().manual_seed(1)
    indices = torch.stack([torch.randperm(PLACES, generator=generator)[:9] for _ in range(3)])
    indices[2] = torch.arange(9) * NUM_PATCHES  # the first column alone: nothing is in reach of the last
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[1, 5:] = False
    visible = torch.randn(3, 9, 16, generator=generator, dtype=torch.float64)
    places = torch.stack([torch.randperm(PLACES, generator=generator)[:20] for _ in range(3)])
    decoded = decoder(visible, indices, valid, places)
    for record in range(3):
        pairs = zip(indices[record].tolist(), visible[record], valid[record].tolist(), strict=True)
        tokens = {where: token for where, token, is_valid in pairs if is_valid}
        for row, place in enumerate(places[record].tolist()):
            torch.testing.assert_close(decoded[record, row], naive(decoder, tokens, place, reach))


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_a_training_step_restores_the_share_of_the_masked_patches(share):
    torch.manual_seed(0)
    config = tiny_config(ecg_config={"decoder_share": share, "decoder_reach": 1}, **only_losses("ecg_reconstruction"))
    model, ecg = CGDMERForPreTraining(config), tiny_ecg()
    noise = torch.rand(4, NUM_LEADS, NUM_PATCHES)
    training = model.train()(ecg, noise=noise, **some_masks())
    everything = model.eval()(ecg, noise=noise, **some_masks())
    gradient = torch.autograd.grad(training.ecg_reconstruction_loss, training.reconstructed_patches)[0]
    restored = gradient.any(dim=-1)
    masked = everything.bool_masked_pos
    assert torch.equal(training.bool_masked_pos, masked) and not (restored & ~masked).any()
    # A complete record has 12 x 4 masked patches, rounded up.
    wanted = -(-48 * share // 1)
    counts = masked.flatten(1).sum(dim=1).clamp(max=int(wanted))
    assert torch.equal(restored.flatten(1).sum(dim=1), counts)
    torch.testing.assert_close(training.reconstructed_patches[restored], everything.reconstructed_patches[restored])
    errors = []
    for record in range(4):
        present = some_masks()["lead_mask"][record].bool(), some_masks()["patch_mask"][record].bool()
        signal = ecg[record].unflatten(-1, (NUM_PATCHES, -1))
        recorded = signal[present[0]][:, present[1]].flatten(1)
        variance = (recorded - recorded.mean(dim=1, keepdim=True)).square().mean() + 1e-6
        target = signal if not config.ecg_config.normalize_patches else F.layer_norm(signal, (8,), eps=1e-6)
        error = (training.reconstructed_patches[record] - target)[restored[record]].square().mean()
        errors.append(error if config.ecg_config.normalize_patches else error / variance)
    torch.testing.assert_close(training.ecg_reconstruction_loss, torch.stack(errors).mean())


def test_each_masked_patch_is_chosen_as_often_as_any_other():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(20_000, 2, 5, generator=generator)
    masked = torch.zeros(20_000, 2, 5, dtype=torch.bool)
    masked[:, 0, 1:], masked[:, 1, 0] = True, True
    # The lowest numbers are masked, so the choice must not follow their order.
    noise = torch.where(masked, noise / 3, noise)
    chosen = choose_masked(noise, masked, 2)
    share = torch.bincount(chosen.flatten(), minlength=10) / 20_000
    torch.testing.assert_close(share[masked[0].flatten()], torch.full((5,), 0.4), atol=0.02, rtol=0)
    assert not share[~masked[0].flatten()].any()
    torch.testing.assert_close(chosen, choose_masked(noise, masked, 2))


def test_a_batch_is_learned_by_heart():
    """64 simulated patients, 0.8 s of each: what the presets' regime is for, at a small size."""
    records = list(islice(simulate_cohort(64, sampling_rate=100, noise=False), 64))
    signals = torch.stack([torch.from_numpy(one.signal[:, :80]) for one in records])
    signals = (signals - signals.mean(dim=-1, keepdim=True)) / 0.2
    torch.manual_seed(0)
    options = {"sampling_rate": 100, "num_samples": 80, "patch_length": 20, "hidden_size": 64, "raw_patch": True}
    options |= {"intermediate_size": 128, "decoder_hidden_size": 64, "decoder_intermediate_size": 128}
    options |= {"decoder_num_hidden_layers": 2, "decoder_reach": 2, "normalize_patches": False, "mask_ratio": 0.5}
    model = CGDMERForPreTraining(tiny_config(ecg_config=options, **only_losses("ecg_reconstruction")))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=300)
    noise = torch.rand(64, 12, 4)
    for _ in range(300):
        outputs = model(signals, noise=noise)
        optimizer.zero_grad()
        outputs.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    r2 = model.eval()(signals, noise=noise).ecg_reconstruction_r2
    assert r2 > 0.9
