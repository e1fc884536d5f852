# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification and linear probing on a prepared dataset, always beside a randomly initialised model."""

import os
from collections.abc import Sequence
from typing import Any

import datasets
import torch

from cgdmer.evaluation.as_published import published_probes, published_splits
from cgdmer.evaluation.embeddings import RecordFeatures, embed_prompts, embed_records
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.splits import LabelledRows, pooled, repaired_splits
from cgdmer.evaluation.statistics import measure
from cgdmer.evaluation.tasks import Task
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.modeling_cgdmer import CGDMERModel
from cgdmer.models.processing_ecg import ECGProcessor

# What a task's records and labels are; every result names it.
PROTOCOLS = {"repaired": repaired_splits, "as_published": published_splits}


def evaluate(
    model: CGDMERModel,
    processor: ECGProcessor,
    splits: datasets.DatasetDict,
    task: Task,
    test_splits: Sequence[str] = ("test",),
    linear_probe: bool = True,
    seed: int = 0,
    prompts: str | os.PathLike[str] = "ensemble",
    protocol: str = "repaired",
    split_files: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Measure a model and, in the same way, one of its configuration with random weights.

    Zero-shot: cosine between the record's and each class's prompts. Linear probe: fitted on all records of the
    training split. Nothing is chosen on the test splits, except by the probe of the protocol `as_published`.
    Records that belong to no class of the task have no part in it.

    Args:
        splits: a prepared dataset.
        test_splits: which of its splits are tested, pooled.
        linear_probe: also fit probes, which needs the features of the training split.
        seed: of the random weights, of the probe's held-out patients and of the bootstrap.
        prompts: a packaged set of prompts or a file (see `load_prompts`).
        protocol: `repaired`, or `as_published` for figures beside those of papers (see `as_published`): its labels,
            its splits, and its probe in place of ours.
        split_files: a folder of split files to use instead of the dataset's own splits (see `splits`).

    Returns:
        `task`, `protocol`, `prompts`, `test_splits`; `unlabelled_records`, how many were left out, and
        `absent_records`, how many the split files list beyond the dataset, each in training and test; for `zero_shot`
        and `zero_shot_untrained` what `measure` returns, and so for `linear_probe` and `linear_probe_untrained`
        (`as_published`: `published_probe` and `published_probe_untrained`, the macro AUROC by percent of the training
        records).

    Raises:
        ConfigurationError: there is no such protocol or set of prompts.
        CorpusError: the records or split files do not suit the task, or a patient is in training and test.
    """
    if protocol not in PROTOCOLS:
        raise ConfigurationError(f"there is no protocol {protocol!r}. Protocols: {', '.join(PROTOCOLS)}.")
    wordings = task.prompts(prompts)
    parts = PROTOCOLS[protocol](splits, task, split_files)
    test = pooled(parts, test_splits, task)
    train = pooled(parts, ("train",), task) if linear_probe else None
    if train is not None and (shared := set(train.patients) & set(test.patients)):
        raise CorpusError(
            f"{len(shared)} patients are in the training split and in the test splits. Split by patient."
        )
    used = {"test": test} if train is None else {"train": train, "test": test}
    results: dict[str, Any] = {
        "task": task.name,
        "protocol": protocol,
        "prompts": os.fspath(prompts),
        "test_splits": list(test_splits),
        "unlabelled_records": {name: part.unlabelled for name, part in used.items()},
        "absent_records": {name: part.absent for name, part in used.items()},
    }
    for suffix, one in (("", model), ("_untrained", untrained_like(model, seed))):
        described = "trained" if suffix == "" else "untrained"
        features = _features(test, one, processor, f"{described}, test records")
        scores = features.embeds @ embed_prompts(one, processor, wordings).T
        results[f"zero_shot{suffix}"] = measure(test.labels, scores, task.class_names, test.patients, seed=seed)
        if train is None:
            continue
        fitted = _features(train, one, processor, f"{described}, training records").pooled
        if protocol == "as_published":
            results[f"published_probe{suffix}"] = published_probes(fitted, train.labels, features.pooled, test.labels)
            continue
        probe = fit_linear_probe(fitted, train.labels, train.patients, seed=seed)
        measured = measure(test.labels, probe.scores(features.pooled), task.class_names, test.patients, seed=seed)
        results[f"linear_probe{suffix}"] = {
            **measured,
            "regularisation": probe.strength,
            "training_records": len(train.labels),
        }
    return results


def _features(part: LabelledRows, model: CGDMERModel, processor: ECGProcessor, description: str) -> RecordFeatures:
    return embed_records(model, processor.feature_extractor, part.records(), total=len(part), description=description)


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
        f"({', '.join(results['test_splits'])}), protocol {results['protocol']}, prompts {results['prompts']}",
        f"left out, in no class: {results['unlabelled_records']['test']} records",
        "",
        f"{'macro AUROC':32}{'trained':>10}  {'95 % interval':16}{'untrained':>10}",
    ]
    for name in measures:
        low, high = results[name]["macro_auroc_interval"]
        lines.append(
            f"{name.replace('_', ' '):32}{results[name]['macro_auroc']:10.3f}  {f'{low:.3f} to {high:.3f}':16}"
            f"{results[f'{name}_untrained']['macro_auroc']:10.3f}"
        )
    for percent, value in results.get("published_probe", {}).items():
        untrained = results["published_probe_untrained"][percent]
        lines.append(f"{f'published probe, {percent} %':32}{value:10.3f}  {'':16}{untrained:10.3f}")
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


__all__ = ["PROTOCOLS", "evaluate", "results_table", "untrained_like"]
