# SPDX-License-Identifier: Apache-2.0
"""Every color is at its lead and moment, and the panel says what the colors mean."""

import matplotlib
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.explanation.explaining import Explanation
from cgdmer.explanation.painting import plot_explanation, save_explanation_plot
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.plotting.ecg_paper import lead_places
from cgdmer.simulation.cohort import simulate_record


def explanation_of(patches: dict[tuple[str, int], float], **changed) -> Explanation:
    relevance = np.zeros((12, 25), dtype=np.float32)
    for (lead, number), value in patches.items():
        relevance[STANDARD_LEADS.index(lead), number] = value
    present = np.ones((12, 25), dtype=bool)
    options = {
        "label": "ST elevation in the anterior leads",
        "score": 0.87,
        "window_score": 0.87,
        "window": simulate_record(["anterior_st_elevation"], seed=1, sampling_rate=100),
        "start_seconds": 0.0,
        "num_windows": 1,
        "patch_seconds": 0.4,
        "present": present,
        "relevance": relevance,
        "rest": 0.01,
        "occlusion": relevance,
        "agreement": 0.43,
    }
    return Explanation(**options | changed)


def cells(figure, gid: str) -> list[Rectangle]:
    return figure.findobj(lambda artist: artist.get_gid() == gid, include_self=False)


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_a_patch_is_painted_where_its_lead_and_moment_are_and_nowhere_else():
    # V3 is shown from 5.0 s to 7.5 s: patch 14 begins at 5.6 s. Patch 18 (7.2 s to 7.6 s) is cut off at 7.5 s, and
    # patch 0 of V3 is not on the paper at all.
    explanation = explanation_of({("V3", 14): 1.0, ("V3", 18): -0.5, ("V3", 0): 0.2})
    figure = plot_explanation(explanation)
    place = next(place for place in lead_places(explanation.window) if place.name == "V3")
    first, second = sorted(cells(figure, "relevance V3"), key=lambda cell: cell.get_x())
    assert (first.get_x(), first.get_width()) == pytest.approx((place.left + 0.6 * 25, 10.0))
    assert (second.get_x(), second.get_width()) == pytest.approx((place.left + 2.2 * 25, 0.3 * 25))
    for cell in (first, second):
        assert cell.get_y() + cell.get_height() / 2 == pytest.approx(place.middle)
    red, _, blue, strength = first.get_facecolor()
    assert blue > red
    red, _, blue, weaker = second.get_facecolor()
    assert red > blue and weaker == pytest.approx(strength / 2)
    for lead in STANDARD_LEADS:
        if lead != "V3":
            assert not cells(figure, f"relevance {lead}")
    # The map shows the whole window, so it includes that patch.
    row = sorted(cells(figure, "map V3"), key=lambda cell: cell.get_x())
    assert len(row) == 25 and row[0].get_facecolor()[3] == pytest.approx(0.2 * strength)
    assert row[14].get_facecolor() == first.get_facecolor()


def test_the_rhythm_strip_shows_all_patches_of_its_lead():
    figure = plot_explanation(explanation_of({("II", number): 1.0 for number in range(25)}))
    painted = sorted(cell.get_width() for cell in cells(figure, "relevance II"))
    assert sum(painted) == pytest.approx(25 * (10.0 + 2.5))  # ten seconds in the strip and 2.5 s in its place


def test_what_was_not_recorded_is_gray_on_the_map():
    present = np.ones((12, 25), dtype=bool)
    present[:, 20:] = False
    figure = plot_explanation(explanation_of({("V3", 3): 1.0}, present=present))
    assert len(cells(figure, "map absent")) == 60 and len(cells(figure, "map V3")) == 20


def test_the_panel_says_what_is_shown(tmp_path):
    written = texts(plot_explanation(explanation_of({("V3", 14): 1.5, ("V2", 1): 0.5})))
    for expected in (
        "ST elevation in the anterior leads",
        "score 87.0 %",
        "V3 75 %, V2 25 %",
        "0.43",
        "+1.5 of the score's logit",
        "lowers the score",
        RESEARCH_USE_ONLY,
    ):
        assert expected in written
    later = texts(plot_explanation(explanation_of({("V3", 14): 1.5}, num_windows=3, start_seconds=20.0, score=0.4)))
    assert "score of the recording 40.0 %" in later and "20.0 s to 30.0 s" in later and "20 s" in later
    save_explanation_plot(explanation_of({}), tmp_path / "nothing.png")  # no relevance at all divides nothing by zero
    assert (tmp_path / "nothing.png").stat().st_size > 10_000
