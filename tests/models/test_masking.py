# SPDX-License-Identifier: Apache-2.0
"""Masks: exact counts, the structure of each strategy, and nothing absent is ever chosen."""

import math
from fractions import Fraction

import pytest
import torch

from cgdmer.models.masking import gather_visible, mask_patches, mask_report_tokens, most_visible

STRATEGIES = ("uniform", "time", "lead", "dual")


def exact_share(ratio: float, count: int) -> int:
    """floor(ratio * count) in decimal arithmetic: 0.29 of 100 is 29, although 0.29 * 100 is 28.999... in 64 bits.

    In 32 bits, 0.53 and 0.59 of 100 fall short.
    """
    return math.floor(Fraction(str(ratio)) * count)


def noise_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def some_present(records: int, patches: int, seed: int = 0) -> torch.Tensor:
    """Some leads and ends of recordings are missing, as in real batches; the first record is complete."""
    generator = torch.Generator().manual_seed(seed)
    leads = torch.rand(records, 12, generator=generator) < 0.6
    leads[:, 0] = True
    ends = torch.randint(1, patches + 1, (records, 1), generator=generator)
    present = leads[:, :, None] & (torch.arange(patches) < ends)[:, None]
    present[0] = True
    return present


@pytest.mark.parametrize("patches", [8, 25, 100])
@pytest.mark.parametrize("ratio", [0, 0.1, 0.25, 0.29, 0.5, 0.53, 0.59, 0.75, 0.9])
def test_uniform_masks_the_exact_share_of_every_lead(ratio, patches):
    present = torch.ones(3, 12, patches, dtype=torch.bool)
    masked = mask_patches(noise_of(3, 12, patches), present, "uniform", ratio)
    assert masked.dtype == torch.bool
    assert masked.sum(dim=2).unique().tolist() == [exact_share(ratio, patches)]


@pytest.mark.parametrize("ratio", [0.29, 0.5, 0.75, 0.9])
def test_uniform_counts_only_what_is_present(ratio):
    present = some_present(50, 25)
    masked = mask_patches(noise_of(50, 12, 25), present, "uniform", ratio)
    for record in range(50):
        for lead in range(12):
            count = int(present[record, lead].sum())
            assert int(masked[record, lead].sum()) == exact_share(ratio, count)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ratio", [0, 0.29, 0.5, 0.9])
def test_nothing_absent_is_masked_and_something_stays_visible(strategy, ratio):
    present = some_present(200, 25)
    masked = mask_patches(noise_of(200, 12, 25), present, strategy, ratio, 0.3)
    assert not (masked & ~present).any()
    assert (present & ~masked).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("ratio", [0.29, 0.5, 0.75])
@pytest.mark.parametrize("strategy", ["time", "lead"])
def test_time_masks_whole_columns_and_lead_whole_leads(strategy, ratio):
    present = some_present(40, 25)
    masked = mask_patches(noise_of(40, 12, 25), present, strategy, ratio)
    if strategy == "lead":
        present, masked = present.mT, masked.mT
    for record in range(40):
        rows = present[record].any(dim=1)
        columns = masked[record, rows].any(dim=0)
        torch.testing.assert_close(masked[record, rows], columns.expand(int(rows.sum()), -1))
        assert int(columns.sum()) == exact_share(ratio, int(present[record].any(dim=0).sum()))


def test_dual_masks_columns_and_leads():
    present = torch.ones(40, 12, 25, dtype=torch.bool)
    masked = mask_patches(noise_of(40, 12, 25), present, "dual", 0.5, 0.29)
    columns, leads = masked.all(dim=1), masked.all(dim=2)
    assert columns.sum(dim=1).unique().tolist() == [12]
    assert leads.sum(dim=1).unique().tolist() == [3]
    torch.testing.assert_close(masked, columns[:, None, :] | leads[:, :, None])


def test_uniform_masks_leads_independently():
    masked = mask_patches(noise_of(4000, 12, 25), torch.ones(4000, 12, 25, dtype=torch.bool), "uniform", 0.5).float()
    share = 12 / 25
    torch.testing.assert_close(masked.mean(dim=0), torch.full((12, 25), share), atol=0.04, rtol=0)
    together = torch.einsum("bin,bjn->ijn", masked, masked) / 4000
    elsewhere = ~torch.eye(12, dtype=torch.bool)
    assert (together[elsewhere] - share**2).abs().max() < 0.04


@pytest.mark.parametrize(
    ("strategy", "expected"), [("time", 12 / 25), ("lead", 6 / 12), ("dual", 1 - 13 / 25 * 9 / 12)]
)
def test_columns_and_leads_are_equally_likely(strategy, expected):
    masked = mask_patches(noise_of(4000, 12, 25), torch.ones(4000, 12, 25, dtype=torch.bool), strategy, 0.5, 0.29)
    torch.testing.assert_close(masked.float().mean(dim=0), torch.full((12, 25), expected), atol=0.04, rtol=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_the_noise_decides(strategy):
    present = torch.ones(4, 12, 25, dtype=torch.bool)
    noise = noise_of(4, 12, 25)
    first = mask_patches(noise, present, strategy, 0.5, 0.3)
    assert torch.equal(first, mask_patches(noise.clone(), present, strategy, 0.5, 0.3))
    assert torch.equal(first[2:], mask_patches(noise[2:], present[2:], strategy, 0.5, 0.3)), "others do not matter"
    assert not torch.equal(first, mask_patches(noise_of(4, 12, 25, seed=1), present, strategy, 0.5, 0.3))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ratio", [0, 0.29, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("lead_ratio", [0, 0.2, 0.5])
def test_most_visible_is_the_least_upper_bound(strategy, ratio, lead_ratio):
    present = some_present(300, 25)
    visible = present & ~mask_patches(noise_of(300, 12, 25), present, strategy, ratio, lead_ratio)
    counts = visible.flatten(1).sum(dim=1)
    bound = most_visible(12, 25, strategy, ratio, lead_ratio)
    assert int(counts.max()) <= bound
    assert int(counts[0]) == bound, "a complete record reaches it"


@pytest.mark.parametrize("ratio", [0.29, 0.53, 0.57, 0.59])
def test_most_visible_and_the_masks_round_alike(ratio):
    present = torch.ones(1, 12, 100, dtype=torch.bool)
    masked = mask_patches(noise_of(1, 12, 100), present, "uniform", ratio)
    assert most_visible(12, 100, "uniform", ratio, 0) == 1200 - int(masked.sum()) == 12 * (100 - round(100 * ratio))


def test_most_visible_of_the_paper():
    assert most_visible(12, 100, "uniform", 0.75, 0.2) == 300


def test_gather_visible_lists_visible_places_in_order():
    visible = noise_of(30, 40) < 0.3
    count = int(visible.sum(dim=1).max())
    for length in (count, count + 3):
        indices, valid = gather_visible(visible, length)
        assert indices.shape == valid.shape == (30, length)
        for row in range(30):
            expected = [place for place in range(40) if visible[row, place]]
            assert indices[row][valid[row]].tolist() == expected
            assert valid[row].tolist() == [True] * len(expected) + [False] * (length - len(expected))
            assert not visible[row, indices[row][~valid[row]]].any(), "padding never points at a visible place"


def report(lengths: list[int], size: int) -> torch.Tensor:
    """Maskable tokens: all but the first and last of each text, and no padding."""
    maskable = torch.zeros(len(lengths), size, dtype=torch.bool)
    for row, length in enumerate(lengths):
        maskable[row, 1 : 1 + length] = True
    return maskable


@pytest.mark.parametrize("ratio", [0.15, 0.29, 0.5, 1.0])
def test_report_tokens_are_masked_in_the_exact_share(ratio):
    lengths = list(range(1, 60))
    maskable = report(lengths, 64)
    masked, positions, valid = mask_report_tokens(noise_of(len(lengths), 64), maskable, ratio)
    assert not (masked & ~maskable).any()
    for row, length in enumerate(lengths):
        expected = Fraction(str(ratio)) * length
        if expected % 1 != Fraction(1, 2):  # a half may go either way
            assert int(masked[row].sum()) == max(1, round(expected))
        assert abs(int(masked[row].sum()) - expected) <= Fraction(1, 2) or int(masked[row].sum()) == 1
        assert positions[row][valid[row]].tolist() == masked[row].nonzero().flatten().tolist(), "in reading order"
        assert int(valid[row].sum()) == int(masked[row].sum())


def test_the_number_of_report_places_depends_only_on_the_length():
    shapes = {
        mask_report_tokens(noise_of(2, 40, seed=seed), report([seed + 1, 3], 40), 0.15)[1].shape for seed in range(20)
    }
    assert shapes == {(2, 6)}


def test_a_report_without_words_masks_nothing():
    masked, _, valid = mask_report_tokens(noise_of(2, 10), report([0, 4], 10), 0.15)
    assert masked.sum(dim=1).tolist() == [0, 1]
    assert valid.sum(dim=1).tolist() == [0, 1]


def test_every_word_of_a_report_is_equally_likely():
    masked, _, _ = mask_report_tokens(noise_of(6000, 12), report([10] * 6000, 12), 0.2)
    frequencies = masked.float().mean(dim=0)
    torch.testing.assert_close(frequencies[1:11], torch.full((10,), 0.2), atol=0.025, rtol=0)
    assert frequencies[0] == frequencies[11] == 0


def test_only_the_report_noise_decides():
    maskable = report([10, 7, 3], 12)
    noise = noise_of(3, 12)
    first = mask_report_tokens(noise, maskable, 0.3)[0]
    assert torch.equal(first, mask_report_tokens(noise.clone(), maskable, 0.3)[0])
    assert torch.equal(first[1:], mask_report_tokens(noise[1:], maskable[1:], 0.3)[0])
    assert not torch.equal(first, mask_report_tokens(noise_of(3, 12, seed=1), maskable, 0.3)[0])
