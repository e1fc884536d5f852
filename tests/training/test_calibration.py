# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from cgdmer.data.wordings import load_wordings
from cgdmer.training.calibration import findings_and_texts, platt_scaling

ROWS = [
    {"text": "IMI", "labels": ["IMI", "164889003"], "statements": ["Inferior infarction.", "Atrial fibrillation."]},
    {"text": "nothing", "labels": [], "statements": []},
    {"text": "a finding without a code", "labels": [], "statements": ["Odd P waves."]},
]


def test_findings_and_reports_state_themselves():
    held, says = findings_and_texts(ROWS, None)
    assert held == [{"IMI", "164889003"}, {"nothing"}, {"Odd P waves."}]
    assert says == {
        "Inferior infarction.": "IMI",
        "Atrial fibrillation.": "164889003",
        "nothing": "nothing",
        "Odd P waves.": "Odd P waves.",
    }


def test_other_words_and_general_terms_are_texts_too():
    held, says = findings_and_texts(ROWS, load_wordings())
    assert {"IMI", "AFIB", "myocardial infarction", "atrial fibrillation or flutter", "abnormal ECG"} <= held[0]
    assert held[1:] == [{"nothing"}, {"Odd P waves."}]
    assert says["Atrial fibrillation."] == "AFIB" and says["heart attack"] == "myocardial infarction"
    assert says["inferior MI"] == "IMI" and says["Odd P waves."] == "Odd P waves."
    assert "anterior MI" not in says  # no record has one
    assert set(says.values()) <= set().union(*held)


def test_finds_the_curve_that_made_the_data():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, size=(200, 200))
    matches = random.random(cosines.shape) < 1 / (1 + np.exp(-(6 * cosines - 2)))
    scale, bias = platt_scaling(cosines, matches)
    assert (scale, bias) == (pytest.approx(6, abs=0.2), pytest.approx(-2, abs=0.1))


def test_balancing_moves_only_the_bias():
    random = np.random.default_rng(1)
    cosines = random.uniform(-1, 1, size=(200, 200))
    matches = random.random(cosines.shape) < 1 / (1 + np.exp(-(6 * cosines - 5)))
    scale, bias = platt_scaling(cosines, matches)
    balanced_scale, balanced_bias = platt_scaling(cosines, matches, balanced=True)
    share = matches.mean()
    assert balanced_scale == pytest.approx(scale, rel=0.1)
    assert balanced_bias - bias == pytest.approx(np.log((1 - share) / share), rel=0.15)
