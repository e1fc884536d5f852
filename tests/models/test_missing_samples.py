# SPDX-License-Identifier: Apache-2.0
"""Marks of missing samples become NaN, in every form that an array comes in and at every entrance."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.missing_samples import numbers_of
from cgdmer.models.reading_array_file import read_array_file
from cgdmer.simulation.cohort import simulate_record

RECORD = simulate_record(["sinus_rhythm"], seed=1)
HOLE = (6, slice(2000, 2200))  # 0.4 s of V1
MISSING = np.zeros(RECORD.signal.shape, dtype=bool)
MISSING[HOLE] = True
WITH_NAN = np.where(MISSING, np.nan, RECORD.signal)
GARBAGE = np.where(MISSING, 9.9, RECORD.signal)  # what is under a mask


def torch_masked():
    with pytest.warns(UserWarning, match="PyTorch API of MaskedTensors"):
        return torch.masked.masked_tensor(torch.from_numpy(GARBAGE), torch.from_numpy(~MISSING))


def rows_with_none():
    rows = zip(GARBAGE, MISSING, strict=True)
    return [[None if gone else value for value, gone in zip(*row, strict=True)] for row in rows]


FORMS = {
    "masked": lambda: np.ma.masked_array(GARBAGE, MISSING),
    "masked float32": lambda: np.ma.masked_array(GARBAGE.astype(np.float32), MISSING),
    "list of masked rows": lambda: [np.ma.masked_array(row, gone) for row, gone in zip(GARBAGE, MISSING, strict=True)],
    "torch": lambda: torch.from_numpy(WITH_NAN),
    "torch masked": torch_masked,
    "list of tensors": lambda: list(torch.from_numpy(WITH_NAN)),
    "lists with None": rows_with_none,
    "objects with None": lambda: np.array(rows_with_none(), dtype=object),
    "data frame with NA": lambda: pd.DataFrame(rows_with_none(), dtype="Float64"),
    "list of nullable columns": lambda: [pd.array(row, dtype="Float64") for row in rows_with_none()],
    "list of arrow columns": lambda: [pa.array(row) for row in rows_with_none()],
}


@pytest.fixture(scope="module")
def extract() -> ECGFeatureExtractor:
    return ECGFeatureExtractor()


def values(extract, ecg, **options) -> np.ndarray:
    description = {"sampling_rate": 500, "lead_names": RECORD.lead_names, "unit": "mV", **options}
    return extract(ecg, **description)["ecg_values"]


@pytest.mark.parametrize("form", FORMS)
def test_a_masked_sample_is_a_missing_one(extract, form):
    expected = values(extract, WITH_NAN)
    assert np.abs(expected - values(extract, GARBAGE)).max() > 10
    tolerance = 1e-6 if "float32" in form else 0.0
    np.testing.assert_allclose(values(extract, FORMS[form]()), expected, atol=tolerance)
    np.testing.assert_allclose(values(extract, [FORMS[form](), WITH_NAN])[0], expected[0], atol=tolerance)
    record = ECGRecord(FORMS[form](), 500.0, RECORD.lead_names)
    assert type(record.signal) is np.ndarray and np.isnan(record.signal[HOLE]).all()
    np.testing.assert_allclose(extract(record)["ecg_values"], expected, atol=tolerance)


def test_masked_integers(extract):
    counts = np.ma.masked_array(np.round(GARBAGE * 1000).astype(np.int16), MISSING)
    expected = values(extract, np.where(MISSING, np.nan, np.round(GARBAGE * 1000)), unit="uV")
    np.testing.assert_array_equal(values(extract, counts, unit="uV"), expected)
    np.testing.assert_allclose(values(extract, counts, unit="adu", gain=1000), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_half_precision(extract, dtype):
    tensor = torch.from_numpy(RECORD.signal).to(dtype)
    expected = values(extract, tensor.float().numpy())
    for form in (tensor, list(tensor), [tensor], tensor[None], tensor.tolist()):
        np.testing.assert_array_equal(values(extract, form), expected)


def test_a_single_lead_as_a_row_of_samples(extract):
    one = RECORD.signal[1]
    expected = values(extract, one[None], lead_names=["II"])
    for form in (one, one.tolist(), torch.from_numpy(one), np.ma.masked_array(one)):
        np.testing.assert_array_equal(values(extract, form, lead_names=["II"]), expected)
    np.testing.assert_array_equal(extract(ECGRecord(one, 500.0, ("II",)))["ecg_values"], expected)
    with pytest.raises(ECGInputError, match=r"\(time,\) of a single lead"):
        values(extract, one, lead_names=["I", "II"])


# Marks of converters


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_the_mark_of_wfdb(extract, dtype):
    """`wfdb.rdrecord(physical=False)` returns int64 by default, int16 on request; people turn it into floats."""
    counts = np.where(MISSING, -32768, np.round(RECORD.signal * 1000)).astype(dtype)
    expected = values(extract, np.where(MISSING, np.nan, counts / 1000))
    np.testing.assert_allclose(values(extract, counts, unit="adu", gain=1000), expected, atol=1e-6)
    np.testing.assert_allclose(values(extract, counts, unit="uV"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("mark", "dtype", "gain"),
    [
        (-(2**31), np.int32, 1000),
        (-(2**31), np.int64, 1000),
        (-(2**23), np.int32, 100_000),  # 24 bits
        (-(2**11), np.int64, 200),  # format 212
        (-(2**11), np.int16, 500),
        (-(2**9), np.int64, 100),  # format 310
        (-(2**7), np.int64, 25),  # format 80
        (-(2**7), np.int8, 25),
        (-(2**63), np.int64, 1000),
    ],
)
def test_marks_of_other_formats(extract, mark, dtype, gain):
    counts = np.where(MISSING, 0, np.round(RECORD.signal * gain)).astype(np.int64)
    assert (np.abs(counts) < -mark).all()
    expected = values(extract, np.where(MISSING, np.nan, counts), unit="adu", gain=gain)
    counts[HOLE] = mark
    np.testing.assert_array_equal(values(extract, counts.astype(dtype), unit="adu", gain=gain), expected)


@pytest.mark.parametrize("lowest", [-2048, -512, -128, -100])
def test_a_deep_wave_is_no_mark(extract, lowest):
    """Whose lowest sample happens to be the lowest of a narrow format: the samples beside it are near."""
    counts = RECORD.signal[7] * lowest / RECORD.signal[7].min()
    counts = np.where(counts > 0, counts * 0.5, counts).round().astype(np.int16)[None]
    assert counts.min() == lowest
    gain = -lowest / 2
    expected = values(extract, counts / gain, lead_names=["V2"])
    np.testing.assert_array_equal(values(extract, counts, lead_names=["V2"], unit="adu", gain=gain), expected)


def test_wider_data_have_no_mark_of_a_narrower_format(extract):
    counts = np.round(RECORD.signal * 200).astype(np.int32)
    counts[6, 100] = -2048
    counts[6, 200] = 2500  # so these are not twelve bits
    expected = values(extract, counts / 200.0)
    np.testing.assert_allclose(values(extract, counts, unit="adu", gain=200), expected, atol=1e-6)

    counts[6, 100], counts[6, 200] = -32768, 40_000  # nor are these sixteen
    expected = values(extract, counts / 200.0)
    np.testing.assert_allclose(values(extract, counts, unit="adu", gain=200), expected, atol=1e-5)


def test_files_of_integers(tmp_path):
    """Whatever unit they are in, and also as text."""
    counts = np.where(MISSING, -32768, np.round(RECORD.signal * 1000)).astype(np.int16)
    np.save(tmp_path / "a.npy", counts)
    np.savetxt(tmp_path / "a.csv", counts.T, fmt="%d", delimiter=",")
    for name in ("a.npy", "a.csv"):
        signal = read_array_file(tmp_path / name, 500, "uV", list(RECORD.lead_names)).signal
        np.testing.assert_allclose(signal, np.where(MISSING, np.nan, counts / 1000), atol=1e-5)


# What is no number


@pytest.mark.parametrize("value", ["x", True, 1j, [1], {}, object()], ids=lambda value: type(value).__name__)
def test_what_is_no_number(value):
    rows = np.full((2, 600), 0.5, dtype=object)
    rows[1, 3] = value
    rows[1, 4] = None  # without it, a list of floats and bools is a list of floats to NumPy
    for form in (rows, rows.tolist()):
        with pytest.raises(ECGInputError, match="ecg is not numeric"):
            numbers_of(form)


def test_a_plain_array_is_not_copied():
    plain = np.zeros((2, 10))
    assert numbers_of(plain) is plain and numbers_of(np.ma.masked_array(plain)).base is plain
