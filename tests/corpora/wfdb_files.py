# SPDX-License-Identifier: Apache-2.0
"""Writes random raw corpora in the layouts of the real ones."""

import csv
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.leads import STANDARD_LEADS

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
MIMIC_REPORTS = [
    ("Sinus rhythm", "Normal ECG except for rate"),
    ("Sinus tachycardia", "", "Possible left atrial abnormality"),
    ("Atrial fibrillation", "--- Recording unsuitable for analysis - please repeat ---"),
]


def write_record(
    path: Path,
    seed: int = 0,
    *,
    counts: np.ndarray | None = None,
    comments: Iterable[str] = (),
    num_samples: int = 1000,
    rate: int = 500,
    gain: int = 1000,
    leads: tuple[str, ...] = STANDARD_LEADS,
    mat: bool = False,
) -> np.ndarray:
    """Write a record in format 16, as `.dat` or in a `.mat` like the challenges'; returns its integers (leads, time).

    Args:
        counts: its integers (time, leads); None: noise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if counts is None:
        counts = np.random.default_rng(seed).integers(-900, 900, (num_samples, len(leads)))
    counts, num_samples = counts.astype("<i2"), len(counts)
    name, suffix, form, head = (path.name, ".mat", "16+24", b"\0" * 24) if mat else (path.name, ".dat", "16", b"")
    lines = [f"{name} {len(leads)} {rate} {num_samples}"]
    for lead, checksum in zip(leads, counts.sum(axis=0, dtype=np.int64) % 65536, strict=True):
        lines.append(f"{name}{suffix} {form} {gain}/mV 16 0 0 {checksum} 0 {lead}")
    path.with_suffix(".hea").write_text("\n".join([*lines, *(f"#{comment}" for comment in comments), ""]))
    path.with_suffix(suffix).write_bytes(head + counts.tobytes())
    return counts.T


def write_csn(folder: Path, number: int, **options) -> Path:
    """A tree like Chapman-Shaoxing-Ningbo's, with ten records per folder."""
    for record in range(1, number + 1):
        path = folder / "WFDBRecords" / "01" / f"{record // 10:03d}" / f"JS{record:05d}"
        comments = [f"Age: {record % 100}", "Sex: Female", "Dx: 426783006,59118001", "Rx: Unknown"]
        write_record(path, record, comments=comments, mat=True, **options)
    return folder


def write_table(path: Path, rows: list[Mapping[str, object]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


def mimic_path(patient: int, study: int) -> str:
    return f"files/p{str(patient)[:4]}/p{patient}/s{study}/{study}"


def record_row(patient: int, study: int) -> dict[str, object]:
    return {
        "subject_id": patient,
        "study_id": study,
        "file_name": study,
        "ecg_time": "2180-07-23 08:44:00",
        "path": mimic_path(patient, study),
    }


def report_row(patient: int, study: int, lines: tuple[str, ...]) -> dict[str, object]:
    padded = [*lines, *[""] * (18 - len(lines))]
    return {
        "subject_id": patient,
        "study_id": study,
        "cart_id": 7,
        **{f"report_{number}": line for number, line in enumerate(padded)},
        "rr_interval": 800,
    }


def write_mimic(folder: Path, number: int = 12) -> Path:
    """Two studies per patient, with the rows of the two tables in different orders."""
    studies = [(10_000_000 + number // 2, 40_000_000 + number) for number in range(number)]
    for patient, study in studies:
        write_record(folder / mimic_path(patient, study), study, leads=MIMIC_LEADS, gain=200)
    write_table(folder / "record_list.csv", [record_row(*study) for study in studies])
    reports = [report_row(*study, MIMIC_REPORTS[study[1] % 3]) for study in studies]
    random.Random(0).shuffle(reports)
    write_table(folder / "machine_measurements.csv", reports)
    return folder


def assert_same_dataset(first: Path, second: Path) -> None:
    """The same rows in the same order, the same files, and the same counts and skipped records."""
    one, other = load_dataset_folder(first), load_dataset_folder(second)
    for split in one:
        assert one[split].to_list() == other[split].to_list()
    names = sorted(path.relative_to(first) for path in first.rglob("*"))
    assert names == sorted(path.relative_to(second) for path in second.rglob("*"))
    for name in names:
        if (first / name).is_file() and name.name != "state.json":  # which holds a random number
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
