# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification, a classifier's own labels, and readouts of the frozen encoder on a prepared dataset, along
with a randomly initialized model.

Shapes: R test records, C classes, S seeds, E embedding width.
"""

import copy
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args

import datasets
import numpy as np
import torch

from cgdmer.data.fingerprints import Fingerprints, corpus_of
from cgdmer.evaluation.arguments import ProbedFeature
from cgdmer.evaluation.as_published import published_probes, published_splits
from cgdmer.evaluation.linear_probe import few_records_per_class, fraction_of_records
from cgdmer.evaluation.patients import patient_groups
from cgdmer.evaluation.readouts.readout import Fitted, LabeledFeatures, Readout
from cgdmer.evaluation.readouts.register import READOUTS, choose_readouts
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.results import Measured, TaskResults
from cgdmer.evaluation.robustness import DISTURBANCES
from cgdmer.evaluation.splits import (
    LabeledRows,
    overlap_with_training,
    pooled,
    refuse_shared_patients,
    repaired_splits,
)
from cgdmer.evaluation.statistics import best_thresholds, measure
from cgdmer.evaluation.tasks import OWN_LABELS, Task
from cgdmer.families import Purpose, class_for, extractor_of
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import RecordFeatures, embed_prompts, reasons
from cgdmer.inference.scorers import ClassifierHead, own_labels
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.pipeline_ecg_classification import REGRESSION
from cgdmer.models.processing_ecg import ECGProcessor

# How the records and labels of a task are chosen; every result names its protocol.
PROTOCOLS = {"repaired": repaired_splits, "as_published": published_splits}
FRACTIONS = (0.01, 0.1, 1.0)  # of the training records
PROBED_FEATURES = get_args(ProbedFeature)  # of `RecordFeatures`
NUM_SEEDS = 5  # draws of a share below 1
# The names of these measures in results, and the order in which one of them is the main one.
ZERO_SHOT, CLASSIFIER, LINEAR_PROBE = "zero-shot", "classifier", f"{READOUTS['mean'].measure} 100 %"
MAIN_MEASURES = (ZERO_SHOT, CLASSIFIER, *(f"{readout.measure} 100 %" for readout in READOUTS.values()))


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


@dataclass(frozen=True)
class _Parts:
    """The records of one task by their use; without training records, nothing is fitted."""

    test: LabeledRows
    validation: LabeledRows | None
    train: LabeledRows | None

    def with_columns(self, columns: Sequence[int]) -> "_Parts":
        """Only these classes. The records of the others stay: they are negative for these."""

        def kept(part: LabeledRows) -> LabeledRows:
            return replace(part, labels=part.labels[:, columns])

        validation = None if self.validation is None else kept(self.validation)
        return _Parts(kept(self.test), validation, None if self.train is None else kept(self.train))


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
    untrained: bool = True,
    trained_on: Fingerprints | None = None,
    allow_overlap: bool = False,
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
        untrained: also measure a model of the same configuration with random weights.
        trained_on: the records that the model was pretrained on; None: unknown.
        allow_overlap: measure even if the model was pretrained on test records or on other records of their patients.
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
    chosen, readouts_left_out = choose_readouts(readouts if fits else (), model, probed_feature, protocol, fractions)
    wordings = task.prompts(prompts) if model.takes_texts else None
    whole, columns = task, _known_columns(model, task) if model.classifies else None
    parts = _parts(PROTOCOLS[protocol](dataset, task, split_files), task, splits, fits)
    if columns is not None:
        task = replace(task, class_names=tuple(task.class_names[column] for column in columns))
        parts = parts.with_columns(columns)
    overlap = overlap_with_training(trained_on, parts.test.rows, allow_overlap)
    how = (processor, task, parts, wordings, cache or EmbeddingCache(None), chosen, seed)
    run = _ModelOnTask(model, *how, "trained")
    run.measure_all(protocol, fractions, shots)
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
        "calibration": run.calibration(),
        "command": "",
    }
    if readouts_left_out:
        results["readouts_left_out"] = readouts_left_out
    if len(task.class_names) < len(whole.class_names):
        results["classes_not_scored"] = [name for name in whole.class_names if name not in task.class_names]
    if untrained:
        other = _ModelOnTask(untrained_like(model, seed), *how, "untrained")  # leaves out the same records
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


def _parts(of_task: dict[str, LabeledRows], task: Task, splits: Sequence[str], fits: bool) -> _Parts:
    test = pooled(of_task, splits, task)
    train = pooled(of_task, ("train",), task) if fits else None
    validation = of_task.get("validation")
    if "validation" in splits or validation is None or not validation.labels.any():
        validation = None
    parts = {"the training split": train, "the validation split": validation, "the test splits": test}
    refuse_shared_patients({name: part.patients for name, part in parts.items() if part is not None})
    return _Parts(test, validation, train)


class _ModelOnTask:
    """One model on one task. Its measures go into `measures` and `scores`; features are computed once per part."""

    def __init__(
        self,
        model: ECGPreTrainedModel,
        processor: ECGProcessor | ECGFeatureExtractor,
        task: Task,
        parts: _Parts,
        wordings: list[tuple[str, ...]] | None,
        cache: EmbeddingCache,
        readouts: Sequence[Readout],
        seed: int,
        described: str,
    ):
        self.model, self.processor, self.task, self.parts = model, processor, task, parts
        self.cache, self.readouts, self.seed, self.described = cache, readouts, seed, described
        self.prompts = None if wordings is None else embed_prompts(model, processor, wordings)
        self.head: ClassifierHead | None = None
        if model.classifies:  # a copy: the model's own stays on its device
            self.head = copy.deepcopy(ClassifierHead(model, task.class_names)).float().cpu()
        # The measure that needs no fitting, if the model has one.
        self.direct = ZERO_SHOT if self.prompts is not None else CLASSIFIER if self.head is not None else None
        self.left_out: list[tuple[str, str, str]] = []
        test, self.test = self._usable(parts.test, "test records")
        self.validation: LabeledFeatures | None = None
        if parts.validation is not None:
            usable, features = self._usable(parts.validation, "validation records")
            self.validation = LabeledFeatures(features, usable.labels, usable.patients)
        self.parts = replace(parts, test=test)
        self.embeds = _unit(self.test.pooled) if self.test.embeds is None else self.test.embeds
        self.measures: dict[str, Measured] = {}
        self.scores: dict[str, np.ndarray] = {}
        self._of_all_records: dict[str, Fitted] = {}  # readouts by the names of their measures

    def _features(self, part: LabeledRows, what: str, change_name: str = "") -> RecordFeatures:
        if part.change is not None and not change_name:
            change_name = part.change.__name__
        further = {feature for readout in self.readouts for feature in readout.further}
        return self.cache.features(
            self.model, extractor_of(self.processor), part, f"{self.described}, {what}", change_name, further
        )

    def _usable(self, part: LabeledRows, what: str, change_name: str = "") -> tuple[LabeledRows, RecordFeatures]:
        """The records that can be used, and their features; the others are named in `left_out`."""
        features = self._features(part, what, change_name)
        usable = features.usable
        if usable.all():
            return part, features
        ids = part.rows["record_id"]
        found = reasons(part, extractor_of(self.processor), np.flatnonzero(~usable))
        self.left_out += [(what, ids[number], reason) for number, reason in found.items()]
        return part.keep(usable), features[usable]

    def records_with_refused_leads(self) -> int | None:
        """How many test records are measured without some of their leads; None if that is not known."""
        refused = self.test.refused_leads
        return None if refused is None else int(refused.any(axis=1).sum())

    def measure_all(self, protocol: str, fractions: Sequence[float], shots: Sequence[int]) -> None:
        if self.direct is not None:
            self._add(self.direct, self._direct_scores)
        if (train := self.parts.train) is None:
            return
        train, features = self._usable(train, "training records")
        training = LabeledFeatures(features, train.labels, train.patients)
        for readout in self.readouts:
            if protocol == "as_published" and fractions:
                self._add_published_probes(readout, training)
            else:
                self._add_readout(readout, training, fractions, shots)

    def _add(self, name: str, score: Callable[[RecordFeatures], np.ndarray]) -> None:
        """Add a measure that scores features (S, R, C), with thresholds chosen on the validation records, if any."""
        scores, thresholds = score(self.test), None
        if self.validation is not None:
            of_validation = score(self.validation.features)
            thresholds = np.stack([best_thresholds(self.validation.labels, one) for one in of_validation])
        self.measures[name], self.scores[name] = self._measure(scores, thresholds), scores

    def _measure(
        self, scores: np.ndarray, thresholds: np.ndarray | None = None, test: LabeledRows | None = None
    ) -> Measured:
        test = test or self.parts.test
        return measure(test.labels, scores, self.task.class_names, test.patients, thresholds)

    def _direct_scores(self, features: RecordFeatures) -> np.ndarray:
        """(1, R, C) cosines with the prompts, or the log odds of a classifier's labels."""
        if self.head is not None:
            return self.head.log_odds(self._logits(features))[None].numpy()
        assert features.embeds is not None and self.prompts is not None  # the model takes texts
        return (features.embeds @ self.prompts.T)[None]

    @torch.no_grad()
    def _logits(self, features: RecordFeatures) -> torch.Tensor:
        assert self.head is not None
        return self.head.logits(torch.from_numpy(features.pooled))

    def _add_readout(
        self, readout: Readout, training: LabeledFeatures, fractions: Sequence[float], shots: Sequence[int]
    ) -> None:
        """Fit and measure per share and number of shots, on several draws where not all records are used."""
        drawn: dict[str, list[np.ndarray]] = {}
        for fraction in fractions:
            seeds = range(NUM_SEEDS) if fraction < 1 else range(1)
            if readout.repeated or fraction == 1:
                drawn[f"{readout.measure} {100 * fraction:g} %"] = [
                    fraction_of_records(len(training), fraction, self.seed + number) for number in seeds
                ]
        for count in shots if readout.repeated else ():
            drawn[f"{readout.measure} {count} shots"] = [
                few_records_per_class(training.labels, count, self.seed + number) for number in range(NUM_SEEDS)
            ]
        for name, draws in drawn.items():
            fitted = [readout.fit(training[rows], self.validation, self.seed) for rows in draws]
            self._add(name, partial(_scores, fitted))
            self.measures[name]["training_records"] = [len(rows) for rows in draws]
            for setting in fitted[0].chosen:
                self.measures[name][setting] = [one.chosen[setting] for one in fitted]  # type: ignore[literal-required]
            if name in MAIN_MEASURES:
                self._of_all_records[name] = fitted[0]

    def _add_published_probes(self, readout: Readout, training: LabeledFeatures) -> None:
        """Measure the published probe, which gives one number per share of the training records and nothing else."""
        test = self.parts.test
        vectors = readout.vectors(training.features), training.labels, readout.vectors(self.test), test.labels
        for percent, value in published_probes(*vectors).items():
            self.measures[f"published probe {percent} %"] = {
                "macro_auroc": value,
                "macro_auroc_interval": [float("nan")] * 2,
                "records": len(test),
                "patients": len(set(test.patients)),
                "per_class": {},
                "left_out": [],
            }

    def by_group(self) -> dict[str, list[dict[str, Any]]]:
        """Zero-shot or the classifier, and the readouts of all training records, by sex and age.

        Groups in which no class has both positive and negative records are left out.
        """
        test, families = self.parts.test, {}
        for what, groups in patient_groups(test.rows).items():
            rows = []
            for name, mask in groups.items():
                patients = [patient for patient, kept in zip(test.patients, mask, strict=True) if kept]
                labels = test.labels[mask]
                if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
                    continue
                row: dict[str, Any] = {"name": name}
                for measured in MAIN_MEASURES:
                    if measured in self.scores:
                        row[measured] = measure(
                            labels, self.scores[measured][:, mask], self.task.class_names, patients
                        )
                if len(row) > 1:  # the published probe has no scores
                    rows.append(row)
            if rows:
                families[what] = rows
        return families

    def calibration(self) -> dict[str, Any]:
        """The calibration of the scores that the pipeline would give; empty without a text tower or classifier."""
        if self.direct is None:
            return {}
        if self.head is not None:
            scores = self.head.scores(self._logits(self.test))
        else:
            scores = self.model.score_logits(torch.from_numpy(self._direct_scores(self.test)[0])).sigmoid()
        return dict(reliability(self.parts.test.labels, scores.numpy()))

    def robustness(self) -> dict[str, list[dict[str, Any]]]:
        """Zero-shot or the classifier, and the readouts of all training records, on disturbed test records.

        Rates that no test record exceeds are left out.
        """
        families: dict[str, list[dict[str, Any]]] = {}
        if self.direct is None and not self._of_all_records:
            return families
        own = self.parts.test.change
        highest_rate = max(self.parts.test.rows["sampling_rate"])
        for disturbance in DISTURBANCES:
            if disturbance.rate is not None and highest_rate <= disturbance.rate:
                continue
            apply = disturbance.apply

            def change(record, apply=apply):
                return apply(record if own is None else own(record))

            part = replace(self.parts.test, change=change)
            name = f"{'' if own is None else own.__name__}, {disturbance.name}"
            part, features = self._usable(part, disturbance.name, name)
            row: dict[str, Any] = {"name": disturbance.name}
            if self.direct is not None:
                row[self.direct] = self._measure(self._direct_scores(features), test=part)
            for measured, fitted in self._of_all_records.items():
                row[measured] = self._measure(_scores([fitted], features), test=part)
            families.setdefault(disturbance.family, []).append(row)
        return families


def _scores(fitted: Sequence[Fitted], features: RecordFeatures) -> np.ndarray:
    """(S, R, C)"""
    return np.stack([one.scores(features) for one in fitted])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def untrained_like(model: ECGPreTrainedModel, seed: int = 0) -> ECGPreTrainedModel:
    """A model of the same configuration with random weights; the caller's random state is not changed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind = type(model) if model.classifies else class_for(model.config, Purpose.ENCODING)
        return kind(model.config).to(model.device).eval()


def main_measure(measures: Collection[str]) -> str:
    """The measure to show first: zero-shot or the classifier or, without them, a readout of all training records."""
    return next((name for name in MAIN_MEASURES if name in measures), next(iter(measures)))
