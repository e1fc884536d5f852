# SPDX-License-Identifier: Apache-2.0
"""The reliability diagram: scores against how often they were right."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import binomtest

from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import (
    AXIS_HEIGHT,
    COLORS,
    MARGIN,
    PAGE_WIDTH,
    REFERENCE_LINE,
    axes_in_inches,
    frame_unit_square,
    house_style,
    new_page,
)


def reliability_figure(calibration: Mapping[str, Any], title: str = "Calibration") -> Figure:
    """The share of records that have the finding against the mean score, a point per bin, and the diagonal.

    Args:
        calibration: see `reliability.reliability`. Intervals of the shares are Wilson's (95 %), as if all scores of a
            bin were independent.
        title: wrapped if it is long.

    Raises:
        CorpusError: there is no bin.
    """
    bins = calibration["bins"]
    if not bins:
        raise CorpusError("there are no bins: there is nothing to draw.")
    means, shares = (np.array([one[name] for one in bins]) for name in ("mean_score", "share_positive"))
    intervals = [
        binomtest(round(one["share_positive"] * one["scores"]), one["scores"]).proportion_ci(method="wilson")
        for one in bins
    ]
    lows, highs = (np.array([getattr(one, end) for one in intervals]) for end in ("low", "high"))
    handles = [
        Line2D([], [], color=COLORS[0], marker="o", markersize=4.0, linewidth=1.2, label="scores, 95 % interval"),
        Line2D([], [], label="perfect calibration", **REFERENCE_LINE),
    ]
    notes = [
        f"{len(bins)} bins with equally many scores, {sum(one['scores'] for one in bins):,} scores in all. "
        f"Mean distance from the diagonal: {calibration['expected_calibration_error']:.3f}. "
        f"Brier score: {calibration['brier']:.3f}; of the prevalence alone: {calibration['brier_of_prevalence']:.3f}."
    ]
    side = PAGE_WIDTH - 2 * MARGIN - 0.6
    with house_style():
        figure, bottom = new_page(1, side + AXIS_HEIGHT, title, handles, notes)
        axes = axes_in_inches(figure, MARGIN + 0.5, bottom + AXIS_HEIGHT, side, side)
        axes.plot([0, 1], [0, 1], gid="diagonal", **REFERENCE_LINE)
        axes.vlines(means, lows, highs, colors=COLORS[0], linewidths=1.2, zorder=2.0, gid="interval")
        axes.scatter(means, shares, color=COLORS[0], s=17.0, linewidths=0.0, zorder=3.0, gid="value")
        frame_unit_square(axes, "mean score", "share with the finding")
    return figure
