# SPDX-License-Identifier: Apache-2.0
"""Random changes to an ECG, from which methods make their views.

Each takes a `View` and a generator, and returns a new `View`. All leads are changed alike unless the function says
otherwise, so that Einthoven's law holds in the result if it held in the input.

Shapes: L leads, T samples, N patches per lead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class View:
    """An encoder's input for one record, see `LeadTimeEncoder`; what is masked is absent for any encoder.

    Attributes:
        ecg_values: (L, T) float32.
        lead_mask: (L,) int64.
        patch_mask: (N,) int64.
    """

    ecg_values: torch.Tensor
    lead_mask: torch.Tensor
    patch_mask: torch.Tensor

    @classmethod
    def of(cls, sample: Mapping[str, np.ndarray]) -> "View":
        return cls(*(torch.from_numpy(np.asarray(sample[name])) for name in cls.__dataclass_fields__))

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        """As parts of a sample."""
        return {f"{prefix}_{name}": getattr(self, name).numpy() for name in self.__dataclass_fields__}


Change = Callable[[View, torch.Generator], View]


class Views(Protocol):
    """Makes parts of a sample, by name."""

    def __call__(self, view: View, generator: torch.Generator) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class TwoViews:
    """A sample's `first_` and `second_` inputs, each by a chain of changes with draws of its own."""

    first: tuple[Change, ...]
    second: tuple[Change, ...]

    def __call__(self, view: View, generator: torch.Generator) -> dict[str, np.ndarray]:
        first, second = view, view
        for change in self.first:
            first = change(first, generator)
        for change in self.second:
            second = change(second, generator)
        return first.named("first") | second.named("second")


def crop(view: View, generator: torch.Generator, share: float = 0.5) -> View:
    """Keep a window of whole patches, at least one, and make the rest absent. It stays where it was in time."""
    patches = len(view.patch_mask)
    kept = max(1, round(patches * share))
    recorded = int(view.patch_mask.sum())  # what is missing is at the end
    start = _integer(generator, max(0, recorded - kept) + 1)
    mask = torch.zeros_like(view.patch_mask)
    mask[start : start + kept] = 1
    return replace(view, patch_mask=mask & view.patch_mask)


def time_out(view: View, generator: torch.Generator, longest: float = 0.2) -> View:
    """Make a stretch of up to that share of the window absent, in whole patches; one that was recorded always stays.

    The original sets it to zero. A constant patch has no variance, and the gradient of normalizing it is thousands of
    times that of any other, so that clipping would leave nothing of the rest.
    """
    recorded = view.patch_mask.nonzero().flatten()
    count = _integer(generator, min(round(longest * len(view.patch_mask)), len(recorded) - 1) + 1)
    start = _integer(generator, len(recorded) - count + 1)
    mask = view.patch_mask.clone()
    mask[recorded[start : start + count]] = 0
    return replace(view, patch_mask=mask)


def mask_leads(view: View, generator: torch.Generator, probability: float = 0.5) -> View:
    """Make each lead absent with that probability; one that was recorded always stays."""
    mask = view.lead_mask * (torch.rand(len(view.lead_mask), generator=generator) >= probability)
    if not mask.any():
        recorded = view.lead_mask.nonzero().flatten()
        mask[recorded[_integer(generator, len(recorded))]] = 1
    return replace(view, lead_mask=mask)


def scale(view: View, generator: torch.Generator, largest: float = 1.5) -> View:
    """Multiply or divide all leads by one factor up to `largest`."""
    factor = largest ** (2 * torch.rand((), generator=generator) - 1)
    return replace(view, ecg_values=view.ecg_values * factor)


def jitter(view: View, generator: torch.Generator, deviation: float = 0.05) -> View:
    """Add white noise to each lead by itself, in units of the record's own deviation; breaks Einthoven's law."""
    noise = torch.randn(view.ecg_values.shape, generator=generator)
    return replace(view, ecg_values=view.ecg_values + deviation * view.ecg_values.std() * noise)


def permute(view: View, generator: torch.Generator, most_segments: int = 5) -> View:
    """Cut the window into up to that many segments at random samples and shuffle them, in all leads alike."""
    length = view.ecg_values.shape[1]
    segments = 1 + _integer(generator, most_segments)
    cuts = torch.randperm(length - 1, generator=generator)[: segments - 1].sort().values + 1
    parts = torch.tensor_split(view.ecg_values, cuts.tolist(), dim=1)
    order = torch.randperm(segments, generator=generator).tolist()
    return replace(view, ecg_values=torch.cat([parts[number] for number in order], dim=1))


def _integer(generator: torch.Generator, below: int) -> int:
    return int(torch.randint(below, (), generator=generator))


# What the methods with two views of one kind use. In a comparison of ten, cropping and timing out were the best
# (Mehari and Strodthoff, 2022); masking leads is what later models add.
USUAL: tuple[Change, ...] = (crop, time_out, mask_leads)
