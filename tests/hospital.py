# SPDX-License-Identifier: Apache-2.0
"""A hospital's export as the guide has it: 60 recordings of simulated patients in seven formats, and their table."""

from pathlib import Path

import numpy as np

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation.cohort import simulate_record
from clinic_writers import write_aecg, write_dicom, write_edf, write_muse
from recordings import write_wfdb

NUMBER = 60
UNREADABLE = (7, 21, 45)  # damaged on the way
CONDITIONS = {"AF": "atrial_fibrillation", "LBBB": "left_bundle_branch_block", "": "sinus_rhythm"}
REPORTS = {"AF": "Atrial fibrillation; no P waves", "LBBB": "Left bundle branch block", "": ""}
HEADER = "ECG file;MRN;Report;AF;LBBB;Cart;Age;Sex"


def label_of(number: int) -> str:
    return ("AF", "LBBB", "")[number % 3]


def write_hospital(folder: Path) -> None:
    """Write `export/` and `labels.csv` to a folder.

    Two recordings per patient. Beside the damaged files there is a row without a file and a file without a row.
    """
    export = folder / "export"
    (export / "cart 2").mkdir(parents=True)
    lines = [HEADER]
    for number in range(NUMBER):
        record = simulate_record([CONDITIONS[label_of(number)]], seed=number, sampling_rate=500)
        name = _write(export, number, record)
        label = label_of(number)
        flags = f"{int(label == 'AF')};{int(label == 'LBBB')}"
        age = "> 89" if number % 10 == 0 else f"{30 + number % 50},5"
        lines.append(f'{name};{number // 2:05d};"{REPORTS[label]}";{flags};{number % 2 + 1};{age};{"FMw"[number % 3]}')
    lines.append("90000;00099;;0;0;1;50;F")
    (export / "readme.txt").write_text("Export of two carts.\n")
    (folder / "labels.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")


def _write(export: Path, number: int, record: ECGRecord) -> str:
    """Write a recording in the format whose turn it is; returns what the table calls it."""
    counts = np.rint(record.signal * 200).astype(np.int16)
    name = f"{number:05d}"
    suffix = (".hea", ".DCM", ".edf", ".xml", ".XML", ".csv", ".npy")[number % 7]
    path = export / f"{name}{suffix}"
    if suffix == ".hea":
        path = export / "cart 2" / path.name
        write_wfdb(record, path.with_suffix(""))
    elif suffix == ".csv":
        np.savetxt(path, 5 * counts.T, fmt="%d", delimiter=";", header=";".join(STANDARD_LEADS), comments="")
    elif suffix == ".npy":
        np.save(path, 5 * counts)
    else:
        write = {".DCM": write_dicom, ".edf": write_edf, ".xml": write_aecg, ".XML": write_muse}[suffix]
        write(path, counts, 5.0, 500, STANDARD_LEADS)
    if number in UNREADABLE:
        path.write_bytes(path.read_bytes()[:40])
    return str(number) if number % 4 == 1 else path.name if number % 4 else name  # Excel dropped zeros
