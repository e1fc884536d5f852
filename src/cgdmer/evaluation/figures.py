# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation: scores by class with intervals, ROC curves, t-SNE of record embeddings, robustness.

Each function takes plain numbers, however they were computed, and returns a figure for `figure_page.save`. A figure is
4.4 inches wide, for half a page of A4 or a slide, or twice that for scores of more than 40 classes. The colors are
those of Okabe and Ito, which are distinct in every kind of color vision; where there is room, markers or line styles
differ too.

Shapes: R records, C classes, D embedding width.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE
from sklearn.metrics import roc_curve

from cgdmer.evaluation.statistics import FEWEST_POSITIVES, METRIC_NAMES, auroc_by_column
from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import (
    AXIS_HEIGHT,
    COLORS,
    MARGIN,
    PAGE_WIDTH,
    PALE_TEXT_COLOR,
    REFERENCE_LINE,
    TEXT_SIZE,
    axes_in_inches,
    draw_rows,
    frame_unit_square,
    house_style,
    new_page,
    row_height,
)
from cgdmer.plotting.page_text import TEXT_COLOR, text_width, wrap

MOST_POINTS = 2000  # more hide each other, and t-SNE takes minutes

_MOST_CLASSES_IN_A_COLUMN = 40
_MOST_NAMED_CURVES = 12
_DOT_SPACING = 0.095  # inches between the measures of a class
_MARKERS = ("o", "s", "^", "v", "P", "X", "D")
_UNTRAINED_MARKERS = ("D", "s", "o", "^", "v")
_UNTRAINED_COLOR = "#767676"
_FAINT_COLOR = "#b9bec4"
_CURVE_STYLES: tuple[dict[str, Any], ...] = tuple(
    {"color": color, "linestyle": dashes, "linewidth": 1.4} for dashes in ("-", (0, (4, 1.5))) for color in COLORS
)


def per_class_figure(
    measures: Mapping[str, Mapping[str, Any]], metric: str = "auroc", title: str = "Scores by class"
) -> Figure:
    """A row per class, in the order given, with a dot and its 95 % interval per measure.

    Classes with few positives are paler and marked with a star. Classes that were left out are named at the bottom.

    Args:
        measures: what `statistics.measure` returned, by name ("zero-shot", "linear probe", "untrained", ...). Names
            with "untrained" in them are drawn hollow and gray.
        metric: one of `METRIC_NAMES`. A class that a measure lacks, or whose value is NaN, gets no dot.
        title: wrapped if it is long.

    Raises:
        CorpusError: no measure has a class.
    """
    rows = {name: row for result in measures.values() for name, row in result["per_class"].items()}
    if not rows:
        raise CorpusError("no measure has a class: there is nothing to draw.")
    labels = {name: wrap(_row_label(name, row), 1.6, TEXT_SIZE) for name, row in rows.items()}
    dots_height = 0.1 + _DOT_SPACING * len(measures)
    heights = {name: max(row_height(lines), dots_height) for name, lines in labels.items()}
    column_count = 1 if len(rows) <= _MOST_CLASSES_IN_A_COLUMN else 2
    half = -(-len(rows) // column_count)
    columns = [list(rows)[:half], list(rows)[half:]][:column_count]
    plot_height = max(sum(heights[name] for name in classes) for classes in columns)
    # The columns share one scale; each has as much room for labels as its own need.
    label_widths = [
        0.1 + max(text_width(line, TEXT_SIZE) for name in classes for line in labels[name]) + number * 0.25
        for number, classes in enumerate(columns)
    ]
    plot_width = (column_count * PAGE_WIDTH - 2 * MARGIN - 0.1 - sum(label_widths)) / column_count

    styles = _measure_styles(measures)
    handles = [
        Line2D([], [], linewidth=1.2, label=f"{name} (mean {_three_decimals(result[f'macro_{metric}'])})", **style)
        for (name, result), style in zip(measures.items(), styles, strict=True)
    ]
    notes = ["In brackets: records with the class."]
    if any(row["few_positives"] for row in rows.values()):
        notes.append(f"* fewer than {FEWEST_POSITIVES} such records: the class's own value says little.")
    if any(not np.isfinite(row[metric]) for result in measures.values() for row in result["per_class"].values()):
        notes.append("No dot: no value.")
    notes += _left_out_note(list(dict.fromkeys(name for result in measures.values() for name in result["left_out"])))
    with house_style():
        figure, bottom = new_page(column_count, plot_height + AXIS_HEIGHT, title, handles, notes)
        top = bottom + AXIS_HEIGHT + plot_height
        for number, classes in enumerate(columns):
            left = MARGIN + sum(label_widths[: number + 1]) + number * plot_width
            height = sum(heights[name] for name in classes)
            axes = axes_in_inches(figure, left, top - height, plot_width, height)
            axes.set_xlim(*_per_class_limits(measures, metric))
            middles = draw_rows(axes, [labels[name] for name in classes], [heights[name] for name in classes])
            for tick, name in zip(axes.get_yticklabels(), classes, strict=True):
                tick.set_color(PALE_TEXT_COLOR if rows[name]["few_positives"] else TEXT_COLOR)
            name_of_axis = f"{METRIC_NAMES[metric]}, 95 % interval"
            if metric == "auroc":
                axes.axvline(0.5, gid="chance", **REFERENCE_LINE)
                name_of_axis += " (0.5: chance)"
            axes.set_xlabel(name_of_axis)
            for position, (name, result) in enumerate(measures.items()):
                offset = (position - (len(measures) - 1) / 2) * _DOT_SPACING
                places = dict(zip(classes, middles + offset, strict=True))
                _draw_measure(axes, places, name, result["per_class"], metric, styles[position])
    return figure


def _draw_measure(
    axes: Axes,
    places: Mapping[str, float],
    name: str,
    per_class: Mapping[str, Mapping[str, Any]],
    metric: str,
    style: Mapping[str, Any],
) -> None:
    """Draw the dots and whiskers of one measure, each class at its height."""
    rows = [
        (height, per_class[label])
        for label, height in places.items()
        if np.isfinite(per_class.get(label, {}).get(metric, np.nan))
    ]
    if not rows:
        return
    heights = [height for height, _ in rows]
    lows, highs = zip(*(row[f"{metric}_interval"] for _, row in rows), strict=True)
    colors = [_paler(style["color"]) if row["few_positives"] else style["color"] for _, row in rows]
    axes.hlines(heights, lows, highs, colors=colors, linewidths=1.2, zorder=2.0, gid=f"interval {name}")
    axes.scatter(
        [row[metric] for _, row in rows],
        heights,
        s=style["markersize"] ** 2,
        marker=style["marker"],
        facecolors="white" if style["markerfacecolor"] == "white" else colors,
        edgecolors=colors,
        linewidths=1.0,
        zorder=3.0,
        gid=f"value {name}",
    )


def _measure_styles(names: Iterable[str]) -> list[dict[str, Any]]:
    """Colors for trained models; hollow and gray for untrained ones."""
    styles: list[dict[str, Any]] = []
    trained, untrained = 0, 0
    for name in names:
        if "untrained" in name:
            marker = _UNTRAINED_MARKERS[untrained % len(_UNTRAINED_MARKERS)]
            look = {"color": _UNTRAINED_COLOR, "markerfacecolor": "white", "markersize": 3.3}
            untrained += 1
        else:
            marker, color = _MARKERS[trained % len(_MARKERS)], COLORS[trained % len(COLORS)]
            look = {"color": color, "markerfacecolor": color, "markersize": 3.9}
            trained += 1
        styles.append({"marker": marker, **look})
    return styles


def _row_label(name: str, row: Mapping[str, Any]) -> str:
    return f"{name} ({row['positives']:,}){'*' if row['few_positives'] else ''}"


def _left_out_note(names: Sequence[str]) -> list[str]:
    return [f"Left out, without positive or negative records: {', '.join(names)}."] if names else []


def _per_class_limits(measures: Mapping[str, Mapping[str, Any]], metric: str) -> tuple[float, float]:
    """AUROC starts just below chance, or lower if an interval reaches further; the others start at 0."""
    if metric != "auroc":
        return -0.01, 1.01
    rows = [row for result in measures.values() for row in result["per_class"].values()]
    ends = [end for row in rows for end in (row["auroc"], *row["auroc_interval"])]
    return float(np.floor(20 * min(0.45, np.nanmin([0.45, *ends])) + 1e-9) / 20 - 0.01), 1.01


def roc_figure(labels: np.ndarray, scores: np.ndarray, class_names: Sequence[str], title: str = "ROC") -> Figure:
    """A receiver operating characteristic per class, with the area under it.

    More than 12 classes become thin gray curves, of which only the best, the worst, and the macro average are named.
    The best and the worst are chosen among classes with enough positives, if there are any. The macro average is the
    mean of the curves at each false positive rate, and its area is the mean of their areas.

    Args:
        labels: (R, C) bool.
        scores: (R, C), any monotone score.
        class_names: one per column. Classes without both positive and negative records have no curve and are named
            at the bottom.
        title: wrapped if it is long.

    Raises:
        CorpusError: no class has both positive and negative records.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores)
    areas = auroc_by_column(labels, scores)
    usable = [column for column in range(len(class_names)) if np.isfinite(areas[column])]
    if not usable:
        raise CorpusError("no class has both positive and negative records: there is no curve to draw.")
    curves = {column: roc_curve(labels[:, column], scores[:, column])[:2] for column in usable}
    few = [column for column in usable if labels[:, column].sum() < FEWEST_POSITIVES]

    named = dict.fromkeys(usable, "")  # column -> what precedes the name of the class in the legend
    notes = ["Numbers: area under the curve."]
    if many := len(usable) > _MOST_NAMED_CURVES:
        judged = sorted([column for column in usable if column not in few] or usable, key=areas.__getitem__)
        named = {judged[-1]: "best: ", judged[0]: "worst: "}
        enough = f" with at least {FEWEST_POSITIVES} positive records" if few else ""
        notes.append(f"Best and worst of the {len(judged)} classes{enough}; the others in gray.")
    elif few:
        notes.append(f"* fewer than {FEWEST_POSITIVES} positive records.")
    notes += _left_out_note([name for column, name in enumerate(class_names) if column not in curves])

    with house_style():
        lines = []
        if many:
            text, gid = f"macro average of {len(usable)}: {areas[usable].mean():.3f}", "curve of macro average"
            mean = _mean_curve(list(curves.values()))
            lines.append(Line2D(*mean, color="black", linewidth=2.2, zorder=4.0, label=text, gid=gid))
        for (column, prefix), style in zip(named.items(), _CURVE_STYLES, strict=False):
            star, gid = "*" if column in few else "", f"curve of class {class_names[column]}"
            text = f"{prefix}{class_names[column]}{star} {areas[column]:.3f}"
            lines.append(Line2D(*curves[column], zorder=3.0, label=text, gid=gid, **style))
        side = PAGE_WIDTH - 2 * MARGIN - 0.6
        figure, bottom = new_page(1, side + AXIS_HEIGHT, title, lines, notes)
        axes = axes_in_inches(figure, MARGIN + 0.5, bottom + AXIS_HEIGHT, side, side)
        axes.plot([0, 1], [0, 1], gid="chance", **REFERENCE_LINE)
        for column in usable:
            if column not in named:
                gid = f"curve of class {class_names[column]}"
                axes.plot(*curves[column], color=_FAINT_COLOR, linewidth=0.6, zorder=2.0, gid=gid)
        for line in lines:
            axes.add_line(line)
        frame_unit_square(axes, "1 - specificity (false positive rate)", "sensitivity (true positive rate)")
    return figure


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the curves at every x where one of them turns; the area under it is the mean of theirs.

    A curve that jumps at x has two heights there, one before and one after the jump, and so does the mean.
    """
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    before, after = np.zeros_like(grid), np.zeros_like(grid)
    for x, y in curves:
        between = np.interp(grid, x, y)
        first, last = np.searchsorted(x, grid, "left"), np.searchsorted(x, grid, "right") - 1
        turns = x[last] == grid
        before += np.where(turns, y[first], between)
        after += np.where(turns, y[last], between)
    return np.repeat(grid, 2), np.stack([before, after], axis=1).ravel() / len(curves)


def tsne_figure(
    embeddings: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    seed: int = 0,
    title: str = "t-SNE of record embeddings",
) -> Figure:
    """Record embeddings in the plane, close together if their cosine is large, colored by class.

    Only records with exactly one class are drawn, and at most `MOST_POINTS` of them; the figure says how many. Of more
    than seven classes, the seven most frequent among the points have colors and the others are gray.

    Args:
        embeddings: (R, D), no zero vectors.
        labels: (R, C) bool.
        class_names: one per column.
        seed: of the choice of records and of t-SNE.
        title: wrapped if it is long.

    Raises:
        CorpusError: fewer than four records have exactly one class.
    """
    labels = np.asarray(labels, dtype=bool)
    classes_of_record = labels.sum(axis=1)
    single = np.flatnonzero(classes_of_record == 1)
    if len(single) < 4:
        raise CorpusError(f"{len(single)} records have exactly one class: too few for t-SNE, which needs four.")
    # In random order, so that no class covers the others.
    drawn = np.random.default_rng(seed).permutation(single)[:MOST_POINTS]
    classes = labels[drawn].argmax(axis=1)
    perplexity = min(30.0, (len(drawn) - 1) / 3)
    mapping = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed)
    points = mapping.fit_transform(np.asarray(embeddings)[drawn])

    counts = np.bincount(classes, minlength=len(class_names)).tolist()
    by_frequency = sorted(range(len(counts)), key=lambda column: -counts[column])
    named = sorted(column for column in by_frequency[: len(COLORS)] if counts[column])
    color_of_class = dict(zip(named, COLORS, strict=False))
    legend = [(f"{class_names[column]} ({counts[column]:,})", color) for column, color in color_of_class.items()]
    others = ~np.isin(classes, named)
    if others.any():
        legend.append((f"{len(set(classes[others]))} other classes ({others.sum():,})", _FAINT_COLOR))
    handles = [
        Line2D([], [], color=color, marker="o", markersize=5.0, linestyle="", label=text) for text, color in legend
    ]
    note = (
        f"{len(drawn):,} of the {len(single):,} records with exactly one class. Not shown: "
        f"{(classes_of_record > 1).sum():,} with several, {(classes_of_record == 0).sum():,} with none."
    )
    side = PAGE_WIDTH - 2 * MARGIN
    with house_style():
        figure, bottom = new_page(1, side + 0.1, title, handles, [note])
        axes = axes_in_inches(figure, MARGIN, bottom + 0.1, side, side)
        for chosen, order, gid in ((others, 2.0, "points of other classes"), (~others, 3.0, "points")):
            colors = [color_of_class.get(column, _FAINT_COLOR) for column in classes[chosen]]
            x, y = points[chosen].T
            axes.scatter(x, y, c=colors, s=9.0, alpha=0.75, linewidths=0.0, zorder=order, gid=gid)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["top", "right"]].set_visible(True)
    return figure


def conditions_figure(
    conditions: Mapping[str, Sequence[tuple[str, float, float, float]]],
    reference: float,
    title: str = "Robustness",
    reference_name: str = "full record",
    notes: Sequence[str] = (),
) -> Figure:
    """Macro AUROC under several conditions, or in several groups: a panel per family, all on one scale.

    Points are not joined: most conditions have no order. The scale ends a little below the lowest value; wider
    intervals are cut off there, and a note says so.

    Args:
        conditions: those of each family ("leads", "sex", ...) in the order to draw, each as (label, value, low, high),
            where the last two are the ends of the 95 % interval.
        reference: the value on full records, or on all records, a dashed line through all panels.
        title: wrapped if it is long.
        reference_name: what the reference is, for the legend.
        notes: sentences for the bottom of the figure.

    Raises:
        CorpusError: no condition has a value.
    """
    conditions = {family: rows for family, rows in conditions.items() if rows}
    numbers = {family: np.array([row[1:] for row in rows], dtype=float) for family, rows in conditions.items()}
    if not any(np.isfinite(of_family[:, 0]).any() for of_family in numbers.values()):
        raise CorpusError("no condition has a value: there is nothing to draw.")
    labels = {family: [wrap(row[0], 1.4, TEXT_SIZE) for row in rows] for family, rows in conditions.items()}
    heights = {family: [row_height(lines) for lines in of_family] for family, of_family in labels.items()}
    widest = max(text_width(line, TEXT_SIZE) for rows in labels.values() for lines in rows for line in lines)
    heading_height = 0.3
    body_height = sum(heading_height + sum(of_family) for of_family in heights.values()) + AXIS_HEIGHT
    lowest, highest = _limits(np.concatenate(list(numbers.values())), reference)
    if any(np.nanmin(of_family[:, 1], initial=1.0) < lowest for of_family in numbers.values()):
        notes = [*notes, "An interval at the left edge reaches further."]
    left = MARGIN + widest + 0.1
    width = PAGE_WIDTH - left - MARGIN - 0.45  # the numbers are on the right
    with house_style():
        text = f"{reference_name} {_three_decimals(reference)}"
        figure, y = new_page(1, body_height, title, [Line2D([], [], label=text, **REFERENCE_LINE)], notes)
        y += body_height
        for family, rows in numbers.items():
            height = sum(heights[family])
            y -= heading_height + height
            axes = axes_in_inches(figure, left, y, width, height)
            axes.set_xlim(lowest, highest)
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.tick_params(axis="x", labelbottom=False)
            middles = draw_rows(axes, labels[family], heights[family])
            at = (MARGIN / PAGE_WIDTH, (y + height + 0.07) / figure.get_figheight())
            figure.text(*at, family, weight="bold", gid="family")
            axes.axvline(reference, gid="reference", **REFERENCE_LINE)
            values, lows, highs = rows.T
            axes.hlines(middles, lows, highs, colors=COLORS[0], linewidths=1.2, zorder=2.0, gid=f"interval {family}")
            axes.scatter(values, middles, color=COLORS[0], s=17.0, linewidths=0.0, zorder=3.0, gid=f"value {family}")
            for value, middle in zip(values, middles, strict=True):
                axes.annotate(
                    _three_decimals(value),
                    (1.0, middle),
                    (6.0, 0.0),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    verticalalignment="center_baseline",
                    gid=f"number {family}",
                )
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_xlabel("macro AUROC, 95 % interval")
    return figure


def _limits(rows: np.ndarray, reference: float) -> tuple[float, float]:
    """The ends of the scale for rows of (value, low, high): all values, and intervals down to 0.15 below them."""
    lowest = max(np.nanmin(rows), np.nanmin([*rows[:, 0], reference]) - 0.15)
    highest = np.nanmax([np.nanmax(rows), reference])
    padding = max(0.01, 0.04 * (highest - lowest))
    return max(0.0, float(lowest - padding)), min(1.01, float(highest + padding))


def _three_decimals(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"


def _paler(color: str) -> str:
    red, green, blue = (0.5 + 0.5 * part for part in to_rgb(color))
    return to_hex((red, green, blue))
