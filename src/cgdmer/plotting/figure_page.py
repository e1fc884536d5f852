# SPDX-License-Identifier: Apache-2.0
"""The page that all figures share: its style, its dimensions, and the places of title, legend, and notes.

Lengths are in inches, text sizes in points. Everything is measured before it is placed, so nothing covers the data.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from cgdmer.plotting.page_text import FONT, TEXT_COLOR, wrap

PAGE_WIDTH = 4.4
MARGIN = 0.12
AXIS_HEIGHT = 0.46  # tick labels and the name of the axis
TEXT_SIZE = 8.5
_NOTE_SIZE, _TITLE_SIZE = 8.0, 10.5
_LINE_HEIGHT = 0.145
_DOTS_PER_INCH = 200

# The colors of Okabe and Ito, with a darker violet for their yellow, which is too pale for thin lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B5AA6")
PALE_TEXT_COLOR = "#6b6b6b"
REFERENCE_LINE: dict[str, Any] = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (4, 2)), "zorder": 1.5}
GRID_COLOR = "#dde1e5"
_BAND_COLOR = "#f3f5f7"

_STYLE = {
    "axes.edgecolor": "#888888",
    "axes.labelcolor": TEXT_COLOR,
    "axes.labelsize": TEXT_SIZE,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": FONT,
    "font.size": TEXT_SIZE,
    "legend.fontsize": TEXT_SIZE,
    "pdf.fonttype": 42,  # journals refuse Type 3
    "text.color": TEXT_COLOR,
    "text.parse_math": False,  # a "$" in a class name is a dollar sign
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
}


def house_style() -> AbstractContextManager[None]:
    """A context in which figures look the same whatever the user's matplotlib settings, which it restores."""
    return matplotlib.style.context(["default", _STYLE])


def save(figure: Figure, path: str | PathLike[str]) -> None:
    with house_style():
        figure.savefig(path, dpi=_DOTS_PER_INCH)


def new_page(
    columns: int, body_height: float, title: str, handles: Sequence[Artist], notes: Sequence[str]
) -> tuple[Figure, float]:
    """A figure with title and legend at the top, notes at the bottom, and room for the body between them.

    Returns the figure and the distance from its lower edge to that of the body. All lengths are in inches.
    """
    width = columns * PAGE_WIDTH
    room = width - 2 * MARGIN
    figure = Figure(figsize=(width, 1.0), dpi=_DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)  # measures the texts
    heading = figure.text(
        0.0,
        0.0,
        "\n".join(wrap(title, room, _TITLE_SIZE, "bold")),
        size=_TITLE_SIZE,
        weight="bold",
        verticalalignment="top",
        linespacing=1.15,
        gid="title",
    )
    lines = [line for note in notes for line in wrap(note, room, _NOTE_SIZE)]
    footer = figure.text(
        0.0,
        0.0,
        "\n".join(lines),
        size=_NOTE_SIZE,
        color=PALE_TEXT_COLOR,
        linespacing=1.25,
        verticalalignment="bottom",
        gid="notes",
    )
    legend = _legend(figure, handles, room, most_columns=4 * columns)

    heading_height = heading.get_window_extent().height / figure.dpi
    footer_height = footer.get_window_extent().height / figure.dpi + 0.04 if lines else 0.0
    header_height = heading_height + 0.09 + legend.get_window_extent().height / figure.dpi + 0.09
    height = MARGIN + header_height + body_height + footer_height + MARGIN
    figure.set_size_inches(width, height)
    heading.set_position((MARGIN / width, 1.0 - MARGIN / height))
    legend.set_bbox_to_anchor((MARGIN / width, 1.0 - (MARGIN + heading_height + 0.09) / height))
    footer.set_position((MARGIN / width, MARGIN / height))
    return figure, MARGIN + footer_height


def _legend(figure: Figure, handles: Sequence[Artist], room: float, most_columns: int) -> Legend:
    """A legend of as few rows as the width allows, and no more columns than those rows fill."""
    for handle in handles:
        handle.set_label("\n".join(wrap(str(handle.get_label()), room - 0.4, TEXT_SIZE)))
    rows = -(-len(handles) // most_columns)
    while True:
        columns = -(-len(handles) // rows)
        legend = figure.legend(
            handles=list(handles),
            loc="upper left",
            ncols=columns,
            frameon=False,
            borderpad=0.0,
            borderaxespad=0.0,
            labelspacing=0.35,
            columnspacing=1.4,
            handlelength=1.7,
            handletextpad=0.5,
        )
        if legend.get_window_extent().width / figure.dpi <= room or columns == 1:
            return legend
        legend.remove()
        rows += 1


def axes_in_inches(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes((left / page_width, bottom / page_height, width / page_width, height / page_height))


def frame_unit_square(axes: Axes, x_name: str, y_name: str) -> None:
    """Both axes from 0 to 1, with a grid."""
    for set_limits, set_ticks in ((axes.set_xlim, axes.set_xticks), (axes.set_ylim, axes.set_yticks)):
        set_limits(-0.01, 1.01)
        set_ticks(np.linspace(0.0, 1.0, 6))
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)


def row_height(lines: Sequence[str]) -> float:
    """The height that the label of a row needs."""
    return 0.065 + _LINE_HEIGHT * len(lines)


def draw_rows(axes: Axes, labels: Sequence[Sequence[str]], heights: Sequence[float]) -> np.ndarray:
    """Draw rows from the top; a pale band behind every other one leads the eye from its label to its dots.

    The y axis is in inches from the upper edge, so the axes must be as high as all rows together. Returns the middle
    of each row.
    """
    edges = np.concatenate([[0.0], np.cumsum(heights)])
    middles = (edges[:-1] + edges[1:]) / 2
    axes.set_ylim(edges[-1], 0.0)
    axes.set_yticks(middles, ["\n".join(lines) for lines in labels], linespacing=1.1)
    axes.tick_params(axis="y", length=0.0, pad=4.0)
    axes.spines["left"].set_visible(False)
    for upper, lower in zip(edges[0:-1:2], edges[1::2], strict=True):
        axes.axhspan(upper, lower, color=_BAND_COLOR, linewidth=0.0, zorder=0.5)
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.6)
    axes.set_axisbelow(True)
    return middles
