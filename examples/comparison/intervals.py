# SPDX-License-Identifier: Apache-2.0
"""Macro AUROC over seeds and patients. Shapes: S seeds, P probes of one model, R records, C classes."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet

from cgdmer.evaluation.statistics import auroc_by_column, draws_of_patients
from cgdmer.models.errors import CorpusError

_FIRST_COLUMNS = ("record_id", "patient_id", "class", "label")


class Scores:
    """What the seeds of one row gave the records of one task.

    Args:
        files: `scores.parquet`, one a seed.

    Attributes:
        records, patients: (R,)
        labels: (R, C) bool.
        by_measure: (S, P, R, C) for each measure.

    Raises:
        CorpusError: the files are about different records.
    """

    def __init__(self, files: list[Path]):
        tables = [pyarrow.parquet.read_table(file) for file in files]
        first = {name: tables[0].column(name).to_numpy() for name in _FIRST_COLUMNS}
        shape = (-1, len(set(first["class"])))
        self.labels = first["label"].reshape(shape)
        self.records, self.patients = (first[name].reshape(shape)[:, 0] for name in ("record_id", "patient_id"))
        for file, table in zip(files, tables, strict=True):
            if not all(np.array_equal(table.column(name).to_numpy(), first[name]) for name in _FIRST_COLUMNS):
                raise CorpusError(f"{file} and {files[0]} are not about the same records. Evaluate again.")
        names = [name for name in tables[0].column_names if name not in _FIRST_COLUMNS]
        columns: dict[str, list[str]] = defaultdict(list)
        for name in names:
            columns[re.sub(r" \(\d+\)$", "", name)].append(name)
        self.by_measure = {
            measure: np.array([[table.column(name).to_numpy().reshape(shape) for name in several] for table in tables])
            for measure, several in columns.items()
        }


def macro_aurocs(scores: Scores, measure: str, samples: int) -> np.ndarray:
    """(1 + samples,) the macro AUROC, mean over seeds and probes: first as it is, then of each draw.

    A draw takes as many patients and as many seeds as there are, with replacement. The patients of the n-th draw are
    always the same, those of another row as well. A draw leaves out a class without positive or negative records.
    """
    by_seed, num_seeds = scores.by_measure[measure], len(scores.by_measure[measure])
    usable = scores.labels.any(axis=0) & ~scores.labels.all(axis=0)
    labels, by_seed = scores.labels[:, usable], by_seed[..., usable]
    random = np.random.default_rng(1)

    def of(drawn: np.ndarray | slice, seeds: np.ndarray) -> float:
        areas = {
            seed: np.mean([np.nanmean(auroc_by_column(labels[drawn], one[drawn])) for one in by_seed[seed]])
            for seed in np.unique(seeds)
        }
        return float(np.mean([areas[seed] for seed in seeds]))

    draws = [of(slice(None), np.arange(num_seeds))]
    for drawn in draws_of_patients(scores.patients, samples, seed=0):
        draws.append(of(drawn, random.integers(num_seeds, size=num_seeds)))
    return np.array(draws)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 %, of what `macro_aurocs` returned, or of the difference of two such."""
    low, high = np.percentile(draws[1:], (2.5, 97.5))
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided: the share of draws on the other side of zero, doubled, as in `paired_difference`."""
    tail = min((differences[1:] <= 0).sum(), (differences[1:] >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / len(differences)))


__all__ = ["Scores", "interval", "macro_aurocs", "p_value"]
