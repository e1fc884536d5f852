# SPDX-License-Identifier: Apache-2.0
"""Arrays that scikit-learn users pass: marks of missing samples, half precision, and rows of a single lead."""

import numpy as np
import pytest
import torch

from cgdmer.inference.given_records import ArrayDescription, given_records
from cgdmer.models.errors import ECGInputError

TWO_LEADS = ArrayDescription(500, ("I", "II"), "uV")
ONE_LEAD = ArrayDescription(500, ["II"], "mV")
SIGNAL = np.random.default_rng(0).normal(0, 300, (2, 1500))
MISSING = SIGNAL > 500


def test_missing_samples_are_nan():
    garbage = np.where(MISSING, 9e3, SIGNAL)
    expected = np.where(MISSING, np.nan, SIGNAL) / 1000
    counts = np.where(MISSING, -32768, np.round(SIGNAL)).astype(np.int16)
    for X in (
        [np.ma.masked_array(garbage, MISSING)],
        np.ma.masked_array([garbage], [MISSING]),
        [np.where(MISSING, None, garbage)],
    ):
        np.testing.assert_allclose(given_records(X, TWO_LEADS)[0].signal, expected)
    np.testing.assert_allclose(given_records([counts], TWO_LEADS)[0].signal, np.round(expected, 3))


def test_half_precision():
    tensor = torch.from_numpy(SIGNAL).bfloat16()
    for X in ([tensor], tensor[None]):
        np.testing.assert_allclose(given_records(X, TWO_LEADS)[0].signal, tensor.double().numpy() / 1000)


def test_a_single_lead():
    """A list of rows, and a matrix with a recording per row, as scikit-learn has it."""
    rows = SIGNAL / 1000
    for X in (list(rows), rows, rows[:, None], [row[None] for row in rows], np.ma.masked_array(rows)):
        records = given_records(X, ONE_LEAD)
        assert len(records) == 2 and records[1].lead_names == ("II",)
        np.testing.assert_allclose(records[1].signal, rows[1:])
    for X in (list(rows), rows):
        with pytest.raises(ECGInputError, match="shape"):
            given_records(X, TWO_LEADS)


def test_what_is_no_number():
    with pytest.raises(ECGInputError, match=r"X\[0\] is not numeric"):
        given_records([np.full((2, 1500), "x", dtype=object)], TWO_LEADS)
