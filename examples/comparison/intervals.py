# SPDX-License-Identifier: Apache-2.0
"""Macro AUROC over seeds and patients. Shapes: P probes of one model, R records, C classes, D draws."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.evaluation.statistics import FEWEST_POSITIVES, auroc_by_column, draws_of_patients
from cgdmer.models.errors import CorpusError

DRAWS = 500


def macro_aurocs(labels: np.ndarray, scores: np.ndarray, patients: Sequence[str], draws: int = DRAWS) -> np.ndarray:
    """(1 + D,) the macro AUROC of one model, averaged over probes: first of all patients, then of each draw.

    The mean is over classes with ten or more positives, or over all classes if there are none. A draw takes as many
    patients as there are, with replacement. The n-th draw is always the same, so rows can be compared draw by draw.

    Args:
        labels: (R, C) bool.
        scores: (P, R, C).
    """
    usable = labels.any(axis=0) & ~labels.all(axis=0)
    frequent = usable & (labels.sum(axis=0) >= FEWEST_POSITIVES)
    kept = frequent if frequent.any() else usable
    weights = draws_of_patients(patients, draws, seed=0)
    by_probe = [auroc_by_column(labels[:, kept], one[:, kept], weights) for one in scores]
    return np.mean([np.nanmean(one, axis=1) for one in by_probe], axis=0)


def over_seeds(of_seeds: Mapping[int, np.ndarray]) -> np.ndarray:
    """(1 + D,) the mean over seeds, from (1 + D,) of each; a draw takes as many seeds, with replacement."""
    stacked = np.stack([of_seeds[seed] for seed in sorted(of_seeds)])
    drawn = np.random.default_rng(1).integers(len(stacked), size=stacked.shape)
    drawn[:, 0] = np.arange(len(stacked))
    return np.take_along_axis(stacked, drawn, axis=0).mean(axis=0)


def draws_file(results: Path, row: str, seed: int | str) -> Path:
    """The file of draws, in a folder next to the CSV file of the results."""
    return results.with_name(f"{results.stem}_draws") / f"{row}-{seed}.safetensors"


def write_draws(path: Path, evaluations: dict[str, Evaluation]) -> None:
    """Write the draws of one row and seed by task and measure, with a digest of their records and labels."""
    tensors, records = {}, {}
    for task, one in evaluations.items():
        records[task] = hashlib.sha256("\n".join(one.record_ids).encode() + one.labels.tobytes()).hexdigest()
        for measure, scores in one.scores.items():
            tensors[f"{task}/{measure}"] = macro_aurocs(one.labels, scores, one.patients).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata=records)
    partial.replace(path)


def read_draws(results: Path) -> dict[tuple[str, str, str], dict[int, np.ndarray]]:
    """The draws by (measure, row, task), then by seed: (1 + D,).

    Raises:
        CorpusError: rows or seeds were measured on different records.
    """
    found: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    records: dict[str, str] = {}
    for path in sorted(draws_file(results, "any", 0).parent.glob("*.safetensors")):
        row, _, seed = path.stem.rpartition("-")
        with safe_open(path, "numpy") as file:
            for task, digest in (file.metadata() or {}).items():
                if records.setdefault(task, digest) != digest:
                    raise CorpusError(
                        f"{path}: its records or labels of {task} differ from those of the other files in the folder. "
                        "Measure this row again on the same dataset and splits, or give it a CSV file of its own."
                    )
            for name in file.keys():  # noqa: SIM118
                task, _, measure = name.partition("/")
                found.setdefault((measure, row, task), {})[int(seed)] = file.get_tensor(name).astype(float)
    return found
