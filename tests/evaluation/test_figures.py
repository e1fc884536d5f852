# SPDX-License-Identifier: Apache-2.0
"""Figures show what they were given, in its order; nothing is hidden, and they say what is left out."""

import functools
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from cgdmer.evaluation import figures
from cgdmer.evaluation.statistics import auroc_by_column, measure
from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import save

LONG_NAMES = (
    "non-specific intraventricular conduction disturbance (block)",
    "complete left bundle branch block",
    "costs $1 or $2",
    "inferoposterolateral_myocardial_infarction_without_any_space",
)
CURVES = {
    "leads": [
        ("12 leads", 0.912, 0.902, 0.921),
        ("I, II, III, aVR, aVL, aVF", 0.87, 0.85, 0.88),
        ("II", 0.7, 0.6, 0.8),
    ],
    "sampling rate": [("500 Hz", 0.912, 0.902, 0.921), ("50 Hz", float("nan"), float("nan"), float("nan"))],
}


def sample(classes: int = 4, records: int = 200, strength: float = 1.5, seed: int = 0):
    """Labels (four positives in the second class, none in the third), scores, names, and patients."""
    random = np.random.default_rng(seed)
    labels = random.random((records, classes)) < 0.25
    labels[:, 1] = np.arange(records) < 4
    labels[:, 2] = False
    scores = strength * labels * random.random(classes) + random.normal(size=labels.shape)
    names = [*LONG_NAMES, *(f"class {number}" for number in range(classes))][:classes]
    return labels, scores, names, [str(number // 2) for number in range(records)]


def measured(classes: int = 4, strength: float = 1.5, seed: int = 0, thresholds: np.ndarray | None = None):
    return measure(*sample(classes, strength=strength, seed=seed), thresholds=thresholds)


def artists(figure: Figure, gid: str) -> list:
    return figure.findobj(lambda artist: artist.get_gid() == gid, include_self=False)


def legend_texts(figure: Figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in figure.legends[0].get_texts()]


def notes(figure: Figure) -> str:
    return " ".join(artists(figure, "notes")[0].get_text().split())


def row_labels(axes) -> list[str]:
    return ["".join(tick.get_text().split()) for tick in axes.get_yticklabels()]


def as_drawn(figure: Figure, name: str, axes) -> dict[str, tuple[float, float, float]]:
    """For each row label, without spaces, the (value, low, high) of the dot and whisker in that row's band."""
    (dots,) = [one for one in artists(figure, f"value {name}") if one.axes is axes]
    (whiskers,) = [one for one in artists(figure, f"interval {name}") if one.axes is axes]
    middles, labels = axes.get_yticks(), row_labels(axes)
    drawn = {}
    for (value, height), ((low, _), (high, _)) in zip(dots.get_offsets(), whiskers.get_segments(), strict=True):
        drawn[labels[np.abs(middles - height).argmin()]] = (float(value), float(low), float(high))
    return drawn


@functools.cache
def all_figures() -> dict[str, Figure]:
    labels, scores, names, _ = sample(30)
    three = {
        "zero-shot": measured(70),
        "linear probe, 100 % of the labels": measured(70, 3.0),
        "untrained": measured(70),
    }
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 8))
    return {
        "5 classes": figures.per_class_figure({"zero-shot": measured(5)}, "auroc", "a title that is long " * 5),
        "70 classes": figures.per_class_figure(three, "auroc", "many"),
        "ROC 12": figures.roc_figure(labels[:, :12], scores[:, :12], names[:12], "twelve"),
        "ROC 30": figures.roc_figure(labels, scores, names, "thirty"),
        "t-SNE": figures.tsne_figure(embeddings, labels[:, :9], names[:9], 0, "t-SNE"),
        "robustness": figures.conditions_figure(CURVES, 0.912, "robustness", notes=["A note."]),
    }


@pytest.mark.parametrize("metric", ["auroc", "auprc", "f1", "sensitivity", "specificity"])
@pytest.mark.parametrize("classes", [5, 71])
def test_each_row_shows_its_own_class(metric, classes):
    cuts = np.full(classes, 0.5)
    measures = {name: measured(classes, strength, seed=3, thresholds=cuts) for name, strength in (("a", 2), ("b", 0))}
    figure = figures.per_class_figure(measures, metric, "title")
    assert len(figure.axes) == (1 if classes == 5 else 2)
    widths = [axes.get_window_extent().width for axes in figure.axes]
    assert widths == pytest.approx([widths[0]] * len(widths))  # one scale
    for name, result in measures.items():
        expected = {
            "".join(f"{label}({row['positives']}){'*' if row['few_positives'] else ''}".split()): (
                row[metric],
                *row[f"{metric}_interval"],
            )
            for label, row in result["per_class"].items()
        }
        assert list(itertools.chain.from_iterable(map(row_labels, figure.axes))) == list(expected)
        drawn: dict = {}
        for axes in figure.axes:
            drawn |= as_drawn(figure, name, axes)
        assert drawn.keys() == expected.keys()
        for label, numbers in expected.items():
            assert drawn[label] == pytest.approx(numbers), label
        for axes in figure.axes:
            assert axes.get_xlim()[0] < min(low for _, low, _ in drawn.values())
    for one, other in zip(artists(figure, "value a"), artists(figure, "value b"), strict=True):
        assert (np.asarray(one.get_offsets())[:, 1] < np.asarray(other.get_offsets())[:, 1]).all()


def test_first_class_is_at_the_top():
    (axes,) = figures.per_class_figure({"a": measured(5)}, "auroc", "title").axes
    heights = axes.transData.transform([(0.5, y) for y in axes.get_yticks()])[:, 1]
    assert (np.diff(heights) < 0).all()


def test_a_class_in_the_wrong_row_would_be_noticed():
    result = measured(5)
    swapped = dict(result["per_class"])
    first, last = LONG_NAMES[0], list(swapped)[-1]
    swapped[first], swapped[last] = swapped[last], swapped[first]
    right, wrong = (
        figures.per_class_figure({"a": {**result, "per_class": rows}}, "auroc", "title")
        for rows in (result["per_class"], swapped)
    )
    assert as_drawn(right, "a", right.axes[0]) != as_drawn(wrong, "a", wrong.axes[0])


def test_few_positives_are_pale_and_untrained_is_hollow_and_gray():
    figure = figures.per_class_figure({"a": measured(5), "untrained": measured(5)}, "auroc", "title")
    (dots,), (hollow,) = artists(figure, "value a"), artists(figure, "value untrained")
    colors = [to_hex(color) for color in dots.get_facecolors()]
    assert row_labels(figure.axes[0])[1].endswith("(4)*")
    assert colors[1] != colors[0] and len(set(colors)) == 2
    assert {to_hex(color) for color in hollow.get_facecolors()} == {"#ffffff"}
    red, green, blue, _ = hollow.get_edgecolors()[0]
    assert red == green == blue
    ticks = [tick.get_color() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[1] != ticks[0] == ticks[2]


def test_what_is_missing_is_said():
    cuts = np.array([0.5, 0.5, 0.5, np.nan, 0.5])
    figure = figures.per_class_figure({"a": measured(5, thresholds=cuts)}, "f1", "title")
    assert len(row_labels(figure.axes[0])) == 4
    assert len(artists(figure, "value a")[0].get_offsets()) == 3
    assert "No dot: no value." in notes(figure)
    assert f"Left out, without positive or negative records: {LONG_NAMES[2]}." in notes(figure)
    assert artists(figure, "chance") == []
    figure = figures.per_class_figure({"a": measured(5)}, "auroc", "title")
    assert "No dot" not in notes(figure)
    assert list(artists(figure, "chance")[0].get_xdata()) == [0.5, 0.5]


def test_a_measure_that_lacks_a_class_leaves_its_place_empty():
    one, other = measured(5), measured(5, seed=1)
    del other["per_class"][LONG_NAMES[0]]
    figure = figures.per_class_figure({"a": one, "b": other}, "auroc", "title")
    drawn = as_drawn(figure, "b", figure.axes[0])
    assert len(as_drawn(figure, "a", figure.axes[0])) == 4 and len(drawn) == 3
    assert [values[0] for values in drawn.values()] == [row["auroc"] for row in other["per_class"].values()]


def test_legend_says_the_mean():
    result = measured(5)
    figure = figures.per_class_figure({"zero-shot": result}, "auprc", "title")
    assert legend_texts(figure) == [f"zero-shot (mean {result['macro_auprc']:.3f})"]


@pytest.mark.parametrize("classes", [5, 30])
@pytest.mark.parametrize("rounded", [False, True])
def test_area_under_each_drawn_curve_is_its_auroc(classes, rounded):
    labels, scores, names, _ = sample(classes)
    scores = np.round(scores) if rounded else scores
    areas = auroc_by_column(labels, scores)
    figure = figures.roc_figure(labels, scores, names, "title")
    for name, area in zip(names, areas, strict=True):
        curve = artists(figure, f"curve of class {name}")
        if np.isnan(area):
            assert curve == [] and name in notes(figure)
            continue
        x, y = curve[0].get_data()
        assert (x[0], y[0]) == (0, 0) and (x[-1], y[-1]) == (1, 1)
        assert np.trapezoid(y, x) == pytest.approx(area)
    for mean in artists(figure, "curve of macro average"):
        assert np.trapezoid(mean.get_ydata(), mean.get_xdata()) == pytest.approx(np.nanmean(areas))
        assert (np.diff(mean.get_ydata()) >= -1e-12).all()


def test_legend_of_few_curves_names_each_with_its_area():
    labels, scores, names, _ = sample(5)
    areas = auroc_by_column(labels, scores)
    figure = figures.roc_figure(labels, scores, names, "title")
    assert artists(figure, "curve of macro average") == []
    texts = ["".join(text.split()) for text in legend_texts(figure)]
    stars = ["", "*", "", "", ""]
    assert texts == [
        "".join(f"{name}{star}{area:.3f}".split())
        for name, star, area in zip(names, stars, areas, strict=True)
        if np.isfinite(area)
    ]


def test_many_curves_name_the_best_and_the_worst_with_enough_positives():
    labels, scores, names, _ = sample(30)
    scores[:, 1] = labels[:, 1]  # a perfect class, but of four records
    areas = auroc_by_column(labels, scores)
    figure = figures.roc_figure(labels, scores, names, "title")
    judged = [column for column in range(30) if column not in (1, 2)]
    best, worst = max(judged, key=lambda column: areas[column]), min(judged, key=lambda column: areas[column])
    assert legend_texts(figure) == [
        f"macro average of 29: {np.nanmean(areas):.3f}",
        f"best: {names[best]} {areas[best]:.3f}",
        f"worst: {names[worst]} {areas[worst]:.3f}",
    ]
    widths = {name: artists(figure, f"curve of class {name}")[0].get_linewidth() for name in names if name != names[2]}
    assert {name for name, width in widths.items() if width > 1} == {names[best], names[worst]}


def test_a_color_and_dashes_name_one_curve():
    labels, scores, names, _ = sample(13)
    figure = figures.roc_figure(np.delete(labels, 2, 1), np.delete(scores, 2, 1), names[:2] + names[3:], "title")
    looks = [(line.get_color(), line.get_linestyle()) for line in figure.legends[0].get_lines()]
    assert len(looks) == len(set(looks)) == 12


def clusters(classes: int, each: int = 20):
    """Records around one direction per class, then ten with two classes and five with none."""
    random = np.random.default_rng(0)
    column = np.repeat(np.arange(classes), each)
    labels = np.concatenate([np.eye(classes, dtype=bool)[column], np.zeros((15, classes), dtype=bool)])
    labels[len(column) : len(column) + 10, :2] = True
    embeddings = 3 * np.eye(classes, 16)[column] + 0.1 * random.normal(size=(len(column), 16))
    return np.concatenate([embeddings, random.normal(size=(15, 16))]), labels, [f"c{n}" for n in range(classes)]


def test_tsne_draws_each_record_of_one_class_in_its_color():
    embeddings, labels, names = clusters(3)
    figure = figures.tsne_figure(embeddings, labels, names, 0, "title")
    (points,) = artists(figure, "points")
    colors = np.array([to_hex(color) for color in points.get_facecolors()])
    assert legend_texts(figure) == ["c0 (20)", "c1 (20)", "c2 (20)"]
    assert len(artists(figure, "points of other classes")[0].get_offsets()) == 0
    assert notes(figure) == "60 of the 60 records with exactly one class. Not shown: 10 with several, 5 with none."
    places = np.asarray(points.get_offsets())
    order = [to_hex(line.get_color()) for line in figure.legends[0].get_lines()]
    centers = np.array([places[colors == color].mean(axis=0) for color in order])
    # Well separated clusters stay together: every point is nearest to the center of its own color.
    nearest = np.linalg.norm(places[:, None] - centers, axis=-1).argmin(axis=1)
    assert np.array_equal(np.array(order)[nearest], colors)


def test_tsne_is_repeatable_and_takes_no_more_than_it_says(monkeypatch):
    monkeypatch.setattr(figures, "MOST_POINTS", 30)
    embeddings, labels, names = clusters(3)
    first, again, other = (figures.tsne_figure(embeddings, labels, names, seed, "title") for seed in (0, 0, 1))
    places = [np.asarray(artists(figure, "points")[0].get_offsets()) for figure in (first, again, other)]
    assert places[0].shape == (30, 2)
    np.testing.assert_array_equal(places[0], places[1])
    assert not np.array_equal(places[0], places[2])
    assert notes(first).startswith("30 of the 60 records")


def test_tsne_of_many_classes_colors_the_frequent_ones():
    embeddings, labels, names = clusters(10, each=6)
    labels[:6] = False  # of the first class, nothing is left
    labels[6:9] = False  # and of the second, half
    figure = figures.tsne_figure(embeddings, labels, names, 0, "title")
    assert legend_texts(figure) == [*(f"c{number} (6)" for number in range(2, 9)), "2 other classes (9)"]
    assert len(artists(figure, "points")[0].get_offsets()) == 42
    assert len(artists(figure, "points of other classes")[0].get_offsets()) == 9


def test_robustness_shows_each_condition_with_its_interval_and_the_reference():
    figure = figures.conditions_figure(CURVES, 0.912, "title")
    assert [text.get_text() for text in artists(figure, "family")] == list(CURVES)
    limits = {axes.get_xlim() for axes in figure.axes}
    assert len(limits) == 1 and next(iter(limits))[0] < 0.6
    for axes, (family, rows) in zip(figure.axes, CURVES.items(), strict=True):
        assert row_labels(axes) == ["".join(row[0].split()) for row in rows]
        (reference,) = [line for line in artists(figure, "reference") if line.axes is axes]
        assert list(reference.get_xdata()) == [0.912, 0.912]
        places = np.asarray(artists(figure, f"value {family}")[0].get_offsets().filled(np.nan))
        np.testing.assert_allclose(places[:, 0], [row[1] for row in rows])
        known = np.isfinite(places[:, 0])
        np.testing.assert_allclose(places[known, 1], axes.get_yticks()[known])
        segments = artists(figure, f"interval {family}")[0].get_segments()
        for (_, value, low, high), segment in zip(rows, segments, strict=True):
            if np.isfinite(value):
                assert list(segment[:, 0]) == [low, high]
    assert [text.get_text() for text in artists(figure, "number sampling rate")] == ["0.912", "-"]
    assert legend_texts(figure) == ["full record 0.912"]
    assert all(line.get_gid() == "reference" for axes in figure.axes for line in axes.lines)  # points are not joined


def test_a_group_of_few_records_does_not_stretch_the_scale():
    groups = {"sex": [("female (310)", 0.9, 0.88, 0.92), ("unknown (4)", 0.8, 0.0, 1.0)]}
    figure = figures.conditions_figure(groups, 0.9, "groups", "all records", ["In brackets: records."])
    (axes,) = figure.axes
    assert 0.6 < axes.get_xlim()[0] < 0.65 and legend_texts(figure) == ["all records 0.900"]
    assert notes(figure) == "In brackets: records. An interval at the left edge reaches further."


@pytest.mark.parametrize("name", ["5 classes", "70 classes", "ROC 12", "ROC 30", "t-SNE", "robustness"])
def test_texts_stay_on_the_page_apart_and_off_the_data(name):
    figure = all_figures()[name]
    figure.canvas.draw()
    not_drawn = [
        tick.label1
        for axes in figure.axes
        for tick in axes.xaxis.get_major_ticks()
        if not axes.get_xlim()[0] <= tick.get_loc() <= axes.get_xlim()[1]
    ]
    boxes = [
        (text.get_window_extent(), text.get_text())
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text() and text.get_visible() and text not in not_drawn
    ]
    assert len(boxes) > 5
    for box, text in boxes:
        assert box.x0 > 5 and box.y0 > 5, text
        assert box.x1 < figure.bbox.width - 5 and box.y1 < figure.bbox.height - 5, text
        for axes in figure.axes:
            area = axes.get_window_extent()
            inside = min(box.x1, area.x1) - max(box.x0, area.x0), min(box.y1, area.y1) - max(box.y0, area.y0)
            assert min(inside) <= 1, text
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        common = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(common) <= 1, (first, second)


def test_nothing_to_draw_is_refused():
    labels, scores, names, _ = sample()
    with pytest.raises(CorpusError, match="nothing to draw"):
        figures.per_class_figure({}, "auroc", "title")
    with pytest.raises(CorpusError, match="no curve"):
        figures.roc_figure(np.zeros_like(labels), scores, names, "title")
    with pytest.raises(CorpusError, match="3 records"):
        figures.tsne_figure(np.ones((3, 4)), np.eye(3, dtype=bool), names[:3], 0, "title")
    with pytest.raises(CorpusError, match="nothing to draw"):
        figures.conditions_figure({"leads": [("II", float("nan"), 0.1, 0.2)], "noise": []}, 0.9, "title")


def test_files_are_what_their_suffix_says_and_matplotlib_is_left_alone(tmp_path):
    labels, scores, names, _ = sample()
    embeddings, tsne_labels, tsne_names = clusters(3)
    pyplot.close("all")
    with matplotlib.rc_context({"savefig.bbox": "tight", "font.size": 30, "savefig.dpi": 40}):
        before = dict(matplotlib.rcParams)
        save(figures.per_class_figure({"a": measured()}), tmp_path / "dots.png")
        save(figures.roc_figure(labels, scores, names), tmp_path / "roc.svg")
        save(figures.tsne_figure(embeddings, tsne_labels, tsne_names), str(tmp_path / "tsne.pdf"))
        save(figures.conditions_figure(CURVES, 0.912), tmp_path / "robustness.png")
        assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
    with Image.open(tmp_path / "dots.png") as picture:
        assert picture.width == 880 and picture.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    assert b"<svg" in (tmp_path / "roc.svg").read_bytes()
    assert (tmp_path / "tsne.pdf").read_bytes().startswith(b"%PDF")
