# SPDX-License-Identifier: Apache-2.0
"""A reading on one A4 page: twelve leads on paper, what was measured, the findings, and that it is not for care."""

from os import PathLike

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError
from cgdmer.plotting.ecg_paper import PAGE_WIDTH, draw_paper_page, save_page
from cgdmer.plotting.page_text import MILLIMETERS_PER_INCH, one_line, shorten, wrap, write
from cgdmer.reading.reading import FindingRead, Reading

_WIDTH, _HEIGHT, _MARGIN = 210.0, 297.0, 10.0
_SCALE = (_WIDTH - 2 * _MARGIN) / PAGE_WIDTH  # of the ECG paper
_PALE = "#555555"
_LINE, _LOWEST = 4.6, 20.0  # from line to line, and where the foot begins, in millimeters
_TITLE_SIZE, _SIZE = 10.5, 9.0
_NO_ROOM = "There is no room for more on this page: see `cgdmer report --json`."
_ABOUT = (
    "Written by software from scores of a model and from measurements. No person has checked it. It must not be used "
    "to diagnose, to treat, or to tell anyone that an ECG is normal."
)


def plot_reading(reading: Reading, record: ECGRecord | None) -> Figure:
    """The page, 210 mm x 297 mm.

    Args:
        record: the recording that was read; None if there is none. One that cannot be drawn is left out, and the
            reading says why it could not be judged.
    """
    figure = Figure(
        figsize=(_WIDTH / MILLIMETERS_PER_INCH, _HEIGHT / MILLIMETERS_PER_INCH), dpi=150, facecolor="white"
    )
    figure.set_layout_engine("none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, _WIDTH)
    axes.set_ylim(0.0, _HEIGHT)
    top = _HEIGHT - 14.0
    width = (_WIDTH - 2 * _MARGIN) / MILLIMETERS_PER_INCH
    heading = shorten(f"Reading of {one_line(reading.record_id) or 'an electrocardiogram'}", width, 14.0, "bold")
    write(axes, _MARGIN, top, heading, 14.0, gid="heading", weight="bold")
    write(axes, _MARGIN, top - 5.5, RESEARCH_USE_ONLY, 10.0, gid="research use only", weight="bold", color="#aa2222")
    _draw_sections(axes, _sections(reading), _draw_recording(figure, record, top - 8.0), width)
    model = f"cgdmer, model {reading.model} ({reading.model_digest[:12]})."
    foot = wrap(f"{model} {_ABOUT}", width, 7.5, most_lines=3)
    for number, line in enumerate(foot):
        write(axes, _MARGIN, 6.0 + 3.4 * (len(foot) - 1 - number), line, 7.5, gid="foot", color=_PALE)
    return figure


def save_reading(reading: Reading, record: ECGRecord | None, path: str | PathLike[str]) -> None:
    """Save the page of `plot_reading`; the ending of the path chooses the format, such as .pdf."""
    save_page(plot_reading(reading, record), path, 150.0)


def _draw_recording(figure: Figure, record: ECGRecord | None, top: float) -> float:
    """Draw the recording below `top`; returns where it ends, in millimeters."""
    if record is None:
        return top
    place = figure.add_axes((_MARGIN / _WIDTH, 0.0, 1.0 - 2 * _MARGIN / _WIDTH, 0.1))
    try:
        height = draw_paper_page(place, record, title="", scale=_SCALE)
    except ECGInputError:
        place.remove()
        return top
    bottom = top - height * _SCALE
    place.set_position((_MARGIN / _WIDTH, bottom / _HEIGHT, 1.0 - 2 * _MARGIN / _WIDTH, height * _SCALE / _HEIGHT))
    return bottom


def _sections(reading: Reading) -> list[tuple[str, list[str]]]:
    remarks = list(reading.remarks) or ["Nothing was measured."]
    if not reading.is_judged:
        return [("Not judged", ["No findings are given.", *reading.not_judged]), ("Measurements and remarks", remarks)]
    use = [] if reading.record_use is None else [str(reading.record_use)]
    present = [_row(one) for one in reading.present] or ["No finding is above its threshold."]
    general = [one.finding for one in reading.findings if one.present and one.implied_by is not None]
    more = [f"General terms of these: {', '.join(general)}."] if general else []
    absent = [one for one in reading.findings if not one.present]
    highest = ", ".join(f"{one.finding} {one.score:.0%}" for one in absent[:6])
    below = [f"Of {len(reading.findings)} findings that were judged, the highest below: {highest}."] if absent else []
    return [
        ("Findings above their thresholds", [*present, *more, *below]),
        ("Measurements and remarks", remarks),
        ("The recording", [*use, *reading.notes]),
    ]


def _row(finding: FindingRead) -> str:
    kind = "probability" if finding.is_probability else "score"
    text = f"{finding.finding[:1].upper()}{finding.finding[1:]}: {kind} {finding.score:.0%}, threshold "
    text += f"{finding.threshold:.0%} ({finding.threshold_from})"
    if finding.relevance is not None:
        leads = list(finding.relevance.share_by_lead.items())[:3]
        text += f"; most of it from {', '.join(f'{lead} ({share:.0%})' for lead, share in leads)}"
    return text


def _draw_sections(axes: Axes, sections: list[tuple[str, list[str]]], top: float, width: float) -> None:
    """Draw titles and lines below each other. If there is no room for all, the last line says so."""
    drawn: list[tuple[str, float, float]] = []  # text, size, and how far below the one before
    for title, lines in sections:
        if lines:
            drawn.append((title, _TITLE_SIZE, _LINE + 3.0))
        parts = [part for line in lines for part in wrap(line, width, _SIZE)]
        drawn += [(part, _SIZE, _LINE + 0.6 * (number == 0)) for number, part in enumerate(parts)]
    for number, (text, size, below) in enumerate(drawn):
        top -= below
        is_title = size == _TITLE_SIZE
        if top - _LINE < _LOWEST and number < len(drawn) - 1:
            write(axes, _MARGIN, top, _NO_ROOM, _SIZE, gid="line", color=_PALE)
            return
        weight = "bold" if is_title else "normal"
        write(axes, _MARGIN, top, text, size, gid="section" if is_title else "line", weight=weight)
