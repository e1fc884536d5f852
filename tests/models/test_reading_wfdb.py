# SPDX-License-Identifier: Apache-2.0
"""The WFDB reader: correct values from real records, and a planted fault for each trap in a header."""

import builtins
import os
import random
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb

from cgdmer.models.errors import CGDMERError, ECGInputError, RecordFileError
from cgdmer.models.reading_wfdb import read_wfdb, read_wfdb_header

HEADER = "rec.hea"
# Bytes and samples per block, by storage format.
BLOCKS = {"16": (2, 1), "61": (2, 1), "160": (2, 1), "80": (1, 1), "24": (3, 1), "32": (4, 1)}
BLOCKS |= {"212": (3, 2), "310": (4, 3), "311": (4, 3)}


def write_record(
    folder: Path, num_samples: int = 50, storage_format: str = "16", num_leads: int = 3, **fields
) -> Path:
    """A small valid record written by wfdb itself; returns its path without `.hea`."""
    rng = np.random.default_rng(0)
    counts = rng.integers(-100, 100, (num_samples, num_leads))
    fields = {"baseline": [0] * num_leads, "units": ["mV"] * num_leads, "adc_gain": [200.0] * num_leads} | fields
    wfdb.wrsamp(
        "rec",
        fs=100,
        sig_name=["I", "II", "III", "aVR"][:num_leads],
        d_signal=counts,
        fmt=[storage_format] * num_leads,
        comments=["Age: 61", "Dx: 426783006"],
        write_dir=str(folder),
        **fields,
    )
    return folder / "rec"


def edit_header(record: Path, pattern: str, replacement: str, count: int = 1) -> None:
    path = record.with_name(HEADER)
    text, found = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=count, flags=re.MULTILINE)
    assert found, f"{pattern!r} is not in the header, so this test plants no fault"
    path.write_text(text, encoding="utf-8")


def assert_refused(record: Path, *words: str, **options) -> str:
    """The record is refused with our error type, and the message contains the file and each of the words."""
    with pytest.raises(RecordFileError) as refusal:
        read_wfdb(record, **options)
    for word in ("rec.", *words):
        assert word in str(refusal.value)
    return str(refusal.value)


def test_reads_what_was_written(tmp_path):
    record = write_record(tmp_path, adc_gain=[200.0, 1000.0, 4.88], baseline=[0, 12, -7])
    ecg = read_wfdb(record)
    expected, fields = wfdb.rdsamp(str(record))
    assert ecg.signal.dtype == np.float32 and ecg.signal.shape == (3, 50)
    np.testing.assert_array_equal(ecg.signal, expected.T.astype(np.float32))
    assert ecg.sampling_rate == fields["fs"] == 100
    assert ecg.lead_names == ("I", "II", "III")
    assert ecg.record_id == "rec"
    assert ecg.gain == (200.0, 1000.0, 4.88) and ecg.baseline == (0, 12, -7)


def test_path_with_and_without_extension(tmp_path):
    record = write_record(tmp_path)
    for path in (record, f"{record}.hea", str(record), Path(f"{record}.hea")):
        assert read_wfdb(path).record_id == "rec"
    assert_refused(Path(f"{record}.dat"), "does not exist", "leave .dat or .mat off")


def test_integers_come_back_exactly(tmp_path):
    record = write_record(tmp_path, adc_gain=[200.0, 1000.0, 4.88], baseline=[0, 12, -7])
    ecg = read_wfdb(record)
    counts = np.rint(ecg.signal.astype(np.float64) * np.array(ecg.gain)[:, None] + np.array(ecg.baseline)[:, None])
    np.testing.assert_array_equal(counts, wfdb.rdrecord(str(record), physical=False).d_signal.T)


def test_invalid_samples_become_nan(tmp_path):
    record = write_record(tmp_path)
    counts = np.fromfile(tmp_path / "rec.dat", dtype="<i2").reshape(50, 3)
    counts[7, 1] = -32768
    counts.tofile(tmp_path / "rec.dat")
    missing = np.isnan(read_wfdb(record, verify_checksums=False).signal)
    assert missing[1, 7] and missing.sum() == 1


@pytest.mark.parametrize("storage_format", ["16", "80", "212", "24", "32"])
@pytest.mark.parametrize(("num_samples", "num_leads"), [(50, 3), (51, 3), (49, 1)])
def test_reads_every_format_that_wfdb_writes(tmp_path, storage_format, num_samples, num_leads):
    record = write_record(tmp_path, num_samples, storage_format, num_leads)
    ecg = read_wfdb(record)
    expected, _ = wfdb.rdsamp(str(record))
    np.testing.assert_array_equal(ecg.signal, expected.T.astype(np.float32))
    assert (ecg.gain is None) == (storage_format in ("24", "32"))


@pytest.mark.parametrize("storage_format", BLOCKS)
@pytest.mark.parametrize(("num_samples", "num_leads"), [(50, 3), (51, 3), (49, 1), (50, 1), (47, 4)])
def test_any_bytes_mean_what_wfdb_says(tmp_path, storage_format, num_samples, num_leads):
    """Even in formats that wfdb reads but does not write; the last block is complete here."""
    block_bytes, block_samples = BLOCKS[storage_format]
    size = -(-num_samples * num_leads // block_samples) * block_bytes
    content = np.random.default_rng(3).integers(0, 128, size, dtype=np.uint8)
    if storage_format in ("310", "311"):
        content[3::4] &= 0x3F  # the two unused bits of these formats
    (tmp_path / "rec.dat").write_bytes(content.tobytes())
    lines = [f"rec {num_leads} 500 {num_samples}"] + [f"rec.dat {storage_format} 200/mV lead"] * num_leads
    (tmp_path / HEADER).write_text("\n".join(lines))
    expected, _ = wfdb.rdsamp(str(tmp_path / "rec"))
    np.testing.assert_array_equal(read_wfdb(tmp_path / "rec").signal, expected.T.astype(np.float32))


@pytest.mark.parametrize("storage_format", ["16", "80", "212", "310", "311", "24"])
def test_parts_of_a_record(tmp_path, storage_format):
    """A part has the same samples as the whole, even if it starts and ends inside a block."""
    block_bytes, block_samples = BLOCKS[storage_format]
    size = -(-53 * 2 // block_samples) * block_bytes
    content = np.random.default_rng(3).integers(0, 64, size, dtype=np.uint8).tobytes()
    (tmp_path / "rec.dat").write_bytes(content)
    (tmp_path / "more.dat").write_bytes(b"head" + content)
    lines = [f"{file} 200/mV lead" for file in (f"rec.dat {storage_format}", f"more.dat {storage_format}+4")]
    (tmp_path / HEADER).write_text("\n".join(["rec 4 100 53", *lines[:1] * 2, *lines[1:] * 2]))
    whole = read_wfdb(tmp_path / "rec").signal
    for first, last in ((0, 53), (0, 1), (1, 2), (7, 31), (52, 53)):
        part = read_wfdb(tmp_path / "rec", seconds=(first / 100, last / 100))
        np.testing.assert_array_equal(part.signal, whole[:, first:last])


@pytest.mark.parametrize(
    "seconds",
    [(0, 0), (0.1, 0.1), (-0.1, 0.2), (0.2, 0.1), (0, 0.51), (0, np.nan), (0, np.inf), (0,), 3, "ab", (0, None)],
)
def test_parts_that_are_not_there(tmp_path, seconds):
    with pytest.raises(ECGInputError, match="seconds is"):
        read_wfdb(write_record(tmp_path), seconds=seconds)


def test_a_holter_recording_of_two_weeks_is_read_in_parts(tmp_path):
    """Twelve leads at 1,000 Hz: a sparse file of 29 GB, of which one second is read."""
    num_samples = 14 * 86_400 * 1000
    (tmp_path / HEADER).write_text("\n".join([f"rec 12 1000 {num_samples}", *["rec.dat 16 200/mV lead"] * 12]))
    with open(tmp_path / "rec.dat", "wb") as file:
        file.truncate(num_samples * 24)
        file.seek((num_samples - 1000) * 24)
        file.write(np.arange(12_000, dtype="<i2").tobytes())
    assert_refused(tmp_path / "rec", "536870912", "seconds=")
    tracemalloc.start()
    part = read_wfdb(tmp_path / "rec", seconds=(num_samples / 1000 - 1, num_samples / 1000))
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    np.testing.assert_array_equal(part.signal.T.ravel(), (np.arange(12_000) / 200).astype(np.float32))


@pytest.mark.parametrize(
    ("first_line", "size", "words"),
    [
        ("rec 3 100 267840001", 6 * 267840001, ["267840001", "at most 31 days"]),
        ("rec 1000000 100 50", 300, ["1000000", "at most 256"]),
        ("rec 3 10000 178956971", 6 * 178956971, ["178956971 samples", "seconds="]),
        ("rec 3 100 50", 2**40, ["1099511627776 bytes", "300 bytes"]),
    ],
)
def test_too_much_is_refused_before_memory_is_taken(tmp_path, first_line, size, words):
    """The sparse file has the size that the header states, or far more."""
    record = write_record(tmp_path)
    edit_header(record, r"^rec 3 100 50.*$", first_line)
    os.truncate(tmp_path / "rec.dat", size)
    tracemalloc.start()
    assert_refused(record, *words)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize(("storage_format", "whole", "cut"), [("212", 78, 77), ("310", 68, 68), ("311", 68, 67)])
def test_the_last_block_may_be_incomplete_but_no_sample(tmp_path, storage_format, whole, cut):
    """51 samples in pairs (77 bytes, 78 padded); 50 in triples (67 bytes, 68 padded)."""
    num_samples = 51 if storage_format == "212" else 50
    (tmp_path / HEADER).write_text(f"rec 1 500 {num_samples}\nrec.dat {storage_format} 200/mV lead")
    content = bytes(range(1, whole + 1))
    (tmp_path / "rec.dat").write_bytes(content)
    reference = read_wfdb(tmp_path / "rec").signal
    (tmp_path / "rec.dat").write_bytes(content[:cut])
    np.testing.assert_array_equal(read_wfdb(tmp_path / "rec").signal, reference)
    (tmp_path / "rec.dat").write_bytes(content[: cut - 1])
    assert_refused(tmp_path / "rec", "rec.dat", "truncated")


def test_invalid_samples_of_a_packed_format_become_nan(tmp_path):
    record = write_record(tmp_path, 50, "80", 1)
    content = bytearray((tmp_path / "rec.dat").read_bytes())
    content[5] = 0  # offset binary: -128, which stands for "no sample"
    (tmp_path / "rec.dat").write_bytes(content)
    missing = np.isnan(read_wfdb(record, verify_checksums=False).signal)
    assert missing[0, 5] and missing.sum() == 1


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("mv", 1), ("uV", 1e-3), ("\u00b5V", 1e-3), ("\u03bcV", 1e-3), ("V", 1e3)]
)
def test_units_become_millivolts(tmp_path, unit, factor):
    record = write_record(tmp_path)
    reference = read_wfdb(record)
    edit_header(record, "/mV", f"/{unit}", count=0)
    ecg = read_wfdb(record)
    np.testing.assert_allclose(ecg.signal, reference.signal * factor, rtol=1e-6)
    np.testing.assert_allclose(ecg.gain, np.array(reference.gain) / factor)
    assert {lead.unit for lead in read_wfdb_header(record).leads} == {unit}


def test_micro_sign_in_latin_1(tmp_path):
    """wfdb reads ASCII and ignores errors, which turns this unit into volts."""
    record = write_record(tmp_path)
    reference = read_wfdb(record).signal
    path = tmp_path / HEADER
    path.write_bytes(path.read_bytes().replace(b"/mV", b"/\xb5V"))
    np.testing.assert_allclose(read_wfdb(record).signal, reference / 1000, rtol=1e-6)


@pytest.mark.parametrize("rate", ["nan", "-500", "0", "inf", "49.9", "10001", "1e400", "5OO", "\u0665\u0660\u0660"])
def test_invalid_rates(tmp_path, rate):
    record = write_record(tmp_path)
    edit_header(record, r"^rec 3 100 50", f"rec 3 {rate} 50")
    assert_refused(record, "sampling rate", HEADER, rate)


@pytest.mark.parametrize(("rate", "expected"), [("50", 50), ("10000", 10000), ("256.5", 256.5), ("360/360(0)", 360)])
def test_valid_rates(tmp_path, rate, expected):
    record = write_record(tmp_path)
    edit_header(record, r"^rec 3 100 50", f"rec 3 {rate} 50")
    assert read_wfdb(record).sampling_rate == expected


@pytest.mark.parametrize(
    ("first_line", "words"),
    [
        ("rec", ["number of signals is missing"]),
        ("rec 3", ["sampling rate is missing"]),
        ("rec 3 100", ["number of samples is missing"]),
        ("rec 3 100 0", ["number of samples", "0"]),
        ("rec 3 100 -50", ["number of samples", "-50"]),
        ("rec 3 100 5e1", ["number of samples", "5e1"]),
        ("rec 3 100 1000000000000", ["1000000000000", "31 days"]),
        ("rec 3 100 49", ["rec.dat", "49 samples"]),
        ("rec 3 100 51", ["rec.dat", "51 samples", "truncated"]),
        ("rec 2 100 50", ["number of signals", "2", "3"]),
        ("rec 4 100 50", ["number of signals", "4", "3"]),
        ("rec 0 100 50", ["number of signals", "0"]),
        ("rec three 100 50", ["number of signals", "three"]),
        ("rec 999999999999999999999999 100 50", ["number of signals"]),
        ("rec/3 3 100 50", ["several segments"]),
        ("other 3 100 50", ["record name", "other"]),
    ],
)
def test_first_line_faults(tmp_path, first_line, words):
    record = write_record(tmp_path)
    edit_header(record, r"^rec 3 100 50.*$", first_line)
    assert_refused(record, HEADER, *words)


def test_truncated_signal_file_without_sample_count(tmp_path):
    record = write_record(tmp_path)
    edit_header(record, r"^rec 3 100 50", "rec 3 100")
    os.truncate(tmp_path / "rec.dat", 6 * 40)
    assert len(wfdb.rdsamp(str(record))[0]) == 40, "wfdb refuses it now: this check may be needed less"
    assert_refused(record, "number of samples is missing")


@pytest.mark.parametrize("size", [0, 6 * 49, 6 * 50 - 1, 6 * 50 + 1, 6 * 60])
def test_signal_file_of_another_size(tmp_path, size):
    record = write_record(tmp_path)
    os.truncate(tmp_path / "rec.dat", size)
    assert_refused(record, "rec.dat", f"{size} bytes", "300 bytes")


@pytest.mark.parametrize(
    ("line_end", "words"),
    [
        ("16", ["gain and unit are missing"]),
        ("16 I", ["gain", "'I'"]),
        ("16 200", ["lead name"]),
        ("16 200(0)/ 0 0 1 2 0 I", ["gain", "200(0)/"]),
        ("16 /mV 0 0 1 2 0 I", ["gain", "/mV"]),
        ("16 nan/mV 0 0 1 2 0 I", ["gain", "nan/mV"]),
        ("16 0/mV 0 0 1 2 0 I", ["gain", "0/mV", "above zero"]),
        ("16 -200/mV 0 0 1 2 0 I", ["gain", "-200/mV", "above zero"]),
        ("16 1e300/mV 0 0 1 2 0 I", ["gain", "1e300/mV"]),
        ("16 200/mmHg 0 0 1 2 0 I", ["unit", "mmHg"]),
        ("16 200/MV 0 0 1 2 0 I", ["unit", "MV"]),
        ("16 200(x)/mV 0 0 1 2 0 I", ["gain", "200(x)/mV"]),
        ("16 200/mV 0 0 1 2 0", ["lead name"]),
        ("16 200/mV", ["lead name"]),
        ("16 200/mV 0 0 1 15O8 0 I", ["checksum", "15O8"]),
        ("16x2 200/mV 0 0 1 2 0 I", ["16x2", "rate"]),
        ("16:3 200/mV 0 0 1 2 0 I", ["16:3", "time"]),
        ("516 200/mV 0 0 1 2 0 I", ["format 516"]),
        ("8 200/mV 0 0 1 2 0 I", ["format 8"]),
        ("16bit 200/mV 0 0 1 2 0 I", ["format '16bit'"]),
        ("16+24 200/mV 0 0 1 2 0 I", ["byte offset"]),
        ("212 200/mV 0 0 1 2 0 I", ["storage format"]),
    ],
)
def test_signal_line_faults(tmp_path, line_end, words):
    record = write_record(tmp_path)
    edit_header(record, r"^rec.dat .* I$", f"rec.dat {line_end}")
    assert_refused(record, HEADER, *words)


@pytest.mark.parametrize("gain", ["200", "200(10)", "4.88"])
def test_a_unit_that_is_left_out_is_millivolts(tmp_path, gain):
    """As the format's own documentation says, and as in the PTB Diagnostic ECG Database."""
    record = write_record(tmp_path)
    checksum = read_wfdb_header(record).leads[0].checksum
    for suffix in ("/mV", ""):
        edit_header(record, r"^rec.dat .* I$", f"rec.dat 16 {gain}{suffix} 16 0 0 {checksum} 0 I")
        np.testing.assert_allclose(read_wfdb(record).signal[0], wfdb.rdsamp(str(record))[0][:, 0], rtol=1e-6)
    assert read_wfdb_header(record).leads[0].unit == "mV"


def test_baseline_defaults_to_the_converters_zero(tmp_path):
    record = write_record(tmp_path)
    checksum = read_wfdb_header(record).leads[0].checksum
    edit_header(record, r"^rec.dat .* I$", f"rec.dat 16 200/mV 16 10 0 {checksum} 0 I")
    assert read_wfdb_header(record).leads[0].baseline == 10
    np.testing.assert_array_equal(read_wfdb(record).signal, wfdb.rdsamp(str(record))[0].T.astype(np.float32))


def test_short_line_is_read_as_wfdb_does(tmp_path):
    """Without a checksum there is nothing to verify; the name may follow right after the gain."""
    record = write_record(tmp_path)
    edit_header(record, r"^rec.dat .* I$", "rec.dat 16 200/mV chest lead")
    lead = read_wfdb_header(record).leads[0]
    assert lead.name == "chest lead" and lead.checksum is None
    np.testing.assert_array_equal(read_wfdb(record).signal, wfdb.rdsamp(str(record))[0].T.astype(np.float32))


def test_wrong_checksum(tmp_path):
    record = write_record(tmp_path)
    content = bytearray((tmp_path / "rec.dat").read_bytes())
    content[8] ^= 1  # a single bit of lead II
    (tmp_path / "rec.dat").write_bytes(content)
    assert_refused(record, "rec.dat", "checksum of lead II ")
    assert read_wfdb(record, verify_checksums=False).signal.shape == (3, 50)


@pytest.mark.parametrize("shift", [65536, -65536])
def test_checksum_of_either_sign(tmp_path, shift):
    record = write_record(tmp_path)
    reference = read_wfdb(record).signal
    checksum = read_wfdb_header(record).leads[0].checksum
    edit_header(record, rf"^(rec.dat .*) {checksum} 0 I$", rf"\1 {checksum + shift} 0 I")
    np.testing.assert_array_equal(read_wfdb(record).signal, reference)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../rec.dat", "sub/rec.dat", "..\\rec.dat", "C:rec.dat", "..", ".", "a\x07.dat", "~", "-"]
)
def test_signal_file_elsewhere(tmp_path, name):
    folder = tmp_path / "records"
    (folder / "sub").mkdir(parents=True)
    record = write_record(folder)
    for other in (tmp_path / "rec.dat", folder / "sub" / "rec.dat"):
        other.write_bytes((folder / "rec.dat").read_bytes())
    text = (folder / HEADER).read_text()
    (folder / HEADER).write_text(text.replace("rec.dat", name))
    assert_refused(record, HEADER, "signal file", repr(name))


@pytest.mark.parametrize("which", ["rec.dat", HEADER])
def test_symbolic_link_that_leads_outside(tmp_path, which):
    folder = tmp_path / "records"
    folder.mkdir()
    record = write_record(folder)
    (folder / which).rename(tmp_path / "secret")
    (folder / which).symlink_to(tmp_path / "secret")
    assert_refused(record, which, "symbolic link")


def test_symbolic_links_inside_the_folder_and_to_it_are_followed(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    record = write_record(folder)
    (folder / "rec.dat").rename(folder / "data")
    (folder / "rec.dat").symlink_to("data")
    (tmp_path / "link").symlink_to(folder)
    assert read_wfdb(record).signal.shape == read_wfdb(tmp_path / "link" / "rec").signal.shape


def test_loop_of_symbolic_links(tmp_path):
    record = write_record(tmp_path)
    (tmp_path / "rec.dat").unlink()
    (tmp_path / "rec.dat").symlink_to("rec.dat")
    assert_refused(record, "rec.dat", "cannot be read")


def test_named_pipe_does_not_block(tmp_path):
    record = write_record(tmp_path)
    (tmp_path / "rec.dat").unlink()
    os.mkfifo(tmp_path / "rec.dat")
    assert_refused(record, "rec.dat", "not a regular file")


def test_absent_and_odd_paths(tmp_path):
    record = write_record(tmp_path)
    (tmp_path / "rec.dat").unlink()
    assert_refused(record, "rec.dat", "does not exist")
    (tmp_path / "rec.dat").mkdir()
    assert_refused(record, "rec.dat", "not a regular file")
    for path in (tmp_path / "absent", "", "a\0b", "x" * 5000, 7, None, b"rec", "https://physionet.org/rec"):
        with pytest.raises(RecordFileError):
            read_wfdb(path)


def test_huge_and_empty_headers(tmp_path):
    record = write_record(tmp_path)
    (tmp_path / HEADER).write_bytes(b"#" * 2**21)
    assert_refused(record, HEADER, "at most")
    (tmp_path / HEADER).write_bytes(b"# only a comment\n\n")
    assert_refused(record, HEADER, "empty")


def test_leads_in_two_files(tmp_path):
    record = write_record(tmp_path)
    reference = read_wfdb(record).signal
    counts = np.fromfile(tmp_path / "rec.dat", dtype="<i2").reshape(50, 3)
    counts[:, :2].tofile(tmp_path / "rec.dat")
    counts[:, 2].tofile(tmp_path / "more.dat")
    edit_header(record, r"^rec.dat (.* III)$", r"more.dat \1")
    np.testing.assert_array_equal(read_wfdb(record).signal, reference)
    text = (tmp_path / HEADER).read_text().splitlines()
    (tmp_path / HEADER).write_text("\n".join([text[0], text[1], text[3], text[2]]))
    assert_refused(record, HEADER, "follow each other")


def test_format_16_needs_no_wfdb_and_others_say_so(tmp_path, monkeypatch):
    (tmp_path / "packed").mkdir()
    plain, packed = write_record(tmp_path), write_record(tmp_path / "packed", storage_format="212")
    import_as_usual = builtins.__import__

    def without_wfdb(name, *arguments, **options):
        if name == "wfdb":
            raise ImportError("No module named 'wfdb'")
        return import_as_usual(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_wfdb)
    assert read_wfdb(plain).signal.shape == (3, 50)
    assert_refused(packed, "rec.dat", "pip install wfdb")


def test_errors_of_wfdb_are_ours(tmp_path, monkeypatch):
    record = write_record(tmp_path, storage_format="212")
    for error in (IndexError("list index out of range"), MemoryError("cannot allocate"), ValueError("odd")):

        def failing(*_arguments, error=error, **_options):
            raise error

        monkeypatch.setattr(wfdb, "rdrecord", failing)
        assert_refused(record, "rec.dat", str(error))


def test_header_fields(tmp_path):
    header = read_wfdb_header(write_record(tmp_path, num_samples=50, baseline=[1, 2, 3]))
    assert header.comments == ("Age: 61", "Dx: 426783006")
    assert (header.record_id, header.sampling_rate, header.num_samples) == ("rec", 100.0, 50)
    assert [(lead.name, lead.baseline) for lead in header.leads] == [("I", 1), ("II", 2), ("III", 3)]
    assert {(lead.gain, lead.unit, lead.file_name, lead.format) for lead in header.leads} == {
        (200.0, "mV", "rec.dat", "16")
    }


def test_a_wide_baseline_leaves_gain_unset(tmp_path):
    """Beyond 24 bits, float32 millivolts no longer give back the exact integers."""
    record = write_record(tmp_path, baseline=[0, 0, 10**9])
    ecg = read_wfdb(record)
    assert ecg.gain is None and ecg.baseline is None


@pytest.mark.parametrize("storage_format", ["16", "212"])
def test_mutated_headers_raise_only_our_errors(tmp_path, storage_format):
    record = write_record(tmp_path, storage_format=storage_format)
    original = (tmp_path / HEADER).read_bytes()
    rng = random.Random(1)
    pieces = [b"", b" ", b"\n", b"\t", b"/", b"-", b"+", b"nan", b"0", b"9" * 30, b"1e999", b"\xff", b"\0", b"(", b")"]
    pieces += [b"#", b"..", b"x2", b":1", b"~", b"\xc2\x85", "\u0663".encode(), b"16", b"212", b"mV", b"\x1c", b"rec"]
    refused = 0
    for _ in range(400):
        content = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(content) + 1)
            content[start : start + rng.choice([0, 1, 1, 3, 10])] = rng.choice(pieces)
        (tmp_path / HEADER).write_bytes(content)
        try:
            ecg = read_wfdb(record)
        except CGDMERError as error:
            assert isinstance(error, RecordFileError) and "rec." in str(error)
            refused += 1
        else:  # an accepted record is complete
            assert ecg.signal.shape == (3, 50) and 50 <= ecg.sampling_rate <= 10_000 and all(ecg.lead_names)
            assert np.isfinite(ecg.signal).all()
    assert 100 < refused < 400


def test_real_records_agree_with_wfdb(real_data):
    """All sample corpora and a part of PTB-XL. wfdb itself refuses headers named after a .mat file."""
    folders = ("code15-sample", "cpsc2018-sample", "csn-sample", "georgia-sample")
    paths = [path for folder in folders for path in sorted((real_data / folder).glob("*.hea"))]
    paths += sorted((real_data / "ptb-xl-subset").glob("records*/00000/*.hea"))[::3]
    assert len(paths) > 200
    refused, beyond_wfdb, compared = [], 0, 0
    for path in paths:
        try:
            ecg = read_wfdb(path)
        except RecordFileError as error:
            assert "record name" in str(error)
            refused.append(path.stem)
            continue
        assert ecg.record_id == path.stem and ecg.signal.shape[0] == 12 and ecg.gain is not None
        try:
            expected, fields = wfdb.rdsamp(str(path.with_suffix("")))
        except ValueError:
            assert path.parent.name == "georgia-sample"
            beyond_wfdb += 1
            continue
        np.testing.assert_array_equal(ecg.signal, expected.T.astype(np.float32))
        assert ecg.sampling_rate == fields["fs"] and ecg.lead_names == tuple(fields["sig_name"])
        compared += 1
    assert refused == ["9190_low_sample_rate"], "the only header copied under another name"
    assert compared > 150
    flat = read_wfdb(real_data / "code15-sample" / "9190_all_data_is_zero").signal
    assert not flat.any()


def test_diagnoses_are_in_the_comments(real_data):
    header = read_wfdb_header(next(iter(sorted((real_data / "csn-sample").glob("*.hea")))))
    assert any(comment.startswith("Dx: ") for comment in header.comments)
