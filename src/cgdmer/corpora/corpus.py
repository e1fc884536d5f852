# SPDX-License-Identifier: Apache-2.0
"""What defines a corpus: where it comes from, the list of its records, and how one of them is read."""

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

_FINEST_GAIN = 1000.0  # units per mV of a resampled signal: rounding costs at most half a microvolt
_LARGEST_COUNT = 32767


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One record on a corpus's list: where it is, and what the corpus's tables say about it.

    Attributes:
        path: relative to the corpus's folder, with "/" between parts, without suffix.
        split: "train", "validation", or "test".

    The rest is as in `ECGRecord`, and left empty by a corpus that has it in the header of each record.
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
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence on what was made of a corpus's tables, for whoever prepares it. It stands among the entries."""

    text: str


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from, and on what terms. It is stored in every dataset prepared from it."""

    name: str
    title: str
    version: str
    url: str
    license: str
    citation: str


@dataclass(frozen=True)
class Download:
    """Where PhysioNet keeps a corpus.

    Attributes:
        database: its name and version, as in the URL.
        tables: the files that list its records; empty if a `RECORDS` file in each folder does.
        folder: the corpus's folder, with a trailing "/", if it is only part of the database.
        suffixes: of the files of a record.
    """

    database: str
    tables: tuple[str, ...] = ()
    folder: str = ""
    suffixes: tuple[str, ...] = (".hea", ".dat")


@dataclass(frozen=True)
class Corpus:
    """A corpus that `prepare_corpus` supports.

    Attributes:
        splits: a sentence on how records are split.
        rows: `(raw_dir, options) -> (number of entries, iterator)`. The order of entries is the same on every
            machine; an entry that is not used is a `SkippedRecord`. `Note`s, which are not counted, may stand among
            them. Tables are checked before it returns.
        read: `(raw_dir, row, options, unknown_codes) -> record`, called in any process. For a record that cannot be
            used it returns a `SkippedRecord`; diagnosis codes missing from the tables are counted in `unknown_codes`.
        options: the names and defaults of its options. Every corpus has `sampling_rate`, in Hz.
        resamples: whether that is the rate to which records are resampled.
        download: where to fetch it from; None if it cannot be fetched.
    """

    source: Source
    splits: str
    rows: Callable[[Path, Mapping[str, Any]], tuple[int, Iterator[CorpusRow | SkippedRecord | Note]]]
    read: Callable[[Path, CorpusRow, Mapping[str, Any], Counter[str]], ECGRecord | SkippedRecord]
    options: Mapping[str, Any] = field(default_factory=lambda: {"sampling_rate": None})
    resamples: bool = True
    download: Download | None = None


def read_row(
    raw_dir: Path,
    row: CorpusRow,
    options: Mapping[str, Any],
    unknown_codes: Counter[str],
    *,
    named_in: str = "the corpus",
) -> ECGRecord | SkippedRecord:
    """Read a row's WFDB record and add what the row says about it (see `Corpus.read`).

    Args:
        named_in: the table and column that the path comes from, for messages.
    """
    try:
        record = read_wfdb(raw_dir / path_inside(row.path, named_in))
    except CGDMERError as error:
        absent = isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError))
        return SkippedRecord(row.record_id, str(error), "absent" if absent else "unreadable")
    return described_by(row, record)


def described_by(row: CorpusRow, record: ECGRecord) -> ECGRecord:
    """The record with what the row says about it."""
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
        source=row.source,
    )


def stored_gains(signal: np.ndarray) -> tuple[float, ...]:
    """For millivolts that are not integers, a gain per lead at which they fit in 16 bits: 1 uV, or coarser if needed.

    Args:
        signal: (leads, time), NaN where samples are missing.
    """
    gains = []
    for highest in np.fmax.reduce(np.abs(signal), axis=1, initial=0.0):
        finest = _FINEST_GAIN
        while highest * finest >= _LARGEST_COUNT:
            finest /= 2
        gains.append(finest)
    return tuple(gains)


def path_inside(path: str, named_in: str) -> PurePosixPath:
    """A path from a table. Raises a CorpusError if it leads out of the corpus's folder."""
    name = PurePosixPath(path)
    if not path or name.is_absolute() or ".." in name.parts or "\\" in path or "\0" in path:
        raise CorpusError(f"{named_in} names {path!r}, which is not a file inside the corpus.")
    return name


def split_of_key(key: str, *, train: int = 70, validation: int = 10) -> str:
    """The split of a patient, or of a record if its patient is unknown, by a hash that is the same on every machine.

    Args:
        key: the patient's id, so that all of a patient's records are in one split.
        train: percentage for training.
        validation: percentage for validation; the rest is for testing.
    """
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") % 100
    return "train" if place < train else "validation" if place < train + validation else "test"


def resampled(record: ECGRecord, sampling_rate: float) -> ECGRecord:
    """Resample a record with the feature extractor's polyphase filter. At its own rate it is returned as it is.

    Gaps are interpolated for the filter and missing again afterward. The new samples are not integers, so they are
    rounded when stored: to 1 uV, or more coarsely if 16 bits require it.

    Args:
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
    return replace(
        record,
        signal=signal.astype(np.float32),
        sampling_rate=float(sampling_rate),
        gain=stored_gains(signal),
        baseline=(0,) * len(signal),
    )
