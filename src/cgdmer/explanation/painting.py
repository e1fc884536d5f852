# SPDX-License-Identifier: Apache-2.0
"""An explanation on ECG paper: every patch on the page is colored, and a panel shows all leads over time.

The paper shows 2.5 s of each lead. The map in the panel shows the whole window in the same colors, with a row per lead
and a cell per patch.
"""

from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.explanation.explaining import Explanation
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.plotting.ecg_paper import (
    MILLIMETERS_PER_SECOND,
    PAGE_WIDTH,
    PANEL_WIDTH,
    LeadPlace,
    check_picture_path,
    ecg_page,
    lead_places,
    save_page,
)
from cgdmer.plotting.page_text import MILLIMETERS_PER_INCH, TEXT_COLOR, wrap, write

# Distinct in every kind of color vision, and distinct from the red of the paper.
_RAISES, _LOWERS = to_rgb("#0b4fb3"), to_rgb("#d97706")
_STRONGEST = 0.6  # opacity of the strongest color; the trace and the grid stay visible below it
_HALF_HEIGHT = 19.0

_PANEL_LEFT, _PANEL_INNER_WIDTH = PAGE_WIDTH, PANEL_WIDTH - 11.0
_PANEL_TEXT_WIDTH = _PANEL_INNER_WIDTH / MILLIMETERS_PER_INCH
_MAP_LEFT, _MAP_WIDTH, _MAP_ROW = PAGE_WIDTH + 10.0, PANEL_WIDTH - 21.0, 5.5
_LEGEND_HEIGHT, _LEGEND_STEPS = 4.0, 60
_PALE = "#555555"


def plot_explanation(explanation: Explanation, *, title: str | None = None) -> Figure:
    """Draw the explained window on ECG paper, to scale, with the relevance of every patch.

    Blue patches raise the score, orange ones lower it; the strongest color is the largest relevance in the window.

    Args:
        explanation: what `explain_record` returned.
        title: one line above the paper; the label if not given.

    Returns:
        A figure of 397 mm x 210 mm with its own Agg canvas.
    """
    figure, axes = ecg_page(explanation.window, title=title or explanation.label, panel=True, fewest_rows=4)
    strongest = float(np.abs(explanation.relevance).max()) or 1.0
    strength = explanation.relevance / strongest
    for place in lead_places(explanation.window):
        _paint_lead(axes, place, strength[STANDARD_LEADS.index(place.name)], explanation.patch_seconds)
    _draw_panel(axes, explanation, strength, strongest)
    return figure


def save_explanation_plot(
    explanation: Explanation, path: str | PathLike[str], *, title: str | None = None, dpi: float = 150.0
) -> None:
    """Draw an explanation with `plot_explanation` and save it. `path` and `dpi` are those of `save_ecg_plot`.

    Raises:
        ConfigurationError: the path has another ending, or its folder does not exist.
    """
    check_picture_path(path)
    save_page(plot_explanation(explanation, title=title), path, dpi)


def _draw_cell(axes: Axes, x: float, y: float, width: float, height: float, strength: float | None, gid: str) -> None:
    """Draw a rectangle in the color of a strength from -1 to 1; None: gray, nothing was recorded there."""
    color: Any = "#eeeeee"
    if strength is not None:
        color = (*(_RAISES if strength > 0 else _LOWERS), _STRONGEST * abs(strength))
    # Above the grid, below the traces.
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="none", zorder=2.0, gid=gid))


def _paint_lead(axes: Axes, place: LeadPlace, strength_N: np.ndarray, patch_seconds: float) -> None:
    """Color the patches of a lead, as far as its place shows them."""
    for number, strength in enumerate(strength_N):
        start = max(number * patch_seconds, place.start)
        end = min((number + 1) * patch_seconds, place.start + place.seconds)
        if strength and end > start:
            x = place.left + (start - place.start) * MILLIMETERS_PER_SECOND
            width = (end - start) * MILLIMETERS_PER_SECOND
            _draw_cell(
                axes, x, place.middle - _HALF_HEIGHT, width, 2 * _HALF_HEIGHT, strength, f"relevance {place.name}"
            )


def _draw_panel(axes: Axes, explanation: Explanation, strength: np.ndarray, strongest: float) -> None:
    write(axes, _PANEL_LEFT, 200.0, "Where the model looked", 13.0, gid="panel heading", weight="bold")
    y = 192.0
    for line in wrap(explanation.label, _PANEL_TEXT_WIDTH, 10.0, "bold", most_lines=4):
        write(axes, _PANEL_LEFT, y, line, 10.0, gid="explained label", weight="bold")
        y -= 4.8
    for line in _score_lines(explanation):
        write(axes, _PANEL_LEFT, y, line, 9.0, gid="explained score")
        y -= 4.4
    unit = "the value" if explanation.is_regression else "the score's logit"
    y = _draw_legend(axes, y - 9.0, strongest, unit)
    y = _draw_map(axes, y - 5.0, explanation, strength)
    for note in _notes(explanation):
        for line in wrap(note, _PANEL_TEXT_WIDTH, 8.0, "bold", most_lines=4):
            write(axes, _PANEL_LEFT, y, line, 8.0, gid="panel note", color=_PALE)
            y -= 3.6
        y -= 1.6
    write(axes, _PANEL_LEFT, 11.2, RESEARCH_USE_ONLY, 9.0, gid="research use only", weight="bold")


def _score_lines(explanation: Explanation) -> list[str]:
    whole, part = (
        f"{score:.4g}" if explanation.is_regression else f"{100 * score:.1f} %"
        for score in (explanation.score, explanation.window_score)
    )
    what = "value" if explanation.is_regression else "score"
    if explanation.num_windows == 1:
        return [f"{what} {whole}"]
    start = explanation.start_seconds
    end = start + explanation.window.signal.shape[1] / explanation.window.sampling_rate
    return [
        f"{what} of the recording {whole}",
        f"shown: {start:.1f} s to {end:.1f} s, its highest, {part}",
    ]


def _notes(explanation: Explanation) -> list[str]:
    shares = explanation.share_by_lead()
    notes = []
    if shares:
        most = ", ".join(f"{lead} {100 * share:.0f} %" for lead, share in list(shares.items())[:3])
        notes.append(f"Of what raises the score: {most}.")
    if explanation.agreement is not None:
        notes.append(f"Rank correlation with occlusion, in pieces of 2 s: {explanation.agreement:.2f}.")
    if explanation.record_use is not None and not explanation.record_use.is_beyond_doubt:
        notes.append(str(explanation.record_use))
    notes.append(
        "Relevance says what this model's score came from, right or wrong. It does not say that a finding is there."
    )
    return notes


def _draw_legend(axes: Axes, y: float, strongest: float, unit: str) -> float:
    """Draw the colors from the lowest to the highest relevance; returns the y below them."""
    step = _PANEL_INNER_WIDTH / _LEGEND_STEPS
    for number in range(_LEGEND_STEPS):
        strength = 2 * (number + 0.5) / _LEGEND_STEPS - 1
        _draw_cell(axes, _PANEL_LEFT + number * step, y, step, _LEGEND_HEIGHT, strength, "relevance legend")
    right = _PANEL_LEFT + _PANEL_INNER_WIDTH
    write(axes, _PANEL_LEFT, y - 4.0, "lowers the score", 8.0, gid="legend text")
    write(axes, right, y - 4.0, "raises the score", 8.0, gid="legend text", align="right")
    write(axes, _PANEL_LEFT, y + _LEGEND_HEIGHT + 1.2, f"{-strongest:+.2g}", 7.0, gid="legend text", color=_PALE)
    text = f"{strongest:+.2g} of {unit}, a patch"
    write(axes, right, y + _LEGEND_HEIGHT + 1.2, text, 7.0, gid="legend text", color=_PALE, align="right")
    return y - 4.0


def _draw_map(axes: Axes, top: float, explanation: Explanation, strength: np.ndarray) -> float:
    """Draw a row per lead with a cell per patch; returns the y below the map."""
    width = _MAP_WIDTH / strength.shape[1]
    bottom = top - _MAP_ROW * len(STANDARD_LEADS)
    for row, name in enumerate(STANDARD_LEADS):
        y = top - _MAP_ROW * (row + 1)
        present_N = explanation.present[row]
        write(
            axes, _PANEL_LEFT, y + 1.6, name, 8.0, gid="map lead", color=TEXT_COLOR if present_N.any() else "#aaaaaa"
        )
        for number, (value, present) in enumerate(zip(strength[row], present_N, strict=True)):
            shown, gid = (value, f"map {name}") if present else (None, "map absent")
            _draw_cell(axes, _MAP_LEFT + number * width, y, width, _MAP_ROW, shown, gid)
    frame = Rectangle((_MAP_LEFT, bottom), _MAP_WIDTH, top - bottom, facecolor="none", edgecolor="#999999", lw=0.5)
    axes.add_patch(frame)
    seconds = strength.shape[1] * explanation.patch_seconds
    for share in (0.0, 0.5, 1.0):
        x = _MAP_LEFT + share * _MAP_WIDTH
        text, align = f"{explanation.start_seconds + share * seconds:g} s", "left" if share < 1.0 else "right"
        write(axes, x, bottom - 3.6, text, 7.0, gid="map time", color=_PALE, align=align)
    return bottom - 9.0
