# SPDX-License-Identifier: Apache-2.0
"""Which channels of a file are read, as which leads, in every format: only what is asked for is checked."""

import re
from pathlib import Path

import numpy as np
import pytest
from test_reading_record import edf_by_hand, edit, some_counts, write

from cgdmer.models.channels import renamed_channels
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import ECGInputError, RecordFileError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.reading_record import read_record
from cgdmer.models.reading_wfdb import read_wfdb
from clinic_writers import WRITERS, dicom_group, save_dicom, write_muse

STEP = 2.5e-3  # millivolts
CONSISTENT = {"III": (1, -1), "aVR": (-0.5, -0.5), "aVL": (-0.5, 1), "aVF": (1, -0.5)}  # of II and I


def write_wfdb_by_hand(folder: Path, names: tuple[str, ...], gains: tuple[str, ...] = (), name: str = "rec") -> Path:
    counts = some_counts(len(names))
    counts.T.astype("<i2").tofile(folder / f"{name}.dat")
    gains = gains or ("400/mV",) * len(names)
    lines = [f"{name}.dat 16 {gain} 16 0 0 0 0 {lead}" for gain, lead in zip(gains, names, strict=True)]
    lines = [
        re.sub(r" 0 0 0 0 ", f" 0 0 {int(row.sum()) % 65536} 0 ", line)
        for line, row in zip(lines, counts, strict=True)
    ]
    (folder / f"{name}.hea").write_text("\n".join([f"{name} {len(names)} 500 500", *lines]) + "\n")
    return folder / name


def write_csv(folder: Path, names: tuple[str, ...]) -> Path:
    path = folder / "rec.csv"
    rows = "\n".join(",".join(f"{float(count * STEP)!r}" for count in column) for column in some_counts(len(names)).T)
    path.write_text(",".join(names) + "\n" + rows + "\n")
    return path


def described(format: str, folder: Path, leads: tuple[str, ...]) -> tuple[Path, dict]:
    """A file with channels of these names, and how to describe it."""
    if format == "WFDB":
        return write_wfdb_by_hand(folder, leads), {}
    if format == "CSV":
        return write_csv(folder, leads), {"sampling_rate": 500, "unit": "mV"}
    if format == "DICOM":  # named by label
        group = dicom_group(some_counts(len(leads)), 2.5, 500, leads)
        for channel, lead in zip(group.ChannelDefinitionSequence, leads, strict=True):
            del channel.ChannelSourceSequence
            channel.ChannelLabel = lead
        return save_dicom(folder / "rec.dcm", [group]), {}
    if format == "MUSE":
        path = write_muse(folder / "rec.xml", some_counts(len(leads)), 2.5, 500, [f"V{n}" for n in range(len(leads))])
        for number, lead in enumerate(leads):
            edit(path, f"<LeadID>V{number}<", f"<LeadID>{lead}<", count=2)
        return path, {}
    if format == "EDF":
        scale = {"unit": "uV", "physical minimum": "-5120", "physical maximum": "5117.5"}
        scale |= {"digital minimum": "-2048", "digital maximum": "2047"}
        fields = {name: [value] * len(leads) for name, value in scale.items()}
        return edf_by_hand(folder, some_counts(len(leads)), {"label": list(leads), **fields}), {}
    path = write(format, folder, counts=some_counts(len(leads)), leads=[f"V{n}" for n in range(len(leads))])
    for number, lead in enumerate(leads):
        edit(path, f"MDC_ECG_LEAD_V{number}", f"MDC_ECG_LEAD_{lead}")
    return path, {}


FORMATS = pytest.mark.parametrize("format", ["WFDB", "CSV", *WRITERS])


@FORMATS
def test_a_channel_can_be_named(format, tmp_path):
    path, stated = described(format, tmp_path, ("ECG", "MLII"))
    for lead_names in ({"ECG": "II", "MLII": "V5"}, ["II", "V5"], ["ECG=II", "mlii=v5"]):
        record = read_record(path, lead_names=lead_names, **stated)
        assert record.lead_names == ("II", "V5")
        np.testing.assert_allclose(record.signal, some_counts(2) * STEP, rtol=1e-5, atol=1e-7)
    record = read_record(path, ["II"], lead_names={"ECG": "II"}, **stated)
    assert record.lead_names == ("II",)
    with pytest.raises((RecordFileError, ECGInputError), match=r"'ECG' is not one of.*--lead_names ECG=II"):
        read_record(path, **stated)
    with pytest.raises(ECGInputError, match=r"no lead II; it has ECG, MLII.*--lead_names ECG=II"):
        read_record(path, ["II"], **stated)


@FORMATS
def test_names_that_do_not_fit_are_refused(format, tmp_path):
    path, stated = described(format, tmp_path, ("ECG", "V1"))
    for lead_names, words in (
        (["II"], "2 channels.*but 1 are named"),
        ({"EKG": "II"}, "0 channels 'EKG'"),
        ({"ECG": "MLII"}, "'MLII'; expected one of the twelve"),
        (["ECG=II", "V1"], "write each as CHANNEL=LEAD"),
        (["II", "V2"], "names its leads ECG, V1, not II, V2"),
        ("II", "expected names"),
    ):
        with pytest.raises(ECGInputError, match=words):
            read_record(path, lead_names=lead_names, **stated)
    with pytest.raises((RecordFileError, ECGInputError), match="more than once"):
        read_record(path, lead_names={"ECG": "V1"}, **stated)


def test_inverted_channels_are_not_renamed():
    for name in ("-aVR", "aVR-", "ECG -aVR", "\u2212aVR"):
        with pytest.raises(ECGInputError, match="is inverted"):
            renamed_channels([name], ["aVR"], "rec")
    assert renamed_channels(["ECG LA-RA"], ["I"], "rec") == ["I"]  # a difference of electrodes is not inverted


def test_channels_without_a_name_can_be_named(tmp_path):
    path = write_wfdb_by_hand(tmp_path, ("I", "II"))
    edit(path.with_suffix(".hea"), r" I\n", "\n")
    edit(path.with_suffix(".hea"), r" II\n", "\n")
    with pytest.raises(RecordFileError, match=r"lead name is missing.*--lead_names I II"):
        read_record(path)
    assert read_record(path, lead_names=["V1", "V2"]).lead_names == ("V1", "V2")


def test_a_file_that_states_its_rate_takes_no_other(tmp_path):
    path, _ = described("EDF", tmp_path, ("I", "II"))
    for stated in ({"sampling_rate": 500}, {"unit": "mV"}):
        with pytest.raises(ECGInputError, match=r"is for tables of numbers.*Leave it out"):
            read_record(path, **stated)


@FORMATS
def test_limb_leads_that_are_asked_for_are_computed(format, tmp_path):
    path, stated = described(format, tmp_path, ("I", "II", "V1"))
    one, two = some_counts()[:2] * STEP
    wanted = ["V1", "III", "aVF", "I", "aVR", "aVL"]
    record = read_record(path, wanted, **stated)
    assert record.lead_names == tuple(wanted)
    for lead, (of_two, of_one) in CONSISTENT.items():
        expected = of_two * two + of_one * one
        np.testing.assert_allclose(record.signal[wanted.index(lead)], expected, atol=1e-5)
    with pytest.raises(ECGInputError, match="has no lead V2"):
        read_record(path, ["V2"], **stated)


def test_leads_of_a_record_are_computed_and_recorded_ones_kept():
    signal = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    record = ECGRecord(signal, 500.0, ("III", "aVL", "V1"), gain=(1.0,) * 3, baseline=(0,) * 3)
    kept = keep_leads(record, ["II", "III", "V1"])
    third, left = signal[:2].astype(float)
    first = 2 * left + third  # aVL = I - II/2, and II = I + III
    np.testing.assert_allclose(kept.signal[0], first + third, atol=1e-5)
    np.testing.assert_array_equal(kept.signal[1:], signal[[0, 2]])
    assert kept.gain is None and kept.baseline is None and kept.lead_names == ("II", "III", "V1")
    assert keep_leads(record, ["V1", "III"]).gain == (1.0, 1.0)
    with pytest.raises(ECGInputError, match="has no lead I; it has V1, II"):
        keep_leads(ECGRecord(signal[:2], 500.0, ("V1", "II")), ["I"])


# Only what is asked for is checked


def test_wfdb_channels_that_are_not_asked_for(tmp_path):
    path = write_wfdb_by_hand(tmp_path, ("II", "V1", "PLETH", "RESP"), ("400/mV", "400/mV", "1250/NU", "0/adu"))
    header = path.with_suffix(".hea").read_text()
    record = read_record(path, ["II", "V1"])
    np.testing.assert_allclose(record.signal, some_counts(4)[:2] * STEP, rtol=1e-5)
    assert record.gain == (400.0, 400.0)
    np.testing.assert_array_equal(read_wfdb(path, leads=["V1"], seconds=(0.5, 1)).signal[0], record.signal[1, 250:])
    with pytest.raises(RecordFileError, match=r"signal line 3: the unit is 'NU'.*--leads"):
        read_record(path)
    # A wrong checksum, a file that is not there, in another format or with a name outside the folder.
    for line in ("rec.dat 16 1/NU 16 0 0 7 0 PLETH", "absent.dat 16x4 1/NU 16 0 0 0 0 PLETH", "../a 999 - PLETH"):
        lines = header.splitlines()
        lines[3] = line
        if not line.startswith("rec"):
            lines[4] = line.replace("PLETH", "RESP")
            some_counts(4)[:2].T.astype("<i2").tofile(tmp_path / "rec.dat")
        path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
        assert read_record(path, ["II", "V1"]).lead_names == ("II", "V1")
        with pytest.raises(RecordFileError):
            read_record(path)


@pytest.mark.parametrize(
    "change",
    [
        (r'(LEAD_V1.*?scale value="2.5" unit=)"uV"', r'\1"Ohm"'),
        (r"(LEAD_V1.*?)<scale[^>]*>", r"\1"),
        (r"(LEAD_V1.*?<digits>)-?\d+ ", r"\1"),
        (r"(LEAD_V1.*?<digits>)", r"\1a "),
        (r"MDC_ECG_LEAD_V1", "MDC_RESP"),
    ],
)
def test_aecg_sequences_that_are_not_asked_for(tmp_path, change):
    path = edit(write("aECG", tmp_path), *change)
    np.testing.assert_allclose(read_record(path, ["I", "II"]).signal, some_counts()[:2] * STEP, rtol=1e-6)
    with pytest.raises(RecordFileError, match=r"--leads|digits|scale is missing|not one of the twelve"):
        read_record(path)


@pytest.mark.parametrize(
    "change",
    [
        (r"(Rhythm.*<LeadID>V1<.*?<WaveFormData>)....", r"\1"),
        (r"(Rhythm.*)MICROVOLTS(.*?<LeadID>V1<)", r"\1MMHG\2"),
        (r"(Rhythm.*<LeadID>)V1", r"\1RESP"),
    ],
)
def test_muse_leads_that_are_not_asked_for(tmp_path, change):
    path = edit(write("MUSE", tmp_path), *change)
    np.testing.assert_allclose(read_record(path, ["I", "II"]).signal, some_counts()[:2] * STEP, rtol=1e-6)
    with pytest.raises(RecordFileError):
        read_record(path)


def test_electrodes_on_the_scalp_are_not_chest_leads(tmp_path):
    chest = tuple(f"C{number}" for number in range(1, 7))
    for format in ("WFDB", "EDF"):
        for leads in (
            ("ECG I", "C3", "C4"),
            ("I", *chest[:5]),
            ("I", *chest, "Cz"),
            ("I", *chest, "EEG Fpz-M2"),
            chest,
        ):
            path, stated = described(format, tmp_path, leads)
            with pytest.raises(RecordFileError, match=r"rec.*(scalp|'Cz' is not|'EEG Fpz-M2' is not)"):
                read_record(path, **stated)
            if leads[0] != "C1":
                assert read_record(path, ["I"], **stated).lead_names == ("I",)
                with pytest.raises(ECGInputError, match=r"rec.*scalp|no lead V3"):
                    read_record(path, ["I", "V3"], **stated)
        path, stated = described(format, tmp_path, ("DI", *chest))
        wanted = ["V6", "I"]
        assert [known[-1] for known in read_record(path, **stated).lead_names[1:]] == list("123456")
        assert read_record(path, wanted, **stated).lead_names == tuple(wanted)
        path, stated = described(format, tmp_path, ("I", "C3"))
        assert read_record(path, lead_names={"C3": "V3"}, **stated).lead_names == ("I", "V3")


def test_muse_with_right_sided_and_posterior_leads(tmp_path):
    """Fifteen-lead electrocardiographs store V3R, V4R, and V7 to V9 beside the eight leads."""
    names = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "V3R", "V4R", "V7")
    counts = some_counts(len(names))
    path = write_muse(tmp_path / "rec.xml", counts, 2.5, 500, names)
    record = read_record(path, STANDARD_LEADS)
    assert record.lead_names == STANDARD_LEADS
    one, two = counts[:2] * STEP
    np.testing.assert_allclose(record.signal[[0, 1, *range(6, 12)]], counts[:8] * STEP, rtol=1e-6)
    for lead, (of_two, of_one) in CONSISTENT.items():
        expected = of_two * two + of_one * one
        np.testing.assert_allclose(record.signal[STANDARD_LEADS.index(lead)], expected, atol=1e-5)
    assert read_record(path, ["aVF", "V1"]).lead_names == ("aVF", "V1")
    with pytest.raises(RecordFileError, match=r"'V3R' is not one of the twelve.*--leads"):
        read_record(path)
