# SPDX-License-Identifier: Apache-2.0
"""Reads the files that a visitor dropped on the page."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cgdmer.models.advice import CHOOSE_LEADS, NAME_ALL_CHANNELS, NAME_CHANNELS, STATE_ARRAY
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError, RecordFileError
from cgdmer.models.leads import known_spelling
from cgdmer.models.reading_array_file import column_names, is_array_file, read_array_file
from cgdmer.models.reading_record import read_record

UNITS = ("mV", "uV", "V")
LARGEST_MEGABYTES = 50
LONGEST_SECONDS = 3600.0  # 360 windows of 10 s: about a minute on a small machine
_ADVICE = {
    CHOOSE_LEADS: "type the leads to use under Leads (I, II, V1)",
    NAME_CHANNELS: "type which lead it is under Leads (ECG=II), if you know",
    NAME_ALL_CHANNELS: "type the names of all channels in order under Leads",
    STATE_ARRAY: (
        "Fill in rate, leads and unit (samples per second; lead names separated by commas, in the file's order; "
        f"{', '.join(UNITS)}), then press Score."
    ),
}
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
        sampling_rate: in Hz, as typed; for CSV and NPY, if they do not state it.
        lead_names: separated by commas. For NPY, and for CSV without a line of names, in the file's order. For other
            files, the leads to use if there are other channels; "ECG=II" says which lead a channel is.
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
    if not is_array_file(files[0]):
        return _read_as_files(files, files[0].name, names)
    with _advising_for_the_page(files[0].parent):
        return _read_array(files[0], sampling_rate.strip(), names, unit)


def _read_array(file: Path, sampling_rate: str, names: list[str], unit: str | None) -> ECGRecord:
    rate = None
    if sampling_rate:
        try:
            rate = float(sampling_rate)
        except ValueError as error:
            raise ECGInputError(
                f"the rate {sampling_rate!r} is not a number of samples per second. Type it as 500 or 257.5."
            ) from error
    stated, leads = _stated_and_wanted(names)
    if stated or any(known_spelling(name) for name in column_names(file)):  # which columns are meant
        return read_array_file(file, rate, unit, stated or None, leads or None)
    return read_array_file(file, rate, unit, names or None)


def _stated_and_wanted(names: list[str]) -> tuple[list[str], list[str]]:
    """From what was typed under Leads: which leads channels are ("ECG=II"), and the leads to use."""
    return [name for name in names if "=" in name], [name.rpartition("=")[2] for name in names]


@contextmanager
def _advising_for_the_page(folder: Path | str) -> Iterator[None]:
    """Gives messages advice for the page, and removes the folder, which a visitor does not know."""
    try:
        yield
    except (RecordFileError, ECGInputError) as error:
        message = str(error)
        for advice, here in _ADVICE.items():
            message = message.replace(advice, here)
        raise type(error)(message.replace(f"{folder}{os.sep}", "")) from error


def _read_as_files(files: list[Path], name: str, leads: list[str]) -> ECGRecord:
    """Read a record from copies of its files in one folder, whose path errors do not show."""
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:  # which is removed however the server ends
        for file in files:
            shutil.copyfile(file, Path(folder, file.name))
        with _advising_for_the_page(folder):
            stated, leads = _stated_and_wanted(leads)
            return read_record(Path(folder, name), leads or None, lead_names=stated or None)
