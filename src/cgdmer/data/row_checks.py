# SPDX-License-Identifier: Apache-2.0
"""What must hold for every row of a dataset, whoever made it: its numbers agree with each other and with its bytes."""

import math
from collections.abc import Mapping
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from cgdmer.models.errors import CorpusError
from cgdmer.models.units import MOST_LEADS

PREPARE_AGAIN = "Prepare the dataset again."
_OF_LEADS = ("lead_names", "gain", "baseline")  # one entry per lead
_FILLED = ("record_id", "signal", "num_leads", "num_samples", "sampling_rate", "fingerprint", *_OF_LEADS)
_LISTS = ("statements", "labels")
_BYTES_PER_SAMPLE = 2


def check_rows(rows: datasets.Dataset, where: str) -> None:
    """Check all rows, in seconds for a million of them: offsets and numbers are read, but no signal.

    Args:
        rows: with this package's columns, of the right types.
        where: what the rows are, for the message.

    Raises:
        CorpusError: a row contradicts itself, or the memory layout of the table is damaged.
    """
    start = 0
    try:
        rows.data.validate(full=True)  # an offset that leads out of its buffer would crash the process
        for batch in rows.data.to_batches():
            for fault, wrong in _faults(batch):
                found = pc.index(wrong, True).as_py()
                if found >= 0:
                    record_id = batch.column("record_id")[found].as_py()
                    raise CorpusError(_message(f"{where}: row {start + found}, record {record_id!r}", fault))
            start += len(batch)
    except pa.ArrowException as error:
        raise CorpusError(_message(where, f"its table is damaged ({str(error)[:200]})")) from error


def check_row(row: Mapping[str, Any]) -> None:
    """As `check_rows`, for a row by itself, of any types.

    Raises:
        CorpusError: it contradicts itself, or a value is of another type.
    """
    try:
        fault = _fault_of(row)
    except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
        fault = f"its values are not of the right types ({error})"
    if fault is not None:
        raise CorpusError(_message(f"record {str(row['record_id'])[:100]!r}", fault))


def _message(who: str, fault: str) -> str:
    return f"{who}: {fault}. The dataset is damaged. {PREPARE_AGAIN}"


def _faults(batch: pa.RecordBatch) -> list[tuple[str, pa.Array]]:
    """Each kind of fault, and which rows have it."""
    columns = {name: batch.column(name) for name in (*_FILLED, *_LISTS)}
    faults = [(f"{name} is missing", pc.is_null(columns[name])) for name in (*_FILLED, *_LISTS)]
    leads, samples = (columns[name].cast(pa.int64()) for name in ("num_leads", "num_samples"))
    faults.append(("num_leads is out of range", pc.or_(pc.less(leads, 1), pc.greater(leads, MOST_LEADS))))
    faults.append(("num_samples is negative", pc.less(samples, 0)))
    stated = pc.multiply(pc.multiply(leads, samples), _BYTES_PER_SAMPLE)  # below 2**63, as both are 32-bit numbers
    stored = pc.binary_length(columns["signal"]).cast(pa.int64())
    faults.append((_SIZE, pc.not_equal(stored, stated)))
    for name in _OF_LEADS:
        lengths = pc.list_value_length(columns[name]).cast(pa.int64())
        faults.append((f"{name} has not one entry per lead", pc.not_equal(lengths, leads)))
    statements, labels = (pc.list_value_length(columns[name]) for name in _LISTS)
    both = pc.and_(pc.greater(statements, 0), pc.greater(labels, 0))
    faults.append((_PAIRED, pc.and_(both, pc.not_equal(statements, labels))))
    rate = columns["sampling_rate"]
    faults.append(("sampling_rate is no rate", pc.invert(pc.and_(pc.is_finite(rate), pc.greater(rate, 0.0)))))
    for name in (*_OF_LEADS, *_LISTS):
        faults.append((f"{name} has a blank entry", _rows_with(columns[name], pc.is_null)))
    faults.append(("a gain is zero or no number", _rows_with(columns["gain"], _is_no_gain)))
    return [(fault, pc.fill_null(wrong, False)) for fault, wrong in faults]


_PAIRED = "statements and labels are not pairs"
_SIZE = "its signal has another size than the stated leads and samples"


def _is_no_gain(values: pa.Array) -> pa.Array:
    return pc.or_(pc.equal(values, 0.0), pc.invert(pc.is_finite(values)))


def _rows_with(lists: pa.Array, is_wrong: Any) -> pa.Array:
    """(rows,) bool: whether an entry of the row's list is wrong."""
    wrong = pc.fill_null(is_wrong(pc.list_flatten(lists)), False)
    parents = pc.filter(pc.list_parent_indices(lists), wrong)
    return pc.is_in(pa.array(range(len(lists)), pa.int64()), value_set=parents.cast(pa.int64()))


def _fault_of(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row; None if nothing is."""
    if not isinstance(row["signal"], (bytes, bytearray, memoryview)):
        return f"signal is a {type(row['signal']).__name__}, not bytes"
    leads, samples = row["num_leads"], row["num_samples"]
    if not (isinstance(leads, int) and isinstance(samples, int)):
        return "num_leads and num_samples are not whole numbers"
    if not 1 <= leads <= MOST_LEADS:
        return "num_leads is out of range"
    if samples < 0 or len(row["signal"]) != _BYTES_PER_SAMPLE * leads * samples:
        stated = f"{len(row['signal'])} bytes; {leads} leads of {samples} samples are stated"
        return f"{_SIZE} ({stated})"
    for name in _OF_LEADS:
        if len(row[name]) != leads:
            return f"{name} has not one entry per lead"
    if not all(isinstance(name, str) for column in ("lead_names", *_LISTS) for name in row[column]):
        return "a name is not a text"
    if row["statements"] and row["labels"] and len(row["statements"]) != len(row["labels"]):
        return _PAIRED
    if not (math.isfinite(row["sampling_rate"]) and row["sampling_rate"] > 0):
        return "sampling_rate is no rate"
    if not all(math.isfinite(gain) and gain != 0 for gain in row["gain"]):
        return "a gain is zero or no number"
    if not all(isinstance(value, int) and abs(value) < 2**31 for value in row["baseline"]):
        return "a baseline is no 32-bit number"
    return None
