# SPDX-License-Identifier: Apache-2.0
"""How often 95 % intervals hold the true value, in simulated test sets of which it is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--samples 300] [--seed 0]

Prints three Markdown tables, those of `docs/guides/evaluate.md`, in about ten minutes on one core.

The first two are of `cgdmer.evaluation.statistics.measure`. Labels and scores are normal variables, parts of which
records share with their patient and classes with each other, so errors are correlated. The true value of a class is
that of an infinite sample with the same prevalence. F1 is at a threshold that is not chosen on the sample. The true
macro value is the mean over the classes that the sample has. In brackets: what percentiles of draws of patients hold
in a third of the samples; classes that were not drawn drop out of the mean. Under p < 0.05: the share of samples in
which two equally good models have it.

The third is of `examples/comparison/intervals.py`, in which three seeds of a row differ: their quality is normal.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from cgdmer.evaluation.estimates import Estimates, difference_of_means, estimates
from cgdmer.evaluation.statistics import METRIC_NAMES, auroc_by_column, draws_of_patients

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "comparison"))
from intervals import macro_aurocs, over_seeds


@dataclass(frozen=True)
class Population:
    """Labels and scores of records.

    Attributes:
        prevalences: (C,) of the classes.
        qualities: (C,), by how many standard deviations scores of positive records are higher.
        missed: the share of positive records whose scores are not higher.
        per_patient: how many records a patient has on average.
    """

    name: str
    records: int
    prevalences: np.ndarray
    qualities: np.ndarray
    missed: float = 0.0
    per_patient: int = 1

    @property
    def thresholds(self) -> np.ndarray:
        return (ndtri(1 - self.prevalences) + self.qualities) / 2

    def true_values(self) -> dict[str, np.ndarray]:
        """(C,) by metric."""
        grid = np.linspace(-7, 12, 20_000)[:, None]
        density = np.exp(-(grid**2) / 2)
        higher = np.exp(-((grid - self.qualities) ** 2) / 2)
        of_positives = (1 - self.missed) * higher + self.missed * density
        of_positives /= of_positives.sum(axis=0)
        positives, negatives = self._rates(grid)
        found = self.prevalences * positives
        precision = found / (found + (1 - self.prevalences) * negatives)
        hit, false = self._rates(self.thresholds)
        return {
            "auroc": (of_positives * (1 - negatives)).sum(axis=0),
            "auprc": (of_positives * precision).sum(axis=0),
            "f1": 2 * self.prevalences * hit / (self.prevalences * (1 + hit) + (1 - self.prevalences) * false),
            "sensitivity": hit,
            "specificity": 1 - false,
        }

    def _rates(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shares of positive and of negative records above the thresholds."""
        negatives = ndtr(-thresholds)
        return (1 - self.missed) * ndtr(self.qualities - thresholds) + self.missed * negatives, negatives

    def sample(self, random: np.random.Generator, models: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (R, C), scores (models, R, C), and the patient of each record (R,)."""
        sizes = random.integers(1, 2 * self.per_patient, size=self.records)  # the mean is per_patient
        patients = np.repeat(np.arange(self.records), sizes)[: self.records]

        def noise(patient: float, class_of_patient: float, record: float, rest: float) -> np.ndarray:
            """(R, C) with variance one, of which these parts are shared."""
            of_patients = patients.max() + 1
            num_classes = len(self.prevalences)
            return (
                np.sqrt(patient) * random.normal(size=(of_patients, 1))[patients]
                + np.sqrt(class_of_patient) * random.normal(size=(of_patients, num_classes))[patients]
                + np.sqrt(record) * random.normal(size=(self.records, 1))
                + np.sqrt(rest) * random.normal(size=(self.records, num_classes))
            )

        labels = noise(0.15, 0.45, 0.05, 0.35) > ndtri(1 - self.prevalences)
        found = labels & (noise(0, 0.5, 0, 0.5) > ndtri(self.missed))
        common = noise(0.15, 0.3, 0.1, 0.45)
        own = [np.sqrt(0.7) * common + np.sqrt(0.3) * noise(0.15, 0.3, 0.1, 0.45) for _ in range(models)]
        return labels, np.stack([self.qualities * found + one for one in own]), patients


def population(
    name: str, records: int, classes: int, rarest: float, most: float, quality: float, **more: float
) -> Population:
    qualities = quality + np.random.default_rng(0).uniform(-0.5, 0.5, classes)
    return Population(name, records, np.geomspace(rarest, most, classes), qualities, **more)  # type: ignore[arg-type]


POPULATIONS = [
    population("5 classes, all frequent", 500, 5, 0.1, 0.5, 1.5, per_patient=2),
    population("20 classes, a third rare", 1000, 20, 0.003, 0.3, 1.8),
    population("30 classes, half rare, poor scores", 1000, 30, 0.003, 0.2, 0.7),
    population("20 classes, good scores", 2000, 20, 0.005, 0.3, 3.0, per_patient=2),
    population("10 classes, a quarter of positives missed", 2000, 10, 0.002, 0.5, 1.8, missed=0.25, per_patient=2),
    population("6 rare classes, a quarter missed", 4000, 6, 0.001, 0.05, 1.5, missed=0.25, per_patient=3),
    population("70 classes, half rare", 680, 70, 0.004, 0.5, 1.8),
]
SPREADS = (0.0, 0.05, 0.1, 0.2, 0.5)  # of the quality of seeds, whose mean is 1.5
DRAWS = 200  # of patients
RARE = 10  # positive patients; classes with fewer are called rare here


def coverage_of(one: Population, samples: int, seed: int) -> dict[str, float]:
    """The shares of samples in which macro values, and values of classes by themselves, are in their intervals."""
    random, truth, held = np.random.default_rng(seed), one.true_values(), defaultdict(list)
    for number in range(samples):
        labels, scores, patients = one.sample(random, models=2)
        usable = labels.any(axis=0) & ~labels.all(axis=0)
        labels, scores, cuts = labels[:, usable], scores[..., usable], one.thresholds[None, usable]
        found = estimates(labels, scores[:1], patients, cuts)
        for metric, values in found.items():
            true = truth[metric][usable]
            held[metric].append(holds(values, range(len(true)), true.mean()))
            for column, own in enumerate(true):
                rare = "rare" if values.patients[column] < RARE else "frequent"
                held[f"{metric}, {rare} class"].append(holds(values, [column], own))
        _, ends, p_value = difference_of_means(found["auroc"], estimates(labels, scores[1:], patients)["auroc"])
        held["difference"].append(ends[0] <= 0 <= ends[1])
        held["p < 0.05"].append(p_value < 0.05)
        of_draws = percentiles(labels, scores[0], patients, cuts[0], number) if number < samples // 3 else {}
        for metric, (low, high) in of_draws.items():
            held[f"{metric}, percentiles"].append(low <= truth[metric][usable].mean() <= high)
    return {name: float(np.mean(one)) for name, one in held.items()}


def middle_of(draws: np.ndarray) -> np.ndarray:
    return np.percentile(draws, [2.5, 97.5])


def holds(values: Estimates, columns: range | list[int], true: float) -> bool:
    value, (low, high) = values.mean_of(columns)
    assert low <= value <= high
    return low <= true <= high


def percentiles(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, cuts: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Of macro values in draws of patients; a class that was not drawn drops out of the mean."""
    times = draws_of_patients(list(patients), DRAWS, seed)[1:].astype(float)
    positives, called = times @ labels, scores >= cuts
    with np.errstate(invalid="ignore"):
        f1 = np.where(positives > 0, 2 * times @ (labels & called) / (positives + times @ called), np.nan)
        auprc = np.full_like(f1, np.nan)
        for column in range(labels.shape[1]):
            order = np.argsort(-scores[:, column])
            hits = times[:, order] * labels[order, column]
            precision = np.cumsum(hits, axis=1) / np.maximum(np.cumsum(times[:, order], axis=1), 1)
            auprc[:, column] = (precision * hits).sum(axis=1) / positives[:, column]
    by_class = {"auroc": auroc_by_column(labels, scores, times), "auprc": auprc, "f1": f1}
    return {metric: middle_of(np.nanmean(one, axis=1)) for metric, one in by_class.items()}


def coverage_over_seeds(spread: float, samples: int, seed: int, seeds: int = 3) -> dict[str, float]:
    """Of the mean over seeds of a row, and of the difference of two rows that are equally good."""
    random, held = np.random.default_rng(seed), defaultdict(list)
    one = population("", 500, 5, 0.1, 0.5, 1.5, per_patient=2)
    true = float(ndtr(one.qualities / np.sqrt(2 + spread**2)).mean())  # the mean over all seeds
    for _ in range(samples):
        labels, scores, patients = one.sample(random, models=2 * seeds)
        scores = scores + spread * random.normal(size=(2 * seeds, 1, 1)) * labels
        of_seeds = [macro_aurocs(labels, scores[[model]], list(patients), DRAWS) for model in range(2 * seeds)]
        low, high = over_seeds(dict(enumerate(of_seeds[:seeds]))).interval()
        held["macro AUROC"].append(low <= true <= high)
        difference = over_seeds({number: of_seeds[number] - of_seeds[number + seeds] for number in range(seeds)})
        low, high = difference.interval()
        held["difference"].append(low <= 0 <= high)
        held["p < 0.05"].append(difference.p_value() < 0.05)
        stacked = np.stack(of_seeds)
        for name, mean in {
            "macro AUROC, percentiles": percentiles_over_seeds(stacked[:seeds], random) - true,
            "difference, percentiles": percentiles_over_seeds(stacked[:seeds] - stacked[seeds:], random),
        }.items():
            low, high = middle_of(mean)
            held[name].append(low <= 0 <= high)
    return {name: float(np.mean(one)) for name, one in held.items()}


def percentiles_over_seeds(of_seeds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(D,) means over drawn seeds in each draw of patients, from (S, 1 + D)."""
    draws = of_seeds[:, 1:]
    return np.take_along_axis(draws, random.integers(len(draws), size=draws.shape), axis=0).mean(axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    of_sets = {one.name: coverage_of(one, options.samples, options.seed) for one in POPULATIONS}
    of_spreads = {f"{one}": coverage_over_seeds(one, options.samples, options.seed) for one in SPREADS}
    macro = {metric: f"macro {name}" for metric, name in METRIC_NAMES.items()}
    classes = {
        f"{metric}, {kind} class": f"{METRIC_NAMES[metric]}, {kind} class"
        for metric in ("auroc", "auprc", "f1")
        for kind in ("frequent", "rare")
    }
    print_table("test set", of_sets, macro | {"p < 0.05": "p < 0.05"})
    print_table("test set", of_sets, classes)
    print_table("spread of seeds", of_spreads, {name: name for name in ("macro AUROC", "difference", "p < 0.05")})


def print_table(head: str, found: dict[str, dict[str, float]], columns: dict[str, str]) -> None:
    lines = [[head, *columns.values()], ["---"] * (len(columns) + 1)]
    lines += [[name, *(in_words(one, column) for column in columns)] for name, one in found.items()]
    print(*(f"| {' | '.join(line)} |" for line in lines), "", sep="\n", flush=True)


def in_words(found: dict[str, float], name: str) -> str:
    """A share, and in brackets that of percentiles."""
    before = found.get(f"{name}, percentiles")
    return f"{found[name]:.3f}" + (f" ({before:.3f})" if before is not None else "") if name in found else ""


if __name__ == "__main__":
    main()
