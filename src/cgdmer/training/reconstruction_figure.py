# SPDX-License-Identifier: Apache-2.0
"""The picture of masked reconstruction: a few leads of a few records, as recorded and as reconstructed.

Lengths are inches. Shapes: L leads, N patches per lead, P samples per patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.plotting.figure_page import (
    AXIS_HEIGHT,
    COLORS,
    GRID_COLOR,
    MARGIN,
    PAGE_WIDTH,
    PALE_TEXT_COLOR,
    TEXT_SIZE,
    axes_in_inches,
    house_style,
    new_page,
)
from cgdmer.plotting.page_text import TEXT_COLOR, wrap

LEADS_SHOWN = 3
_PREFERRED_LEADS = ("II", "V1", "V5")  # the atria, the right side, and the left side
_ROW_HEIGHT, _ROW_GAP, _HEADING_HEIGHT = 0.68, 0.08, 0.34
_LEFT, _RIGHT = 0.62, 0.72  # for the scale, and for the error
_MASKED_COLOR = "#e8eef4"
_SMALLEST_SWING = 0.2  # so that a flat lead is not blown up


@dataclass(frozen=True)
class Reconstruction:
    """One record.

    Args:
        true: (L, N, P), the recorded signal.
        predicted: (L, N, P), in the same unit; only meaningful where `masked`.
        masked: (L, N) bool.
        present: (L, N) bool, the patches that were recorded.
        text: what the record is paired with, to be printed above it; may be empty.
    """

    true: np.ndarray
    predicted: np.ndarray
    masked: np.ndarray
    present: np.ndarray
    text: str

    def leads(self) -> list[int]:
        """The leads to show, in standard order; those with masked patches are preferred."""
        preferred = [STANDARD_LEADS.index(name) for name in _PREFERRED_LEADS]
        order = preferred + [lead for lead in range(len(STANDARD_LEADS)) if lead not in preferred]
        recorded = [lead for lead in order if self.present[lead].any()]
        return sorted(sorted(recorded, key=lambda lead: not self.masked[lead].any())[:LEADS_SHOWN])


def reconstruction_figure(
    records: Sequence[Reconstruction], sampling_rate: float, title: str, unit: str = "mV", notes: Sequence[str] = ()
) -> Figure:
    """Each lead's scale depends only on its recorded trace, so pictures of a record are comparable between steps.

    Args:
        records: at least one.
        sampling_rate: in Hz.
        title: wrapped if it is long.
        unit: of the amplitudes; empty if there is none.
        notes: printed below.
    """
    heights = [_HEADING_HEIGHT + len(record.leads()) * (_ROW_HEIGHT + _ROW_GAP) for record in records]
    handles: list[Artist] = [
        Line2D([], [], color=TEXT_COLOR, linewidth=0.9, label="recorded"),
        Line2D([], [], color=COLORS[1], linewidth=1.2, label="predicted"),
        Patch(facecolor=_MASKED_COLOR, edgecolor="#c5ced8", linewidth=0.5, label="masked: the model does not see it"),
    ]
    amplitudes = f"Amplitudes in {unit}. " if unit else ""
    error_note = f"{amplitudes}On the right: root-mean-square error over the lead's masked patches."
    with house_style():
        figure, bottom = new_page(2, sum(heights) + AXIS_HEIGHT, title, handles, [error_note, *notes])
        width = 2 * PAGE_WIDTH - _LEFT - _RIGHT
        top = bottom + AXIS_HEIGHT + sum(heights)
        for number, record in enumerate(records):
            _write_heading(figure, top, f"{number + 1}.", record.text)
            y = top - _HEADING_HEIGHT
            for lead in record.leads():
                y -= _ROW_HEIGHT
                axes = axes_in_inches(figure, _LEFT, y, width, _ROW_HEIGHT)
                axes.set_gid(f"record {number} lead {STANDARD_LEADS[lead]}")
                _draw_lead(axes, record, lead, sampling_rate, unit)
                y -= _ROW_GAP
            top -= heights[number]
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_xlabel("time (s)")
    return figure


def _write_heading(figure: Figure, top: float, number: str, text: str) -> None:
    """The record's text, cut to one line."""
    width, height = figure.get_size_inches()
    lines = wrap(text, width - _LEFT - _RIGHT - 0.2, TEXT_SIZE)
    at = (top - _HEADING_HEIGHT + 0.07) / height
    figure.text(MARGIN / width, at, number, weight="bold", gid="record number")
    figure.text(_LEFT / width, at, lines[0] + (" …" if len(lines) > 1 else ""), gid="record text")


def _draw_lead(axes: Axes, record: Reconstruction, lead: int, sampling_rate: float, unit: str) -> None:
    true_NP, predicted_NP = record.true[lead], record.predicted[lead]
    masked_N, present_N = record.masked[lead], record.present[lead]
    seconds_per_patch = true_NP.shape[1] / sampling_rate
    times = np.arange(true_NP.size) / sampling_rate
    axes.set_xlim(0.0, len(masked_N) * seconds_per_patch)
    axes.set_ylim(*_limits(true_NP[present_N]))
    axes.broken_barh(
        [(first * seconds_per_patch, count * seconds_per_patch) for first, count in _runs(masked_N)],
        (0.0, 1.0),
        transform=axes.get_xaxis_transform(),
        facecolor=_MASKED_COLOR,
        linewidth=0.0,
        zorder=0.6,
        gid="masked",
    )
    for values_NP, shown_N, color, linewidth, gid in (
        (true_NP, present_N, TEXT_COLOR, 0.8, "recorded"),
        (predicted_NP, masked_N, COLORS[1], 1.1, "predicted"),
    ):
        shown = np.where(shown_N[:, None], values_NP, np.nan).ravel()
        axes.plot(times, shown, color=color, linewidth=linewidth, solid_joinstyle="round", gid=gid)
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="y", length=0.0, labelsize=7.0, labelcolor=PALE_TEXT_COLOR)
    axes.tick_params(axis="x", labelbottom=False)
    axes.spines["left"].set_visible(False)
    inside: dict[str, Any] = {"transform": axes.transAxes, "verticalalignment": "center"}
    name = axes.text(0.0, 0.5, STANDARD_LEADS[lead], weight="bold", gid="lead", **inside)
    name.set_x(-(_LEFT - MARGIN) / (2 * PAGE_WIDTH - _LEFT - _RIGHT))
    if masked_N.any():
        error = np.sqrt(np.square(predicted_NP - true_NP)[masked_N].mean())
        axes.text(1.01, 0.5, f"{error:.2f} {unit}".rstrip(), color=COLORS[1], gid="error", **inside)


def _runs(masked_N: np.ndarray) -> list[tuple[int, int]]:
    """(first, count) of each run of masked patches."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], masked_N.astype(np.int8), [0]])))
    return [(int(first), int(end - first)) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _limits(true: np.ndarray) -> tuple[float, float]:
    lowest, highest = float(true.min()), float(true.max())
    padding = 0.2 * (highest - lowest) + max(0.0, _SMALLEST_SWING - (highest - lowest)) / 2
    return lowest - padding, highest + padding
