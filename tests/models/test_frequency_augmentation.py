# SPDX-License-Identifier: Apache-2.0
"""CoRe-ECG's augmentation: what it changes, what it leaves alone, and that importance falls where views disagree."""

import math

import pytest
import torch
from tiny import NUM_SAMPLES, tiny_ecg, tiny_ecg_options
from torch.nn import functional as F

from cgdmer import CoReECGConfig, CoReECGForPreTraining
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.frequency_augmentation_coreecg import FrequencyAugmentation
from cgdmer.models.objectives import contrastive_loss

NUM_BINS = NUM_SAMPLES // 2 + 1  # of half a hertz each: 32 Hz, 64 samples
SIGNAL, NOISE = slice(2, 9), slice(20, 29)


def tiny_coreecg_config(**overrides) -> CoReECGConfig:
    options = tiny_ecg_options(
        projection_hidden_size=12, projection_size=6, protected_to_hz=4.0, importance_temperature=0.1
    )
    return CoReECGConfig(**options | overrides)


def noise_like(ecg: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.rand(*ecg.shape[:2], NUM_BINS, generator=torch.Generator().manual_seed(seed))


def test_a_bin_is_attenuated_by_its_importance_and_keeps_its_phase():
    augment = FrequencyAugmentation(tiny_coreecg_config(importance_per_lead=True)).double()
    with torch.no_grad():
        augment.logits.copy_(0.1 * torch.randn(12 * NUM_BINS, generator=torch.Generator().manual_seed(0)))
    ecg, noise = tiny_ecg(3).double(), noise_like(tiny_ecg(3), 1).double()
    changed = torch.fft.rfft(augment(ecg, noise).detach())
    before, logits = torch.fft.rfft(ecg), augment.logits.tolist()
    for lead in range(12):
        for number in range(NUM_BINS):
            gate = 1 / (1 + math.exp(-float(logits[lead * NUM_BINS + number]) / 0.1))
            if 0.5 <= number / 2 <= 4.0:
                gate = 1.0
            for record in range(3):
                factor = gate + (1 - gate) * float(noise[record, lead, number])
                expected = before[record, lead, number] * factor
                torch.testing.assert_close(changed[record, lead, number], expected, atol=1e-9, rtol=1e-9)


def test_important_bins_stay_and_unimportant_ones_change():
    augment, ecg = FrequencyAugmentation(tiny_coreecg_config()), tiny_ecg(2)
    with torch.no_grad():
        augment.logits.fill_(3.0)
    torch.testing.assert_close(augment(ecg, noise_like(ecg, 0)), ecg, atol=1e-5, rtol=0)
    with torch.no_grad():
        augment.logits.fill_(-3.0)
    first, second = (augment(ecg, noise_like(ecg, seed)) for seed in (0, 1))
    assert (first - second).abs().max() > 0.1
    in_band = augment.protected()
    for view in (first, second):
        torch.testing.assert_close(
            torch.fft.rfft(view)[..., in_band], torch.fft.rfft(ecg)[..., in_band], atol=1e-4, rtol=0
        )


def test_the_share_loss_pulls_importance_from_both_extremes_to_the_share():
    augment = FrequencyAugmentation(tiny_coreecg_config(importance_share=0.3))
    for start, towards in ((1.0, -1), (-1.0, 1)):
        augment.zero_grad()
        with torch.no_grad():
            augment.logits.fill_(0.1 * start)
        augment.share_loss().backward()
        moved = -augment.logits.grad[~augment.protected()]
        assert (moved * towards > 0).all()
        assert not augment.logits.grad[augment.protected()].any()
    with torch.no_grad():
        augment.logits.fill_(0.1 * math.log(0.3 / 0.7))
    assert float(augment.share_loss().detach()) == pytest.approx(0, abs=1e-10)


def test_a_fully_protected_spectrum_is_refused():
    with pytest.raises(ConfigurationError, match="all bins of the spectrum are protected"):
        tiny_coreecg_config(protected_from_hz=0.0, protected_to_hz=16.0)
    tiny_coreecg_config(protected_from_hz=0.0, protected_to_hz=16.0, frequency_augmentation=False)


def waves(records: int, bins: slice, generator: torch.Generator) -> torch.Tensor:
    """(records, 12, samples), random amplitudes and phases in a band, the same in all leads."""
    spectrum = torch.zeros(records, 12, NUM_BINS, dtype=torch.complex64)
    width = bins.stop - bins.start
    spectrum[..., bins] = torch.randn(records, 1, width, generator=generator, dtype=torch.complex64)
    waves = torch.fft.irfft(spectrum, n=NUM_SAMPLES)
    return waves / waves.std()


def learned_importance(redrawn: bool) -> torch.Tensor:
    """(F,) after some contrastive steps, with noise in a band: redrawn for each view, or the record's own in both.

    The views themselves are compared, as if by an encoder that keeps everything, so an encoder's learning plays no
    part.
    """
    augment = FrequencyAugmentation(tiny_coreecg_config(protected_from_hz=15.8, protected_to_hz=16.0))
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(augment.parameters(), lr=1e-2)
    for _ in range(100):
        signal, own = waves(32, SIGNAL, generator), waves(32, NOISE, generator)
        views = []
        for _ in range(2):
            view = signal + (waves(32, NOISE, generator) if redrawn else own)
            uniform = torch.rand(32, 12, NUM_BINS, generator=generator)
            views.append(F.normalize(augment(view, uniform).flatten(1), dim=1))
        loss = contrastive_loss(*views, temperature=0.1) + 10.0 * augment.share_loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return augment.importance().detach()[0]


def test_importance_falls_where_noise_is_redrawn_for_each_view():
    """Not because it is called noise: if the band is the same in both views, it tells records apart and is kept."""
    redrawn, kept = learned_importance(redrawn=True), learned_importance(redrawn=False)
    assert redrawn[NOISE].max() < 0.2 < 0.8 < redrawn[SIGNAL].min()  # all began at 0.5
    assert kept[NOISE].mean() > 0.6


@pytest.mark.slow
def test_importance_falls_there_too_while_an_encoder_learns():
    """The whole model from random weights: the encoder learns what belongs to the record, and importance follows."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "projection_size": 16, "projection_hidden_size": 32}
    masking = {"mask_strategy": "uniform", "mask_ratio": 0.25, "ecg_reconstruction_loss_weight": 0.0}
    band = {"protected_from_hz": 15.8, "protected_to_hz": 16.0, "importance_temperature": 1.0}
    config = tiny_coreecg_config(**sizes, **masking, **band)
    model = CoReECGForPreTraining(config)
    generator = torch.Generator().manual_seed(1)
    model.center_heads({"ecg_values": waves(64, SIGNAL, generator)})

    def add_noise(module, arguments):
        views, uniform = arguments
        return views + waves(len(views), NOISE, generator), uniform

    model.frequency_augmentation.register_forward_pre_hook(add_noise)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(300):
        model(waves(32, SIGNAL, generator)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    importance = model.frequency_augmentation.importance().detach()[0]
    assert importance[NOISE].mean() < 0.45 < 0.5 < importance[SIGNAL].mean()
