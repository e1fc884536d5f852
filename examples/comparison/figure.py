# SPDX-License-Identifier: Apache-2.0
"""The results of run.py on one screen: a row per method, a column per measure, each with its 95% interval.

    python examples/comparison/figure.py --csv examples/comparison/results.csv --output comparison.png

It reads the same draws as summary.py, whose tables have the numbers, and shows one task. Rows are sorted by the linear
probe on all training records. A dashed line marks random weights, if they were measured. Training of random weights
with labels (the row `supervised`) is in the column of finetuning. Each column has its own scale.
"""

import argparse
from pathlib import Path

import numpy as np
from intervals import OverSeeds, over_seeds, read_draws
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from supervised import SUPERVISED

from cgdmer.evaluation.measures import LINEAR_PROBE, ZERO_SHOT
from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import COLORS, GRID_COLOR, REFERENCE_LINE, house_style, save

RANDOM, FINETUNED = "random_init", "finetuned"
SHOWN = (ZERO_SHOT, LINEAR_PROBE, "per-lead probe 100 %", "nearest neighbors 100 %", "attention probe 100 %")
SHOWN = (*SHOWN, FINETUNED)
_WIDTH, _ROW_HEIGHT, _REST = 1.6, 0.24, 1.1  # inches


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", required=True, type=Path, help="the CSV file of run.py")
    parser.add_argument("--output", required=True, type=Path, help="PNG, SVG, or PDF")
    parser.add_argument("--task", default="ptbxl-super")
    options = parser.parse_args(arguments)
    draws = read_draws(options.csv)
    found = {
        (row, FINETUNED if measure == SUPERVISED else measure): over_seeds(one)
        for (measure, row, task), one in draws.items()
        if task == options.task
    }
    if not found:
        raise CorpusError(f"{options.csv} has no draws of the task {options.task}.")
    save(comparison_figure(found, options.task), options.output)


def comparison_figure(found: dict[tuple[str, str], OverSeeds], task: str) -> Figure:
    """A panel per measure that any row has.

    Args:
        found: by row and measure.
    """
    measures = [name for name in SHOWN if any(measure == name for _, measure in found)]
    by = {row: one.value for measure in (FINETUNED, LINEAR_PROBE) for (row, of), one in found.items() if of == measure}
    rows = sorted({row for row, _ in found}, key=lambda row: (by.get(row, -np.inf), row))
    with house_style():
        size = (_WIDTH * (len(measures) + 1), _ROW_HEIGHT * len(rows) + _REST)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for panel, measure in zip(panels, measures, strict=True):
            if (RANDOM, measure) in found:
                panel.axvline(found[RANDOM, measure].value, **REFERENCE_LINE)
            for place, row in enumerate(rows):
                if (one := found.get((row, measure))) is not None:
                    panel.hlines(place, *one.interval(), colors=COLORS[0], linewidths=1.2, gid=f"{row} {measure}")
                    panel.plot(one.value, place, "o", color=COLORS[0], markersize=3.5)
            panel.set_title(measure.removesuffix(" 100 %"))
            panel.set_yticks(range(len(rows)), rows)
            panel.set_ylim(-0.7, len(rows) - 0.3)
            panel.xaxis.set_major_locator(MaxNLocator(4))
            panel.grid(axis="x", color=GRID_COLOR, linewidth=0.5)
        figure.supxlabel(f"macro AUROC on {task}, 95 % interval over patients and seeds")
    return figure


if __name__ == "__main__":
    main()
