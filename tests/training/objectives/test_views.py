# SPDX-License-Identifier: Apache-2.0
"""Random changes to an ECG: what each must keep, and what decides it."""

import functools
import itertools

import numpy as np
import pytest
import torch

from cgdmer.training.objectives.views import (
    USUAL,
    TwoViews,
    View,
    crop,
    jitter,
    mask_leads,
    permute,
    scale,
    time_out,
)

LEADS, PATCHES, PATCH_LENGTH = 12, 10, 8
SAMPLES = PATCHES * PATCH_LENGTH
CHANGES = (crop, time_out, mask_leads, scale, jitter, permute)
OF_VALUES = (scale, jitter, permute)
SEEDS = range(100)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lawful(recorded_leads: int = LEADS, recorded_patches: int = PATCHES) -> View:
    """Random values, III = II - I; the last leads and the end are missing."""
    values = torch.randn(LEADS, SAMPLES, generator=seeded(1000))
    values[2] = values[1] - values[0]
    masks = (torch.arange(length) < count for length, count in ((LEADS, recorded_leads), (PATCHES, recorded_patches)))
    return View(values, *(mask.long() for mask in masks))


def parts(view: View) -> list[torch.Tensor]:
    return [view.ecg_values, view.lead_mask, view.patch_mask]


def equal(one: View, other: View) -> bool:
    return all(torch.equal(*pair) for pair in zip(parts(one), parts(other), strict=True))


# All of them


@pytest.mark.parametrize("change", CHANGES)
def test_the_input_stays_as_it_is_and_so_do_shapes_and_types(change):
    view = lawful()
    before = View(*(part.clone() for part in parts(view)))
    for seed in SEEDS:
        made = change(view, seeded(seed))
        assert equal(view, before)
        for new, old in zip(parts(made), parts(view), strict=True):
            assert new.shape == old.shape and new.dtype == old.dtype


@pytest.mark.parametrize("change", CHANGES)
def test_the_generator_decides_everything(change):
    view, others = lawful(), torch.get_rng_state()
    made = [change(view, seeded(seed)) for seed in range(10)]
    torch.manual_seed(5)
    for seed in range(10):
        assert equal(change(view, seeded(seed)), made[seed])
    assert any(not equal(made[0], other) for other in made[1:])
    generator = seeded(0)
    assert any(not equal(made[0], change(view, generator)) for _ in range(10))  # it moves on
    torch.set_rng_state(others)


@pytest.mark.parametrize("change", CHANGES)
def test_no_other_source_of_draws_is_used(change):
    before = torch.get_rng_state()
    change(lawful(), seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [scale, permute, crop, time_out, mask_leads])
def test_einthoven_s_law_holds_where_all_leads_change_alike(change):
    for seed in SEEDS:
        values = change(lawful(), seeded(seed)).ecg_values
        torch.testing.assert_close(values[2], values[1] - values[0])


@pytest.mark.parametrize("change", OF_VALUES)
def test_changes_of_values_keep_the_masks(change):
    view = lawful(recorded_leads=8, recorded_patches=6)
    for seed in SEEDS:
        made = change(view, seeded(seed))
        assert torch.equal(made.lead_mask, view.lead_mask) and torch.equal(made.patch_mask, view.patch_mask)


# Each


@pytest.mark.parametrize(("share", "kept"), [(0.5, 5), (0.3, 3), (0.01, 1), (1.0, 10)])
def test_crop_keeps_a_window_of_whole_patches(share, kept):
    view, starts = lawful(), set()
    for seed in SEEDS:
        made = crop(view, seeded(seed), share)
        present = made.patch_mask.nonzero().flatten().tolist()
        assert present == list(range(present[0], present[0] + kept))
        assert torch.equal(made.ecg_values, view.ecg_values) and torch.equal(made.lead_mask, view.lead_mask)
        starts.add(present[0])
    assert starts == set(range(PATCHES - kept + 1))


@pytest.mark.parametrize(("recorded", "kept"), [(10, 5), (7, 5), (5, 5), (3, 3), (1, 1)])
def test_crop_stays_within_the_recording(recorded, kept):
    view = lawful(recorded_patches=recorded)
    for seed in SEEDS:
        mask = crop(view, seeded(seed)).patch_mask
        assert mask.sum() == kept and not mask[recorded:].any()


def test_time_out_makes_one_stretch_of_patches_absent():
    view, lengths = lawful(recorded_patches=8), set()
    for seed in SEEDS:
        made = time_out(view, seeded(seed), longest=0.3)
        assert torch.equal(made.ecg_values, view.ecg_values) and torch.equal(made.lead_mask, view.lead_mask)
        assert not made.patch_mask[8:].any()
        places = (made.patch_mask[:8] == 0).nonzero().flatten().tolist()
        assert not places or places == list(range(places[0], places[-1] + 1))
        lengths.add(len(places))
    assert lengths == {0, 1, 2, 3}
    alone = lawful(recorded_patches=1)
    assert all(equal(time_out(alone, seeded(seed)), alone) for seed in SEEDS)


def test_mask_leads_takes_away_leads_and_never_all():
    view, kept = lawful(recorded_leads=8), torch.zeros(LEADS)
    for seed in range(400):
        made = mask_leads(view, seeded(seed))
        assert made.lead_mask.any() and not made.lead_mask[8:].any()
        assert torch.equal(made.ecg_values, view.ecg_values) and torch.equal(made.patch_mask, view.patch_mask)
        kept += made.lead_mask
    assert ((kept[:8] / 400 - 0.5).abs() < 0.1).all()


def test_mask_leads_leaves_any_one_lead_if_all_are_drawn():
    chosen = set()
    for seed in SEEDS:
        left = mask_leads(lawful(recorded_leads=3), seeded(seed), probability=1.0).lead_mask.nonzero().flatten()
        assert len(left) == 1
        chosen.add(int(left))
    assert chosen == {0, 1, 2}


def test_mask_leads_with_probability_zero_takes_none():
    assert equal(mask_leads(lawful(), seeded(0), probability=0.0), lawful())


def test_scale_is_one_positive_factor_within_bounds():
    view, factors = lawful(), []
    for seed in range(400):
        ratios = scale(view, seeded(seed), largest=1.5).ecg_values / view.ecg_values
        torch.testing.assert_close(ratios, ratios[0, 0].expand_as(ratios))
        factors.append(float(ratios[0, 0]))
    assert 1 / 1.5 - 1e-5 <= min(factors) < 0.7 and 1.45 < max(factors) <= 1.5 + 1e-5
    assert abs(np.log(factors).mean()) < 0.05  # larger as often as smaller


@pytest.mark.parametrize("amplitude", [0.01, 100.0])
def test_jitter_is_in_units_of_the_record_and_independent_in_leads(amplitude):
    quiet = View(amplitude * torch.randn(LEADS, 2000, generator=seeded(7)), *parts(lawful())[1:])
    noise = (jitter(quiet, seeded(0), deviation=0.05).ecg_values - quiet.ecg_values) / amplitude
    torch.testing.assert_close(noise.std(dim=1), torch.full((LEADS,), 0.05), atol=0.005, rtol=0)
    assert noise.mean(dim=1).abs().max() < 0.005
    correlations = torch.corrcoef(noise) - torch.eye(LEADS)
    assert correlations.abs().max() < 0.1
    following = torch.corrcoef(torch.stack([noise[:, 1:].flatten(), noise[:, :-1].flatten()]))[0, 1]
    assert following.abs() < 0.05  # white


def test_permute_moves_whole_segments_in_all_leads_alike():
    places = torch.arange(SAMPLES, dtype=torch.float32)
    view = View(1000 * torch.arange(LEADS)[:, None] + places, *parts(lawful())[1:])
    numbers = set()
    for seed in SEEDS:
        values = permute(view, seeded(seed), most_segments=4).ecg_values
        order = values[0]
        assert torch.equal(order.sort().values, places)  # each sample once
        assert torch.equal(values, 1000 * torch.arange(LEADS)[:, None] + order)  # leads stay apart
        numbers.add(1 + sum(int(after != before + 1) for before, after in itertools.pairwise(order.tolist())))
    assert numbers == {1, 2, 3, 4}


# Two views


def test_two_views_are_made_by_their_own_chains_in_order():
    def add(view: View, generator: torch.Generator) -> View:
        return View(view.ecg_values + 1, view.lead_mask, view.patch_mask)

    def double(view: View, generator: torch.Generator) -> View:
        return View(view.ecg_values * 2, view.lead_mask, view.patch_mask)

    view = lawful()
    made = TwoViews((add, double), (double,))(view, seeded(0))
    np.testing.assert_array_equal(made["first_ecg_values"], (view.ecg_values + 1) * 2)
    np.testing.assert_array_equal(made["second_ecg_values"], view.ecg_values * 2)


def test_two_views_have_draws_of_their_own_from_one_generator():
    make = TwoViews(USUAL, USUAL)
    made = [make(lawful(), seeded(seed)) for seed in (0, 0, 1)]
    names = {f"{view}_{part}" for view in ("first", "second") for part in ("ecg_values", "lead_mask", "patch_mask")}
    assert made[0].keys() == names
    for name in names:
        np.testing.assert_array_equal(made[0][name], made[1][name])
    assert any((made[0][name] != made[2][name]).any() for name in names)
    assert (made[0]["first_lead_mask"] != made[0]["second_lead_mask"]).any()


def test_a_view_of_a_sample_is_its_model_inputs_and_back():
    sample = {name: part.numpy() for name, part in zip(View.__dataclass_fields__, parts(lawful()), strict=True)}
    view = View.of(sample | {"noise": np.zeros(3)})
    assert equal(view, lawful())
    named = view.named("first")
    assert named.keys() == {f"first_{name}" for name in sample}
    assert all(named[f"first_{name}"].dtype == sample[name].dtype for name in sample)


def test_a_sample_is_not_changed_through_its_views():
    sample = {name: part.numpy().copy() for name, part in zip(View.__dataclass_fields__, parts(lawful()), strict=True)}
    before = {name: part.copy() for name, part in sample.items()}
    everything = tuple(functools.partial(change) for change in CHANGES)
    TwoViews(everything, everything)(View.of(sample), seeded(0))
    for name, part in before.items():
        np.testing.assert_array_equal(sample[name], part)
