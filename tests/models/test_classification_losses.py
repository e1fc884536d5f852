# SPDX-License-Identifier: Apache-2.0
"""A classifier is trained on what its problem type says, and labels that contradict it are an error."""

import numpy as np
import pytest
import torch
from tiny import tiny_ecg, tiny_ecg_config

from cgdmer import CGDMERForECGClassification
from cgdmer.models.errors import ECGInputError

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def classifier(num_labels: int, problem_type: str | None) -> CGDMERForECGClassification:
    return CGDMERForECGClassification(tiny_ecg_config(num_labels=num_labels, problem_type=problem_type)).eval()


@pytest.mark.parametrize(
    "labels", [[[62.0], [7.5], [0.0], [1.0]], [[62], [7], [0], [1]], [62, 7, 0, 1], [1.0, 0, 1, 0]]
)
def test_regression_is_the_mean_squared_error_and_stays_regression(labels, tmp_path):
    """Also if all values are 0 and 1, and if they are integers."""
    model = classifier(1, REGRESSION)
    outputs = model(tiny_ecg(), labels=torch.tensor(labels))
    expected = np.mean((outputs.logits.detach().numpy().ravel() - np.ravel(labels)) ** 2)
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)
    assert model.config.problem_type == REGRESSION
    model.save_pretrained(tmp_path)
    assert CGDMERForECGClassification.from_pretrained(tmp_path).config.problem_type == REGRESSION


def test_several_values_are_regressed_together():
    model = classifier(3, REGRESSION)
    values = torch.tensor([[62.0, 1, 400], [20, 0, 380], [35, 1, 410], [80, 1, 390]])
    outputs = model(tiny_ecg(), labels=values)
    assert outputs.loss.item() == pytest.approx(np.mean((outputs.logits.detach().numpy() - values.numpy()) ** 2))


def test_soft_labels_and_records_without_a_label():
    soft = torch.tensor([[0.1, 0.9], [0.5, 0.5], [1.0, 0.0], [0.0, 0.0]])
    outputs = classifier(2, MULTI)(tiny_ecg(), labels=soft)
    chances = outputs.logits.sigmoid().double()
    expected = -(soft * chances.log() + (1 - soft) * (1 - chances).log()).mean()
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    outputs = classifier(2, SINGLE)(tiny_ecg(), labels=torch.tensor([1, -100, 0, -100]))
    chances = outputs.logits.log_softmax(dim=1)
    assert outputs.loss.item() == pytest.approx(-(chances[0, 1] + chances[2, 0]).item() / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels", "message"),
    [
        (2, SINGLE, [[1.0, 0.0]] * 4, "problem_type is 'single_label_classification'"),
        (2, SINGLE, [1.0, 0.0, 1.0, 0.0], "of int64"),
        (2, SINGLE, [0, 1, 2, 0], "other than 0 to 1"),
        (2, SINGLE, [0, 1, -1, 0], "other than 0 to 1"),
        (2, MULTI, [0, 1, 1, 0], r"\(4, 2\) of 0 and 1"),
        (2, MULTI, [[0.0, 1, 1]] * 4, r"\(4, 2\) of 0 and 1"),
        (1, MULTI, [[62.0]] * 4, "set it to .regression"),
        (1, MULTI, [[float("nan")]] * 4, "other than 0 and 1"),
        (2, REGRESSION, [1.0, 2.0, 3.0, 4.0], r"takes \(4, 2\)"),
        (1, None, [[62.0]] * 4, "set problem_type to .regression"),
        (1, None, [62.0] * 4, "set problem_type to .regression"),
        (2, None, [0.0, 1.0, 1.0, 0.0], "set problem_type to .regression"),
    ],
)
def test_labels_that_contradict_the_problem_type(num_labels, problem_type, labels, message):
    model = classifier(num_labels, problem_type)
    with pytest.raises(ECGInputError, match=message):
        model(tiny_ecg(), labels=torch.tensor(labels))
    assert model.config.problem_type == problem_type


def test_labels_of_another_kind_do_not_rewrite_what_the_first_ones_said():
    model = classifier(2, None)
    model(tiny_ecg(), labels=torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ECGInputError, match="problem_type is 'single_label_classification'"):
        model(tiny_ecg(), labels=torch.zeros(4, 2))
    assert model.config.problem_type == SINGLE
