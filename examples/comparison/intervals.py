# SPDX-License-Identifier: Apache-2.0
"""Macro AUROC over seeds and patients. Shapes: S seeds, P probes of one model, R records, C classes, D draws."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from cgdmer.evaluation.evaluate import Evaluation
from cgdmer.evaluation.statistics import auroc_by_column, draws_of_patients
from cgdmer.models.errors import CorpusError

DRAWS = 500


def macro_aurocs(labels: np.ndarray, scores: np.ndarray, patients: Sequence[str], draws: int = DRAWS) -> np.ndarray:
    """(1 + D,) the macro AUROC of one model, mean over probes: first as it is, then of each draw.

    A draw takes as many patients as there are, with replacement: the n-th draw always the same ones, so that rows can
    be compared draw by draw. A draw leaves out a class without positive or negative records.

    Args:
        labels: (R, C) bool.
        scores: (P, R, C).
    """
    usable = labels.any(axis=0) & ~labels.all(axis=0)
    weights = draws_of_patients(patients, draws, seed=0)
    by_probe = [auroc_by_column(labels[:, usable], one[:, usable], weights) for one in scores]
    return np.mean([np.nanmean(one, axis=1) for one in by_probe], axis=0)


def over_seeds(of_seeds: np.ndarray) -> np.ndarray:
    """(1 + D,) from (S, 1 + D): the mean over seeds; in each draw, over as many seeds drawn with replacement."""
    random = np.random.default_rng(1)
    num_seeds, columns = of_seeds.shape
    seeds = random.integers(num_seeds, size=(num_seeds, columns))
    seeds[:, 0] = np.arange(num_seeds)
    return np.take_along_axis(of_seeds, seeds, axis=0).mean(axis=0)


def draws_file(results: Path, row: str, seed: int | str) -> Path:
    """Beside the CSV file of the results."""
    return results.with_name(f"{results.stem}_draws") / f"{row}-{seed}.safetensors"


def write_draws(path: Path, evaluations: dict[str, Evaluation]) -> None:
    """The draws of one row and seed by task and measure, and which records and labels they are of."""
    tensors, records = {}, {}
    for task, one in evaluations.items():
        records[task] = hashlib.sha256("\n".join(one.record_ids).encode() + one.labels.tobytes()).hexdigest()
        for measure, scores in one.scores.items():
            tensors[f"{task}/{measure}"] = macro_aurocs(one.labels, scores, one.patients).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata=records)
    partial.replace(path)


def read_draws(results: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """By measure, row and task (S, 1 + D).

    Raises:
        CorpusError: rows or seeds are about different records.
    """
    found: dict[tuple[str, str, str], list[np.ndarray]] = {}
    records: dict[str, str] = {}
    for path in sorted(draws_file(results, "any", 0).parent.glob("*.safetensors")):
        row = path.stem.rpartition("-")[0]
        with safe_open(path, "numpy") as file:
            for task, digest in (file.metadata() or {}).items():
                if records.setdefault(task, digest) != digest:
                    raise CorpusError(
                        f"{path}: its records or labels of {task} are not those of the other files in the folder. "
                        "Measure this row again on the same dataset and splits, or give it a CSV file of its own."
                    )
            for name in file.keys():  # noqa: SIM118
                task, _, measure = name.partition("/")
                found.setdefault((measure, row, task), []).append(file.get_tensor(name).astype(float))
    return {key: np.stack(of_seeds) for key, of_seeds in found.items()}


def interval(draws: np.ndarray) -> tuple[float, float]:
    """95 %, of draws as `over_seeds` returns them, or of the difference of two such."""
    low, high = np.percentile(draws[1:], (2.5, 97.5))
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Two-sided: the share of draws on the other side of zero, doubled, as in `paired_difference`."""
    tail = min((differences[1:] <= 0).sum(), (differences[1:] >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / len(differences)))


__all__ = ["draws_file", "interval", "macro_aurocs", "over_seeds", "p_value", "read_draws", "write_draws"]
