# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from cgdmer.training.calibration import platt_scaling


def test_finds_the_curve_that_made_the_data():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, size=(200, 200))
    matches = random.random(cosines.shape) < 1 / (1 + np.exp(-(6 * cosines - 2)))
    scale, bias = platt_scaling(cosines, matches)
    assert (scale, bias) == (pytest.approx(6, abs=0.2), pytest.approx(-2, abs=0.1))


def test_weighing_alike_moves_the_bias_alone():
    random = np.random.default_rng(1)
    cosines = random.uniform(-1, 1, size=(200, 200))
    matches = random.random(cosines.shape) < 1 / (1 + np.exp(-(6 * cosines - 5)))
    scale, bias = platt_scaling(cosines, matches)
    weighed_scale, weighed_bias = platt_scaling(cosines, matches, weigh_alike=True)
    share = matches.mean()
    assert weighed_scale == pytest.approx(scale, rel=0.1)
    assert weighed_bias - bias == pytest.approx(np.log((1 - share) / share), rel=0.15)
