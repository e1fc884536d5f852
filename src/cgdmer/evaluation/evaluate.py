# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification and linear probing on a prepared dataset, always beside a randomly initialised model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch

from cgdmer.data.storage import row_to_record
from cgdmer.evaluation.embeddings import RecordFeatures, embed_prompts, embed_records
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.tasks import Task
from cgdmer.models.errors import CorpusError
from cgdmer.models.modeling_cgdmer import CGDMERModel
from cgdmer.models.processing_ecg import ECGProcessor


@dataclass(frozen=True)
class _Part:
    """Some splits of a dataset, pooled."""

    rows: datasets.Dataset
    labels: np.ndarray
    patients: list[str]

    @classmethod
    def of(cls, splits: datasets.DatasetDict, names: Sequence[str], task: Task) -> "_Part":
        for name in names:
            if name not in splits:
                raise CorpusError(f"the dataset has no split {name!r}. It has {', '.join(splits)}.")
        rows = datasets.concatenate_datasets([splits[name] for name in names])
        known = rows.select_columns(["labels", "patient_id", "record_id"])
        labels = task.label_matrix(row["labels"] for row in known)
        if not labels.any():
            raise CorpusError(
                f"no record of {', '.join(names)} has a label of the task {task.name}. Does it belong to this corpus?"
            )
        return cls(rows, labels, [row["patient_id"] or row["record_id"] for row in known])

    def features(self, model: CGDMERModel, processor: ECGProcessor, description: str) -> RecordFeatures:
        records = (row_to_record(row) for row in self.rows)
        return embed_records(
            model, processor.feature_extractor, records, total=len(self.rows), description=description
        )


def evaluate(
    model: CGDMERModel,
    processor: ECGProcessor,
    splits: datasets.DatasetDict,
    task: Task,
    test_splits: Sequence[str] = ("test",),
    linear_probe: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a model and, in the same way, one of its configuration with random weights.

    Zero-shot: cosine between the record's and each class's prompts. Linear probe: fitted on all records of the
    training split. Nothing is chosen on the test splits.

    Args:
        splits: a prepared dataset.
        test_splits: which of its splits are tested, pooled.
        linear_probe: also fit probes, which needs the features of the training split.
        seed: of the random weights, of the probe's held-out patients and of the bootstrap.

    Returns:
        `task`, `test_splits`, and for `zero_shot`, `zero_shot_untrained`, `linear_probe`, `linear_probe_untrained`
        what `measure` returns.
    """
    test = _Part.of(splits, test_splits, task)
    train = _Part.of(splits, ("train",), task) if linear_probe else None
    if train is not None and (shared := set(train.patients) & set(test.patients)):
        raise CorpusError(
            f"{len(shared)} patients are in the training split and in the test splits. Split by patient."
        )
    results: dict[str, Any] = {"task": task.name, "test_splits": list(test_splits)}
    for suffix, one in (("", model), ("_untrained", untrained_like(model, seed))):
        described = "trained" if suffix == "" else "untrained"
        features = test.features(one, processor, f"{described}, test records")
        prompts = embed_prompts(one, processor, list(task.prompts.values()))
        results[f"zero_shot{suffix}"] = measure(
            test.labels, features.embeds @ prompts.T, task.class_names, test.patients, seed=seed
        )
        if train is not None:
            fitted = train.features(one, processor, f"{described}, training records")
            probe = fit_linear_probe(fitted.pooled, train.labels, train.patients, seed=seed)
            measured = measure(test.labels, probe.scores(features.pooled), task.class_names, test.patients, seed=seed)
            results[f"linear_probe{suffix}"] = {
                **measured,
                "regularisation": probe.strength,
                "training_records": len(train.labels),
            }
    return results


def untrained_like(model: CGDMERModel, seed: int = 0) -> CGDMERModel:
    """The same configuration with random weights; the caller's random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CGDMERModel(model.config).to(model.device).eval()


def results_table(results: dict[str, Any]) -> str:
    """The results as text for a terminal: a line a measure, then a line a class."""
    measures = [name for name in ("zero_shot", "linear_probe") if name in results]
    lines = [
        f"{results['task']}, {results['zero_shot']['records']} records of {results['zero_shot']['patients']} patients "
        f"({', '.join(results['test_splits'])})",
        "",
        f"{'macro AUROC':32}{'trained':>10}  {'95 % interval':16}{'untrained':>10}",
    ]
    for name in measures:
        low, high = results[name]["macro_auroc_interval"]
        lines.append(
            f"{name.replace('_', ' '):32}{results[name]['macro_auroc']:10.3f}  {f'{low:.3f} to {high:.3f}':16}"
            f"{results[f'{name}_untrained']['macro_auroc']:10.3f}"
        )
    lines += [
        "",
        f"{'AUROC by class':32}{'positives':>10}" + "".join(f"{name.replace('_', ' '):>16}" for name in measures),
    ]
    for label, row in results["zero_shot"]["per_class"].items():
        few = " (few)" if row["few_positives"] else ""
        values = "".join(f"{results[name]['per_class'][label]['auroc']:16.3f}" for name in measures)
        lines.append(f"{label + few:32}{row['positives']:10}{values}")
    if results["zero_shot"]["left_out"]:
        lines.append(f"left out, without positive or negative records: {', '.join(results['zero_shot']['left_out'])}")
    return "\n".join(lines)


__all__ = ["evaluate", "results_table", "untrained_like"]
