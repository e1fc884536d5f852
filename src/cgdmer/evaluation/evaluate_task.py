# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification, a classifier's own labels, and readouts of the frozen encoder on a prepared dataset, along
with a randomly initialized model.

Shapes: R test records, C classes, S seeds, E embedding width.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import datasets
import numpy as np
import torch

from cgdmer.data.fingerprints import Fingerprints, corpus_of
from cgdmer.evaluation.arguments import ProbedFeature
from cgdmer.evaluation.as_published import published_splits
from cgdmer.evaluation.model_on_task import ModelOnTask, Parts
from cgdmer.evaluation.prompt_study import prompt_study as study_prompts
from cgdmer.evaluation.readouts.register import choose_readouts
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.results import TaskResults
from cgdmer.evaluation.splits import (
    LabeledRows,
    overlap_with_training,
    pooled,
    refuse_shared_patients,
    repaired_splits,
)
from cgdmer.evaluation.tasks import OWN_LABELS, Task
from cgdmer.families import Purpose, class_for
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.operating_points import OperatingPoint
from cgdmer.inference.scorers import own_labels
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.pipeline_ecg_classification import REGRESSION
from cgdmer.models.processing_ecg import ECGProcessor

# How the records and labels of a task are chosen; every result names its protocol.
PROTOCOLS = {"repaired": repaired_splits, "as_published": published_splits}
FRACTIONS = (0.01, 0.1, 1.0)  # of the training records
PROBED_FEATURES = get_args(ProbedFeature)  # of `RecordFeatures`


@dataclass(frozen=True)
class Evaluation:
    """The results, and the data behind the figures.

    Attributes:
        results: as they are written.
        record_ids, patients: one per test record.
        labels: (R, C) bool of the test records.
        scores: (S, R, C) by measure.
        left_out: the records that could not be used, of all parts: what they were for, their ids, and the reasons.
        embeddings: (R, E) the vectors compared with texts (see `RecordFeatures`) or, if the model takes no texts, the
            pooled features scaled to unit length.
        class_names: the classes that were measured: of a classifier, those of the task that are its labels; empty:
            all of the task's.
    """

    results: TaskResults
    record_ids: list[str]
    patients: list[str]
    labels: np.ndarray
    scores: dict[str, np.ndarray]
    embeddings: np.ndarray
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    class_names: tuple[str, ...] = ()


def evaluate_task(
    model: ECGPreTrainedModel,
    processor: ECGProcessor | ECGFeatureExtractor,
    dataset: datasets.DatasetDict,
    task: Task,
    splits: Sequence[str] = ("test",),
    *,
    prompts: str | os.PathLike[str] = "ensemble",
    protocol: str = "repaired",
    split_files: str | os.PathLike[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    shots: Sequence[int] = (),
    probed_feature: ProbedFeature = "pooled",
    readouts: Sequence[str] = ("mean",),
    robustness: bool = False,
    prompt_study: bool = False,
    untrained: bool = True,
    trained_on: Fingerprints | None = None,
    allow_overlap: bool = False,
    familiarity: Familiarity | None = None,
    operating_points: Mapping[str, OperatingPoint] | None = None,
    cache: EmbeddingCache | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure a model and, in the same way, a model of the same configuration with random weights.

    Zero-shot: the cosine between the record and the prompts of each class; for a long recording the mean over its
    windows, as in the pipeline `zero-shot-ecg-classification`. Classifier: the log odds of its labels that are classes
    of the task, as in the pipeline `ecg-classification`. Readouts, such as linear probes: fitted on shares of the
    training records, with one setting each chosen on the validation records. Thresholds for F1 are chosen there too.
    If the validation split is tested as well, there is no F1, and readouts choose on held-out training patients.
    Nothing is chosen on the test records, except by the probe of the protocol `as_published`. Records without a class
    of the task are left out, and records that the feature extractor cannot use, which are counted and named. An
    encoder without texts or classifier is measured by readouts only.

    Args:
        processor: the model's own; a feature extractor if the model takes no texts.
        dataset: a prepared dataset.
        splits: the splits to test on, pooled.
        prompts: a packaged set of prompts or a file (see `load_prompts`).
        protocol: `repaired`, or `as_published` (see that module) to compare with published figures: its labels, its
            splits, and its probe instead of ours.
        split_files: a folder of split files to use instead of the splits of the dataset (see `splits`).
        fractions: shares of the training records, above 0 and up to 1, for readouts; five seeds each below 1. Empty:
            none is fitted to shares.
        shots: also fit readouts to this many records per class, with five seeds each.
        probed_feature: what `mean` and `knn` see, "pooled" (the encoder's feature) or "embeds" (the vector in the
            space shared with text, which only a model that takes texts has).
        readouts: names in `cgdmer.evaluation.readouts.register`. Those that the encoder does not allow are left out,
            and the results say so.
        robustness: also measure with fewer leads, at lower rates, and with noise; with readouts of all records.
        prompt_study: also measure zero-shot with other words, see `cgdmer.evaluation.prompt_study`.
        untrained: also measure a model of the same configuration with random weights.
        trained_on: the records that the model was pretrained on; None: unknown.
        allow_overlap: measure even if the model was pretrained on test records or on other records of their patients.
        familiarity: the model's own; None: there is no coverage against risk.
        operating_points: the model's own, by finding; None: none are tried on these records.
        cache: a cache of embeddings; None: embeddings are not kept.
        seed: of random weights and draws.

    Raises:
        ConfigurationError: the protocol, set of prompts, feature, or readout is unknown, or there is nothing to
            measure: neither texts nor a classifier nor readouts. The classifier is a regression, or knows no class of
            the task. The protocol has its own probe, and other readouts are asked for.
        CorpusError: the records or split files do not suit the task, a patient is in training and test, or the model
            was pretrained on test records.
    """
    fits = bool(fractions or shots)
    _refuse_unknown(model, protocol, probed_feature, fits)
    if prompt_study and not model.takes_texts:
        raise ConfigurationError(f"a {type(model).__name__} takes no texts, so there are no prompts to study.")
    chosen, readouts_left_out = choose_readouts(readouts if fits else (), model, probed_feature, protocol, fractions)
    wordings = task.prompts(prompts) if model.takes_texts else None
    whole, columns = task, _known_columns(model, task) if model.classifies else None
    parts = _parts(PROTOCOLS[protocol](dataset, task, split_files), task, splits, fits)
    if columns is not None:
        task = replace(task, class_names=tuple(task.class_names[column] for column in columns))
        parts = parts.with_columns(columns)
    overlap = overlap_with_training(trained_on, parts.test.rows, allow_overlap)
    how = (processor, task, parts, wordings, cache or EmbeddingCache(None), chosen, seed)
    run = ModelOnTask(model, *how, "trained")
    run.measure_all(protocol, fractions, shots)
    answers = run.answers()
    results: TaskResults = {
        "task": task.name,
        "protocol": protocol,
        "prompts": os.fspath(prompts) if model.takes_texts else None,
        "probed_feature": probed_feature if fits else None,
        "splits": list(splits),
        "records_without_label": parts.test.unlabeled,
        "absent_records": parts.test.absent,
        "unusable_records": len(parts.test) - len(run.parts.test),
        "records_with_refused_leads": run.records_with_refused_leads(),
        "in_domain": trained_on is not None and corpus_of(parts.test.rows) in trained_on.corpora,
        "overlap": overlap,
        "measures": run.measures,
        "untrained": {},
        "groups": run.by_group(),
        "robustness": run.robustness() if robustness else {},
        "calibration": {} if answers is None else dict(reliability(run.parts.test.labels, answers)),
        "decisions": run.decisions(answers),
        "coverage": [] if familiarity is None else run.coverage(familiarity),
        "operating_points": {} if answers is None else run.transported(operating_points or {}, answers),
        "command": "",
    }
    if prompt_study:
        results["prompt_study"] = study_prompts(run)
    if readouts_left_out:
        results["readouts_left_out"] = readouts_left_out
    if len(task.class_names) < len(whole.class_names):
        results["classes_not_scored"] = [name for name in whole.class_names if name not in task.class_names]
    if untrained:
        other = ModelOnTask(untrained_like(model, seed), *how, "untrained")  # leaves out the same records
        other.measure_all(protocol, fractions, shots)
        results["untrained"] = other.measures
    test = run.parts.test
    record_ids = list(test.rows["record_id"])
    of_test = (record_ids, test.patients, test.labels, run.scores, run.embeds)
    return Evaluation(results, *of_test, run.left_out, task.class_names)


def _refuse_unknown(model: ECGPreTrainedModel, protocol: str, probed_feature: str, fits: bool) -> None:
    """Refuse unknown protocols and features, and what a model without texts cannot do."""
    if protocol not in PROTOCOLS:
        raise ConfigurationError(f"there is no protocol {protocol!r}. Protocols: {', '.join(PROTOCOLS)}.")
    if model.classifies and model.config.problem_type == REGRESSION:
        raise ConfigurationError(
            f"{model.name_or_path} is a regression: it gives values, and the labels of a dataset are none. `cgdmer "
            "score` writes its values, to compare with yours."
        )
    if not (model.takes_texts or model.classifies or fits):
        raise ConfigurationError(
            f"a {type(model).__name__} takes no texts, so there is no zero-shot: measure linear probes."
        )
    if probed_feature not in PROBED_FEATURES:
        raise ConfigurationError(f"there is no feature {probed_feature!r} to probe: {' or '.join(PROBED_FEATURES)}.")
    if not model.takes_texts and probed_feature == "embeds":
        raise ConfigurationError(f"a {type(model).__name__} takes no texts and has no embeds: probe 'pooled'.")


def _known_columns(model: ECGPreTrainedModel, task: Task) -> list[int]:
    """The classes of a task that a classifier has among its labels."""
    own = own_labels(model)
    columns = [column for column, name in enumerate(task.class_names) if name in own]
    if not columns:
        raise ConfigurationError(
            f"{model.name_or_path} is a classifier without a label of the task {task.name}. Its labels: "
            f"{', '.join(own[:20])}. Classes of the task: {', '.join(task.class_names[:20])}. On the dataset's labels "
            f"that are its own: --tasks {OWN_LABELS}."
        )
    return columns


def _parts(of_task: dict[str, LabeledRows], task: Task, splits: Sequence[str], fits: bool) -> Parts:
    test = pooled(of_task, splits, task)
    train = pooled(of_task, ("train",), task) if fits else None
    validation = of_task.get("validation")
    if "validation" in splits or validation is None or not validation.labels.any():
        validation = None
    parts = {"the training split": train, "the validation split": validation, "the test splits": test}
    refuse_shared_patients({name: part.patients for name, part in parts.items() if part is not None})
    return Parts(test, validation, train)


def untrained_like(model: ECGPreTrainedModel, seed: int = 0) -> ECGPreTrainedModel:
    """A model of the same configuration with random weights; the caller's random state is not changed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = type(model) if model.classifies else class_for(model.config, Purpose.ENCODING)
        return kind(model.config).to(model.device).eval()
