# SPDX-License-Identifier: Apache-2.0
"""Text on pictures: measured in inches, shortened, wrapped, and written without being parsed."""

from bisect import bisect_right

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import TextToPath

MILLIMETERS_PER_INCH = 25.4
TEXT_COLOR = "#222222"
FONT = "DejaVu Sans"  # ships with matplotlib, so a page looks the same everywhere


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
    """Write text whose baseline starts at (x, y) or, with align="right", ends there."""
    return axes.text(
        x,
        y,
        text,
        fontproperties=FontProperties(family=FONT, size=size, weight=weight),
        color=color,
        horizontalalignment=align,
        verticalalignment="baseline",
        zorder=4.0,
        parse_math=False,  # a "$" in a title or an identifier is a dollar sign
        usetex=False,
        gid=gid,
    )


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a text in inches, for a font size in points."""
    font = FontProperties(family=FONT, size=size, weight=weight)
    points: float = TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]
    return points / 72.0


def shorten(text: str, width: float, size: float, weight: str = "normal") -> str:
    """The text, or as much of its start as fits into `width` inches with an ellipsis."""
    if text_width(text, size, weight) <= width:
        return text
    return text[: _fitting(text, width, size, weight, ending="…")].rstrip() + "…"


def wrap(text: str, width: float, size: float, weight: str = "normal", most_lines: int | None = None) -> list[str]:
    """Break a text between words into lines of at most `width` inches; an empty text is one empty line.

    A word that is too wide for a line is broken as well. With `most_lines` it is shortened instead, and so is the last
    line if the text goes on.
    """
    lines: list[str] = []
    words = text.split()
    for position, word in enumerate(words):
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] = f"{lines[-1]} {word}"
        elif most_lines is None:
            while text_width(word, size, weight) > width:
                count = max(1, _fitting(word, width, size, weight))
                lines.append(word[:count])
                word = word[count:]
            lines.append(word)
        elif len(lines) < most_lines:
            lines.append(shorten(word, width, size, weight))
        else:
            lines[-1] = shorten(" ".join([lines[-1], *words[position:]]), width, size, weight)
            break
    return lines or [""]


def _fitting(text: str, width: float, size: float, weight: str, ending: str = "") -> int:
    """How many characters from the start of a text that is too wide fit, followed by `ending`."""
    lengths = range(1, len(text))
    return bisect_right(lengths, width, key=lambda length: text_width(text[:length] + ending, size, weight))
