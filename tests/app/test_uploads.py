# SPDX-License-Identifier: Apache-2.0
"""Dropped files: the same record comes back, and what a file does not state is asked for."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb

from cgdmer.app.uploads import read_uploads
from cgdmer.models.errors import CGDMERError, ECGInputError, RecordFileError
from cgdmer.simulation.cohort import simulate_record
from recordings import write_wfdb

STATED = {"sampling_rate": "500", "lead_names": "I, II, V1", "unit": "mV"}


@pytest.fixture(scope="module")
def record():
    return simulate_record(["atrial_fibrillation"], seed=2)


@pytest.fixture(scope="module")
def three(record) -> np.ndarray:
    return record.signal[[0, 1, 6]]


def write_csv(path: Path, rows: np.ndarray, header: str = "", delimiter: str = ",") -> Path:
    np.savetxt(path, rows, delimiter=delimiter, header=header, comments="", fmt="%.6f")
    return path


def test_a_wfdb_pair_from_two_folders_in_any_order(record, tmp_path):
    write_wfdb(record, tmp_path / "one")
    (tmp_path / "elsewhere").mkdir()
    samples = (tmp_path / "one.dat").rename(tmp_path / "elsewhere" / "one.dat")
    read = read_uploads([samples, tmp_path / "one.hea"])
    np.testing.assert_allclose(read.signal, record.signal, atol=1e-6)
    assert (read.sampling_rate, read.lead_names) == (500, record.lead_names)
    with pytest.raises(RecordFileError, match=r"one\.dat") as refused:
        read_uploads([tmp_path / "one.hea"])
    assert "/tmp" not in str(refused.value)  # the temporary folder is not shown


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_csv_with_and_without_names_either_way_round(three, tmp_path, delimiter, header, turned):
    if header and turned:
        return  # names stand above columns
    names = delimiter.join(["I", "II", "V1"]) if header else ""
    path = write_csv(tmp_path / "a.csv", three if turned else three.T, names, delimiter)
    read = read_uploads([path], **{**STATED, "lead_names": "" if header else "I, II, V1"})
    np.testing.assert_allclose(read.signal, three, atol=1e-5)
    assert read.lead_names == ("I", "II", "V1") and read.record_id == "a"


@pytest.mark.parametrize("start", [0, 1])
def test_column_numbers_are_not_a_sample(three, tmp_path, start):
    """pandas writes them above a table without column names."""
    path = write_csv(tmp_path / "a.csv", three.T, ",".join(str(start + column) for column in range(3)))
    with pytest.raises(ECGInputError, match="counts the columns"):
        read_uploads([path], **STATED)


def test_leads_are_chosen_by_name_from_a_file_with_other_channels(record, tmp_path):
    names = (*record.lead_names[:11], "VX")
    write_wfdb(replace(record, lead_names=names), tmp_path / "one")
    files = [tmp_path / "one.hea", tmp_path / "one.dat"]
    with pytest.raises(RecordFileError, match="VX"):
        read_uploads(files)
    read = read_uploads(files, lead_names="V1, I")
    assert read.lead_names == ("V1", "I")
    np.testing.assert_allclose(read.signal, record.signal[[6, 0]], atol=1e-6)
    with pytest.raises(ECGInputError, match="no lead V6") as refused:
        read_uploads(files, lead_names="V6")
    assert "/tmp" not in str(refused.value)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1.0), ("uV", 1e3), ("V", 1e-3)])
@pytest.mark.parametrize("turned", [False, True])
def test_npy_in_any_unit_either_way_round(three, tmp_path, unit, factor, turned):
    np.save(tmp_path / "a.npy", (three.T if turned else three) * factor)
    read = read_uploads([tmp_path / "a.npy"], **{**STATED, "unit": unit})
    np.testing.assert_allclose(read.signal, three, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("missing", list(STATED))
def test_what_a_file_does_not_state_is_never_guessed(three, tmp_path, missing):
    np.save(tmp_path / "a.npy", three)
    with pytest.raises(ECGInputError, match=r"^a\.npy does not state its .*Fill in rate, leads and unit"):
        read_uploads([tmp_path / "a.npy"], **{**STATED, missing: None if missing == "unit" else ""})


def test_a_rate_that_is_not_a_number_is_refused(three, tmp_path):
    np.save(tmp_path / "a.npy", three)
    with pytest.raises(ECGInputError, match="'500 Hz' is not a number"):
        read_uploads([tmp_path / "a.npy"], **{**STATED, "sampling_rate": "500 Hz"})


def test_names_that_contradict_each_other_are_refused(three, tmp_path):
    path = write_csv(tmp_path / "a.csv", three.T, "I,II,V2")
    with pytest.raises(ECGInputError, match=r"^a\.csv has no lead V1; it has I, II, V2.*under Leads \(ECG=II\)"):
        read_uploads([path], **STATED)


def test_advice_is_for_the_page(record, three, tmp_path):
    """Each message says what to type where, and typing it works."""
    write_wfdb(replace(record, signal=record.signal[:2], lead_names=("ECG", "PLETH")), tmp_path / "holter")
    files = [tmp_path / "holter.hea", tmp_path / "holter.dat"]
    with pytest.raises(RecordFileError, match=r"under Leads \(ECG=II\)") as refused:
        read_uploads(files)
    assert "--" not in str(refused.value) and "Python" not in str(refused.value)
    read = read_uploads(files, lead_names="ECG=II")
    assert read.lead_names == ("II",)
    np.testing.assert_allclose(read.signal, record.signal[:1], atol=1e-6)
    path = write_csv(tmp_path / "a.csv", three.T, "ECG,II,V1")
    assert read_uploads([path], "500", "ECG=I, II", "mV").lead_names == ("I", "II")
    timed = np.c_[np.arange(three.shape[1]) / 500, three.T]
    for header, columns in (("time,I,II,V1", timed), ("I (mV),II (mV)", three[:2].T)):
        path = write_csv(tmp_path / "b.csv", columns, header)
        read = read_uploads([path], "500", "", None if "mV" in header else "mV")
        np.testing.assert_allclose(read.signal, three[: len(read.signal)], atol=1e-5)
    bare = write_csv(tmp_path / "c.csv", three.T)
    with pytest.raises(ECGInputError, match="Fill in rate, leads and unit") as refused:
        read_uploads([bare])
    assert "--" not in str(refused.value)


def test_a_shape_larger_than_the_file_is_refused(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (12, 10**12)})
    with pytest.raises(RecordFileError, match=r"^a\.npy holds 12000000000000 values"):
        read_uploads([tmp_path / "a.npy"], **STATED)


def test_a_pickle_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[print]], dtype=object), allow_pickle=True)
    with pytest.raises(RecordFileError, match="expected integers or floats"):
        read_uploads([tmp_path / "a.npy"], **STATED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"1,2,3\n4,5\n"),
        ("a.csv", b"\xff\xfe\x00rubbish\x81"),
        ("a.csv", b"I,II,V1\n1,two,3\n"),
        ("a.npy", b""),
        ("a.npy", b"\x93NUMPY\x01\x00rubbish"),
        ("a.hea", b"rubbish"),
        ("a.pdf", b"%PDF"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CGDMERError, match=r"a\.|a:"):
        read_uploads([tmp_path / name], **STATED)


def test_nothing_and_too_much_at_once_are_refused(three, tmp_path, monkeypatch):
    with pytest.raises(RecordFileError, match="cannot be read from nothing"):
        read_uploads([])
    np.save(tmp_path / "a.npy", three)
    with pytest.raises(RecordFileError, match=r"cannot be read from a\.npy, a\.npy"):
        read_uploads([tmp_path / "a.npy"] * 2, **STATED)
    monkeypatch.setattr("cgdmer.app.uploads.LARGEST_MEGABYTES", 0.01)
    with pytest.raises(RecordFileError, match="larger than"):
        read_uploads([tmp_path / "a.npy"], **STATED)


def test_more_than_an_hour_is_refused_with_how_to_cut_it(three, tmp_path):
    """And cutting as the message says works."""
    hour = np.tile(three[:, :5000], (1, 36)).astype(np.float16)  # ten seconds at 500 Hz, said to be 100 Hz: 30 minutes
    np.save(tmp_path / "a.npy", np.tile(hour, (1, 2)))
    assert read_uploads([tmp_path / "a.npy"], **{**STATED, "sampling_rate": "100"}).signal.shape == (3, 360_000)
    np.save(tmp_path / "b.npy", np.tile(hour, (1, 3)))
    with pytest.raises(ECGInputError, match=r"b is 1\.5 hours long; the page takes at most one") as refused:
        read_uploads([tmp_path / "b.npy"], **{**STATED, "sampling_rate": "100"})
    record = simulate_record(["sinus_rhythm"], seed=1, duration=210.0)
    write_wfdb(record, tmp_path / "long")
    (tmp_path / "part").mkdir()
    (command,) = re.findall(r"wfdb\.rdrecord\(path, (.*)\)\.wrsamp\(write_dir=\"part\"\)", str(refused.value))
    options = dict(option.split("=") for option in command.split(", "))
    assert options == {"sampfrom": "0", "sampto": "100000", "physical": "False"}
    wfdb.rdrecord(str(tmp_path / "long"), sampfrom=0, sampto=100_000, physical=False).wrsamp(
        write_dir=str(tmp_path / "part")
    )
    part = read_uploads([tmp_path / "part" / "long.hea", tmp_path / "part" / "long.dat"])
    np.testing.assert_allclose(part.signal, record.signal[:, :100_000], atol=1e-3)
