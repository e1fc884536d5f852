# SPDX-License-Identifier: Apache-2.0
"""Leads drawn to scale on ECG paper: 25 mm/s, 10 mm/mV, three rows of four leads and a rhythm strip.

The figure has a single axes that covers the page. Its data coordinates are millimeters from the lower left corner, so
a page printed at 100 % is to scale. The page is A4 landscape; scores add a panel on the right. A recording of up to
three leads has a row of 10 s for each instead, on a page that is as high as these rows need. With a single lead, the
rows follow each other in time, four at most.

How the signal is laid out:

* The four columns follow each other in time, as on an electrocardiograph: the first shows 0 s to 2.5 s, the last 7.5 s
  to 10 s. In a record shorter than 10 s, the columns start earlier and overlap, so that every lead still shows 2.5 s;
  the footer then says when each column starts. Of a longer record, the first 10 s are shown (of a single lead, 40 s).
* Each lead is shifted vertically so that the median of what is shown lies on the middle line of its row: a constant
  offset comes from the electrodes, not the heart. The footer names leads with a large offset. Nothing is filtered.
* The scale never changes to make a trace fit. Up to 2 mV from its middle line, a trace stays inside its row; beyond
  that, it overlaps its neighbors, as on paper. It is cut off 4 mV from the middle line or at the edge of the grid
  (3 mV above the first middle line and below the last), and the footer then names the lead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cgdmer.models.ecg_record import ECGRecord, in_standard_order
from cgdmer.models.errors import ConfigurationError, ECGInputError
from cgdmer.models.leads import STANDARD_LEADS, derive_limb_leads, standard_lead_names
from cgdmer.plotting.page_text import MILLIMETERS_PER_INCH, TEXT_COLOR, one_line, shorten, wrap, write
from cgdmer.plotting.score_panel import checked_scores, draw_scores

PICTURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps")
MILLIMETERS_PER_SECOND = 25.0
MILLIMETERS_PER_MILLIVOLT = 10.0

_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_COLUMN_SECONDS = 2.5
_ROW_SECONDS = 10.0
_MOST_STRIPS = 3  # with more leads, the usual rows and columns

# The page, in millimeters. The middle lines of the rows and the start of the signal lie on thick grid lines. A page of
# fewer rows ends higher: the y coordinate of its lower edge is above 0.
PAGE_WIDTH, _PAGE_TOP = 297.0, 210.0
_GRID_LEFT, _GRID_WIDTH, _GRID_TOP = 11.0, 275.0, 196.0
_GRID_BOTTOM = 16.0  # above the lower edge of the page
_SIGNAL_LEFT = _GRID_LEFT + 15.0
_ROW_HEIGHT = 40.0
_MIDDLE_LINES = (166.0, 126.0, 86.0, 46.0)
_REACH = 40.0  # how far a trace may get from its middle line
_TEXT_WIDTH = _GRID_WIDTH / MILLIMETERS_PER_INCH
_CALIBRATION_LEAD_IN = 2.5
_CALIBRATION_MILLIVOLTS = 1.0
_CALIBRATION_SECONDS = 0.2
_LARGE_OFFSET_MILLIVOLTS = 0.5

PANEL_WIDTH = 100.0

_PAPER_COLOR = "#fffafa"
_THIN_GRID_COLOR = "#f9d5d5"
_THICK_GRID_COLOR = "#efa3a3"
_TRACE: dict[str, Any] = {"color": "#111111", "linewidth": 0.8, "linestyle": "-", "marker": "", "zorder": 3.0}
_PALE_TEXT_COLOR = "#777777"


class LeadPlace(NamedTuple):
    """The place of a lead on the page.

    Attributes:
        name: the standard lead.
        left, middle: its left end and its middle line, in millimeters.
        start, seconds: when the part it shows begins in the record, and how long that part lasts.
    """

    name: str
    left: float
    middle: float
    start: float
    seconds: float


def plot_ecg(
    record: ECGRecord,
    *,
    title: str | None = None,
    scores: Sequence[Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
    are_values: bool = False,
) -> Figure:
    """Draw a record on ECG paper, to scale.

    Args:
        record: signal in millivolts, shape (leads, time), with its rate and lead names: any of the twelve standard
            leads, in any order. A limb lead that two others determine is drawn and marked "derived"; any other that
            the record lacks is marked "absent". Samples that are not finite leave a gap. The rhythm strip is lead II
            or, without it, the first standard lead in the record.
        title: one line above the paper; "Electrocardiogram" if not given.
        scores: what a pipeline returns for this record, `[{"label": str, "score": 0..1}, ...]` in any order. They are
            drawn as bars in a panel on the right, largest first, with a research-use-only note.
        notes: sentences below the scores, such as what was not used of the recording.
        are_values: the scores are the values of a regression: any numbers, written without bars, in their own order.

    Returns:
        A figure of 297 mm x 210 mm, or 397 mm x 210 mm with scores; 40 mm lower for each row that is not needed. It
        has its own Agg canvas and is unknown to pyplot, so there is nothing to close.

    Raises:
        ECGInputError: the record has no finite sample in its first 10 s, an unusable rate or shape, or lead names
            that are not standard or occur twice.
        ConfigurationError: `scores` is empty or has another form.
    """
    figure, axes = ecg_page(record, title=title, panel=scores is not None)
    if scores is not None:
        draw_scores(
            axes, PAGE_WIDTH, _GRID_TOP, _grid_bottom(axes), checked_scores(scores, are_values), are_values, notes
        )
    return figure


def ecg_page(
    record: ECGRecord, *, title: str | None = None, panel: bool = False, fewest_rows: int = 1
) -> tuple[Figure, Axes]:
    """The page of `plot_ecg` and its axes, in millimeters from the lower left corner of A4.

    Args:
        panel: adds an empty one of `PANEL_WIDTH` on the right.
        fewest_rows: the page is as high as this many rows need, even if there are fewer.
    """
    record = _with_limb_leads(record)
    shown, offsets = _shown_leads(record)
    page_bottom = _ROW_HEIGHT * (len(_MIDDLE_LINES) - max(fewest_rows, _num_rows(record)))
    page_width = PAGE_WIDTH + (PANEL_WIDTH if panel else 0.0)
    figure = Figure(
        figsize=(page_width / MILLIMETERS_PER_INCH, (_PAGE_TOP - page_bottom) / MILLIMETERS_PER_INCH),
        dpi=150,
        facecolor="white",
    )
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, page_width)
    axes.set_ylim(page_bottom, _PAGE_TOP)
    _draw_page(axes, record, shown, offsets, title)
    return figure, axes


def draw_paper_page(axes: Axes, record: ECGRecord, *, scale: float, title: str | None = None) -> float:
    """Draw the page of `plot_ecg` smaller than it is, into axes of another page.

    Args:
        axes: have, or are given later, `scale` times the size of the page. Their data coordinates become its
            millimeters.
        scale: text and lines shrink by it too, and the footer states the scale of the paper as printed.

    Returns:
        The height of the page in its own millimeters.

    Raises:
        ECGInputError: see `plot_ecg`.
    """
    record = _with_limb_leads(record)
    shown, offsets = _shown_leads(record)
    page_bottom = _ROW_HEIGHT * (len(_MIDDLE_LINES) - _num_rows(record))
    axes.set_axis_off()
    axes.set_xlim(0.0, PAGE_WIDTH)
    axes.set_ylim(page_bottom, _PAGE_TOP)
    _draw_page(axes, record, shown, offsets, title, scale)
    for text in axes.texts:
        text.set_fontsize(scale * float(text.get_fontsize()))
    for line in axes.lines:
        line.set_linewidth(scale * line.get_linewidth())
    for lines in axes.collections:
        lines.set_linewidth((scale * np.atleast_1d(lines.get_linewidth())).tolist())
    return _PAGE_TOP - page_bottom


def _draw_page(
    axes: Axes,
    record: ECGRecord,
    shown: dict[str, np.ndarray],
    offsets: dict[str, float],
    title: str | None,
    scale: float = 1.0,
) -> None:
    """`shown` and `offsets` are of `_shown_leads`."""
    _draw_paper(axes)
    cut_off = _draw_leads(axes, record, shown)
    heading = one_line("Electrocardiogram" if title is None else title)
    heading = shorten(heading, _TEXT_WIDTH, 13.0, "bold")
    write(axes, _GRID_LEFT, 200.0, heading, 13.0, gid="title", weight="bold")
    _draw_footer(axes, record, _notes(record, offsets, cut_off), scale)


def save_ecg_plot(
    record: ECGRecord,
    path: str | PathLike[str],
    *,
    title: str | None = None,
    scores: Sequence[Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
    are_values: bool = False,
    dpi: float = 150.0,
) -> None:
    """Draw a record with `plot_ecg` and save it at the size of the page.

    Args:
        record, title, scores, notes, are_values: as in `plot_ecg`.
        path: the file to write; its ending chooses the format, one of `PICTURE_SUFFIXES`.
        dpi: pixels per inch, for raster formats.

    Raises:
        ConfigurationError: the path has another ending, or its folder does not exist; also what `plot_ecg` raises.
    """
    check_picture_path(path)
    save_page(plot_ecg(record, title=title, scores=scores, notes=notes, are_values=are_values), path, dpi)


def save_page(figure: Figure, path: str | PathLike[str], dpi: float) -> None:
    """Save the whole page, whatever the user's matplotlib settings say.

    With "savefig.bbox: tight" the margins would be trimmed, and the page no longer printed to scale on A4.
    """
    figure.savefig(path, dpi=dpi, facecolor="white", bbox_inches=figure.bbox_inches)


def check_picture_path(path: str | PathLike[str]) -> None:
    """Check the path of a picture, before the work that it will show.

    Raises:
        ConfigurationError: the ending is not that of a picture, or the folder does not exist.
    """
    if not fspath(path).lower().endswith(PICTURE_SUFFIXES):
        raise ConfigurationError(
            f"{fspath(path)} does not end like a picture. Name a file that ends in {', '.join(PICTURE_SUFFIXES)}."
        )
    if not (folder := Path(path).absolute().parent).is_dir():
        raise ConfigurationError(f"{folder} is not a folder. Create it first, or save the picture elsewhere.")


def _with_limb_leads(record: ECGRecord) -> ECGRecord:
    """The record with the limb leads that two others determine, if it is drawn in rows and columns."""
    names = standard_lead_names(record.lead_names)
    if _has_strips(record) or np.ndim(record.signal) != 2 or len(record.signal) != len(names):
        return record
    signal, present = derive_limb_leads(*in_standard_order(np.asarray(record.signal), names))
    if present.sum() == len(names):
        return record
    twelve = [name for name, there in zip(STANDARD_LEADS, present, strict=True) if there]
    derived = tuple(name for name in twelve if name not in names or name in record.derived_leads)
    return replace(record, signal=signal[present], lead_names=tuple(twelve), derived_leads=derived)


def _shown_leads(record: ECGRecord) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The start of each lead, centered, and the offset that was subtracted, in millivolts, by standard name.

    Each lead is float64 millivolts of shape (time,), NaN where there is no sample.
    """
    signal = np.asarray(record.signal)
    if signal.ndim != 2 or signal.shape[0] != len(record.lead_names):
        raise ECGInputError(
            f"signal of record {record.record_id!r} has shape {signal.shape}; expected "
            f"({len(record.lead_names)}, time), one row per lead name. Transpose it or correct the names."
        )
    if not (np.isfinite(record.sampling_rate) and record.sampling_rate > 0):
        raise ECGInputError(
            f"sampling_rate of record {record.record_id!r} is {record.sampling_rate}; expected samples per second, "
            "above 0."
        )
    names = standard_lead_names(record.lead_names)
    # One more sample than 10 s hold, if there is one: the sample at exactly 10 s ends the trace at the right edge.
    shown_seconds = _shown_seconds(record)
    first_samples = signal[:, : int(np.floor(shown_seconds * record.sampling_rate + 1e-6)) + 1].astype(np.float64)
    first_samples[~np.isfinite(first_samples)] = np.nan
    if not np.isfinite(first_samples).any():
        raise ECGInputError(
            f"record {record.record_id!r} has no finite sample in its first {shown_seconds:g} s: nothing to draw."
        )
    shown, offsets = {}, {}
    for name, samples in zip(names, first_samples, strict=True):
        present = samples[np.isfinite(samples)]
        offsets[name] = float(np.median(present)) if present.size else 0.0
        shown[name] = samples - offsets[name]
    return shown, offsets


def _seconds(record: ECGRecord) -> float:
    return float(record.signal.shape[1] / record.sampling_rate)


def _has_strips(record: ECGRecord) -> bool:
    """Whether each lead has a row of its own."""
    return len(record.lead_names) <= _MOST_STRIPS


def _num_rows(record: ECGRecord) -> int:
    if not _has_strips(record):
        return len(_MIDDLE_LINES)
    if len(record.lead_names) > 1:
        return len(record.lead_names)
    return min(len(_MIDDLE_LINES), max(1, int(np.ceil(round(_seconds(record), 2) / _ROW_SECONDS))))


def _shown_seconds(record: ECGRecord) -> float:
    return _ROW_SECONDS * (_num_rows(record) if len(record.lead_names) == 1 else 1)


def _column_starts(record: ECGRecord) -> list[float]:
    """When each of the four columns starts, in seconds from the start of the record."""
    last_start = max(0.0, min(_seconds(record), _ROW_SECONDS) - _COLUMN_SECONDS)
    return [column * last_start / 3 for column in range(4)]


def _grid_bottom(axes: Axes) -> float:
    return axes.get_ylim()[0] + _GRID_BOTTOM


def _draw_paper(axes: Axes) -> None:
    right, bottom = _GRID_LEFT + _GRID_WIDTH, _grid_bottom(axes)
    height = _GRID_TOP - bottom
    axes.add_patch(Rectangle((_GRID_LEFT, bottom), _GRID_WIDTH, height, facecolor=_PAPER_COLOR, edgecolor="none"))
    for spacing, color, width, order in (
        (1.0, _THIN_GRID_COLOR, 0.3, 1.0),
        (5.0, _THICK_GRID_COLOR, 0.6, 1.1),
    ):
        verticals = [
            [(x, bottom), (x, _GRID_TOP)] for x in _GRID_LEFT + np.arange(0.0, _GRID_WIDTH + spacing / 2, spacing)
        ]
        horizontals = [[(_GRID_LEFT, y), (right, y)] for y in bottom + np.arange(0.0, height + spacing / 2, spacing)]
        gid = f"grid {spacing:g} mm"
        lines = LineCollection(verticals + horizontals, colors=color, linewidths=width, zorder=order, gid=gid)
        axes.add_collection(lines, autolim=False)


def lead_places(record: ECGRecord) -> list[LeadPlace]:
    """The places of the twelve leads and, last, of the rhythm strip (lead II or, without it, the first lead).

    Of a recording of up to three leads: the strips of its leads, from the top.
    """
    names = standard_lead_names(record.lead_names)
    if _has_strips(record):
        strips = sorted(names, key=STANDARD_LEADS.index) if len(names) > 1 else names * _num_rows(record)
        starts = [0.0 if len(names) > 1 else row * _ROW_SECONDS for row in range(len(strips))]
        return [
            LeadPlace(name, _SIGNAL_LEFT, middle, start, _ROW_SECONDS)
            for name, middle, start in zip(strips, _MIDDLE_LINES, starts, strict=False)
        ]
    width = _COLUMN_SECONDS * MILLIMETERS_PER_SECOND
    places = [
        LeadPlace(name, _SIGNAL_LEFT + column * width, middle, start, _COLUMN_SECONDS)
        for row, middle in zip(_ROWS, _MIDDLE_LINES, strict=False)
        for column, (name, start) in enumerate(zip(row, _column_starts(record), strict=True))
    ]
    samples = int(_ROW_SECONDS * record.sampling_rate) + 1
    recorded = np.isfinite(record.signal[:, :samples]).any(axis=1)
    there = [name for name, has_samples in zip(names, recorded, strict=True) if has_samples]
    rhythm = "II" if "II" in there else min(there, key=STANDARD_LEADS.index)
    return [*places, LeadPlace(rhythm, _SIGNAL_LEFT, _MIDDLE_LINES[3], 0.0, _ROW_SECONDS)]


def _draw_leads(axes: Axes, record: ECGRecord, shown: dict[str, np.ndarray]) -> list[str]:
    """Draw all rows; returns the leads that were cut off, in standard order."""
    cut_off: set[str] = set()
    places = lead_places(record)
    for middle in sorted({place.middle for place in places}, reverse=True):
        _draw_calibration(axes, middle)
    for place in places:
        if place.left > _SIGNAL_LEFT:
            for sign in (-1.0, 1.0):  # two short strokes, above and below the trace, where one lead ends
                y = [place.middle + sign * 3.0, place.middle + sign * 6.0]
                axes.plot([place.left, place.left], y, gid="lead separator", **_TRACE)
    for place in places:
        kind = "rhythm" if place.seconds == _ROW_SECONDS else "lead"
        gid = f"{kind} {place.name}"
        is_derived = place.name in record.derived_leads
        if _draw_lead(axes, shown.get(place.name), record.sampling_rate, place, gid=gid, is_derived=is_derived):
            cut_off.add(place.name)
    return [name for name in STANDARD_LEADS if name in cut_off]


def _draw_lead(
    axes: Axes,
    samples: np.ndarray | None,
    sampling_rate: float,
    place: LeadPlace,
    *,
    gid: str,
    is_derived: bool,
) -> bool:
    """Draw a lead and its name in its place; returns whether some of it was cut off.

    `samples` has shape (time,), in millivolts; None for an absent lead.
    """
    name, left, middle, start, seconds = place
    cut_off = False
    label, color, weight = name, TEXT_COLOR, "bold"
    if is_derived:
        label += "  derived"
    if seconds == _ROW_SECONDS and start > 0:
        label += f"  from {start:g} s"
    if samples is None:
        label, color, weight = f"{name}  absent", _PALE_TEXT_COLOR, "normal"
    else:
        # A sample on the right edge belongs to both neighbors, so that neither trace ends short of the separator.
        first = int(np.ceil(start * sampling_rate - 1e-6))
        last = int(np.floor((start + seconds) * sampling_rate + 1e-6))
        piece = samples[first : last + 1]
        times = np.arange(first, first + piece.size) / sampling_rate - start
        if not np.isfinite(piece).any():
            label, color, weight = f"{name}  no samples", _PALE_TEXT_COLOR, "normal"
        lowest = max(middle - _REACH, _grid_bottom(axes))
        highest = min(middle + _REACH, _GRID_TOP)
        y = middle + piece * MILLIMETERS_PER_MILLIVOLT
        cut_off = bool(np.any((y < lowest) | (y > highest)))
        x = left + times * MILLIMETERS_PER_SECOND
        (line,) = axes.plot(x, y, solid_joinstyle="round", gid=gid, **_TRACE)
        width = seconds * MILLIMETERS_PER_SECOND
        line.set_clip_path(Rectangle((left, lowest), width, highest - lowest, transform=axes.transData))
    text = write(axes, left + 1.5, middle + 14.5, label, 10.0, gid=f"name of {gid}", weight=weight, color=color)
    # A name must stay readable where a trace passes behind it.
    text.set_path_effects([withStroke(linewidth=2.0, foreground=_PAPER_COLOR)])
    return cut_off


def _draw_calibration(axes: Axes, middle: float) -> None:
    """Draw a rectangular pulse of 1 mV and 200 ms before the signal of a row."""
    width = _CALIBRATION_SECONDS * MILLIMETERS_PER_SECOND
    height = _CALIBRATION_MILLIVOLTS * MILLIMETERS_PER_MILLIVOLT
    left = _SIGNAL_LEFT - 2 * _CALIBRATION_LEAD_IN - width
    rise, fall = left + _CALIBRATION_LEAD_IN, left + _CALIBRATION_LEAD_IN + width
    x = [left, rise, rise, fall, fall, _SIGNAL_LEFT]
    y = [middle, middle, middle + height, middle + height, middle, middle]
    axes.plot(x, y, gid="calibration pulse", **_TRACE)


def _notes(record: ECGRecord, offsets: dict[str, float], cut_off: list[str]) -> list[str]:
    """What a reader must know about how this record was laid out."""
    notes = []
    duration, shown_seconds = _seconds(record), _shown_seconds(record)
    if round(duration, 2) > shown_seconds:
        notes.append(f"First {shown_seconds:g} s of {duration:.2f} s.")
    elif round(duration, 2) < shown_seconds and not _has_strips(record):
        starts = ", ".join(f"{start:.2f}" for start in _column_starts(record))
        notes.append(f"Record of {duration:.2f} s: columns start at {starts} s.")
    large = [f"{name} {offset:+.1f} mV" for name, offset in offsets.items() if abs(offset) >= _LARGE_OFFSET_MILLIVOLTS]
    if large:
        notes.append(f"Constant offset taken off: {', '.join(large)}.")
    if cut_off:
        notes.append(f"Too large for the paper, cut off: {', '.join(cut_off)}.")
    return notes


def _draw_footer(axes: Axes, record: ECGRecord, notes: list[str], scale: float) -> None:
    speed, size = scale * MILLIMETERS_PER_SECOND, scale * MILLIMETERS_PER_MILLIVOLT
    parts = [f"{speed:.3g} mm/s  {size:.3g} mm/mV", f"{record.sampling_rate:g} Hz"]
    if record.record_id:
        parts.append(f"record {one_line(record.record_id)}")
    edge = axes.get_ylim()[0]
    write(axes, _GRID_LEFT, edge + 11.2, shorten("     ".join(parts), _TEXT_WIDTH, 9.0, "bold"), 9.0, gid="footer")
    for number, line in enumerate(wrap(" ".join(notes), _TEXT_WIDTH, 7.0, "bold", most_lines=3)):
        write(axes, _GRID_LEFT, edge + 7.6 - 2.9 * number, line, 7.0, gid="footer note", color="#555555")
