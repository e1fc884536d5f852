# SPDX-License-Identifier: Apache-2.0
"""Decisions, coverage, and thresholds of another hospital: against loops, and on a real dataset."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from cgdmer.evaluation.abstention import coverage_figure, coverage_rows
from cgdmer.evaluation.decisions import NET_BENEFIT_THRESHOLDS, decisions, decisions_table
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.transported import transported_points
from cgdmer.inference.operating_points import OperatingPoint


@pytest.fixture(scope="module")
def sample():
    """600 records of 300 patients: labels, scores with ties, and probabilities."""
    random = np.random.default_rng(0)
    held = random.random((600, 3)) < [0.3, 0.05, 0.01]
    scores = np.round(held + random.normal(size=held.shape), 1)
    return held, scores, 1 / (1 + np.exp(-scores)), [f"p{number // 2}" for number in range(600)]


def test_rates_are_those_of_a_loop(sample):
    labels, scores, probabilities, patients = sample
    found = decisions(labels, scores, ["common", "rare", "too rare"], patients, probabilities)
    assert list(found) == ["common", "rare"]
    for column, row in enumerate(found.values()):
        held, of_class = labels[:, column], scores[:, column]
        false, true, _ = roc_curve(held, of_class, drop_intermediate=False)
        for level in (90, 95):
            assert row[f"sensitivity_at_specificity_{level}"] == pytest.approx(
                max(true[false <= 1 - level / 100 + 1e-12])
            )
        for benefit in row["net_benefit"]:
            called = probabilities[:, column] >= benefit["threshold"]
            odds = benefit["threshold"] / (1 - benefit["threshold"])
            assert benefit["model"] == pytest.approx(((called & held).sum() - odds * (called & ~held).sum()) / 600)
            assert benefit["all"] == pytest.approx(held.mean() - odds * (1 - held.mean()))
        assert [one["threshold"] for one in row["net_benefit"]] == list(NET_BENEFIT_THRESHOLDS)
        # Ties on the limit: on average over all orders of records with the same score.
        random, shares = np.random.default_rng(1), []
        for _ in range(400):
            order = np.lexsort((random.random(600), -of_class))
            shares.append(held[order[:30]].sum() / held.sum())
        assert row["found_in_top_5"] == pytest.approx(np.mean(shares), abs=0.01)


def test_intervals_hold_their_value_and_are_over_patients(sample):
    labels, scores, probabilities, patients = sample
    of_patients = decisions(labels[:, :1], scores[:, :1], ["common"], patients, probabilities[:, :1])["common"]
    twice = [np.repeat(one[:300, :1], 2, axis=0) for one in (labels, scores, probabilities)]
    pairs = decisions(*twice[:2], ["common"], patients, twice[2])["common"]
    single = decisions(*twice[:2], ["common"], [str(number) for number in range(600)], twice[2])["common"]
    for name in ("sensitivity_at_specificity_90", "found_in_top_5"):
        low, high = of_patients[f"{name}_interval"]
        assert low <= of_patients[name] <= high and high - low > 0.02
        assert np.ptp(pairs[f"{name}_interval"]) > 1.2 * np.ptp(single[f"{name}_interval"])


def test_without_probabilities_there_is_no_benefit(sample):
    labels, scores, _, patients = sample
    row = decisions(labels, scores, ["common", "rare", "too rare"], patients)["common"]
    assert row["net_benefit"] == []
    heads, rows = decisions_table({"common": row})
    assert len(heads) == len(rows[0]) == 4


def test_coverage_keeps_the_most_familiar(sample):
    labels, scores, _, patients = sample
    familiar = np.random.default_rng(2).random(600)
    familiar[:100] = 0.001
    mixed = scores.copy()
    mixed[:100, 0] = np.random.default_rng(3).normal(size=100)

    def measured(kept):
        names = ["a", "b", "c"]
        chosen = [patient for patient, one in zip(patients, kept, strict=True) if one]
        return {"zero-shot": measure(labels[kept], mixed[kept], names, chosen)}

    rows = coverage_rows(familiar, measured)
    assert [row["records"] for row in rows] == [600, 480, 420, 300]  # the unfamiliar ones are left out together
    for row in rows:
        assert row["records"] == (familiar >= row["familiarity"]).sum() == round(row["coverage"] * 600)
    assert rows[1]["zero-shot"]["macro_auroc"] > rows[0]["zero-shot"]["macro_auroc"]
    figure = coverage_figure(rows, "zero-shot", "Coverage")
    line = next(one for one in figure.axes[0].lines if one.get_gid() == "value")
    assert np.allclose(line.get_ydata(), [1 - row["zero-shot"]["macro_auroc"] for row in rows])


def test_thresholds_of_another_hospital_by_hand():
    random = np.random.default_rng(0)
    held = random.random(1000) < 0.3
    logits = 2 * held + random.normal(size=1000)
    scores = 1 / (1 + np.exp(-logits))
    interval = (0.0, 1.0)
    point = OperatingPoint(1.0, -1.0, 0.4, interval, 0.8, interval, 0.9, interval, 100, 500)
    labels = np.stack([held, np.zeros(1000, bool), held], axis=1)
    patients = list(map(str, range(1000)))
    found = transported_points(
        {"MI": point}, {"mi": "MI", "none": "MI"}, {"MI": scores}, labels, ["mi", "none", "x"], patients
    )
    assert list(found) == ["mi"]
    probabilities = 1 / (1 + np.exp(-(logits - 1)))
    row = found["mi"]
    assert row["sensitivity"] == pytest.approx((probabilities >= 0.4)[held].mean())
    assert row["specificity"] == pytest.approx((probabilities < 0.4)[~held].mean())
    assert row["promised"]["sensitivity"] == 0.8
    assert row["brier"] == pytest.approx(((probabilities - held) ** 2).mean())
    assert row["uncalibrated"]["brier"] == pytest.approx(((scores - held) ** 2).mean())
