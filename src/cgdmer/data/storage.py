# SPDX-License-Identifier: Apache-2.0
"""Converts records to rows on disk and back, and loads prepared folders (written by `cgdmer.data.writing`).

A row holds the signal as little-endian int16 bytes, one lead after another, together with everything needed to turn
them back into millivolts. A binary column is read several times faster than any column of numbers, and int16 is what
recorders write: with each lead's gain and baseline the integers come back exactly.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from cgdmer.data.dataset_folder import is_plain, mapped, open_folder
from cgdmer.data.fingerprints import record_fingerprint
from cgdmer.data.row_checks import check_row, check_rows
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError, ECGInputError
from cgdmer.models.reading_wfdb import counts_to_millivolts

SPLITS = ("train", "validation", "test")

FEATURES = datasets.Features(
    {
        "record_id": datasets.Value("string"),
        "patient_id": datasets.Value("string"),
        "signal": datasets.Value("binary"),  # "<i2", (num_leads, num_samples) in C order
        "num_leads": datasets.Value("int32"),
        "num_samples": datasets.Value("int32"),
        "sampling_rate": datasets.Value("float64"),
        "lead_names": datasets.List(datasets.Value("string")),
        "gain": datasets.List(datasets.Value("float64")),
        "baseline": datasets.List(datasets.Value("int32")),
        "text": datasets.Value("string"),
        "statements": datasets.List(datasets.Value("string")),
        "labels": datasets.List(datasets.Value("string")),
        "fold": datasets.Value("int32"),
        "age": datasets.Value("float64"),
        "sex": datasets.Value("string"),
        "source": datasets.Value("string"),
        "fingerprint": datasets.Value("int64"),  # of the samples: see `cgdmer.data.fingerprints`
    }
)
_ADDED = {"source"}  # columns that datasets of earlier versions lack

_MISSING_SAMPLE = -32768  # stands for NaN in the stored signal


@dataclass(frozen=True)
class SkippedRecord:
    """A record that a corpus lists but that is not used.

    Attributes:
        record_id: as in the corpus.
        reason: what is wrong with it, in words.
        kind: the kind of reason, by which summaries count: "absent" (a listed file does not exist), "repeated" (listed
            before), "unusable" (the feature extractor refuses the signal: see `cgdmer.models.signal_checks`),
            "unreadable" (any other fault of its files), or a corpus's own, such as "short report".
    """

    record_id: str
    reason: str
    kind: str = "unreadable"


def record_to_row(record: ECGRecord) -> dict[str, Any]:
    """Convert a record to a row of `FEATURES`.

    The record's `gain` and `baseline` (None: zeros) convert millivolts to integers. A record that was read from
    integers has them. For any other signal, set a gain; its values are then rounded to 1/gain mV.

    Raises:
        ECGInputError: the record has no gain; shapes, names, and gains, or labels and statements, do not match; or a
            sample is infinite or does not fit in 16 bits at this gain.
    """
    who = f"record {record.record_id!r}"
    if record.signal.ndim != 2:
        raise ECGInputError(f"{who}: signal has shape {record.signal.shape}; it must be (leads, time).")
    num_leads, num_samples = record.signal.shape
    if record.gain is None:
        raise ECGInputError(
            f"{who}: gain is not known, so its samples are not 16-bit integers (formats wider than 16 bits have more "
            "values than int16 can hold). Set the record's gain, in units per mV, to have it rounded: 1000 keeps 1 uV."
        )
    baseline = record.baseline if record.baseline is not None else (0,) * num_leads
    for name, values in (("lead_names", record.lead_names), ("gain", record.gain), ("baseline", baseline)):
        if len(values) != num_leads:
            raise ECGInputError(f"{who}: {name} has {len(values)} entries for a signal of {num_leads} leads.")
    if record.labels and record.statements and len(record.labels) != len(record.statements):
        raise ECGInputError(
            f"{who}: {len(record.statements)} statements beside {len(record.labels)} labels. Give one statement per "
            "label, in the same order, or only one of the two."
        )
    if not all(np.isfinite(gain) and gain != 0 for gain in record.gain):
        raise ECGInputError(f"{who}: gain {record.gain} must be finite and not zero.")
    counts = np.empty((num_leads, num_samples), dtype="<i2")
    for row, samples in enumerate(record.signal.astype(np.float64)):
        missing = np.isnan(samples)
        exact = np.where(missing, 0.0, np.rint(samples * record.gain[row] + baseline[row]))
        if np.abs(exact).max(initial=0.0) > -_MISSING_SAMPLE - 1:
            raise ECGInputError(
                f"{who}: lead {record.lead_names[row]} does not fit in 16 bits at {record.gain[row]:g} units per "
                "mV. Formats wider than 16 bits are not stored as they are: set a lower gain, or leave the record out."
            )
        counts[row] = np.where(missing, _MISSING_SAMPLE, exact)
    return {
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "signal": counts.tobytes(),
        "num_leads": num_leads,
        "num_samples": num_samples,
        "sampling_rate": float(record.sampling_rate),
        "lead_names": list(record.lead_names),
        "gain": [float(gain) for gain in record.gain],
        "baseline": [int(value) for value in baseline],
        "text": record.text,
        "statements": list(record.statements),
        "labels": list(record.labels),
        "fold": None if record.fold is None else int(record.fold),
        "age": None if record.age is None else float(record.age),
        "sex": record.sex,
        "source": record.source,
        "fingerprint": record_fingerprint(counts),
    }


def row_to_record(row: Mapping[str, Any]) -> ECGRecord:
    """The inverse of `record_to_row`: the signal is float32 in mV, (leads, time), with NaN where samples are missing.

    Raises:
        CorpusError: the row lacks a column, or contradicts itself: see `check_row`.
    """
    missing = [column for column in FEATURES if column not in row and column not in _ADDED]
    if missing:
        raise CorpusError(f"the row lacks {', '.join(missing)}. Prepare the dataset again with this version.")
    check_row(row)
    num_leads, num_samples = row["num_leads"], row["num_samples"]
    counts = np.frombuffer(row["signal"], dtype="<i2").reshape(num_leads, num_samples)
    return ECGRecord(
        signal=counts_to_millivolts(counts, row["gain"], row["baseline"], [_MISSING_SAMPLE] * num_leads),
        sampling_rate=row["sampling_rate"],
        lead_names=tuple(row["lead_names"]),
        record_id=row["record_id"],
        patient_id=row["patient_id"],
        text=row["text"],
        statements=tuple(row["statements"]),
        labels=tuple(row["labels"]),
        fold=row["fold"],
        age=row["age"],
        sex=row["sex"],
        source=row.get("source"),
        gain=tuple(row["gain"]),
        baseline=tuple(row["baseline"]),
    )


@dataclass(frozen=True)
class DatasetRecords:
    """The records of a dataset's rows, converted on access.

    Attributes:
        rows: with the columns in `FEATURES`.
        change: applied to each record; None: nothing.
    """

    rows: datasets.Dataset
    change: Callable[[ECGRecord], ECGRecord] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> ECGRecord:
        record = row_to_record(self.rows[number])
        return record if self.change is None else self.change(record)


def split_of_fold(record: ECGRecord) -> str:
    """The split of a record in one of ten folds: 1 to 8 train, 9 validation, 10 test, as PTB-XL's authors recommend.

    Raises:
        CorpusError: the record's fold is not from 1 to 10.
    """
    if record.fold is None or not 1 <= record.fold <= 10:
        raise CorpusError(f"record {record.record_id!r}: its fold is {record.fold}; expected 1 to 10.")
    return split_of_fold_number(record.fold)


def split_of_fold_number(fold: int) -> str:
    """As `split_of_fold`, for a fold from 1 to 10."""
    return {9: "validation", 10: "test"}.get(fold, "train")


def load_dataset_folder(path: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load a prepared dataset, memory-mapped.

    Raises:
        CorpusError: the folder does not exist, is no dataset of this package, is damaged (see `check_rows`), lacks a
            column, or has one whose reading would open other files.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder. Write one with: cgdmer prepare")
    if not (folder / "dataset_dict.json").is_file():
        raise CorpusError(f"{folder} holds no prepared dataset (no dataset_dict.json). Write one with: cgdmer prepare")
    return open_folder(folder, check_columns)


def check_shard(path: Path) -> None:
    """Raise a CorpusError unless a file of a prepared dataset is intact, apart from the values of samples."""
    rows = datasets.Dataset(mapped(path, FEATURES), info=datasets.DatasetInfo(features=FEATURES))
    check_rows(rows, str(path))


def check_columns(features: datasets.Features, where: str) -> None:
    """Check that rows have this package's columns, with the right types. They may have others too.

    Args:
        where: what the rows are, for the message.

    Raises:
        CorpusError: a column is missing or has another type.
    """
    missing = [column for column in FEATURES if column not in features and column not in _ADDED]
    if missing:
        raise CorpusError(
            f"{where} lacks {', '.join(missing)}, so it was not written by this version of the package. "
            "Prepare it again."
        )
    foreign = [column for column in features if not is_plain(features[column])]
    if foreign:
        raise CorpusError(
            f"{where} has the column {foreign[0]} of type {type(features[foreign[0]]).__name__}, which a prepared "
            "dataset has not; reading it could open other files. Remove the column."
        )
    wrong = [column for column in FEATURES if features.get(column, FEATURES[column]) != FEATURES[column]]
    if wrong:
        raise CorpusError(
            f"{where} holds {wrong[0]} as {features[wrong[0]]}, not as {FEATURES[wrong[0]]}. Prepare it again."
        )
