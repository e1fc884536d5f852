# SPDX-License-Identifier: Apache-2.0
"""The panel of scores beside an ECG on paper."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.models.errors import ConfigurationError
from cgdmer.plotting.page_text import MILLIMETERS_PER_INCH, one_line, wrap, write

_BAR_WIDTH, _BAR_HEIGHT = 89.0, 2.6
_BAR_COLOR = "#3b6ea5"
_BAR_TRACK_COLOR = "#e9edf2"


def checked_scores(scores: Sequence[Mapping[str, Any]], are_values: bool) -> list[tuple[str, float]]:
    """Pairs of label and score, largest score first (equal scores keep their order); values in their own order."""
    number = "number" if are_values else "number from 0 to 1"
    expected = f'expected [{{"label": str, "score": {number}}}, ...], the scores of one record'
    if isinstance(scores, Mapping | str) or len(scores) == 0:
        raise ConfigurationError(f"scores is {scores!r}; {expected}. Leave it out to draw no panel.")
    pairs = []
    for position, entry in enumerate(scores):
        if not isinstance(entry, Mapping) or "label" not in entry or "score" not in entry:
            raise ConfigurationError(f"scores[{position}] is {entry!r}; {expected}.")
        try:
            score = float(entry["score"])
        except (TypeError, ValueError):
            score = float("nan")
        if not (math.isfinite(score) if are_values else 0.0 <= score <= 1.0):
            raise ConfigurationError(f"scores[{position}] has score {entry['score']!r}; {expected}.")
        pairs.append((one_line(entry["label"]), score))
    return pairs if are_values else sorted(pairs, key=lambda pair: -pair[1])


def draw_scores(
    axes: Axes,
    left: float,
    top: float,
    bottom: float,
    scores: Sequence[tuple[str, float]],
    are_values: bool,
    notes: Sequence[str],
) -> None:
    """Draw labels with their percentages, each above a bar on a track of 100 %, as many as the page has room for.

    Values of a regression have no bars. Notes are at the bottom.

    Args:
        axes: of the page, in millimeters.
        left: where the panel begins.
        top, bottom: of its bars; the heading is above, and the research-use-only note below.
        scores: from `checked_scores`.
    """
    label_size, line_height = 9.0, 4.2
    label_width = (_BAR_WIDTH - 18.0) / MILLIMETERS_PER_INCH  # the percentage has 18 mm
    heading = "Values" if are_values else "Scores"
    write(axes, left, top + 4.0, heading, 13.0, gid="score heading", weight="bold")
    write(axes, left, bottom - 4.8, RESEARCH_USE_ONLY, 9.0, gid="research use only", weight="bold")

    words = wrap(" ".join(notes), _BAR_WIDTH / MILLIMETERS_PER_INCH, 8.0, most_lines=12) if notes else []
    for line in reversed(words):
        write(axes, left, bottom, line, 8.0, gid="score note", color="#555555")
        bottom += 3.6
    bottom += 2.0 if notes else 0.0

    y = top
    for position, (label, score) in enumerate(scores):
        lines = wrap(label, label_width, label_size, "bold", most_lines=4)
        height = len(lines) * line_height + _BAR_HEIGHT + 4.8
        left_out = len(scores) - position
        # Keep room for the line that counts the labels left out, unless this is the last label.
        if y - height < bottom + (line_height if left_out > 1 else 0.0):
            plural = "" if left_out == 1 else "s"
            most = "" if are_values else f" with a score of at most {_percentage(score)}"
            text = f"and {left_out} label{plural}{most}"
            write(axes, left, bottom, text, 8.0, gid="scores left out", color="#555555")
            break
        shown = f"{score:.4g}" if are_values else _percentage(score)
        write(axes, left + _BAR_WIDTH, y - line_height, shown, label_size, gid="score", align="right")
        for line in lines:
            y -= line_height
            write(axes, left, y, line, label_size, gid="score label")
        y -= _BAR_HEIGHT + 1.4
        bars = ((_BAR_WIDTH, _BAR_TRACK_COLOR, "score track"), (_BAR_WIDTH * score, _BAR_COLOR, "score bar"))
        for width, color, gid in () if are_values else bars:
            axes.add_patch(Rectangle((left, y), width, _BAR_HEIGHT, facecolor=color, edgecolor="none", gid=gid))
        y -= 3.4


def _percentage(score: float) -> str:
    """One decimal; only scores of exactly 0 and 1 become 0 % and 100 %."""
    if 0.0 < score < 0.0005:
        return "<0.1 %"
    if 0.9995 <= score < 1.0:
        return ">99.9 %"
    return f"{100 * score:.1f} %"
