# SPDX-License-Identifier: Apache-2.0
"""A prepared dataset from recordings and a table that a Python program holds."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from cgdmer.corpora.corpus import stored_gains
from cgdmer.corpora.table_rows import TableColumns, TableRow, read_rows, with_splits
from cgdmer.data.storage import SkippedRecord, load_dataset_folder, split_of_fold_number
from cgdmer.data.writing import write_dataset
from cgdmer.inference.embeddings import Records
from cgdmer.inference.given_records import ArrayDescription, given_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError
from cgdmer.models.signal_checks import check_usable

_BETWEEN_LABELS = "\x01"  # joins the labels of a cell that is a list
_NOTHING_SAID = dict.fromkeys(("patient_id", "text", "fold", "source", "age", "sex"), None) | {
    "split": "",
    "labels": (),
}


def dataset_from_records(
    records: Any,
    table: Any,
    output_dir: str | os.PathLike[str],
    *,
    sampling_rate: float | None = None,
    lead_names: Sequence[str] | None = None,
    unit: str | None = None,
    overwrite: bool = False,
    **columns: Any,
) -> datasets.DatasetDict:
    """Write n recordings and what a table says about them to a dataset folder, as `cgdmer prepare folder` does.

    `output_dir` is then a `dataset` for `FinetuningArguments`, `EvaluationArguments`, and `score_recordings`; its
    splits are recordings for `ECGClassifier` and `ECGEmbedder`.

    Args:
        records: paths, `ECGRecord`s, arrays of shape (leads, time), or an array of shape (n, leads, time). What an
            `ECGRecord` says about itself holds unless the table says otherwise.
        table: a pandas `DataFrame`, or a dict of columns, with one row per recording, in the same order; None: nothing
            but what the records say.
        output_dir: must not exist or be empty, unless `overwrite`.
        sampling_rate, lead_names, unit: of the arrays: Hz, one name per row, and "mV", "uV", or "V".
        overwrite: replace `output_dir` if it holds a dataset.
        columns: which columns hold what: `patient_column="MRN"`, `label_columns=["AF", "LBBB"]`, ... (see
            `cgdmer.corpora.table_rows.TableColumns`). A column `file_column` holds the ids of the records. Cells with
            labels may be lists.

    Returns:
        The dataset, loaded, with the splits train, validation, and test. Recordings that cannot be used are listed in
        `skipped.csv` of the folder, and what was made of the table in `notes` of its `summary.json`.

    Raises:
        ECGInputError: `records` is not as described.
        CorpusError: the table does not fit, or no recording could be used; or `output_dir` cannot be written.

    Example:
        >>> records = list(cgdmer.simulate_cohort(20, sampling_rate=100))
        >>> table = {"MRN": [number // 2 for number in range(len(records))], "AF": [0] * len(records)}
        >>> options = {"patient_column": "MRN", "label_columns": ["AF"]}
        >>> dataset = cgdmer.dataset_from_records(records, table, "own", **options)
        >>> sum(dataset.num_rows.values()) == len(records)
        True
    """
    given = given_records(records, ArrayDescription(sampling_rate, lead_names, unit))
    rows, notes = _rows(table, TableColumns(**columns), len(given))
    ids = _ids(records, rows)
    known = [_with_known(row, _described(records, number)) for number, row in enumerate(rows)]
    splits, of_splits = with_splits(known, ids)
    split_of = dict(zip(ids, splits, strict=True))
    write_dataset(
        _read(given, known, ids),
        output_dir,
        splits=lambda record: split_of[record.record_id],
        description="Recordings from Python.",
        total=len(given),
        overwrite=overwrite,
        notes=[*notes, *of_splits],
    )
    return load_dataset_folder(output_dir)


def _read(given: Records, rows: Sequence[TableRow], ids: Sequence[str]) -> Iterator[ECGRecord | SkippedRecord]:
    for number, (row, record_id) in enumerate(zip(rows, ids, strict=True)):
        if row.fault is not None:
            yield SkippedRecord(record_id, f"row {row.number}: {row.fault}", "unusable row")
            continue
        try:
            record = given[number]
            check_usable(record)
        except CGDMERError as error:
            yield SkippedRecord(record_id, str(error))
            continue
        said = {name: value for name, value in row.said.items() if name != "split" and value not in (None, ())}
        gains = record.gain or stored_gains(record.signal)
        baseline = record.baseline or (0,) * len(gains)
        # Statements belong to the record's own labels, one by one.
        statements = () if said.get("labels", record.labels) != record.labels else record.statements
        yield replace(record, **said, record_id=record_id, gain=gains, baseline=baseline, statements=statements)


def _rows(table: Any, columns: TableColumns, count: int) -> tuple[list[TableRow], list[str]]:
    """A row per recording, and sentences on what was made of the table."""
    if table is None:
        return [TableRow(number, "", dict(_NOTHING_SAID)) for number in range(1, count + 1)], []
    cells = {str(name): list(table[name]) for name in (table.columns if hasattr(table, "columns") else table)}
    lengths = {len(column) for column in cells.values()}
    if lengths != {count}:
        raise CorpusError(
            f"the table has {' and '.join(map(str, sorted(lengths))) or 'no'} rows for {count} recordings. Pass one "
            "row per recording, in the same order."
        )
    found = columns.found(list(cells), "the table")
    of_labels = [value for name in found.label_columns or () for value in cells[name]]
    if any(isinstance(value, (list, tuple, set)) for value in of_labels):
        found = replace(found, label_separator=_BETWEEN_LABELS)
    texts = {name: [_text(value) for value in cells[name]] for name in found.used()}
    read = read_rows(({name: texts[name][row] for name in texts} for row in range(count)), found, "the table")
    return read.rows, read.notes


def _text(value: Any) -> str:
    """A cell as a CSV file would have it; a missing one becomes a word that stands for it there, such as nan."""
    if isinstance(value, (list, tuple, set)):
        return _BETWEEN_LABELS.join(map(str, sorted(value) if isinstance(value, set) else value))
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def _ids(records: Any, rows: Sequence[TableRow]) -> list[str]:
    """The ids of the recordings: what the table says, else their own, else their files' names, else numbers."""
    ids: list[str] = []
    taken: set[str] = set()
    for number, row in enumerate(rows):
        record_id = row.file or _own_id(records, number) or str(number)
        if record_id in taken:
            if row.file:
                raise CorpusError(f"the table names the record {record_id!r} twice. Give each its own id.")
            record_id = f"{record_id} ({number})"
        taken.add(record_id)
        ids.append(record_id)
    return ids


def _own_id(records: Any, number: int) -> str:
    item = records[number] if isinstance(records, (list, tuple)) else None
    if isinstance(item, (str, os.PathLike)):
        return Path(item).stem
    return getattr(item, "record_id", "")


def _described(records: Any, number: int) -> Any:
    """What the program holds: an `ECGRecord` or a row of a dataset says something about itself."""
    if isinstance(records, (list, tuple, datasets.Dataset)):
        return records[number]
    return None


def _with_known(row: TableRow, item: Any) -> TableRow:
    """The row with the patient and the fold that a record states, if the table does not."""
    say = item.get if isinstance(item, Mapping) else lambda name: getattr(item, name, None)
    said = dict(row.said)
    for name in ("patient_id", "fold"):
        if said[name] is None:
            said[name] = say(name)
    if not said["split"] and said["fold"] is not None and 1 <= said["fold"] <= 10:
        said["split"] = split_of_fold_number(said["fold"])
    return replace(row, said=said)
