# SPDX-License-Identifier: Apache-2.0
"""Files that state more than they hold, XML in encodings of East Asia, and messages that are right about the file."""

import re
import resource
import struct
import time

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_reading_record import edf_by_hand, edit, save_group, some_counts, three_leads, write

from cgdmer.models.dicom_structure import check_structure
from cgdmer.models.errors import RecordFileError
from cgdmer.models.reading_record import read_record
from clinic_writers import PATIENT, save_dicom

WAVEFORM_DATA, PADDING = 0x54001010, 0x5400100A


@pytest.mark.parametrize("tag", [WAVEFORM_DATA, PADDING])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("UL", 60_000_000),
        ("UL", [200, 300]),
        ("UV", 2**40),
        ("SL", 3000),
        ("IS", "60000000"),
        ("DS", "3000"),
        ("US", 3000),
        ("AT", 3000),
        ("OF", struct.pack("<f", 3000)),
        ("SQ", []),
    ],
)
def test_samples_of_another_representation_are_refused(tmp_path, tag, kind, value):
    """`bytes(n)` of a number is n zeros: 820 bytes of file once became 60 million samples."""
    group = three_leads()
    group.pop(tag, None)
    group.add_new(tag, kind, value)
    path = save_dicom(tmp_path / "rec.dcm", [group])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordFileError, match=r"rec\.dcm.*(representation|parse|sequence)"):
        read_record(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
def test_the_number_of_items_is_bounded_before_the_file_is_parsed(tmp_path, syntax, undefined):
    group = three_leads()
    group.ChannelDefinitionSequence = Sequence([Dataset() for _ in range(30_000)])
    group["ChannelDefinitionSequence"].is_undefined_length = undefined
    path = save_dicom(tmp_path / "rec.dcm", [group], syntax)
    started = time.process_time()
    with pytest.raises(RecordFileError, match="more elements"):
        read_record(path)
    assert time.process_time() - started < 20  # against hangs


def test_deep_nesting_is_refused(tmp_path):
    inner = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.ChannelDefinitionSequence = Sequence([inner])
        inner = outer
    group = three_leads()
    group.ChannelSourceSequence = Sequence([inner])
    with pytest.raises(RecordFileError, match="levels"):
        read_record(save_dicom(tmp_path / "rec.dcm", [group]))


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_long_value_is_not_parsed(tmp_path):
    group = three_leads()
    group.ChannelDefinitionSequence[0].ChannelLabel = "x" * 5000
    with pytest.raises(RecordFileError, match="ChannelLabel has 5000 bytes"):
        read_record(save_dicom(tmp_path / "rec.dcm", [group]))


def test_lengths_beyond_the_file_are_refused(tmp_path):
    path = save_group(tmp_path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(struct.pack("<HH", 0x5400, 0x1010)) + 8, 2**31)
    path.write_bytes(content)
    with pytest.raises(RecordFileError, match="states more bytes than it has"):
        read_record(path)


def test_files_of_other_programs_have_a_structure_that_is_read(tmp_path):
    """Undefined lengths, private elements of unknown representation, implicit representations."""
    names = ("waveform_ecg.dcm", "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "UN_sequence.dcm")
    names += ("reportsi.dcm", "nested_priv_SQ.dcm", "rtplan.dcm")
    for name in names:
        path = get_testdata_file(name, download=False)
        if path is None:
            continue
        dataset = pydicom.dcmread(path)
        if "TransferSyntaxUID" not in dataset.file_meta:
            continue
        with open(path, "rb") as file:
            content = file.read()
        begin = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
        syntax = dataset.file_meta.TransferSyntaxUID
        check_structure(
            path, content, begin, explicit=not syntax.is_implicit_VR, little_endian=syntax.is_little_endian
        )


# XML


@pytest.mark.parametrize("format", ["aECG", "MUSE"])
@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("GB2312", "gb2312", "\u738b\u5c0f\u660e"),
        ("gbk", "gbk", "\u738b\u5c0f\u660e"),
        ("GB18030", "gb18030", "\u738b\U00020000"),
        ("Shift_JIS", "shift_jis", "\u8868\u30bd"),  # whose second bytes are backslashes
        ("Windows-31J", "cp932", "\u2460\u5c71"),
        ("Big5", "big5", "\u738b\u529f"),
        ("EUC-JP", "euc_jp", "\u5c71\u7530"),
        ("EUC-KR", "euc_kr", "\uae40"),
        ("ISO-2022-JP", "iso2022_jp", "\u5c71\u7530"),
        ("UTF-8", "utf-8", "\u738b"),
        ("utf-16", "utf-16", "\u738b"),
        ("UTF-16", "utf-16-le", "\u738b"),
        ("UTF-16", "utf-16-be", "\u738b"),
        ("windows-1251", "cp1251", "\u0418\u0432\u0430\u043d"),
        ("koi8-r", "koi8-r", "\u0418\u0432\u0430\u043d"),
        ("ISO-8859-15", "iso8859-15", "M\u00fcller \u20ac"),
    ],
)
def test_xml_in_any_encoding_of_a_hospital(format, encoding, codec, name, tmp_path):
    path = write(format, tmp_path)
    expected = read_record(path)
    text = path.read_bytes().decode("latin-1").replace(PATIENT, name)
    text = re.sub(r'encoding="[^"]*"', f"encoding='{encoding}'", text)
    path.write_bytes(text.encode(codec))
    record = read_record(path)
    np.testing.assert_array_equal(record.signal, expected.signal)
    assert record.lead_names == expected.lead_names and name not in repr(record)


@pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "big5", "euc-kr", "iso-2022-jp"])
def test_damaged_bytes_and_entities_in_such_encodings_are_refused(encoding, tmp_path):
    path = edit(write("aECG", tmp_path), r'encoding="UTF-8"', f'encoding="{encoding}"')
    content = path.read_bytes()
    path.write_bytes(content.replace(PATIENT.encode(), b"\x81 "))
    with pytest.raises(RecordFileError, match="damaged XML"):
        read_record(path)
    path.write_bytes(content.replace(b"?>", b'?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', 1))
    with pytest.raises(RecordFileError, match="XML entity"):
        read_record(path)


@pytest.mark.parametrize("encoding", ["zlib", "bz2_codec", "unicode_escape", "idna", "punycode", "rot13", "hex"])
def test_no_other_codec_is_used(encoding, tmp_path):
    path = edit(write("aECG", tmp_path), r'encoding="UTF-8"', f'encoding="{encoding}"')
    with pytest.raises(RecordFileError, match="damaged XML"):
        read_record(path)


# Messages


def test_what_does_not_exist_is_named_as_it_was_typed(tmp_path):
    for name in ("typo.edf", "typo.xml", "typo.dcm", "typo.csv", "typo.npy", "typo.hea"):
        with pytest.raises(RecordFileError, match=rf"/{re.escape(name)} does not exist\. Check"):
            read_record(tmp_path / name)
    with pytest.raises(RecordFileError, match=r"/typo does not exist, nor does \S*/typo\.hea"):
        read_record(tmp_path / "typo")


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    plain = read_record(edf_by_hand(tmp_path, some_counts()))
    fields = {"digital minimum": ["-2048.0", "-1000", "0."], "samples": ["100.0"] * 3}
    np.testing.assert_array_equal(read_record(edf_by_hand(tmp_path, some_counts(), fields)).signal, plain.signal)
    path = edit(write("MUSE", tmp_path), r"(Rhythm.*?<LeadOffsetFirstSample>)0", r"\g<1>0.0")
    edit(path, r"(Rhythm.*?<SampleExponent>)0", r"\g<1>0.0")
    assert read_record(path).sampling_rate == 500
    with pytest.raises(RecordFileError, match=r"digital minimum is '-2048\.5', which is not a whole number"):
        read_record(edf_by_hand(tmp_path, some_counts(), {"digital minimum": ["-2048.5", "-1000", "0"]}))


@pytest.mark.parametrize("format", ["EDF", "DICOM", "MUSE", "WFDB"])
def test_too_few_and_too_many_bytes_are_told_apart(tmp_path, format):
    if format == "WFDB":
        (tmp_path / "rec.hea").write_text("rec 1 500 500\nrec.dat 16 400/mV 16 0 0 0 0 I\n")
        path, short, long = tmp_path / "rec", bytes(998), bytes(1002)
    elif format == "EDF":
        path = write("EDF", tmp_path)
        short, long = path.read_bytes()[:-2], path.read_bytes() + bytes(100)
    elif format == "DICOM":
        path = save_group(tmp_path, WaveformData=bytes(2998))
        short, long = path.read_bytes(), save_group(tmp_path, WaveformData=bytes(3004)).read_bytes()
    else:
        path = write("MUSE", tmp_path)
        content = path.read_bytes()
        short = re.sub(rb"(Rhythm.*?<WaveFormData>)....", rb"\1", content, count=1, flags=re.DOTALL)
        long = re.sub(rb"(Rhythm.*?<WaveFormData>)", rb"\1AAAA", content, count=1, flags=re.DOTALL)
    for content, right, wrong in ((short, "missing", "too many"), (long, "too many", "missing|truncated")):
        (path.with_suffix(".dat") if format == "WFDB" else path).write_bytes(content)
        with pytest.raises(RecordFileError, match=right) as refusal:
            read_record(path)
        assert not re.search(wrong, str(refusal.value))
