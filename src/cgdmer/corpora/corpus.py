# SPDX-License-Identifier: Apache-2.0
"""What a corpus is here: where it comes from, the list of what to read, and how one entry of the list is read."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cgdmer.data.storage import SkippedRecord
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError
from cgdmer.models.reading_wfdb import read_wfdb
from cgdmer.models.resampling import resample, resampling_ratio

_FINEST_GAIN = 1000.0  # units per mV of a resampled signal: rounding costs half a microvolt at most
_LARGEST_COUNT = 32767


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One record that a corpus lists: where it lies, and what its tables say about it.

    Attributes:
        path: relative to the corpus's folder, parts separated by "/", without suffix.
        split: "train", "validation" or "test".

    The others are as in `ECGRecord`; a corpus that writes them into the record's own header leaves them empty here.
    """

    record_id: str
    path: str
    split: str
    patient_id: str | None = None
    text: str | None = None
    statements: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fold: int | None = None
    age: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from and on what terms; it travels with every dataset made of it."""

    name: str
    title: str
    version: str
    url: str
    licence: str
    citation: str


@dataclass(frozen=True)
class Download:
    """Where PhysioNet keeps a corpus.

    Attributes:
        database: its name and version, as they stand in the address.
        tables: the files that name its records; empty where `RECORDS` files name them, folder by folder.
        folder: of a corpus that is a part of a database, the folder that is its own, with "/" at the end.
        suffixes: of the files of a record.
    """

    database: str
    tables: tuple[str, ...] = ()
    folder: str = ""
    suffixes: tuple[str, ...] = (".hea", ".dat")


@dataclass(frozen=True)
class Corpus:
    """A corpus that `prepare_corpus` knows.

    Attributes:
        splits: a sentence on how records are divided.
        rows: `(raw_dir, options) -> (number of entries, iterator)`. The entries come in an order that is the same on
            every machine; one that is not used comes as a `SkippedRecord`. Tables are checked before it returns.
        read: `(raw_dir, row, options, unknown_codes) -> record`, called in any process. A record that cannot be used
            comes as a `SkippedRecord`; diagnosis codes that no table knows are counted in `unknown_codes`.
        options: the names of its options with their defaults. `sampling_rate`, in Hz, is among those of every corpus.
        download: where it can be fetched from; None: nowhere.
    """

    source: Source
    splits: str
    rows: Callable[[Path, Mapping[str, Any]], tuple[int, Iterator[CorpusRow | SkippedRecord]]]
    read: Callable[[Path, CorpusRow, Mapping[str, Any], Counter[str]], ECGRecord | SkippedRecord]
    options: Mapping[str, Any] = field(default_factory=lambda: {"sampling_rate": None})
    download: Download | None = None


def read_row(raw_dir: Path, row: CorpusRow, named_in: str = "") -> ECGRecord | SkippedRecord:
    """Read a row's WFDB record and add what the row knows.

    Args:
        raw_dir: the corpus's folder.
        row: what to read.
        named_in: the table and column that gave the path, for messages.
    """
    try:
        record = read_wfdb(raw_dir / path_inside(row.path, named_in))
    except CGDMERError as error:
        absent = isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError))
        return SkippedRecord(row.record_id, str(error), "absent" if absent else "unreadable")
    return replace(
        record,
        record_id=row.record_id,
        patient_id=row.patient_id,
        text=row.text,
        statements=row.statements,
        labels=row.labels,
        fold=row.fold,
        age=row.age,
        sex=row.sex,
    )


def path_inside(path: str, named_in: str) -> PurePosixPath:
    """A path that a table names. Raises a CorpusError when it leads out of the corpus's folder."""
    name = PurePosixPath(path)
    if not path or name.is_absolute() or ".." in name.parts or "\\" in path or "\0" in path:
        raise CorpusError(f"{named_in or 'the corpus'} names {path!r}, which is no file inside the corpus.")
    return name


def split_of_key(key: str, *, train: int = 70, validation: int = 10) -> str:
    """A split for a patient (or a record whose patient is not known), by a hash that is the same on every machine.

    Args:
        key: the patient's id: all records of a patient fall into one split.
        train: percentage for training.
        validation: percentage for validation; the rest is for testing.
    """
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") % 100
    return "train" if place < train else "validation" if place < train + validation else "test"


def resampled(record: ECGRecord, sampling_rate: float) -> ECGRecord:
    """The record at another rate, by the polyphase filter of the feature extractor.

    Missing samples are bridged for the filter and missing again afterwards. The new samples are no integers, so
    storing rounds them: to 1 uV, or as coarsely as 16 bits make necessary.

    Args:
        record: any record; it comes back as it is when it has that rate already.
        sampling_rate: Hz.
    """
    ratio = resampling_ratio(record.sampling_rate, sampling_rate)
    if ratio == 1:
        return record
    missing = np.isnan(record.signal)
    signal = record.signal.astype(np.float64)
    times = np.arange(signal.shape[1])
    for lead, gaps in zip(signal, missing, strict=True):
        lead[gaps] = np.interp(times[gaps], times[~gaps], lead[~gaps]) if not gaps.all() else 0.0
    signal = resample(signal, record.sampling_rate, sampling_rate)
    nearest = np.rint(np.arange(signal.shape[1]) / float(ratio)).astype(int).clip(max=len(times) - 1)
    signal[missing[:, nearest]] = np.nan
    gain = []
    for lead in signal:
        highest = float(np.abs(lead[~np.isnan(lead)]).max(initial=0.0))
        finest = _FINEST_GAIN
        while highest * finest >= _LARGEST_COUNT:
            finest /= 2
        gain.append(finest)
    return replace(
        record,
        signal=signal.astype(np.float32),
        sampling_rate=float(sampling_rate),
        gain=tuple(gain),
        baseline=(0,) * len(gain),
    )
