# SPDX-License-Identifier: Apache-2.0
"""Coverage against risk: what is measured if the least familiar records get no answer.

Shapes: R records, C classes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cgdmer.plotting.figure_page import (
    AXIS_HEIGHT,
    COLORS,
    MARGIN,
    PAGE_WIDTH,
    REFERENCE_LINE,
    axes_in_inches,
    house_style,
    new_page,
)

COVERAGES = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
_FEWEST_RECORDS = 20


def coverage_rows(familiar_R: np.ndarray, measured: Callable[[np.ndarray], dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each share of the records that is kept, the most familiar ones.

    Args:
        familiar_R: see `cgdmer.inference.familiarity`.
        measured: takes (R,) bool, the records kept, and returns what is measured on them; nothing if they do not
            allow it.

    Returns:
        Rows with `coverage`, `familiarity` (of the least familiar record that is kept; `--abstain` with this number
        keeps the same ones), `records`, and what was measured.
    """
    order = np.argsort(-familiar_R, kind="stable")
    rows: list[dict[str, Any]] = []
    for coverage in COVERAGES:
        count = round(coverage * len(order))
        if count < _FEWEST_RECORDS:
            continue
        least = familiar_R[order[count - 1]]
        kept_R = familiar_R >= least  # with all that are equally familiar
        if rows and rows[-1]["records"] == kept_R.sum():
            continue
        if found := measured(kept_R):
            share = float(kept_R.mean())
            rows.append({"coverage": share, "familiarity": float(least), "records": int(kept_R.sum()), **found})
    return rows


def coverage_figure(rows: list[dict[str, Any]], measure: str, title: str) -> Figure:
    """1 minus the macro AUROC against the share of records that get an answer, with intervals."""
    coverages = np.array([row["coverage"] for row in rows])
    risks = np.array([1 - row[measure]["macro_auroc"] for row in rows])
    ends = 1 - np.array([row[measure]["macro_auroc_interval"] for row in rows])
    handles = [
        Line2D([], [], color=COLORS[0], marker="o", markersize=4.0, linewidth=1.2, label=f"{measure}, 95 % interval"),
        Line2D([], [], label="all records", **REFERENCE_LINE),
    ]
    notes = ["The least familiar records get no answer first. If familiarity told nothing, the line would be level."]
    width, height = PAGE_WIDTH - 2 * MARGIN - 0.6, 2.2
    with house_style():
        figure, bottom = new_page(1, height + AXIS_HEIGHT, title, handles, notes)
        axes = axes_in_inches(figure, MARGIN + 0.5, bottom + AXIS_HEIGHT, width, height)
        axes.axhline(risks[0], gid="all", **REFERENCE_LINE)
        axes.vlines(coverages, ends[:, 1], ends[:, 0], colors=COLORS[0], linewidths=1.2, gid="interval")
        axes.plot(coverages, risks, color=COLORS[0], marker="o", markersize=4.0, linewidth=1.2, gid="value")
        axes.set(xlabel="share of records with an answer", ylabel="1 - macro AUROC", ylim=(0, None))
    return figure
