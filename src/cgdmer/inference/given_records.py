# SPDX-License-Identifier: Apache-2.0
"""Recordings in any form that a user has: paths, records, arrays, rows of a dataset."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np

from cgdmer.data.row_checks import check_rows
from cgdmer.data.storage import DatasetRecords, check_columns, row_to_record
from cgdmer.inference.embeddings import Records
from cgdmer.models.ecg_record import ECGRecord, is_record
from cgdmer.models.errors import ECGInputError
from cgdmer.models.millivolts import in_millivolts
from cgdmer.models.missing_samples import numbers_of
from cgdmer.models.reading_array_file import is_array_file
from cgdmer.models.reading_record import read_record
from cgdmer.models.units import EXPECTED_UNITS, millivolts_per
from cgdmer.models.wfdb_header import header_path_of

_EXPECTED = (
    "Pass a list with one entry per recording: a path (WFDB, DICOM, aECG, MUSE XML, EDF, CSV, NPY), an ECGRecord, or "
    "a row of a prepared dataset; or pass the dataset; or an array of shape (recordings, leads, time), with rate, "
    "leads and unit (sampling_rate, lead_names and unit) in the constructor."
)


@dataclass(frozen=True)
class ArrayDescription:
    """What an array does not say about itself.

    Attributes:
        sampling_rate: Hz.
        lead_names: one per row of an array.
        unit: "mV", "uV" or "V".
    """

    sampling_rate: float | None = None
    lead_names: Sequence[str] | None = None
    unit: str | None = None

    @property
    def missing(self) -> list[str]:
        return [name for name, value in vars(self).items() if value is None]

    @property
    def has_one_lead(self) -> bool:
        """Whether an array may be (time,)."""
        return not isinstance(self.lead_names, (str, type(None))) and len(self.lead_names) == 1

    def check(self) -> None:
        if self.missing:
            raise ECGInputError(
                f"X holds arrays, but the constructor was not given {' and '.join(self.missing)}, which is not "
                'guessed. Pass, for example, sampling_rate=500, lead_names=["I", "II"], unit="mV".'
            )
        if not isinstance(self.unit, str) or millivolts_per(self.unit) is None:
            raise ECGInputError(
                f"unit is {self.unit!r}; expected {EXPECTED_UNITS}. Divide ADC integers by their gain (units per mV) "
                'and pass unit="mV".'
            )
        if isinstance(self.lead_names, str):
            raise ECGInputError(
                f"lead_names is the string {self.lead_names!r}; expected a list with one name per row."
            )

    def record(self, array: Any) -> ECGRecord:
        """The record of an array of shape (leads, time), or (time,) of one lead."""
        assert self.sampling_rate is not None and self.lead_names is not None and self.unit is not None
        signal_mv = in_millivolts(np.atleast_2d(numbers_of(array)), self.unit)
        return ECGRecord(signal_mv, self.sampling_rate, tuple(self.lead_names))


@dataclass(frozen=True)
class GivenRecords:
    """The records of a list, each read or converted on access."""

    items: list[Any] = field(repr=False)
    arrays: ArrayDescription

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> ECGRecord:
        item = self.items[number]
        if isinstance(item, (str, os.PathLike)):
            return read_record(item, **(vars(self.arrays) if is_array_file(item) else {}))
        if isinstance(item, Mapping):
            return row_to_record(item)
        return item if is_record(item) else self.arrays.record(item)


def given_records(X: Any, arrays: ArrayDescription) -> Records:
    """The records that a user passed. No record is read yet, but every path must exist.

    Args:
        X: a sequence of paths, `ECGRecord`s, arrays of shape (leads, time), and rows of a prepared dataset; an array
            of shape (records, leads, time); a prepared dataset, or a slice of one. With a single lead, arrays may be
            (time,), and one of several records (records, time).
        arrays: describes the arrays in X.

    Raises:
        ECGInputError: X is something else, or empty; an entry is something else, or a path that does not exist;
            `arrays` is incomplete, or is given although X holds no arrays.
        CorpusError: the dataset lacks a column.
    """
    if isinstance(X, (GivenRecords, DatasetRecords)):
        return X
    if isinstance(X, datasets.Dataset):
        check_columns(X.features, "X")
        check_rows(X, "X")
        records: Records = DatasetRecords(X)
        holds_arrays = holds_tables = False
    else:
        dimensions = (1, 2) if arrays.has_one_lead else (2,)
        items = _items(X, dimensions)
        kinds = [_is_array(number, item, dimensions) for number, item in enumerate(items)]
        records, holds_arrays = GivenRecords(items, arrays), any(kinds)
        holds_tables = any(isinstance(item, (str, os.PathLike)) and is_array_file(item) for item in items)
    if not len(records):
        raise ECGInputError(f"X is empty: it holds 0 sample(s); at least one recording is needed. {_EXPECTED}")
    if holds_arrays:
        arrays.check()
    elif len(arrays.missing) < 3 and not holds_tables:
        given = next(name for name, value in vars(arrays).items() if value is not None)
        raise ECGInputError(
            f"{given} is for arrays, but X holds none: files, ECGRecords and datasets state their own. Leave it out; "
            "if a file is wrong, pass dataclasses.replace(read_record(path), ...)."
        )
    return records


def _items(X: Any, dimensions: tuple[int, ...]) -> list[Any]:
    if isinstance(X, (str, os.PathLike)) or is_record(X):
        raise ECGInputError("X is a single recording. Pass a list: [recording].")
    if isinstance(X, Mapping):  # a slice of a dataset is a dict of columns
        try:
            return [dict(zip(X, values, strict=True)) for values in zip(*X.values(), strict=True)]
        except (TypeError, ValueError) as error:
            raise ECGInputError(
                f"X is a mapping, but not of columns of the same length ({error}). {_EXPECTED}"
            ) from error
    if getattr(X, "ndim", 1) == 2 and 1 in dimensions:
        return list(numbers_of(X, "X"))
    if getattr(X, "ndim", 1) not in (1, 3):
        raise ECGInputError(f"X is a {type(X).__name__} of shape {tuple(X.shape)}. {_EXPECTED}")
    if isinstance(X, Iterator) or not hasattr(X, "__len__"):
        raise ECGInputError(f"X is a {type(X).__name__}, which has no length. {_EXPECTED}")
    return list(X)


def _is_array(number: int, item: Any, dimensions: tuple[int, ...]) -> bool:
    """Whether an entry is an array; raises ECGInputError if it is no recording."""
    if isinstance(item, (str, os.PathLike)):
        if not os.path.exists(item) and not os.path.isfile(header_path_of(item)):
            raise ECGInputError(
                f"X[{number}] is {os.fspath(item)!r}, but there is no such file, nor {header_path_of(item)}. Pass the "
                "path of a recording; for a WFDB record, that of its header."
            )
        return False
    if isinstance(item, Mapping) or is_record(item):
        return False
    if not hasattr(item, "__array__") or np.ndim(item) not in dimensions:
        shape = f" of shape {np.shape(item)}" if hasattr(item, "__array__") else ""
        raise ECGInputError(f"X[{number}] is a {type(item).__name__}{shape}. {_EXPECTED}")
    numbers_of(item, f"X[{number}]")
    return True
