# SPDX-License-Identifier: Apache-2.0
"""The reliability diagram shows the bins that were computed."""

import numpy as np
import pytest

from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.reliability_figure import reliability_figure
from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import save


def artist(figure, gid):
    (found,) = figure.findobj(lambda one: one.get_gid() == gid, include_self=False)
    return found


def test_each_bin_is_a_point_within_its_interval(tmp_path):
    random = np.random.default_rng(0)
    scores = random.random((300, 3))
    calibration = reliability(random.random(scores.shape) < scores**2, scores)
    figure = reliability_figure(calibration, "a title")
    points = np.asarray(artist(figure, "value").get_offsets())
    expected = [(one["mean_score"], one["share_positive"]) for one in calibration["bins"]]
    np.testing.assert_allclose(points, expected)
    for (x, y), ((left, low), (right, high)) in zip(points, artist(figure, "interval").get_segments(), strict=True):
        assert left == right == pytest.approx(x) and 0 <= low < y < high <= 1
        assert high - low < 0.25  # 90 scores per bin
    text = artist(figure, "notes").get_text()
    assert "900 scores" in text and f"{calibration['brier']:.3f}" in text
    save(figure, tmp_path / "calibration.png")


def test_without_bins_there_is_nothing_to_draw():
    with pytest.raises(CorpusError, match="nothing to draw"):
        reliability_figure({"bins": []})
