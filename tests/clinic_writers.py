# SPDX-License-Identifier: Apache-2.0
"""Recordings as files of the clinic: by pydicom and edfio, and XML as carts write it. Each names a patient."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import edfio
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT = "Doe"
TWELVE_LEAD_ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
# As PS3.16 CID 3001 has them, in the order in which a cart writes its leads.
MDC_CODES = dict(
    zip(
        ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        ("2:1", "2:2", "2:61", "2:62", "2:63", "2:64", "2:3", "2:4", "2:5", "2:6", "2:7", "2:8"),
        strict=True,
    )
)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def dicom_group(counts: np.ndarray, step_uv: float, rate: float, leads: Sequence[str]) -> Dataset:
    """A multiplex group in 16 bits, little-endian; counts are (leads, time)."""
    channels = []
    for lead in leads:
        channel = Dataset()
        channel.ChannelLabel = f"Lead {lead}"
        channel.ChannelSourceSequence = [coded(MDC_CODES.get(lead.upper(), "2:9"), "MDC", f"Lead {lead}")]
        channel.ChannelSensitivity = f"{step_uv:g}"
        channel.ChannelSensitivityUnitsSequence = [coded("uV", "UCUM", "microvolt")]
        channel.ChannelSensitivityCorrectionFactor = "1"
        channel.ChannelBaseline = "0"
        channel.ChannelSampleSkew = "0"
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = counts.shape
    group.SamplingFrequency = f"{rate:g}"
    group.ChannelDefinitionSequence = channels
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.WaveformData = counts.T.astype("<i2").tobytes()
    return group


def save_dicom(path: Path, groups: Sequence[Dataset], syntax: str = ExplicitVRLittleEndian) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = TWELVE_LEAD_ECG, generate_uid(entropy_srcs=["a test"])
    dataset.PatientName, dataset.PatientID, dataset.Modality = f"{PATIENT}^Jane", PATIENT, "ECG"
    dataset.WaveformSequence = list(groups)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_dicom(path: Path, counts: np.ndarray, step_uv: float, rate: float, leads: Sequence[str]) -> Path:
    return save_dicom(path, [dicom_group(counts, step_uv, rate, leads)])


def write_edf(path: Path, counts: np.ndarray, step_uv: float, rate: float, leads: Sequence[str]) -> Path:
    signals = [
        edfio.EdfSignal.from_digital(
            row.astype(np.int16),
            rate,
            label=f"ECG {lead}",
            physical_dimension="uV",
            physical_range=(-32768 * step_uv, 32767 * step_uv),
            digital_range=(-32768, 32767),
        )
        for lead, row in zip(leads, counts, strict=True)
    ]
    seconds = counts.shape[1] / rate
    duration = 1.0 if seconds.is_integer() else seconds
    edfio.Edf(signals, patient=edfio.Patient(name=PATIENT), data_record_duration=duration).write(path)
    return path


def aecg_lead(lead: str, digits: Sequence[int] | np.ndarray, step_uv: float) -> str:
    return (
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        f'<value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/><scale value="{step_uv:g}" unit="uV"/>'
        f"<digits>{' '.join(map(str, digits))}</digits></value></sequence></component>\n"
    )


def write_aecg(path: Path, counts: np.ndarray, step_uv: float, rate: float, leads: Sequence[str]) -> Path:
    """With a representative beat beside the rhythm, as many carts write it."""
    rhythm = "".join(aecg_lead(lead, row, step_uv) for lead, row in zip(leads, counts, strict=True))
    times = (
        '<component><sequence><code code="TIME_ABSOLUTE" codeSystem="2.16.840.1.113883.5.4"/>'
        f'<value xsi:type="GLIST_TS"><head value="20210322150059.000"/><increment value="{1 / rate:.9g}" unit="s"/>'
        "</value></sequence></component>\n"
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        f"<componentOf><subject><name>{PATIENT}</name></subject></componentOf>\n"
        '<component><series><code code="RHYTHM" codeSystem="2.16.840.1.113883.5.4"/>\n'
        f"<component><sequenceSet>\n{times}{rhythm}</sequenceSet></component>\n"
        '<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/><component><sequenceSet>\n'
        f"{times}{aecg_lead('I', [1, 2, 3], step_uv)}</sequenceSet></component></derivedSeries></derivation>\n"
        "</series></component></AnnotatedECG>\n",
        encoding="utf-8",
    )
    return path


def muse_lead(lead: str, counts: np.ndarray, step_uv: float) -> str:
    fields = {
        "LeadByteCountTotal": 2 * len(counts),
        "LeadTimeOffset": 0,
        "LeadSampleCountTotal": len(counts),
        "LeadAmplitudeUnitsPerBit": f"{step_uv:g}",
        "LeadAmplitudeUnits": "MICROVOLTS",
        "LeadID": lead,
        "LeadOffsetFirstSample": 0,
        "FirstSampleBaseline": 0,
        "LeadSampleSize": 2,
        "LeadOff": "FALSE",
    }
    text = base64.encodebytes(counts.astype("<i2").tobytes()).decode()
    lines = "".join(f"<{name}>{value}</{name}>\n" for name, value in fields.items())
    return f"<LeadData>\n{lines}<WaveFormData>{text}</WaveFormData>\n</LeadData>\n"


def write_muse(path: Path, counts: np.ndarray, step_uv: float, rate: float, leads: Sequence[str]) -> Path:
    """The eight leads that MUSE stores, of those given, after a median beat."""
    stored = [(lead, row) for lead, row in zip(leads, counts, strict=True) if lead[0] == "V" or lead in ("I", "II")]
    waveforms = ""
    for kind, length in (("Median", 30), ("Rhythm", counts.shape[1])):
        waveforms += (
            f"<Waveform>\n<WaveformType>{kind}</WaveformType>\n<NumberofLeads>{len(stored)}</NumberofLeads>\n"
            f"<SampleBase>{rate:g}</SampleBase>\n<SampleExponent>0</SampleExponent>\n"
            + "".join(muse_lead(lead, row[:length], step_uv) for lead, row in stored)
            + "</Waveform>\n"
        )
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n<RestingECG>\n'
        f"<PatientDemographics><PatientLastName>{PATIENT}</PatientLastName></PatientDemographics>\n"
        f"{waveforms}</RestingECG>\n",
        encoding="latin-1",
    )
    return path


WRITERS: Mapping[str, tuple[str, Callable[..., Path]]] = {
    "DICOM": (".dcm", write_dicom),
    "EDF": (".edf", write_edf),
    "aECG": (".xml", write_aecg),
    "MUSE": (".xml", write_muse),
}
