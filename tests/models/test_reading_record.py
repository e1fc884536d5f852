# SPDX-License-Identifier: Apache-2.0
"""Clinical files: the same numbers and scores as from WFDB, and a planted fault for each trap of a format."""

import base64
import builtins
import re
from pathlib import Path

import edfio
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from transformers import pipeline
from transformers.dynamic_module_utils import get_imports

from cgdmer.models import reading_record
from cgdmer.models.errors import ECGInputError, RecordFileError
from cgdmer.models.leads import STANDARD_LEADS, known_spelling
from cgdmer.models.reading_record import read_record
from cgdmer.models.reading_wfdb import read_wfdb
from cgdmer.simulation.cohort import simulate_record
from clinic_writers import PATIENT, WRITERS, dicom_group, save_dicom
from recordings import write_wfdb

RATE = 500
LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]
FORMATS = pytest.mark.parametrize("format", WRITERS)


def some_counts(num_leads: int = 3, num_samples: int = 500) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, (num_leads, num_samples))


def write(format: str, folder: Path, **changes) -> Path:
    """A file with one second of three leads."""
    suffix, writer = WRITERS[format]
    described = {"counts": some_counts(), "step_uv": 2.5, "rate": RATE, "leads": ("I", "II", "V1"), **changes}
    return writer(folder / f"rec{suffix}", **described)


def edit(path: Path, pattern: str | bytes, replacement: str | bytes, count: int = 1) -> Path:
    old, new = (text.encode() if isinstance(text, str) else text for text in (pattern, replacement))
    changed, found = re.subn(old, new, path.read_bytes(), count=count, flags=re.DOTALL)
    assert found, f"{pattern!r} is not in the file, so this test plants no fault"
    path.write_bytes(changed)
    return path


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(RecordFileError) as refusal:
        read_record(path)
    for word in (path.name, *words):
        assert word in str(refusal.value)


# The same as from WFDB


@pytest.fixture(scope="module")
def classify():
    return pipeline("zero-shot-ecg-classification")


def simulated(folder: Path, _: pytest.FixtureRequest) -> Path:
    record = simulate_record(["atrial_fibrillation"], seed=4)
    return write_wfdb(record, folder / "original")


def real(_: Path, request: pytest.FixtureRequest) -> Path:
    folder = request.getfixturevalue("real_data") / "ptb-xl-subset" / "records500"
    return sorted(folder.rglob("*.hea"))[1].with_suffix("")


@FORMATS
@pytest.mark.parametrize("original", [simulated, real])
def test_the_scores_of_a_file_are_those_of_its_wfdb_original(classify, format, original, tmp_path, request):
    record = read_wfdb(original(tmp_path, request))
    assert record.gain == (1000.0,) * 12
    suffix, writer = WRITERS[format]
    counts = np.rint(record.signal * 1000).astype(int)
    path = writer(tmp_path / f"copy{suffix}", counts, 1.0, record.sampling_rate, record.lead_names)
    copy = read_record(path)
    assert copy.sampling_rate == record.sampling_rate and copy.record_id == "copy"
    order = [copy.lead_names.index(standard) for standard in STANDARD_LEADS]
    # MUSE derives four leads, which the cart had rounded to its own steps before WFDB.
    np.testing.assert_allclose(copy.signal[order], record.signal, atol=2.5e-3 if format == "MUSE" else 1e-6)
    scores, expected = (
        {row["label"]: row["score"] for row in classify(one, candidate_labels=LABELS)} for one in (str(path), record)
    )
    assert len(set(expected.values())) == 3
    assert scores == pytest.approx(expected, abs=1e-3)


@FORMATS
def test_values_rate_and_leads(format, tmp_path):
    record = read_record(write(format, tmp_path))
    rows = [record.lead_names.index(name) for name in ("I", "II", "V1")]
    np.testing.assert_allclose(record.signal[rows], some_counts() * 2.5e-3, rtol=1e-6, atol=1e-7)
    assert record.signal.dtype == np.float32 and record.sampling_rate == RATE
    assert len(record.lead_names) == (7 if format == "MUSE" else 3)
    assert PATIENT not in repr(record) and record.patient_id is None


@FORMATS
def test_another_library_reads_the_same(format, tmp_path):
    """Where no library writes a format, these tests write it themselves, so an independent reader checks the files."""
    ecgdatakit = pytest.importorskip("ecgdatakit", reason="pip install ecgdatakit, which brings 60 MB of weights")
    path = write(format, tmp_path)
    record = read_record(path)
    leads = {known_spelling(lead.label): lead for lead in ecgdatakit.FileParser().parse(path).leads}
    assert {"I", "II", "V1"} <= leads.keys() <= set(record.lead_names)
    for name, lead in leads.items():
        assert (lead.units, lead.sampling_rate) == ("mV", record.sampling_rate)
        np.testing.assert_allclose(lead.samples, record.signal[record.lead_names.index(name)], atol=1e-6)


@FORMATS
@pytest.mark.parametrize("name", ["IM0001", "rec.bin", "rec.XML"])
def test_the_content_says_which_format_it_is(format, name, tmp_path):
    expected = read_record(write(format, tmp_path))
    path = write(format, tmp_path).rename(tmp_path / name)
    np.testing.assert_array_equal(read_record(str(path)).signal, expected.signal)


@FORMATS
def test_odd_numbers_of_samples_and_rates(format, tmp_path):
    """A single lead, and a sampling interval that is not a whole number of ms."""
    counts = some_counts(1, 333)
    record = read_record(write(format, tmp_path, counts=counts, rate=333, leads=("V6",)))
    np.testing.assert_allclose(record.signal, counts * 2.5e-3, rtol=1e-6)
    assert record.sampling_rate == pytest.approx(333, rel=1e-6) and record.lead_names == ("V6",)


def test_wfdb_records_are_read_as_by_read_wfdb(tmp_path):
    path = simulated(tmp_path, None)
    for name in (path, f"{path}.hea"):
        np.testing.assert_array_equal(read_record(name).signal, read_wfdb(path).signal)
    assert_refused(path.with_suffix(".dat"), "leave .dat or .mat off")
    assert_refused(tmp_path / "absent", "does not exist")
    (tmp_path / "original").write_text("next to a header, the header counts")
    assert read_record(path).lead_names == tuple(STANDARD_LEADS)


def test_other_formats(tmp_path):
    for name, content, word in (
        ("a.pdf", b"%PDF-1.7", "none of the formats"),
        ("b", b"", "none of the formats"),
        ("c.xml", b"<html/>", "'html'"),
        ("d.scp", bytes(200), "none of the formats"),
        ("e.bdf", b"\xffBIOSEMI" + bytes(300), "none of the formats"),
    ):
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, word)
    assert_refused(tmp_path, "is a folder")


@FORMATS
def test_sizes_are_bounded_before_anything_is_read(format, tmp_path):
    path = write(format, tmp_path)
    with open(path, "r+b") as file:
        file.truncate(2**31)  # sparse
    assert_refused(path, f"has {2**31} bytes; at most")


@FORMATS
def test_a_truncated_file(format, tmp_path):
    path = write(format, tmp_path)
    content = path.read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        assert_refused(path)


@FORMATS
@pytest.mark.parametrize(("lead", "words"), [("V3R", "V3R"), ("I", "more than once"), ("-aVR", "inverted")])
def test_channels_that_are_not_standard_leads(format, lead, words, tmp_path):
    if format == "MUSE" and lead == "-aVR":
        pytest.skip("the writer leaves out leads that MUSE does not store")
    path = write(format, tmp_path, leads=("I", "II", lead))
    if format != "DICOM":
        assert_refused(path, words)
    else:  # a code says which lead it is
        assert_refused(path, "more than once" if lead == "I" else "MDC 2:9")


@FORMATS
def test_named_leads_are_picked_from_other_channels(format, tmp_path):
    (tmp_path / "plain").mkdir()
    path = write(format, tmp_path, leads=("I", "V3R", "V1"))
    record, whole = read_record(path, ["v1", "I"]), read_record(write(format, tmp_path / "plain"))
    assert record.lead_names == ("V1", "I")
    np.testing.assert_array_equal(record.signal, whole.signal[[list(whole.lead_names).index(x) for x in ("V1", "I")]])
    with pytest.raises(ECGInputError, match="no lead II"):
        read_record(path, ["I", "II"])


# DICOM


def three_leads() -> pydicom.Dataset:
    return dicom_group(some_counts(), 2.5, RATE, ("I", "II", "V1"))


def set_element(item: pydicom.Dataset, element: str, value) -> None:
    """None deletes it."""
    if value is None:
        delattr(item, element)
    else:
        setattr(item, element, value)


def save_group(folder: Path, syntax: str = ExplicitVRLittleEndian, **elements) -> Path:
    group = three_leads()
    for name, value in elements.items():
        set_element(group, name, value)
    return save_dicom(folder / "rec.dcm", [group], syntax)


def test_a_real_dicom_file_as_pydicom_decodes_it():
    """From a Mortara cart, with median beats in a second group."""
    path = get_testdata_file("waveform_ecg.dcm", download=False)
    record = read_record(path)
    assert record.lead_names == STANDARD_LEADS and record.sampling_rate == 1000
    np.testing.assert_allclose(record.signal, pydicom.dcmread(path).waveform_array(0).T / 1000, rtol=1e-6, atol=1e-9)


def test_lead_codes_are_those_of_the_standard(tmp_path):
    from cgdmer.models.reading_dicom import _LEAD_NUMBERS

    assert sorted(_LEAD_NUMBERS.values()) == sorted(STANDARD_LEADS)
    for number, name in _LEAD_NUMBERS.items():
        keyword = f"Lead{name}" if name[0] != "a" else f"A{name[1:].lower()}AugmentedVoltage"
        (found,) = {keyword + end for end in ("", "Right", "Left", "Foot")} & set(codes.CID3001.dir(keyword))
        assert getattr(codes.CID3001, found).value == f"2:{number}"


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian])
def test_dicom_in_other_byte_orders(tmp_path, syntax):
    order = ">i2" if syntax == ExplicitVRBigEndian else "<i2"
    path = save_group(tmp_path, syntax, WaveformData=some_counts().T.astype(order).tobytes())
    np.testing.assert_allclose(read_record(path).signal, some_counts() * 2.5e-3, rtol=1e-6)


@pytest.mark.parametrize("kind", ["SB", "UB", "SS", "US", "SL", "UL"])
def test_dicom_sample_kinds(tmp_path, kind):
    numpy_kind = {"B": "1", "S": "2", "L": "4"}[kind[1]]
    numpy_kind = ("i" if kind[0] == "S" else "u") + numpy_kind
    limits = np.iinfo(numpy_kind)
    counts = np.array([[limits.min, 0, 1], [limits.max, 7, 9], [3, 4, 5]])
    path = save_group(
        tmp_path,
        NumberOfWaveformSamples=3,
        WaveformBitsAllocated=limits.bits,
        WaveformSampleInterpretation=kind,
        WaveformData=counts.T.astype(f"<{numpy_kind}").tobytes() + bytes(limits.bits == 8),
    )
    np.testing.assert_allclose(read_record(path).signal, counts * 2.5e-3, rtol=1e-6)


def test_dicom_calibration_and_padding(tmp_path):
    group = three_leads()
    second = group.ChannelDefinitionSequence[1]
    second.ChannelSensitivity, second.ChannelSensitivityCorrectionFactor, second.ChannelBaseline = "3", "1.5", "-40"
    group.ChannelDefinitionSequence[2].ChannelSensitivityUnitsSequence[0].CodeValue = "mV"
    counts = some_counts()
    counts[0, 5] = -32768
    group.WaveformData = counts.T.astype("<i2").tobytes()
    group.WaveformPaddingValue = b"\x00\x80"
    signal = read_record(save_dicom(tmp_path / "rec.dcm", [group])).signal
    np.testing.assert_allclose(signal[1], (some_counts()[1] * 4.5 - 40) / 1000, rtol=1e-6)
    np.testing.assert_allclose(signal[2], some_counts()[2] * 2.5, rtol=1e-6)
    assert np.argwhere(np.isnan(signal)).tolist() == [[0, 5]]


def test_dicom_channels_without_an_electrode_or_a_standard_lead(tmp_path):
    group = three_leads()
    for channel, status in zip(
        group.ChannelDefinitionSequence, ("OK", "DISCONNECTED", ["INVALID", "OK"]), strict=True
    ):
        channel.ChannelStatus = status
    record = read_record(save_dicom(tmp_path / "rec.dcm", [group]))
    assert np.isnan(record.signal).all(axis=1).tolist() == [False, True, True]
    np.testing.assert_allclose(record.signal[0], some_counts()[0] * 2.5e-3, rtol=1e-6)
    group = three_leads()
    other = group.ChannelDefinitionSequence[1]
    other.ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    other.ChannelSourceSequence[0].CodeValue, other.ChannelLabel = "MDC_ECG_LEAD_V3R", "V3"
    path = save_dicom(tmp_path / "rec.dcm", [group])
    assert read_record(path, ["V1", "I"]).lead_names == ("V1", "I")
    other.ChannelSensitivityUnitsSequence[0].CodeValue = "uV"
    assert_refused(save_dicom(tmp_path / "rec.dcm", [group]), "V3R")
    other.ChannelSourceSequence[0].CodeValue = "MDC_ECG_LEAD_II"
    assert read_record(save_dicom(tmp_path / "rec.dcm", [group])).lead_names == ("I", "II", "V1")


def test_dicom_leads_are_named_by_label_if_codes_are_proprietary(tmp_path):
    group = three_leads()
    for channel in group.ChannelDefinitionSequence:
        channel.ChannelSourceSequence[0].CodingSchemeDesignator = "99MAKER"
    assert read_record(save_dicom(tmp_path / "rec.dcm", [group])).lead_names == ("I", "II", "V1")
    del group.ChannelDefinitionSequence[1].ChannelLabel
    assert_refused(save_dicom(tmp_path / "rec.dcm", [group]), "channel 2 has no name")


@pytest.mark.parametrize(
    ("element", "value", "words"),
    [
        ("SamplingFrequency", None, "sampling frequency is missing"),
        ("SamplingFrequency", "0", "sampling rate is 0"),
        ("NumberOfWaveformChannels", 4, "3 are defined"),
        ("NumberOfWaveformSamples", 499, "has 3000 bytes"),
        ("NumberOfWaveformSamples", 2**31, "samples"),
        ("WaveformBitsAllocated", 8, "SS in 8 bits"),
        ("WaveformSampleInterpretation", "MB", "MB in 16 bits"),
        ("WaveformData", bytes(2998), "truncated"),
        ("WaveformOriginality", "DERIVED", "0 of its 1 waveform groups"),
        ("WaveformPaddingValue", b"\0\0\0\0", "padding value"),
    ],
)
def test_faults_of_a_dicom_group(tmp_path, element, value, words):
    assert_refused(save_group(tmp_path, **{element: value}), words)


@pytest.mark.parametrize(
    ("element", "value", "words"),
    [
        ("ChannelSensitivity", None, "channel sensitivity is missing"),
        ("ChannelSensitivity", "0", "not those of an ECG"),
        ("ChannelSensitivityCorrectionFactor", None, "correction factor is missing"),
        ("ChannelBaseline", None, "channel baseline is missing"),
        ("ChannelSensitivityUnitsSequence", None, "unit of the channel sensitivity is missing"),
        ("ChannelSampleSkew", "3", "skew '3'"),
        ("ChannelOffset", "0.05", "offset '0.05'"),
        ("ChannelStatus", "UNCALIBRATED", "status is 'UNCALIBRATED'"),
        ("ChannelStatus", ["OK", "TEST DATA"], "status is 'OK, TEST DATA'"),
    ],
)
def test_faults_of_a_dicom_channel(tmp_path, element, value, words):
    group = three_leads()
    set_element(group.ChannelDefinitionSequence[1], element, value)
    assert_refused(save_dicom(tmp_path / "rec.dcm", [group]), "channel 2", words)


def test_dicom_with_other_units_groups_and_contents(tmp_path):
    group = three_leads()
    assert_refused(save_dicom(tmp_path / "two.dcm", [group, group]), "2 of its 2 waveform groups")
    assert_refused(save_dicom(tmp_path / "picture.dcm", []), "0 of its 0 waveform groups", "picture")
    group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    assert_refused(save_dicom(tmp_path / "pressure.dcm", [group]), "'mm[Hg]'", "channel 1")
    path = save_group(tmp_path, DeflatedExplicitVRLittleEndian)
    assert_refused(path, "transfer syntax is '1.2.840.10008.1.2.1.99'")


def test_without_pydicom_the_message_says_what_to_install(tmp_path, monkeypatch):
    path, found = write("DICOM", tmp_path), builtins.__import__

    def no_pydicom(name, *rest):
        if name.startswith("pydicom"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pydicom)
    assert_refused(path, "pip install pydicom")


def test_remote_code_requires_no_library_for_a_format():
    """transformers refuses code whose imports are not installed, except those inside `try`."""
    folder = Path(reading_record.__file__).parent
    asked = {name for path in folder.glob("*.py") for name in get_imports(path)}
    assert {"numpy", "torch"} <= asked and not asked & {"pydicom", "wfdb"}


# EDF


def edf_by_hand(folder: Path, counts: np.ndarray, fields: dict[str, list[str]] | None = None, **main) -> Path:
    """Written from the specification: data records of 0.2 s, fields in columns; counts are (signals, time)."""
    count, per_record = len(counts), 100
    head = {"version": "0", "patient": PATIENT, "recording": "", "date": "01.01.85", "time": "00.00.00"}
    head |= {"bytes": str(256 * (count + 1)), "reserved": "", "records": str(counts.shape[1] // per_record)}
    head |= {"duration": "0.2", "signals": str(count), **main}
    widths = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
    columns = {
        "label": (16, ["I", "II", "V1"]),
        "transducer": (80, [""] * count),
        "unit": (8, ["uV", "mV", "\u00b5V"]),
        "physical minimum": (8, ["-2048", "10", "0"]),
        "physical maximum": (8, ["2047", "-10", "1000"]),
        "digital minimum": (8, ["-2048", "-1000", "0"]),
        "digital maximum": (8, ["2047", "1000", "2000"]),
        "prefiltering": (80, [""] * count),
        "samples": (8, [str(per_record)] * count),
        "reserved": (32, [""] * count),
    }
    text = "".join(value.ljust(width) for value, width in zip(head.values(), widths, strict=True))
    for name, (width, values) in columns.items():
        text += "".join(value.ljust(width) for value in (fields or {}).get(name, values))
    frames = counts.reshape(count, -1, per_record).transpose(1, 0, 2).astype("<i2")
    (folder / "rec.edf").write_bytes(text.encode("latin-1") + frames.tobytes())
    return folder / "rec.edf"


def test_edf_scales_between_its_extremes(tmp_path):
    """In uV; inverted, with the physical minimum above the maximum; and with a zero that is not in the middle."""
    counts = some_counts()
    record = read_record(edf_by_hand(tmp_path, counts))
    expected = np.stack([counts[0] / 1000, counts[1] * -0.01, counts[2] * 0.5 / 1000])
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-6)
    assert record.sampling_rate == RATE
    library = edfio.read_edf(tmp_path / "rec.edf", header_encoding="latin-1")
    np.testing.assert_allclose(record.signal[1], library.signals[1].data, rtol=1e-6, atol=1e-6)


def test_edf_leads_among_channels_of_other_kinds_and_rates(tmp_path):
    leads, breathing = write("EDF", tmp_path), tmp_path / "mixed.edf"
    signals = edfio.read_edf(leads).signals
    seconds = len(signals[0].digital) / RATE
    slow = edfio.EdfSignal(
        np.linspace(-1, 1, round(250 * seconds)), 250, label="Resp", physical_dimension="%", physical_range=(-1, 1)
    )
    edfio.Edf([slow, *signals], data_record_duration=seconds).write(breathing)
    assert_refused(breathing, "--leads")
    record = read_record(breathing, ["V1", "I"])
    whole = read_record(leads)
    assert (record.lead_names, record.sampling_rate) == (("V1", "I"), RATE)
    np.testing.assert_array_equal(record.signal, whole.signal[[list(whole.lead_names).index(x) for x in ("V1", "I")]])


def test_names_of_eeg_electrodes(tmp_path):
    assert_refused(edf_by_hand(tmp_path, some_counts(), {"label": ["C3", "C4", "C1"]}), "scalp")
    path = edf_by_hand(tmp_path, some_counts(), {"label": ["ECG I", "C3", "C4"]})
    assert_refused(path, "'C3' may be lead V3 or an electrode on the scalp", "lead_names")
    assert read_record(path, ["I"]).lead_names == ("I",)  # what is not asked for is not judged


def test_edf_plus_with_annotations(tmp_path):
    path = write("EDF", tmp_path)
    beats = [edfio.EdfAnnotation(0.1, None, "beat")]
    edfio.Edf(edfio.read_edf(path).signals, annotations=beats).write(tmp_path / "plus.edf")
    assert b"EDF+C" in (tmp_path / "plus.edf").read_bytes()
    np.testing.assert_array_equal(read_record(tmp_path / "plus.edf").signal, read_record(path).signal)


def test_edf_labels_start_with_the_kind_of_signal(tmp_path):
    path = edf_by_hand(tmp_path, some_counts(), {"label": ["ECG I", "EKG aVF", "ekg v1"]})
    assert read_record(path).lead_names == ("I", "aVF", "V1")


@pytest.mark.parametrize(
    ("main", "fields", "words"),
    [
        ({"records": "-1"}, {}, "-1 data records"),
        ({"records": "6"}, {}, "truncated"),
        ({"records": "4"}, {}, "4 data records of its header"),
        ({"records": ""}, {}, "number of data records is missing"),
        ({"duration": "0"}, {}, "of 0 s"),
        ({"duration": "5s"}, {}, "'5s'"),
        ({"duration": "100"}, {}, "sampling rate is 1 Hz"),
        ({"signals": "2"}, {}, "768 bytes"),
        ({"bytes": "512"}, {}, "1024 bytes"),
        ({"reserved": "EDF+D"}, {}, "has gaps"),
        ({}, {"unit": ["uV", "", "uV"]}, "signal 2: the unit"),
        ({}, {"unit": ["uV", "degC", "uV"]}, "'degC'"),
        ({}, {"unit": ["uV", "MV", "uV"]}, "'MV'"),
        ({}, {"label": ["I", "", "V1"]}, "channel 2 has no name"),
        ({}, {"label": ["I", "Resp", "V1"]}, "'Resp'"),
        (
            {},
            {"label": ["ECG 1", "ECG 2", "ECG 3"]},
            "'ECG 1'",
        ),  # channels of a Holter, whose electrodes may be anywhere
        ({}, {"label": ["EKG I", "EKG 2", "EKG V1"]}, "'EKG 2'"),
        ({}, {"samples": ["100", "50", "100"]}, "the same rate"),
        ({}, {"samples": ["100", "0", "200"]}, "0 samples per data record"),
        ({}, {"label": ["EDF Annotations"] * 3}, "its 0 signals"),
        ({}, {"digital minimum": ["-2048", "1000", "0"]}, "not below"),
        ({}, {"physical maximum": ["2047", "10", "1000"]}, "not those of an ECG"),
        ({}, {"physical maximum": ["2047", "nan", "1000"]}, "'nan'"),
        ({}, {"physical minimum": ["", "10", "0"]}, "physical minimum is missing"),
    ],
)
def test_faults_of_edf(tmp_path, main, fields, words):
    assert_refused(edf_by_hand(tmp_path, some_counts(), fields, **main), words)


# XML


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((r'scale value="2.5" unit="uV"', 'scale value="0.0025" unit="mV"'), lambda counts: counts * 2.5e-3),
        ((r'scale value="2.5" unit="uV"', 'scale value="2500" unit="nV"'), lambda counts: counts * 2.5e-3),
        ((r'origin value="0"', 'origin value="-300"'), lambda counts: counts * 2.5e-3 - 0.3),
        ((r'increment value="0.002" unit="s"', 'increment value="2" unit="ms"'), lambda counts: counts * 2.5e-3),
        ((r"<digits>", "<digits>\n\t"), lambda counts: counts * 2.5e-3),
        ((r"TIME_ABSOLUTE", "TIME_RELATIVE"), lambda counts: counts * 2.5e-3),
    ],
)
def test_aecg_units_and_origin(tmp_path, change, expected):
    record = read_record(edit(write("aECG", tmp_path), *change))
    np.testing.assert_allclose(record.signal[0], expected(some_counts()[0]), rtol=1e-6, atol=1e-7)
    assert record.sampling_rate == RATE


SET = r"<component><sequenceSet>.*?</sequenceSet></component>"


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r'"RHYTHM"', '"REPRESENTATIVE_BEAT"', "0 RHYTHM series"),
        (f"({SET})", r"\1\1", "2 sequence sets"),
        (r'increment value="0.002" unit="s"', 'increment value="0.002"', "unit of the time increment is missing"),
        (r'increment value="0.002" unit="s"', 'increment value="0.002" unit="min"', "'min'"),
        (r'increment value="0.002"', 'increment value="0"', "time increment is 0"),
        (r"(<increment)", r'<denominator value="4"/>\1', "its times have a denominator"),
        (r'increment value="0.002"', 'increment value="1"', "sampling rate is 1 Hz"),
        (r"<increment[^>]*>", "", "time increment is missing"),
        (r"TIME_ABSOLUTE", "MDC_ECG_LEAD_V2", "0 sequences of times"),
        (r'scale value="2.5" unit="uV"', 'scale value="2.5"', "lead 1 (I): the unit of the scale is missing"),
        (r'scale value="2.5" unit="uV"', 'scale value="2.5" unit="mmHg"', "'mmHg'"),
        (r'scale value="2.5"', 'scale value="1e400"', "not those of an ECG"),
        (r"<scale[^>]*>", "", "scale is missing"),
        (r"<origin[^>]*>", "", "origin is missing"),
        (r"MDC_ECG_LEAD_II", "MDC_ECG_LEAD_X", "'X'"),
        (r'<code code="MDC_ECG_LEAD_II"[^>]*>', "", "channel 2 has no name"),
        (r"<digits>-?\d+ ", "<digits>", "499, 500 samples"),
        (r"<digits>", "<digits>1.5 ", "not whole numbers"),
        (r"<digits>", "<digits>99999999999 ", "not whole numbers"),
        (r"<digits>.*?</digits>", "<digits/>", "digits are missing"),
    ],
)
def test_faults_of_aecg(tmp_path, pattern, replacement, words):
    assert_refused(edit(write("aECG", tmp_path), pattern, replacement), words)


def test_muse_derives_four_leads(tmp_path):
    record = read_record(write("MUSE", tmp_path))
    assert record.lead_names == ("I", "II", "III", "aVR", "aVL", "aVF", "V1")
    one, two = some_counts()[:2] * 2.5e-3
    for name, expected in (
        ("III", two - one),
        ("aVR", -(one + two) / 2),
        ("aVL", one - two / 2),
        ("aVF", two - one / 2),
    ):
        np.testing.assert_allclose(record.signal[record.lead_names.index(name)], expected, atol=1e-6)


def test_muse_leads_that_are_off_and_exponents(tmp_path):
    path = edit(write("MUSE", tmp_path), r"(Rhythm.*<LeadID>V1<.*?<LeadOff>)FALSE", r"\1TRUE")
    edit(path, r"(Rhythm.*?<SampleBase>)500(<.*?<SampleExponent>)0", r"\g<1>5\g<2>2")
    record = read_record(path)
    assert np.isnan(record.signal).all(axis=1).tolist() == [False] * 6 + [True] and record.sampling_rate == RATE
    edit(path, r"(Rhythm.*<LeadID>V1<.*?<LeadOff>)TRUE", r"\1YES")
    with pytest.raises(RecordFileError, match="LeadOff is 'YES'"):
        read_record(path)


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r">Rhythm<", ">Median<", "0 waveforms of type Rhythm"),
        (r">Median<", ">Rhythm<", "2 waveforms of type Rhythm"),
        (r"(Rhythm.*?)<SampleBase>500</SampleBase>", r"\1", "SampleBase (sampling rate) is missing"),
        (r"(Rhythm.*?<SampleExponent>)0", r"\g<1>3", "sampling rate is 500000"),
        (r"(Rhythm.*?<NumberofLeads>)3", r"\g<1>8", "states 8 leads"),
        (r"(Rhythm.*?)<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", r"\1", "lead I: the unit"),
        (r"(Rhythm.*?)MICROVOLTS", r"\1MMHG", "'MMHG'"),
        (r"(Rhythm.*?)<LeadAmplitudeUnitsPerBit>2.5<", r"\1<LeadAmplitudeUnitsPerBit><", "UnitsPerBit is missing"),
        (r"(Rhythm.*?<LeadTimeOffset>)0", r"\g<1>1250", "shifted"),
        (r"(Rhythm.*?<LeadID>)II", r"\g<1>X", "'X'"),
        (r"(Rhythm.*?)<LeadID>II</LeadID>", r"\1", "channel 2 has no name"),
        (r"(Rhythm.*?<LeadSampleSize>)2", r"\g<1>4", "4 bytes"),
        (r"(Rhythm.*?<LeadSampleCountTotal>)500", r"\g<1>499", "499 samples of 2 bytes"),
        (r"(Rhythm.*?)<LeadSampleCountTotal>500</LeadSampleCountTotal>", r"\1", "LeadSampleCountTotal is missing"),
        (r"(Rhythm.*?<LeadByteCountTotal>)1000", r"\g<1>1002", "1002 bytes in all"),
        (r"(Rhythm.*?<WaveFormData>)....", r"\1", "truncated"),
        (r"(Rhythm.*?<WaveFormData>).", r"\1", "damaged base64"),
        (r"(Rhythm.*?<WaveFormData>)....", r"\1!?!?", "damaged base64"),
        (r"(Rhythm.*?<WaveFormData>)....", "\\1\u00e9\u00e9\u00e9\u00e9".encode("latin-1"), "damaged base64"),
    ],
)
def test_faults_of_muse(tmp_path, pattern, replacement, words):
    assert_refused(edit(write("MUSE", tmp_path), pattern, replacement), words)


def test_muse_leads_of_different_lengths(tmp_path):
    path = edit(write("MUSE", tmp_path), r"(Rhythm.*<LeadByteCountTotal>)1000", r"\g<1>998")
    edit(path, r"(Rhythm.*<LeadSampleCountTotal>)500", r"\g<1>499")
    text = base64.encodebytes(some_counts()[2, :499].astype("<i2").tobytes())
    edit(path, r"(Rhythm.*<WaveFormData>).*?<", rb"\1" + text + b"<")
    assert_refused(path, "499, 500 samples")


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("format", ["aECG", "MUSE"])
@pytest.mark.parametrize(
    "declared",
    [
        BOMB,
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://localhost/evil.dtd"> %a;]>',
    ],
)
def test_entities_are_refused(format, declared, tmp_path):
    path = write(format, tmp_path)
    path.write_bytes(re.sub(rb"<!DOCTYPE[^>]*>", b"", path.read_bytes()))
    edit(path, r"\?>", f"?>{declared}")
    assert_refused(path, "XML entity")


@pytest.mark.parametrize("format", ["aECG", "MUSE"])
def test_xml_that_is_damaged_or_too_large(format, tmp_path):
    path = write(format, tmp_path)
    content = path.read_bytes()
    for encoding in ("utf-7", "EBCDIC-1", "rot13"):
        path.write_bytes(re.sub(rb'encoding="[^"]*"', f'encoding="{encoding}"'.encode(), content))
        assert_refused(path, "damaged XML")
    path.write_bytes(content.replace(b"</Waveform>", b"").replace(b"</series>", b""))
    assert_refused(path, "damaged XML")
    path.write_bytes(b"<a>" * 300_000)
    assert_refused(path, "200000 XML elements")
    text = content.decode("latin-1").replace("ISO-8859-1", "UTF-16").replace("UTF-8", "UTF-16")
    path.write_bytes(text.encode("utf-16"))
    assert read_record(path).sampling_rate == RATE
