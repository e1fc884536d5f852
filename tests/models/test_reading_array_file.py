# SPDX-License-Identifier: Apache-2.0
"""Tables and arrays as people have them: read with the right values, or refused with what to do. No row vanishes."""

import resource
import subprocess
import sys

import numpy as np
import pytest

from cgdmer.models.errors import CGDMERError, ECGInputError, RecordFileError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.reading_array_file import read_array_file
from cgdmer.simulation.cohort import simulate_record

RATE = 100
THREE = ("I", "II", "V1")
STATED = {"sampling_rate": RATE, "unit": "mV"}


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """(12, 1000) millivolts with four decimals, as the tables below have them."""
    return simulate_record(["atrial_fibrillation"], seed=3).signal[:, ::5].round(4).astype(np.float32)


def rows_of(signal: np.ndarray, delimiter: str = ",", decimal: str = ".", quote: str = "") -> list[str]:
    return [delimiter.join(quote + f"{x:.4f}".replace(".", decimal) + quote for x in row) for row in signal.T]


def numbered(rows: list[str], step: float | None = None, delimiter: str = ",") -> list[str]:
    """Rows behind their number, or behind their time."""
    return [f"{row if step is None else f'{row * step:.4f}'}{delimiter}{text}" for row, text in enumerate(rows)]


def write(folder, lines: list[str] | str, encoding: str = "utf-8", name: str = "a.csv"):
    path = folder / name
    path.write_bytes((lines if isinstance(lines, str) else "\n".join(lines) + "\n").encode(encoding))
    return path


HEADER = ",".join(STANDARD_LEADS)
AS_PEOPLE_HAVE_IT = {
    "plain": lambda s: [HEADER, *rows_of(s)],
    "time in seconds": lambda s: ["time," + HEADER, *numbered(rows_of(s), 0.01)],
    "time in milliseconds": lambda s: ["Time (ms)," + HEADER, *numbered(rows_of(s), 10)],
    "index of pandas": lambda s: ["," + HEADER, *numbered(rows_of(s))],
    "row numbers of R": lambda s: [HEADER, *numbered(rows_of(s))],
    "sample numbers": lambda s: ["sample #," + HEADER, *numbered(rows_of(s))],
    "units in names": lambda s: [",".join(f"{lead} (mV)" for lead in STANDARD_LEADS), *rows_of(s)],
    "units in microvolts": lambda s: [",".join(f"{x} [\u00b5V]" for x in STANDARD_LEADS), *rows_of(1000 * s)],
    "units behind names": lambda s: [",".join(f"{lead}_mV" for lead in STANDARD_LEADS), *rows_of(s)],
    "units below names": lambda s: ["t," + HEADER, "s" + ",mV" * 12, *numbered(rows_of(s), 0.01)],
    "decimal commas": lambda s: [HEADER.replace(",", ";"), *rows_of(s, ";", ",")],
    "decimal commas and tabs": lambda s: [HEADER.replace(",", "\t"), *rows_of(s, "\t", ",")],
    "quotes": lambda s: [",".join(f'"{lead}"' for lead in STANDARD_LEADS), *rows_of(s, quote='"')],
    "quotes and decimal commas": lambda s: [HEADER, *rows_of(s, ",", ",", '"')],
    "blanks": lambda s: [HEADER.replace(",", "  "), *rows_of(s, "  ")],
    "delimiters at the end": lambda s: [HEADER + ",", *(row + "," for row in rows_of(s))],
    "savetxt": lambda s: ["# " + HEADER, *rows_of(s)],
    "facts above": lambda s: ["# fs = 100 Hz", "# unit: mV", HEADER, *rows_of(s)],
    "windows": lambda s: [line + "\r" for line in (HEADER, *rows_of(s))],
    "empty lines at the end": lambda s: [HEADER, *rows_of(s), "", ""],
    "other spellings": lambda s: [",".join(f"ecg lead {x}" for x in STANDARD_LEADS), *rows_of(s)],
}


@pytest.mark.parametrize("kind", AS_PEOPLE_HAVE_IT)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_tables_as_people_have_them(signal, tmp_path, kind, encoding):
    unit = None if "microvolts" in kind else "mV"
    record = read_array_file(write(tmp_path, AS_PEOPLE_HAVE_IT[kind](signal), encoding), RATE, unit)
    np.testing.assert_allclose(record.signal, signal, atol=1e-6)
    assert (record.lead_names, record.sampling_rate, record.record_id) == (STANDARD_LEADS, RATE, "a")
    assert record.signal.dtype == np.float32


WATCH = (
    'Name,Jane Doe\nDate of Birth,"Jan 1, 1970"\nRecorded Date,2024-01-01 10:00:00 +0100\nClassification,AF\n'
    'Symptoms,\nSoftware Version,1.90\nDevice,"Watch4,4"\nSample Rate,512 hertz\n\n\nLead,Lead I\nUnit,\u00b5V\n\n'
)


@pytest.mark.parametrize("decimal", [".", ","])
def test_the_export_of_a_watch_states_everything(signal, tmp_path, decimal):
    numbers = [f"{1000 * x:.3f}".replace(".", decimal) for x in signal[0]]
    record = read_array_file(write(tmp_path, WATCH + "\n".join(numbers)))
    np.testing.assert_allclose(record.signal, signal[:1], atol=1e-6)
    assert (record.lead_names, record.sampling_rate) == (("I",), 512)
    assert "Doe" not in repr(record)
    with pytest.raises(ECGInputError, match="states a rate of 512 Hz, not 500"):
        read_array_file(tmp_path / "a.csv", 500)
    with pytest.raises(ECGInputError, match="states the unit"):
        read_array_file(tmp_path / "a.csv", unit="mV")


@pytest.mark.parametrize("form", ["0:{:06.3f}", "'0:{:06.3f}'", "00:00:{:06.3f}", "2024-01-01 10:00:{:06.3f}"])
def test_times_of_a_clock_state_the_rate(tmp_path, form):
    rows = [f"{form.format(row / 360)},{row % 7},{row % 5}" for row in range(700)]
    record = read_array_file(write(tmp_path, ["'Elapsed time','I','II'", "'hh:mm:ss.mmm','mV','mV'", *rows]))
    assert record.sampling_rate == 360
    np.testing.assert_array_equal(record.signal, [np.arange(700) % 7, np.arange(700) % 5])


@pytest.mark.parametrize(("name", "step"), [("time (s)", 1 / 360), ("t/s", 1 / 360), ("time_ms", 1000 / 360)])
def test_times_in_a_stated_unit_state_the_rate(tmp_path, name, step):
    rows = [f"{row * step:.4f},{row % 7}" for row in range(700)]
    assert read_array_file(write(tmp_path, [f"{name},I", *rows]), unit="mV").sampling_rate == 360


def test_times_that_contradict_the_rate_or_state_no_unit(signal, tmp_path):
    path = write(tmp_path, ["time," + HEADER, *numbered(rows_of(signal), 0.01)])
    with pytest.raises(ECGInputError, match=r"grows by 0\.01 per row, which is not 500 Hz"):
        read_array_file(path, 500, "mV")
    with pytest.raises(ECGInputError, match=r"in a unit that is not stated.*sampling_rate=500.*--sampling_rate 500"):
        read_array_file(path, unit="mV")


@pytest.mark.parametrize("header", ["time,", "index,", ","])
def test_missing_rows_are_found(signal, tmp_path, header):
    lines = [header + HEADER, *numbered(rows_of(signal), 0.01 if header == "time," else None)]
    del lines[500]
    with pytest.raises(RecordFileError, match="at line 501, so rows are missing"):
        read_array_file(write(tmp_path, lines), **STATED)


def test_names_that_the_user_states(signal, tmp_path):
    three = signal[[0, 1, 6]]
    bare = write(tmp_path, rows_of(three))
    expected = three
    for path, names in (
        (bare, THREE),
        (write(tmp_path, [",".join(map(str, row)) for row in three.tolist()], name="turned.csv"), THREE),
        (write(tmp_path, numbered(rows_of(three), 0.01), name="timed.csv"), ("time", *THREE)),
        (write(tmp_path, ["a,b,c", *rows_of(three)], name="other.csv"), THREE),
        (write(tmp_path, ["index,a,b,c", *numbered(rows_of(three))], name="counted.csv"), THREE),
        (write(tmp_path, ["I,MLII,V1", *rows_of(three)], name="holter.csv"), {"MLII": "II"}),
        (write(tmp_path, ["I,ECG 2,V1", *rows_of(three)], name="holter2.csv"), ["ECG 2=II"]),
    ):
        record = read_array_file(path, RATE, "mV", names)
        np.testing.assert_allclose(record.signal, expected, atol=1e-6)
        assert record.lead_names == THREE
    with pytest.raises(ECGInputError, match="does not state its leads"):
        read_array_file(bare, **STATED)
    with pytest.raises(ECGInputError, match="1000 rows and 3 columns, but 2 leads"):
        read_array_file(bare, RATE, "mV", ("I", "II"))
    with pytest.raises(ECGInputError, match="names its leads I, II, V1, not I, II, V2"):
        read_array_file(write(tmp_path, ["I,II,V1", *rows_of(three)]), RATE, "mV", ("I", "II", "V2"))


def test_only_leads_that_are_asked_for_are_checked(signal, tmp_path):
    rows = [f"{row},{text},N{text}" for row, text in enumerate(rows_of(signal[:2]))]
    lines = ["index,I,II,note," + "pressure (mmHg)", *(row.rpartition(",N")[0] + ",N,high" for row in rows)]
    path = write(tmp_path, lines)
    record = read_array_file(path, **STATED, leads=["III", "I"])
    np.testing.assert_allclose(record.signal, [signal[1] - signal[0], signal[0]], atol=1e-6)
    assert record.lead_names == ("III", "I")
    with pytest.raises(CGDMERError, match="'note' is not one of the twelve"):
        read_array_file(path, **STATED)


def test_missing_samples_are_nan(tmp_path):
    rows = ["1.5,", "nan,2", "NA,2", ",", "1,2"]
    signal = read_array_file(write(tmp_path, ["I,II", *rows]), **STATED).signal
    np.testing.assert_array_equal(signal, [[1.5, np.nan, np.nan, np.nan, 1], [np.nan, 2, 2, np.nan, 2]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I,II\n1,2\n\n3,4\n", "line 3 is empty"),
        ("I,II\n1,2\n#3,4\n5,6\n", "line 3.*'#3' is not a number"),
        ("I,II\n1,2\n3#4,4\n5,6\n", "line 3.*'3#4' is not a number"),
        ("I,II\n1,2\n# a comment\n5,6\n", "line 3 is a comment"),
        ("#1,2\n3,5\n5,6\n", "line 1 begins with #"),
        ("I,II\n1,2\n3\n5,6\n", "line 3 has 1 cells; expected 2"),
        ("I,II\n1,2\n3,4,5\n", "line 3 has 3 cells"),
        ("I,II\n1,x\n", "column 'II': 'x' is not a number"),
        ("I,II\n1,1_0\n", "'1_0' is not a number"),
        ("I,II\n1,\u0665\n", "is not a number"),
        ("I,II\n1,inf\n", "'inf' is not a number"),
        ("I,II\n1,1e999\n", "infinite"),
        ("I,II\n1,0x1\n", "'0x1' is not a number"),
        ('I,II\n1,"2\n', "is not a number"),
        ("I;II\n0,1;0.2\n", "points and commas are both"),
        ("I,II\n0,119,0,055\n", "2 columns are named.*4 cells.*semicolons"),
        ("my title\nI,II\n1,2\n", "lines 1 to 2 are above the numbers"),
        ("I,II,III\n1,2\n", "3 columns are named"),
        ("I (MV),II\n1,2\n", "unit of I is 'MV'"),
        ("I (adu),II\n1,2\n", "unit of I is 'adu'"),
        ("0,1\n1.5,2.5\n", "counts the columns"),
        (",0,1\n0,1.5,2.5\n", "counts the columns"),
        ("I,I\n1,2\n", "more than once"),
        ("I,resp\n1,2\n", "'resp' is not one of the twelve"),
        ("", "holds no numbers"),
        ("I,II\n", "holds no numbers"),
        ("\n" * 100, "hold no row of numbers"),
        ("\ufeff\u0000" * 9, "holds no numbers"),
    ],
)
def test_faults_of_a_table(tmp_path, text, words):
    with pytest.raises(CGDMERError, match=words) as refusal:
        read_array_file(write(tmp_path, text), **STATED)
    assert "a.csv" in str(refusal.value)


def test_unquoted_decimal_commas_between_commas_are_not_twice_as_many_columns(tmp_path):
    path = write(tmp_path, "0,119,0,055\n0,118,0,051\n0,118,0,051\n")
    with pytest.raises(RecordFileError, match="begins with 0"):
        read_array_file(path, RATE, "mV", ("I", "II", "V1", "V2"))


@pytest.mark.parametrize(("start", "repeated"), [(b"", b"1"), (b"", b"1,"), (b"I\n", b","), (b"", b"\0")])
def test_a_line_of_49_megabytes_takes_little_memory(tmp_path, start, repeated):
    (tmp_path / "a.csv").write_bytes(start + repeated * (49_000_000 // len(repeated)))
    program = (
        "import resource, sys\nfrom cgdmer.models.reading_array_file import read_array_file\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_array_file(sys.argv[1], 500, 'mV', ['I'])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.csv"], capture_output=True, text=True, check=True
    )
    message, megabytes = done.stdout.strip().splitlines()
    assert message.startswith("RecordFileError") and "characters" in message
    assert int(megabytes) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss")
def test_a_large_table_takes_memory_in_proportion(signal, tmp_path):
    text = "\n".join([HEADER, *rows_of(np.tile(signal, (1, 40)))])
    path = write(tmp_path, text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_array_file(path, **STATED).signal.shape == (12, 40_000)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 8 * len(text) + 2**25


# NPY


@pytest.mark.parametrize("kind", ["<f8", ">f4", "<f2", "<i2", ">i4", "i1", "<u2", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("turned", [False, True])
def test_npy_of_any_kind_of_number(tmp_path, kind, order, turned):
    values = np.random.default_rng(0).integers(0, 100, (3, 200)).astype(kind)
    np.save(tmp_path / "a.npy", np.asarray(values.T if turned else values, order=order))
    record = read_array_file(tmp_path / "a.npy", 500, "microvolt", THREE)
    np.testing.assert_allclose(record.signal, values.astype(float) / 1000, rtol=1e-6)
    assert (record.lead_names, record.sampling_rate, record.signal.dtype) == (THREE, 500, np.float32)
    assert read_array_file(tmp_path / "a.npy", 500, "uV", THREE, ["II"]).lead_names == ("II",)


def test_npy_of_one_lead_may_have_one_dimension(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100))
    np.testing.assert_array_equal(read_array_file(tmp_path / "a.npy", 500, "mV", ["II"]).signal, [np.arange(100)])
    with pytest.raises(ECGInputError, match=r"shape \(100,\), but 2 leads"):
        read_array_file(tmp_path / "a.npy", 500, "mV", ["I", "II"])


def test_npy_without_a_suffix_is_known_by_its_content(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 100)))
    (tmp_path / "a.npy").rename(tmp_path / "a.txt")
    assert read_array_file(tmp_path / "a.txt", 500, "mV", ["II"]).signal.shape == (1, 100)


@pytest.mark.parametrize("stated", ["sampling_rate", "unit", "lead_names"])
def test_what_npy_does_not_state_is_never_guessed(tmp_path, stated):
    np.save(tmp_path / "a.npy", np.zeros((1, 100)))
    with pytest.raises(ECGInputError, match=r"does not state its .*--sampling_rate 500 --unit mV --lead_names I II"):
        read_array_file(tmp_path / "a.npy", **{**STATED, "lead_names": ["I"], stated: None})


def npy(header: str, content: bytes = bytes(800), version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + content


RIGHT = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 100), }"


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUM",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        npy(RIGHT, version=b"\x04\x00"),
        npy(RIGHT, bytes(799)),
        npy(RIGHT, bytes(808)),
        npy(RIGHT.replace("100", "10" + "0" * 30)),
        npy(RIGHT.replace("(1, 100)", "(-1, -100)")),
        npy(RIGHT.replace("(1, 100)", "(0, 100)"), b""),
        npy(RIGHT.replace("(1, 100)", "()"), bytes(8)),
        npy(RIGHT.replace("(1, 100)", "(1, 10, 10)")),
        npy(RIGHT.replace("<f8", "|O")),
        npy(RIGHT.replace("<f8", "<c16")),
        npy(RIGHT.replace("'<f8'", "[('a', '<f8')]")),
        npy(RIGHT.replace("False", "__import__('os').system('true')")),
        npy(RIGHT.replace("'shape'", "'descr'")),
        npy("(" * 900),
        npy("1" + "+1" * 400),
    ],
)
def test_damaged_npy_is_our_own_error(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(RecordFileError, match=r"a\.npy.*numpy\.save|a\.npy holds \d+ values"):
        read_array_file(tmp_path / "a.npy", 500, "mV", ["I"])


def test_a_planted_pickle_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[print]], dtype=object), allow_pickle=True)
    with pytest.raises(RecordFileError, match=r"values of type '\|O'"):
        read_array_file(tmp_path / "a.npy", 500, "mV", ["I"])


def test_infinite_and_huge_values_are_refused(tmp_path):
    for value, unit in ((np.inf, "mV"), (1e300, "mV"), (3e38, "V")):
        np.save(tmp_path / "a.npy", np.full((1, 100), value))
        with pytest.raises(RecordFileError, match="infinite, or too large"):
            read_array_file(tmp_path / "a.npy", 500, unit, ["I"])
