# SPDX-License-Identifier: Apache-2.0
"""The ECG paper is to scale, every lead is in its place, and the page says what it cannot show."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, ECGInputError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.plotting.ecg_paper import plot_ecg, save_ecg_plot

# Where a cardiologist looks for each lead: (row from the top, column from the left).
PLACES = {
    **{"I": (0, 0), "aVR": (0, 1), "V1": (0, 2), "V4": (0, 3)},
    **{"II": (1, 0), "aVL": (1, 1), "V2": (1, 2), "V5": (1, 3)},
    **{"III": (2, 0), "aVF": (2, 1), "V3": (2, 2), "V6": (2, 3)},
}
LONG_LABELS = (
    "left anterior fascicular block",
    "non-specific intraventricular conduction disturbance (block)",
    "complete left bundle branch block",
    "normal ECG",
)


def make_record(
    seconds: float = 10.0,
    *,
    rate: float = 500.0,
    leads: tuple[str, ...] = STANDARD_LEADS,
    pulses: dict[str, tuple[float, float, float]] | None = None,
    record_id: str = "example",
) -> ECGRecord:
    """A flat record; `pulses` gives leads a rectangle of (millivolts, first second, last second)."""
    signal = np.zeros((len(leads), round(seconds * rate)), dtype=np.float32)
    for name, (millivolts, begin, end) in (pulses or {}).items():
        signal[leads.index(name), round(begin * rate) : round(end * rate)] = millivolts
    return ECGRecord(signal=signal, sampling_rate=rate, lead_names=leads, record_id=record_id)


def artists(figure: Figure, gid: str) -> list:
    return figure.findobj(lambda artist: artist.get_gid() == gid, include_self=False)


def points(figure: Figure, gid: str) -> np.ndarray:
    """The vertices of the only line with this gid, in millimeters on the printed page, shape (vertices, 2)."""
    (line,) = artists(figure, gid)
    return on_page(figure, line.axes.transData.transform(line.get_xydata()))


def on_page(figure: Figure, pixels: np.ndarray) -> np.ndarray:
    return figure.dpi_scale_trans.inverted().transform(pixels) * 25.4


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def drawn_gids(figure: Figure) -> list[str]:
    return [line.get_gid() for line in figure.findobj(matplotlib.lines.Line2D) if line.get_gid()]


def dark_pixels(figure: Figure) -> np.ndarray:
    """Where the rendered page is nearly black; bool, shape (height, width), first row at the top."""
    FigureCanvasAgg.draw(figure.canvas)
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].max(axis=-1) < 90


@pytest.mark.parametrize("rate", [100.0, 257.5, 400.0, 500.0])
def test_one_second_is_25_mm_and_one_millivolt_10_mm(rate):
    record = make_record(rate=rate)
    record.signal[STANDARD_LEADS.index("II")] = np.linspace(-1.0, 1.0, record.signal.shape[1])
    figure = plot_ecg(record)
    strip = points(figure, "rhythm II")
    samples = record.signal.shape[1]
    assert strip[-1, 0] - strip[0, 0] == pytest.approx(25.0 * (samples - 1) / rate, abs=1e-3)
    assert strip[-1, 1] - strip[0, 1] == pytest.approx(20.0, abs=1e-3)
    np.testing.assert_allclose(np.diff(strip[:, 0]), 25.0 / rate, atol=1e-6)
    # The piece of lead II in the second row lies exactly above the strip's first 2.5 s.
    piece = points(figure, "lead II")
    np.testing.assert_allclose(piece[:, 0], strip[: len(piece), 0], atol=1e-6)
    assert piece[-1, 0] - piece[0, 0] == pytest.approx(62.5, abs=25.0 / rate)


def test_grid_lines_are_1_mm_and_5_mm_apart_and_the_page_is_a4():
    figure = plot_ecg(make_record())
    np.testing.assert_allclose(figure.get_size_inches() * 25.4, (297.0, 210.0))
    widths = {}
    for spacing in (1, 5):
        (grid,) = artists(figure, f"grid {spacing} mm")
        segments = [on_page(figure, grid.axes.transData.transform(segment)) for segment in grid.get_segments()]
        vertical = sorted(segment[0, 0] for segment in segments if abs(segment[0, 0] - segment[1, 0]) < 1e-6)
        horizontal = sorted(segment[0, 1] for segment in segments if abs(segment[0, 1] - segment[1, 1]) < 1e-6)
        assert len(vertical) + len(horizontal) == len(segments)
        np.testing.assert_allclose(np.diff(vertical), spacing, atol=1e-6)
        np.testing.assert_allclose(np.diff(horizontal), spacing, atol=1e-6)
        widths[spacing] = grid.get_linewidths()[0]
        red, green, blue, _ = grid.get_colors()[0]
        assert red > green and red > blue
        if spacing == 5:
            # Baselines and the start of the signal lie on thick lines, so that intervals can be counted off.
            trace = points(figure, "rhythm II")
            assert min(abs(x - trace[0, 0]) for x in vertical) < 1e-6
            assert min(abs(y - trace[0, 1]) for y in horizontal) < 1e-6
    assert widths[5] > widths[1]


def test_calibration_pulse_of_1_mv_and_200_ms_before_each_row():
    figure = plot_ecg(make_record())
    pulses = artists(figure, "calibration pulse")
    assert len(pulses) == 4
    starts = [points(figure, gid)[0] for gid in ("lead I", "lead II", "lead III", "rhythm II")]
    for pulse, start in zip(pulses, starts, strict=True):
        outline = on_page(figure, pulse.axes.transData.transform(pulse.get_xydata()))
        low, high = outline[:, 1].min(), outline[:, 1].max()
        plateau = outline[outline[:, 1] > low + 5.0]
        assert high - low == pytest.approx(10.0, abs=1e-6)
        assert np.ptp(plateau[:, 0]) == pytest.approx(5.0, abs=1e-6)
        np.testing.assert_allclose(outline[-1], start, atol=1e-6)


def test_each_lead_is_in_its_cell_at_its_time():
    """Each lead has a pulse of its own height and time, which is at the right row, column, and time."""
    pulses = {}
    for number, (name, (_, column)) in enumerate(PLACES.items()):
        pulses[name] = (0.3 + 0.1 * number, 2.5 * column + 0.8, 2.5 * column + 1.0)
    figure = plot_ecg(make_record(pulses=pulses))
    signal_left = points(figure, "rhythm II")[0, 0]
    middles = [points(figure, f"lead {name}")[0, 1] for name in ("I", "II", "III")]
    assert middles == sorted(middles, reverse=True)
    assert middles[2] > points(figure, "rhythm II")[0, 1]
    for name, (row, column) in PLACES.items():
        trace = points(figure, f"lead {name}")
        assert trace[0, 0] == pytest.approx(signal_left + 62.5 * column, abs=1e-6)
        raised = trace[trace[:, 1] > middles[row] + 1e-3]
        np.testing.assert_allclose(raised[:, 1] - middles[row], 10.0 * pulses[name][0], atol=1e-4)
        assert raised[0, 0] == pytest.approx(signal_left + 62.5 * column + 0.8 * 25.0, abs=1e-6)
        assert len(raised) == 100
        (label,) = artists(figure, f"name of lead {name}")
        x, y = on_page(figure, label.get_window_extent().corners()).mean(axis=0)
        assert label.get_text() == name
        assert trace[0, 0] < x < trace[0, 0] + 15.0 and middles[row] + 10.0 < y < middles[row] + 20.0


def test_rendered_pixels_show_a_pulse_in_v4_only():
    """The picture itself, not only the artists: the page differs from the flat one only in the cell of V4."""
    flat = make_record()
    with_pulse = make_record(pulses={"V4": (1.5, 8.5, 8.7)})
    dark, dark_flat = dark_pixels(plot_ecg(with_pulse)), dark_pixels(plot_ecg(flat))
    rows, columns = np.nonzero(dark & ~dark_flat)
    pixels_per_mm = 150 / 25.4
    figure = plot_ecg(flat)
    left, middle = points(figure, "lead V4")[0]
    heights = 210.0 - rows / pixels_per_mm
    assert columns.size > 50
    assert left + 24.0 < columns.min() / pixels_per_mm and columns.max() / pixels_per_mm < left + 31.0
    assert heights.min() > middle - 1.0 and heights.max() == pytest.approx(middle + 15.0, abs=0.5)


def test_leads_are_found_by_name_whatever_their_order_and_spelling():
    record = make_record(pulses={"V4": (1.0, 8.0, 8.2), "aVL": (-0.5, 3.0, 3.2)})
    order = np.random.default_rng(0).permutation(12)
    spelled = {"aVL": "AVL", "aVR": "Lead aVR", "V4": "v4", "II": "DII"}
    names = tuple(spelled.get(STANDARD_LEADS[row], STANDARD_LEADS[row]) for row in order)
    shuffled = ECGRecord(record.signal[order], record.sampling_rate, names)
    expected, found = plot_ecg(record), plot_ecg(shuffled)
    for name in STANDARD_LEADS:
        np.testing.assert_array_equal(points(found, f"lead {name}"), points(expected, f"lead {name}"))
    assert np.ptp(points(found, "lead V4")[:, 1]) == pytest.approx(10.0, abs=1e-4)


def test_absent_leads_leave_an_empty_labeled_place():
    leads = ("V5", "V2", "I", "V1")
    figure = plot_ecg(make_record(leads=leads))
    assert sorted(gid for gid in drawn_gids(figure) if gid.startswith(("lead ", "rhythm"))) == sorted(
        [*(f"lead {name}" for name in leads), "rhythm I"] + ["lead separator"] * 18
    )
    said = texts(figure)
    for name in STANDARD_LEADS:
        assert (f"{name}  absent" in said) == (name not in leads)
    (rhythm_name,) = artists(figure, "name of rhythm I")
    assert rhythm_name.get_text() == "I"


def test_limb_leads_that_two_others_determine_are_drawn_as_derived():
    chest = STANDARD_LEADS[6:]
    record = make_record(leads=("I", "II", *chest), pulses={"I": (0.4, 1.0, 2.0), "II": (1.0, 1.0, 2.0)})
    figure = plot_ecg(record)
    assert np.ptp(points(figure, "lead III")[:, 1]) == pytest.approx(6.0, abs=1e-3)  # III = II - I
    said = texts(figure)
    assert {f"{name}  derived" for name in ("III", "aVR", "aVL", "aVF")} <= set(said) and {"I", "II", "V1"} <= set(
        said
    )
    assert not any("absent" in text for text in said)


def test_rhythm_strip_passes_over_a_lead_without_samples():
    record = make_record(leads=("I", "II", "V1", "V2"))
    record.signal[:2] = np.nan
    figure = plot_ecg(record)
    assert [gid for gid in drawn_gids(figure) if gid.startswith("rhythm")] == ["rhythm V1"]
    assert {"I  no samples", "II  no samples"} <= set(texts(figure))


def test_a_few_leads_have_ten_seconds_each_on_a_page_of_their_size():
    figure = plot_ecg(make_record(leads=("V5", "I"), pulses={"V5": (1.0, 8.0, 9.0)}))
    np.testing.assert_allclose(figure.get_size_inches() * 25.4, (297.0, 130.0))
    assert [gid for gid in drawn_gids(figure) if gid.startswith(("lead", "rhythm"))] == ["rhythm I", "rhythm V5"]
    upper, lower = points(figure, "rhythm I"), points(figure, "rhythm V5")
    assert upper[0, 1] - lower[0, 1] == pytest.approx(40.0, abs=1e-3) and lower[0, 1] > 30
    assert upper[-1, 0] - upper[0, 0] == pytest.approx(250.0, abs=0.1)
    assert np.ptp(lower[:, 1]) == pytest.approx(10.0, abs=1e-3)
    assert not any("absent" in text or "columns" in text for text in texts(figure))


@pytest.mark.parametrize(("seconds", "rows"), [(6.0, 1), (10.0, 1), (24.0, 3), (40.0, 4), (75.0, 4)])
def test_a_single_lead_continues_from_row_to_row(seconds, rows):
    record = make_record(seconds, rate=100.0, leads=("I",))
    record.signal[0] = np.arange(record.signal.shape[1]) / 1e5
    figure = plot_ecg(record)
    np.testing.assert_allclose(figure.get_size_inches() * 25.4, (297.0, 90.0 + 40.0 * (rows - 1)))
    traces = artists(figure, "rhythm I")
    assert len(traces) == len(artists(figure, "calibration pulse")) == rows
    for row, trace in enumerate(traces):
        y = trace.get_ydata()
        assert (y[0] - traces[0].get_ydata()[0]) / 10 == pytest.approx(row * 0.01 - row * 4.0, abs=1e-6)
    names = [text.get_text() for text in artists(figure, "name of rhythm I")]
    assert names == ["I", *(f"I  from {10 * row} s" for row in range(1, rows))]
    assert any("First 40 s of 75" in text for text in texts(figure)) == (seconds > 40)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_missing_samples_are_a_gap(missing):
    record = make_record()
    record.signal[STANDARD_LEADS.index("II"), 500:750] = missing
    figure = plot_ecg(record)
    heights = points(figure, "rhythm II")[:, 1]
    assert np.isnan(heights[500:750]).all()
    assert np.isfinite(np.delete(heights, np.s_[500:750])).all()
    # In the picture: no ink along the middle of the gap, ink on both sides of it.
    left, middle = points(figure, "rhythm II")[0]
    dark = dark_pixels(figure)
    row = round((210.0 - middle) * 150 / 25.4)
    band = dark[row - 3 : row + 4].any(axis=0)
    for seconds, inked in ((0.5, True), (1.1, False), (1.4, False), (2.0, True)):
        assert band[round((left + 25.0 * seconds) * 150 / 25.4)] == inked


def test_short_record_shows_every_lead_and_says_when_columns_start():
    record = make_record(7.0)
    record.signal[:] = np.linspace(-0.7, 0.7, record.signal.shape[1])  # 0.2 mV per second: height tells the time
    figure = plot_ecg(record)
    for name, (row, column) in PLACES.items():
        trace = points(figure, f"lead {name}")
        assert np.ptp(trace[:, 0]) == pytest.approx(62.5, abs=0.06)
        middle = points(figure, "lead " + ("I", "II", "III")[row])[0, 1] + 7.0
        assert (trace[0, 1] - middle + 7.0) / 2.0 == pytest.approx(1.5 * column, abs=0.01)
    assert np.ptp(points(figure, "rhythm II")[:, 0]) == pytest.approx(25.0 * 7.0, abs=0.06)
    assert any("7.00 s" in text and "0.00, 1.50, 3.00, 4.50 s" in text for text in texts(figure))


def test_very_short_record_starts_every_column_at_its_start():
    figure = plot_ecg(make_record(1.0))
    for name in STANDARD_LEADS:
        assert len(points(figure, f"lead {name}")) == 500


def test_long_record_shows_its_first_ten_seconds():
    # What follows the first 10 s would be far off the paper, and would move the median.
    record = make_record(30.0, pulses={name: (5.0, 10.1, 30.0) for name in STANDARD_LEADS})
    figure = plot_ecg(record)
    strip = points(figure, "rhythm II")
    assert np.ptp(strip[:, 0]) == pytest.approx(250.0, abs=1e-3)
    assert np.ptp(strip[:, 1]) < 1e-6
    assert any("First 10 s of 30.00 s" in text for text in texts(figure))
    assert not any("First" in text or "columns start" in text for text in texts(plot_ecg(make_record())))


def test_constant_offset_is_subtracted_and_named():
    pulses = {"V2": (1.0, 6.0, 6.1)}
    plain, moved = make_record(pulses=pulses), make_record(pulses=pulses)
    moved.signal[STANDARD_LEADS.index("V2")] += 5.0
    figure = plot_ecg(moved)
    np.testing.assert_allclose(points(figure, "lead V2"), points(plot_ecg(plain), "lead V2"), atol=1e-4)
    assert any("V2 +5.0 mV" in text for text in texts(figure))
    assert not any("offset" in text for text in texts(plot_ecg(plain)))


def test_large_amplitude_keeps_its_scale_overlaps_and_is_finally_cut_off():
    record = make_record(pulses={"II": (3.5, 0.5, 0.6), "V3": (-9.0, 6.0, 6.1)})
    figure = plot_ecg(record)
    assert np.ptp(points(figure, "lead II")[:, 1]) == pytest.approx(35.0, abs=1e-3)
    notes = [text for text in texts(figure) if "cut off" in text]
    # Lead II has room for 3.5 mV in the second row and in the rhythm strip: only V3 is cut off.
    assert notes == ["Too large for the paper, cut off: V3."]
    left, middle = points(figure, "lead V3")[0]
    flat = dark_pixels(plot_ecg(make_record()))
    rows, columns = np.nonzero(dark_pixels(figure) & ~flat)
    in_v3 = columns / (150 / 25.4) > left
    assert (210.0 - rows[in_v3] / (150 / 25.4)).min() == pytest.approx(middle - 40.0, abs=0.5)


def test_nothing_is_drawn_outside_the_paper():
    record = make_record(
        pulses={name: (30.0, column * 2.5 + 1.0, column * 2.5 + 1.1) for name, (_, column) in PLACES.items()}
    )
    record.signal[:, 4500:4550] = -30.0
    dark, flat = dark_pixels(plot_ecg(record)), dark_pixels(plot_ecg(make_record()))
    rows, columns = np.nonzero(dark & ~flat)
    below_footer = 210.0 - rows / (150 / 25.4) < 10.0  # the note about what was cut off
    heights, widths = 210.0 - rows[~below_footer] / (150 / 25.4), columns[~below_footer] / (150 / 25.4)
    assert heights.min() > 15.5 and heights.max() < 196.5
    assert widths.min() > 26.0 and widths.max() < 276.5


def test_footer_says_scale_rate_and_record():
    figure = plot_ecg(make_record(rate=400.0, record_id="patient $1_a$"))
    (footer,) = [text for text in texts(figure) if "mm/s" in text]
    for part in ("25 mm/s", "10 mm/mV", "400 Hz", "patient $1_a$"):
        assert part in footer
    assert not artists(figure, "footer")[0].get_parse_math()


def test_title_is_taken_literally():
    figure = plot_ecg(make_record(), title="costs $5\nor $6")
    (title,) = artists(figure, "title")
    assert title.get_text() == "costs $5 or $6"
    assert not title.get_parse_math()


def test_scores_are_bars_sorted_with_percentages_under_the_disclaimer():
    scores = [
        {"label": label, "score": score} for label, score in zip(LONG_LABELS, (0.25, 0.9, 0.0001, 0.5), strict=True)
    ]
    figure = plot_ecg(make_record(), scores=scores)
    bars = artists(figure, "score bar")
    tracks = artists(figure, "score track")
    lengths = [bar.get_width() / track.get_width() for bar, track in zip(bars, tracks, strict=True)]
    assert lengths == pytest.approx([0.9, 0.5, 0.25, 0.0001])
    heights = [bar.get_y() for bar in bars]
    assert heights == sorted(heights, reverse=True)
    assert [text.get_text() for text in artists(figure, "score")] == ["90.0 %", "50.0 %", "25.0 %", "<0.1 %"]
    labels = " ".join(text.get_text() for text in artists(figure, "score label"))
    assert labels == " ".join((LONG_LABELS[1], LONG_LABELS[3], LONG_LABELS[0], LONG_LABELS[2]))
    # Each percentage is right above its own bar.
    for bar, percentage in zip(bars, artists(figure, "score"), strict=True):
        assert bar.get_y() + bar.get_height() < percentage.get_position()[1] < bar.get_y() + 20.0
    assert RESEARCH_USE_ONLY == "Research use only. Not a medical device."
    assert RESEARCH_USE_ONLY in texts(figure)


def test_scores_leave_the_paper_as_it_is_and_add_a_panel_beside_it():
    record = make_record(pulses={"V6": (1.0, 9.0, 9.1)})
    without, beside = plot_ecg(record), plot_ecg(record, scores=[{"label": "a", "score": 1}])
    np.testing.assert_allclose(beside.get_size_inches()[0] * 25.4, 397.0)
    for name in STANDARD_LEADS:
        np.testing.assert_allclose(points(beside, f"lead {name}"), points(without, f"lead {name}"), atol=1e-6)
    assert RESEARCH_USE_ONLY not in texts(without)
    assert artists(without, "score bar") == []


def test_more_scores_than_fit_are_counted_and_nothing_is_lost():
    scores = [{"label": f"finding number {number}", "score": number / 100} for number in range(40)]
    figure = plot_ecg(make_record(), scores=scores)
    shown = len(artists(figure, "score bar"))
    assert 10 <= shown < 40
    (left_out,) = artists(figure, "scores left out")
    assert left_out.get_text() == f"and {40 - shown} labels with a score of at most {39 - shown:.1f} %"
    assert RESEARCH_USE_ONLY in texts(figure)


@pytest.mark.parametrize(("score", "text"), [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.99999, ">99.9 %"), (1e-9, "<0.1 %")])
def test_percentages_never_round_to_certainty(score, text):
    figure = plot_ecg(make_record(), scores=[{"label": "a", "score": score}])
    assert artists(figure, "score")[0].get_text() == text


def test_empty_label_still_has_room_for_its_percentage():
    figure = plot_ecg(make_record(), scores=[{"label": "", "score": 0.4}])
    (bar,), (percentage,) = artists(figure, "score bar"), artists(figure, "score")
    assert on_page(figure, percentage.get_window_extent().get_points())[0, 1] > bar.get_y() + bar.get_height()


def test_texts_stay_on_the_page_and_apart():
    long = "an unreasonably long sentence " * 40
    record = make_record(7.0, leads=("I", "V2", "V6"), record_id="x" * 3000)
    scores = [{"label": label, "score": 0.2} for label in (*LONG_LABELS * 6, "y" * 400)]
    scores.append({"label": long, "score": 0.9})
    scores.append({"label": "", "score": 0.95})
    for figure in (plot_ecg(record, title=long, scores=scores), plot_ecg(record, title=long, scores=scores[-3:])):
        boxes = []
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_text():
                (left, bottom), (right, top) = on_page(figure, text.get_window_extent().get_points())
                boxes.append((left, bottom, right, top, text.get_text()))
                assert left > 5.0 and right < 397.0 - 5.0 and bottom > 0.5 and top < 209.5, text.get_text()
        for number, one in enumerate(boxes):
            for other in boxes[number + 1 :]:
                apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
                assert apart, (one, other)


def test_saved_picture_has_the_size_of_the_page(tmp_path):
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 40, "figure.autolayout": True}):
        save_ecg_plot(make_record(), tmp_path / "ecg.png", dpi=100)
        save_ecg_plot(make_record(), str(tmp_path / "ecg.pdf"), scores=[{"label": "a", "score": 0.5}])
    with Image.open(tmp_path / "ecg.png") as picture:
        assert picture.size == pytest.approx((297 / 25.4 * 100, 210 / 25.4 * 100), abs=1.0)
        assert picture.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    width = 397 / 25.4 * 72
    assert f"/MediaBox [ 0 0 {width:.6f}"[:25].encode() in (tmp_path / "ecg.pdf").read_bytes()


def test_pyplot_and_its_settings_are_not_touched(tmp_path):
    current = pyplot.figure()  # also settles the backend, which is one of the settings
    settings = dict(matplotlib.rcParams)
    try:
        numbers = pyplot.get_fignums()
        save_ecg_plot(make_record(), tmp_path / "ecg.png", scores=[{"label": "a", "score": 0.5}])
        assert pyplot.get_fignums() == numbers
        assert pyplot.gcf() is current and current.axes == []
        assert dict(matplotlib.rcParams) == settings
    finally:
        pyplot.close(current)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_record_is_left_unchanged(kind):
    record = make_record(pulses={"II": (np.inf, 1.0, 1.1), "V1": (2.0, 0.0, 10.0)})
    record = ECGRecord(record.signal.astype(kind), record.sampling_rate, record.lead_names)
    before = record.signal.copy()
    plot_ecg(record)
    np.testing.assert_array_equal(record.signal, before)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (ECGRecord(np.zeros((5000, 12)), 500.0, STANDARD_LEADS), r"\(12, time\)"),
        (ECGRecord(np.zeros(5000), 500.0, ("II",)), r"\(1, time\)"),
        (ECGRecord(np.zeros((1, 5000)), 0.0, ("II",)), "sampling_rate"),
        (ECGRecord(np.zeros((1, 5000)), float("nan"), ("II",)), "sampling_rate"),
        (ECGRecord(np.zeros((1, 5000)), 500.0, ("MLII",)), "MLII"),
        (ECGRecord(np.zeros((2, 5000)), 500.0, ("II", "Lead II")), "more than once"),
        (ECGRecord(np.full((1, 5000), np.nan), 500.0, ("II",)), "no finite sample"),
        (ECGRecord(np.zeros((1, 0)), 500.0, ("II",)), "no finite sample"),
    ],
)
def test_unusable_records_are_refused(record, message):
    with pytest.raises(ECGInputError, match=message):
        plot_ecg(record)


@pytest.mark.parametrize(
    "scores",
    [
        [],
        {"label": "a", "score": 0.5},
        "a",
        ["a"],
        [[{"label": "a", "score": 0.5}]],
        [{"label": "a"}],
        [{"score": 0.5}],
        [{"label": "a", "score": 1.2}],
        [{"label": "a", "score": -0.1}],
        [{"label": "a", "score": float("nan")}],
        [{"label": "a", "score": None}],
        [{"label": "a", "score": "much"}],
    ],
)
def test_unusable_scores_are_refused(scores):
    with pytest.raises(ConfigurationError, match="scores"):
        plot_ecg(make_record(), scores=scores)
