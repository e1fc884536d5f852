# SPDX-License-Identifier: Apache-2.0
"""A pretraining run on one page, from its metrics.jsonl."""

import json
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import (
    COLORS,
    GRID_COLOR,
    MARGIN,
    PAGE_WIDTH,
    REFERENCE_LINE,
    axes_in_inches,
    house_style,
    new_page,
    save,
)
from cgdmer.training.retrieval import RECALL_AT

_PANELS_PER_ROW = 3
_PANEL_HEIGHT, _TITLE_HEIGHT, _BELOW_PANEL = 1.45, 0.3, 0.3
_LEFT_OF_PANEL, _RIGHT_OF_PANEL = 0.5, 0.12
_CURVE: dict[str, Any] = {"linewidth": 1.4, "marker": "o", "markersize": 2.5}
_DIRECTIONS = {"": "the ECG's own text", "text_to_ecg_": "the text's own ECG"}


@dataclass
class History:
    """The contents of a metrics.jsonl.

    Args:
        metrics: for each name, its values by step, in order.
        unreadable: the number of lines that are not JSON; a killed run may leave half a line behind.
    """

    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    unreadable: int = 0

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "History":
        """A resumed run repeats the steps after its checkpoint; the later lines replace the earlier ones."""
        history = cls()
        last = 0
        for line in Path(path).read_text().splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                history.unreadable += 1
                continue
            step = values.pop("step")
            if step < last:
                for by_step in history.metrics.values():
                    for later in [known for known in by_step if known > step]:
                        del by_step[later]
            last = step
            for name, value in values.items():
                history.metrics.setdefault(name, {})[step] = value
        return history

    def __getitem__(self, name: str) -> tuple[list[int], list[float]]:
        by_step = self.metrics.get(name, {})
        return list(by_step), list(by_step.values())


def draw_training_curve(path: str | PathLike[str], metrics_path: str | PathLike[str]) -> None:
    """A panel for each loss, the learning rate, and the recall of true pairs, over steps.

    Args:
        path: the picture to write.
        metrics_path: a run's metrics.jsonl, including lines of runs that resumed it.

    Raises:
        CorpusError: it holds no loss.
    """
    save(training_curve_figure(History.read(metrics_path)), path)


def training_curve_figure(history: History) -> Figure:
    losses = [name for name in history.metrics if name == "loss" or name.endswith("_loss")]
    losses = list(dict.fromkeys(name.removeprefix("validation_") for name in losses))
    if not losses:
        raise CorpusError("metrics.jsonl holds no loss, so there is no curve to draw.")
    directions = [
        prefix for prefix in _DIRECTIONS if f"validation_{prefix}recall_at_{RECALL_AT[0]}" in history.metrics
    ]
    names = [*losses, "learning_rate", *(f"{prefix}recall" for prefix in directions)]
    rows = -(-len(names) // _PANELS_PER_ROW)
    row_height = _TITLE_HEIGHT + _PANEL_HEIGHT + _BELOW_PANEL
    panel_width = (2 * PAGE_WIDTH - 2 * MARGIN) / _PANELS_PER_ROW
    notes = ["From left to right: steps."]
    if directions:
        notes.append(f"Dashed: recall at {RECALL_AT[-1]} by chance.")
    if history.unreadable:
        notes.append(f"Lines of metrics.jsonl that cannot be read: {history.unreadable}.")
    with house_style():
        figure, bottom = new_page(2, rows * row_height, "Pretraining", _handles(bool(directions)), notes)
        for number, name in enumerate(names):
            row, column = divmod(number, _PANELS_PER_ROW)
            axes = axes_in_inches(
                figure,
                MARGIN + column * panel_width + _LEFT_OF_PANEL,
                bottom + (rows - row) * row_height - _TITLE_HEIGHT - _PANEL_HEIGHT,
                panel_width - _LEFT_OF_PANEL - _RIGHT_OF_PANEL,
                _PANEL_HEIGHT,
            )
            axes.set_gid(name)
            if name.endswith("recall"):
                _draw_recall(axes, history, name.removesuffix("recall"))
            else:
                _draw_metric(axes, history, name)
            axes.grid(color=GRID_COLOR, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.margins(x=0.02)
    return figure


def _handles(with_recall: bool) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=COLORS[5], linewidth=1.0, label="training"),
        Line2D([], [], color=COLORS[0], label="validation", **_CURVE),
    ]
    if with_recall:
        for limit, color in zip(RECALL_AT, COLORS[1:], strict=False):
            handles.append(Line2D([], [], color=color, label=f"recall at {limit}", **_CURVE))
    return handles


def _draw_metric(axes: Axes, history: History, name: str) -> None:
    title = name.replace("_", " ").replace("ecg", "ECG").replace("siglip", "SigLIP")
    axes.set_title(title, loc="left", size=8.5, weight="bold")
    axes.plot(*history[name], color=COLORS[5], linewidth=1.0, gid="training")
    axes.plot(*history[f"validation_{name}"], color=COLORS[0], gid="validation", **_CURVE)


def _draw_recall(axes: Axes, history: History, prefix: str) -> None:
    axes.set_title(f"recall of {_DIRECTIONS[prefix]}", loc="left", size=8.5, weight="bold")
    for limit, color in zip(RECALL_AT, COLORS[1:], strict=False):
        curve = history[f"validation_{prefix}recall_at_{limit}"]
        axes.plot(*curve, color=color, gid=f"recall at {limit}", **_CURVE)
    steps, candidates = history[f"validation_{prefix}candidates"]
    by_chance = np.minimum(1.0, RECALL_AT[-1] / np.array(candidates))
    axes.plot(steps, by_chance, gid="chance", **REFERENCE_LINE)
    axes.set_ylim(bottom=0.0)
