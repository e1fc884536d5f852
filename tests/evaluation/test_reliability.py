# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from cgdmer.evaluation.reliability import reliability


def test_scores_that_mean_what_they_say():
    random = np.random.default_rng(0)
    said = random.random((4000, 3))
    found = reliability(random.random(said.shape) < said, said)
    assert found["expected_calibration_error"] < 0.02
    assert found["brier"] == pytest.approx(1 / 6, abs=0.01) and found["brier_of_prevalence"] == pytest.approx(
        0.25, abs=0.01
    )
    assert [one["scores"] for one in found["bins"]] == [1200] * 10


def test_scores_that_are_twice_as_high_as_what_comes_true():
    random = np.random.default_rng(1)
    said = random.random((4000, 2))
    found = reliability(random.random(said.shape) < said / 2, said)
    assert found["expected_calibration_error"] == pytest.approx(0.25, abs=0.02)
    for one in found["bins"]:
        assert one["share_positive"] == pytest.approx(one["mean_score"] / 2, abs=0.05)


def test_by_hand():
    labels, said = np.array([[True], [False]]), np.array([[0.8], [0.4]])
    found = reliability(labels, said)
    assert found["brier"] == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert found["expected_calibration_error"] == pytest.approx((0.2 + 0.4) / 2)
    assert [one["scores"] for one in found["bins"]] == [1, 1]
