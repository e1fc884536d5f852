# SPDX-License-Identifier: Apache-2.0
"""Reads the files that a visitor dropped on the page."""

import os
import shutil
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError, RecordFileError
from cgdmer.models.leads import standard_lead_names
from cgdmer.models.reading_record import read_record
from cgdmer.models.units import MILLIVOLTS_PER_UNIT

UNITS = ("mV", "uV", "V")
LARGEST_MEGABYTES = 50
LONGEST_SECONDS = 3600.0  # 360 windows of 10 s: about a minute on a small machine
_TABLES = (".csv", ".npy")
_EXPECTED = "Drop a WFDB pair (.hea and .dat), or one file: DICOM, HL7 aECG, GE MUSE XML, EDF, CSV or NPY."


def read_uploads(
    paths: Sequence[str | os.PathLike[str]],
    sampling_rate: str = "",
    lead_names: str = "",
    unit: str | None = None,
) -> ECGRecord:
    """Read one recording.

    Args:
        paths: the files of one WFDB record, in any folders; or one DICOM, HL7 aECG, GE MUSE XML, EDF, CSV or NPY file.
        sampling_rate: in Hz, as typed; for CSV and NPY, which do not state it.
        lead_names: separated by commas. For CSV and NPY, in the file's order; the first line of a CSV file may name
            them instead. For other files, the leads to use if there are other channels.
        unit: "mV", "uV" or "V"; for CSV and NPY.

    Raises:
        RecordFileError: a file is missing, damaged, too large, or of another kind.
        ECGInputError: rate, leads or unit are missing or do not fit, or the recording is longer than an hour.
    """
    record = _read(paths, sampling_rate, lead_names, unit)
    if record.signal.shape[1] > LONGEST_SECONDS * record.sampling_rate > 0:
        hours = record.signal.shape[1] / record.sampling_rate / 3600
        raise ECGInputError(
            f"{record.record_id} is {hours:.3g} hours long; the page takes at most one. Export a part of it, or cut "
            'a WFDB record: wfdb.rdrecord(path, sampfrom=0, sampto=100000, physical=False).wrsamp(write_dir="part") '
            "writes its first 100000 samples to the folder part."
        )
    return record


def _read(paths: Sequence[str | os.PathLike[str]], sampling_rate: str, lead_names: str, unit: str | None) -> ECGRecord:
    files = [Path(path) for path in paths]
    for file in files:
        if file.stat().st_size > LARGEST_MEGABYTES * 1e6:
            raise RecordFileError(f"{file.name} is larger than {LARGEST_MEGABYTES} MB. Cut the recording into parts.")
    names = [name.strip() for name in lead_names.split(",") if name.strip()]
    headers = [file for file in files if file.suffix == ".hea"]
    if len(headers) > 1:
        raise RecordFileError(f"there are {len(headers)} headers (.hea). Drop one record at a time.")
    if headers:
        return _read_as_files(files, headers[0].name, names)
    if len(files) != 1:
        dropped = ", ".join(file.name for file in files) or "nothing"
        raise RecordFileError(f"a recording cannot be read from {dropped}. {_EXPECTED}")
    if files[0].suffix.lower() not in _TABLES:
        return _read_as_files(files, files[0].name, names)
    if files[0].suffix.lower() == ".npy":
        values = _read_npy(files[0])
    else:
        values, header = _read_csv(files[0])
        if header and names and standard_lead_names(header) != standard_lead_names(names):
            raise ECGInputError(f"{files[0].name} names its leads {', '.join(header)}, not {', '.join(names)}.")
        names = names or header
    return _record_of(values, files[0], sampling_rate, names, unit)


def _read_as_files(files: list[Path], name: str, leads: list[str]) -> ECGRecord:
    """Read a record from copies of its files in one folder, whose path errors do not show."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copyfile(file, Path(folder, file.name))
        try:
            return read_record(Path(folder, name), leads or None)
        except (RecordFileError, ECGInputError) as error:
            raise type(error)(str(error).replace(f"{folder}{os.sep}", "")) from error


def _read_npy(file: Path) -> np.ndarray:
    try:
        values = np.load(file, allow_pickle=False, mmap_mode="r")  # refuses a shape larger than the file
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise RecordFileError(f"{file.name} is not an NPY file of numbers. Write it with numpy.save.") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "iuf":
        shape = getattr(values, "shape", None)
        raise RecordFileError(f"{file.name} holds an array of shape {shape}; expected numbers of shape (leads, time).")
    return values


def _read_csv(file: Path) -> tuple[np.ndarray, list[str]]:
    """The numbers of a CSV file, and the names in its first line, if there are any."""
    try:
        with open(file, encoding="utf-8-sig") as lines:
            first = lines.readline()
            delimiter = next((mark for mark in (",", ";", "\t") if mark in first), ",")
            cells = [cell.strip().strip('"') for cell in first.rstrip("\r\n").split(delimiter)]
            header = [] if all(_is_number(cell) for cell in cells) else cells
            values = np.loadtxt(chain([] if header else [first], lines), delimiter=delimiter, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise RecordFileError(f"{file.name} is not a table of numbers with one column per lead: {error}") from error
    if len(cells) > 1 and _counts_columns(cells):
        raise ECGInputError(
            f"{file.name} begins with the line {first.strip()[:60]}, which counts the columns and is not a sample. "
            "Write the lead names there, or leave it out (pandas: to_csv(header=False))."
        )
    if not values.size:
        raise RecordFileError(f"{file.name} is empty. Export the recording again.")
    return values, header


def _counts_columns(cells: list[str]) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ..., the header of a table without column names."""
    return any(cells == [str(number + start) for number in range(len(cells))] for start in (0, 1))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _record_of(values: np.ndarray, file: Path, sampling_rate: str, names: list[str], unit: str | None) -> ECGRecord:
    if not sampling_rate.strip() or not names or unit not in UNITS:
        raise ECGInputError(
            f"{file.name} does not state its rate, leads and unit. Fill in all three (samples per second; lead names "
            f"separated by commas, in the file's order; {', '.join(UNITS)}), then press Score."
        )
    if not _is_number(sampling_rate):
        raise ECGInputError(
            f"the rate {sampling_rate!r} is not a number of samples per second. Type it as 500 or 257.5."
        )
    names = standard_lead_names(names)
    if values.shape[0] != len(names):
        if values.shape[1] != len(names):
            rows, columns = values.shape
            raise ECGInputError(
                f"{file.name} has {rows} rows and {columns} columns, but {len(names)} leads are named."
            )
        values = values.T
    signal = (values * MILLIVOLTS_PER_UNIT[unit]).astype(np.float32)
    return ECGRecord(signal, float(sampling_rate), tuple(names), record_id=file.stem)
