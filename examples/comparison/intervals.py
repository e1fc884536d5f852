# SPDX-License-Identifier: Apache-2.0
"""Macro AUROC over seeds and patients. Shapes: P probes of one model, R records, C classes, D draws."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

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


@dataclass(frozen=True)
class OverSeeds:
    """A mean over seeds, with the variance that it has by chance of the patients, and that by chance of the seeds."""

    value: float
    of_patients: float
    of_seeds: float
    seeds: int

    def half_width(self, level: float) -> float:
        """Half the width of the interval with this coverage: that of many patients and that of a few seeds, for which
        t has one degree of freedom less than there are seeds, add up as their squares do."""
        of_seeds = stdtrit(self.seeds - 1, (1 + level) / 2) ** 2 * self.of_seeds if self.of_seeds else 0.0
        return float(np.sqrt(ndtri((1 + level) / 2) ** 2 * self.of_patients + of_seeds))

    def interval(self) -> list[float]:
        """The low and high end of the 95% interval."""
        half = self.half_width(0.95)
        return [max(-1.0, self.value - half), min(1.0, self.value + half)]

    def p_value(self) -> float:
        """Two-sided: the interval with a coverage of 1 - p ends at zero."""
        highest = 1 - 1e-6
        if abs(self.value) >= self.half_width(highest):
            return 1 - highest if self.value else 1.0
        return 1 - float(brentq(lambda level: self.half_width(level) - abs(self.value), 0, highest))


def over_seeds(of_seeds: Mapping[int, np.ndarray]) -> OverSeeds:
    """The mean over seeds, from (1 + D,) of each, whose n-th draws are of the same patients.

    Seeds differ in the sample for two reasons: they differ, and each finds other patients hard. Both are the variance
    of seeds here, and only what patients do to all seeds alike is that of patients, so nothing counts twice. From one
    seed, the variance of seeds is unknown and left out.
    """
    stacked = np.stack([of_seeds[seed] for seed in sorted(of_seeds)])
    values, draws = stacked[:, 0], stacked[:, 1:][:, np.isfinite(stacked[:, 1:]).all(axis=0)]
    seeds, mean_of_draw = len(values), draws.mean(axis=0)
    of_patients, between = mean_of_draw.var(ddof=1), 0.0
    if seeds > 1:
        by_seed = (draws - mean_of_draw).var(axis=1, ddof=1).sum() / (seeds - 1)  # what patients do to each by itself
        of_patients, between = max(0.0, of_patients - by_seed / seeds), values.var(ddof=1)
    return OverSeeds(float(values.mean()), float(of_patients), float(between / seeds), seeds)


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
