# SPDX-License-Identifier: Apache-2.0
"""Text on pages whose data coordinates are millimeters: measured, shortened, wrapped, written as it stands."""

from bisect import bisect_right

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import TextToPath

MILLIMETERS_PER_INCH = 25.4
TEXT_COLOR = "#222222"


def _font(size: float, weight: str = "normal") -> FontProperties:
    """The font that comes with matplotlib, so that a page looks the same everywhere; `size` in points."""
    return FontProperties(family="DejaVu Sans", size=size, weight=weight)


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    *,
    gid: str,
    weight: str = "normal",
    color: str = TEXT_COLOR,
    align: str = "left",
) -> Text:
    """Text whose baseline starts (or, with align="right", ends) at a point of the page, taken literally."""
    written = axes.text(
        x,
        y,
        text,
        fontproperties=_font(size, weight),
        color=color,
        horizontalalignment=align,
        verticalalignment="baseline",
        zorder=4.0,
        parse_math=False,  # a "$" in a title or an identifier is a dollar sign
        usetex=False,
    )
    written.set_gid(gid)
    return written


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def _width(text: str, size: float) -> float:
    """Millimeters that a text takes, in bold so that it is an upper bound for both weights."""
    points: float = TextToPath().get_text_width_height_descent(text, _font(size, "bold"), ismath=False)[0]
    return points / 72.0 * MILLIMETERS_PER_INCH


def shorten(text: str, width: float, size: float) -> str:
    """The text, or as much of its start as fits into `width` millimeters with an ellipsis."""
    if _width(text, size) <= width:
        return text
    kept = bisect_right(range(1, len(text)), width, key=lambda length: _width(text[:length] + "…", size))
    return text[:kept].rstrip() + "…"


def wrap(text: str, width: float, size: float, *, most_lines: int) -> list[str]:
    """Lines of whole words, no wider than `width` millimeters; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    words = text.split()
    for position, word in enumerate(words):
        if lines and _width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        elif len(lines) < most_lines:
            lines.append(shorten(word, width, size))
        else:
            lines[-1] = shorten(" ".join([lines[-1], *words[position:]]), width, size)
            break
    return lines
