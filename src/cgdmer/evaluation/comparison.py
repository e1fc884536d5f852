# SPDX-License-Identifier: Apache-2.0
"""Two evaluations on the same records compared, from the scores in their folders.

`scores.parquet` has a row per test record and class: `record_id`, `patient_id` (the id of the record if its patient is
unknown), `class`, `label`, and a column of scores per measure, or `linear probe 1 % (1)` and so on for a measure that
was fitted several times.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from tqdm.auto import tqdm

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.evaluation.report import aligned
from cgdmer.evaluation.results import Comparison
from cgdmer.evaluation.statistics import paired_difference
from cgdmer.files.json_types import check
from cgdmer.files.reading import failing_as, read_json_object
from cgdmer.files.tables import read_table
from cgdmer.models.errors import CorpusError

SCORES, RESULTS, LEFT_OUT = "scores.parquet", "results.json", "left_out.csv"
_LARGEST_SCORES = 2**31  # bytes; 20,000 records of 100 classes with ten columns of scores have 2 * 10**8
_LARGEST_LIST = 2**24  # bytes
_HOW = ("task", "protocol", "splits")  # must be the same; other settings may be what is compared
_FIRST_COLUMNS = ("record_id", "patient_id", "class", "label")


def write_scores(path: str | os.PathLike[str], evaluation: Evaluation, class_names: tuple[str, ...]) -> None:
    """Write the table described at the top of this module."""
    num_records, num_classes = evaluation.labels.shape
    columns: dict[str, Any] = {
        "record_id": np.repeat(evaluation.record_ids, num_classes),
        "patient_id": np.repeat(evaluation.patients, num_classes),
        "class": np.tile(class_names, num_records),
        "label": evaluation.labels.ravel(),
    }
    for name, by_seed in evaluation.scores.items():
        for number, scores in enumerate(by_seed, 1):
            columns[name if len(by_seed) == 1 else f"{name} ({number})"] = scores.ravel().astype(np.float32)
    pa.parquet.write_table(pa.table(columns), path)


def compare(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Comparison:
    """How much better the first of two evaluations is than the second on the same records (see `paired_difference`).

    A record that one of the two names in `left_out.csv`, because its model cannot use it, is left out of both.

    Args:
        first, second: folders of one task that `write_evaluation` wrote.

    Returns:
        `task`, `protocol`, `splits`, `records`, `patients`, `left_out` (how many records of the first and of
        the second only the other one could not use), and `measures`: for each measure that both have, the macro
        AUROC of the `first` and the `second`, their `difference` with its `interval` (95 %), and `p_value`.

    Raises:
        CorpusError: a folder is not an evaluation, or the two differ in task, protocol, splits, records, or labels, or
            have no measure in common.
    """
    one, other = _read(first), _read(second)
    for name in _HOW:
        if one.results[name] != other.results[name]:
            raise CorpusError(
                f"{first} has {name} {one.results[name]}, but {second} has {other.results[name]}. Compare evaluations "
                f"of the same {name}."
            )
    left_out = [len(one.labels), len(other.labels)]
    one, other = _without(one, other.left_out), _without(other, one.left_out)
    left_out = [before - len(kept.labels) for before, kept in zip(left_out, (one, other), strict=True)]
    if one.keys != other.keys:
        raise CorpusError(f"{first} and {second} do not have the same records and classes.")
    if not np.array_equal(one.labels, other.labels):
        raise CorpusError(f"{first} and {second} have different labels for the same records.")
    common = [name for name in one.scores if name in other.scores]
    if not common:
        raise CorpusError(f"{first} and {second} have no measure in common.")
    measures = {}
    for name in tqdm(common, desc="comparing", unit=" measures", leave=False):
        measures[name] = paired_difference(one.labels, one.scores[name], other.scores[name], one.patients)
    return {
        "task": one.results["task"],
        "protocol": one.results["protocol"],
        "splits": one.results["splits"],
        "records": len(one.labels),
        "patients": len(set(one.patients)),
        "left_out": left_out,
        "measures": measures,
    }


def comparison_table(compared: Comparison) -> str:
    """The result of `compare` as text for a terminal."""
    rows = [["macro AUROC", "first", "second", "first - second (95 % interval)", "p"]]
    for name, row in compared["measures"].items():
        low, high = row["interval"]
        difference = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
        rows.append([name, f"{row['first']:.3f}", f"{row['second']:.3f}", difference, p_in_words(row["p_value"])])
    counts = compared["left_out"]
    lines = [
        f"{compared['task']}, protocol: {compared['protocol']}, {compared['records']:,} records of "
        f"{compared['patients']:,} patients ({', '.join(compared['splits'])})",
        *([f"left out, because the other model cannot use them: {counts[0]} and {counts[1]}"] if any(counts) else []),
        "",
        *aligned(rows),
        "",
        "Paired, over patients; p is two-sided, of one comparison: correct it when you make many.",
        RESEARCH_USE_ONLY,
    ]
    return "\n".join(lines)


def p_in_words(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


class _How(TypedDict):
    """What results.json must say."""

    task: str
    protocol: str
    splits: list[str]


@dataclass(frozen=True)
class _Scored:
    """An evaluation read back.

    Attributes:
        results: from results.json.
        keys: the record and class of each label, sorted, so that the order of the tests does not matter.
        labels: (R, C) bool, in the order of `keys`.
        patients: one per record.
        scores: (S, R, C) by measure.
        left_out: ids of records that its model cannot use.
    """

    results: dict[str, Any]
    keys: list[tuple[str, str]]
    labels: np.ndarray
    patients: list[str]
    scores: dict[str, np.ndarray]
    left_out: frozenset[str] = frozenset()


def _without(scored: _Scored, record_ids: frozenset[str]) -> _Scored:
    """An evaluation without some records."""
    num_classes = scored.labels.shape[1]
    kept = np.array([key[0] not in record_ids for key in scored.keys[::num_classes]], dtype=bool)
    if kept.all():
        return scored
    return replace(
        scored,
        keys=[key for key in scored.keys if key[0] not in record_ids],
        labels=scored.labels[kept],
        patients=[patient for patient, keep in zip(scored.patients, kept, strict=True) if keep],
        scores={name: values[:, kept] for name, values in scored.scores.items()},
    )


def _left_out(folder: Path) -> frozenset[str]:
    """The test records in left_out.csv."""
    if not (folder / LEFT_OUT).is_file():
        return frozenset()
    rows = read_table(folder / LEFT_OUT, ("part", "record"), "Evaluate again.", largest=_LARGEST_LIST)
    return frozenset(row["record"] for row in rows if row["part"] == "test records")


def _read(folder: str | os.PathLike[str]) -> _Scored:
    where = Path(folder)
    try:
        with failing_as(CorpusError, where / RESULTS, "Evaluate again."):
            results = read_json_object(where / RESULTS)
        # A Parquet file of kilobytes can unfold to terabytes; its footer says how large it will get.
        footer = pa.parquet.read_metadata(where / SCORES)
        size = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        if max(size, 8 * footer.num_rows * footer.num_columns) > _LARGEST_SCORES:
            raise ValueError(f"{SCORES} unfolds to more than {_LARGEST_SCORES} bytes")
        table = pa.parquet.read_table(where / SCORES)
        table.validate(full=True)
        check(results, _How)
        _refuse_other_columns(table)
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    except (CorpusError, OSError, ValueError, pa.ArrowException, MemoryError) as error:
        raise CorpusError(
            f"{where} holds no evaluation that can be compared ({error}). Name the folder of a task that "
            "`cgdmer evaluate --output_dir` wrote."
        ) from error
    return replace(_scored(where, results, columns), left_out=_left_out(where))


def _refuse_other_columns(table: pa.Table) -> None:
    """Raise a ValueError unless the columns are those that `write_scores` writes."""
    for name in _FIRST_COLUMNS:
        if name not in table.column_names:
            raise ValueError(f"{SCORES} lacks {name}")
    if not table.num_rows:
        raise ValueError(f"{SCORES} has no rows")
    for column in table.schema:
        kind = pa.types.is_boolean if column.name == "label" else pa.types.is_floating
        right = pa.types.is_string if column.name in _FIRST_COLUMNS and column.name != "label" else kind
        if not right(column.type) or table.column(column.name).null_count:
            raise ValueError(f"{SCORES} holds {column.name[:100]} as {column.type}, or not for every row")


def _scored(folder: Path, results: dict[str, Any], columns: dict[str, np.ndarray]) -> _Scored:
    order = np.lexsort((columns["class"], columns["record_id"]))
    shape = (-1, len(set(columns["class"])))
    by_name: dict[str, list[np.ndarray]] = {}
    try:
        labels, patients = (columns[name][order].reshape(shape) for name in ("label", "patient_id"))
        for name, values in columns.items():
            if name not in _FIRST_COLUMNS:
                by_name.setdefault(re.sub(r" \(\d+\)$", "", name), []).append(values[order].reshape(shape))
    except ValueError as error:
        raise CorpusError(f"{folder / SCORES} lacks classes of some records. Evaluate again.") from error
    keys = list(zip(columns["record_id"][order], columns["class"][order], strict=True))
    return _Scored(results, keys, labels, list(patients[:, 0]), {name: np.stack(one) for name, one in by_name.items()})
