# SPDX-License-Identifier: Apache-2.0
"""One model on the records of one task: its features, what is fitted to them, and what is measured.

Shapes: R test records, C classes, S seeds, E embedding width.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from cgdmer.evaluation.abstention import coverage_rows
from cgdmer.evaluation.as_published import published_probes
from cgdmer.evaluation.decisions import decisions
from cgdmer.evaluation.linear_probe import few_records_per_class, fraction_of_records
from cgdmer.evaluation.measures import CLASSIFIER, MAIN_MEASURES, ZERO_SHOT
from cgdmer.evaluation.patients import patient_groups
from cgdmer.evaluation.readouts.readout import Fitted, LabeledFeatures, Readout
from cgdmer.evaluation.results import Measured
from cgdmer.evaluation.robustness import DISTURBANCES
from cgdmer.evaluation.splits import (
    LabeledRows,
)
from cgdmer.evaluation.statistics import best_thresholds, measure
from cgdmer.evaluation.tasks import Task
from cgdmer.evaluation.transported import transported_points
from cgdmer.families import extractor_of
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import RecordFeatures, embed_prompts, reasons
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.operating_points import OperatingPoint
from cgdmer.inference.scorers import ClassifierHead
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.models.prompt_findings import meaning_of

NUM_SEEDS = 5  # draws of a share below 1


@dataclass(frozen=True)
class Parts:
    """The records of one task by their use; without training records, nothing is fitted."""

    test: LabeledRows
    validation: LabeledRows | None
    train: LabeledRows | None

    def with_columns(self, columns: Sequence[int]) -> "Parts":
        """Only these classes. The records of the others stay: they are negative for these."""

        def kept(part: LabeledRows) -> LabeledRows:
            return replace(part, labels=part.labels[:, columns])

        validation = None if self.validation is None else kept(self.validation)
        return Parts(kept(self.test), validation, None if self.train is None else kept(self.train))


class ModelOnTask:
    """One model on one task. Its measures go into `measures` and `scores`; features are computed once per part."""

    def __init__(
        self,
        model: ECGPreTrainedModel,
        processor: ECGProcessor | ECGFeatureExtractor,
        task: Task,
        parts: Parts,
        wordings: list[tuple[str, ...]] | None,
        cache: EmbeddingCache,
        readouts: Sequence[Readout],
        seed: int,
        described: str,
    ):
        self.model, self.processor, self.task, self.parts = model, processor, task, parts
        self.cache, self.readouts, self.seed, self.described = cache, readouts, seed, described
        self.wordings = wordings
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
                if measured := self._measured_on(mask):
                    rows.append({"name": name, **measured})
            if rows:
                families[what] = rows
        return families

    def _measured_on(self, kept_R: np.ndarray) -> dict[str, Measured]:
        """The main measures on some of the test records; empty if no class has both positive and negative ones."""
        test = self.parts.test
        labels = test.labels[kept_R]
        if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
            return {}
        patients = [patient for patient, kept in zip(test.patients, kept_R, strict=True) if kept]
        return {
            name: measure(labels, self.scores[name][:, kept_R], self.task.class_names, patients)
            for name in MAIN_MEASURES
            if name in self.scores  # the published probe has none
        }

    def answers(self) -> np.ndarray | None:
        """(R, C) the scores that the pipeline would give; None without a text tower or classifier."""
        if self.direct is None:
            return None
        if self.head is not None:
            scores = self.head.scores(self._logits(self.test))
        else:
            scores = self.model.score_logits(torch.from_numpy(self._direct_scores(self.test)[0])).sigmoid()
        answers: np.ndarray = scores.numpy()
        return answers

    def decisions(self, answers: np.ndarray | None) -> dict[str, dict[str, Any]]:
        """What the main measure's scores are worth, see `cgdmer.evaluation.decisions`."""
        main = next((name for name in MAIN_MEASURES if name in self.scores), None)
        if main is None:
            return {}
        test = self.parts.test
        scores = self.scores[main].mean(axis=0) if answers is None else answers
        return decisions(test.labels, scores, self.task.class_names, test.patients, answers, self.seed)

    def coverage(self, familiarity: Familiarity) -> list[dict[str, Any]]:
        """Of a text model, embeds are compared with those of training; of another, its features."""
        features = self.test.pooled if self.test.embeds is None else self.test.embeds
        return coverage_rows(familiarity(features), self._measured_on)

    def transported(self, points: Mapping[str, OperatingPoint], answers: np.ndarray) -> dict[str, dict[str, Any]]:
        """See `cgdmer.evaluation.transported`. A class is the finding that one of its wordings is taken for."""
        names, test = self.task.class_names, self.parts.test
        if self.wordings is None:
            finding_of_class = {name: name for name in names if name in points}
            scores = {name: answers[:, names.index(name)] for name in finding_of_class}
        else:
            findings, finding_of_class = self.processor.findings, {}
            for name, texts in zip(names, self.wordings, strict=True):
                meanings = [meaning_of(text, findings) for text in texts]
                taken = [one.finding or one.text for one in meanings if not one.negated]
                if known := [finding for finding in taken if finding in points]:
                    finding_of_class[name] = known[0]
            wanted = sorted(set(finding_of_class.values()))
            scores = dict(zip(wanted, self._scores_of_texts(wanted).T, strict=True)) if wanted else {}
        return transported_points(points, finding_of_class, scores, test.labels, names, test.patients)

    def _scores_of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(R, texts) as the pipeline gives them."""
        embeds_PE = embed_prompts(self.model, self.processor, [(text,) for text in texts])
        logits_RP = self.model.score_logits(torch.from_numpy(self.test.embeds @ embeds_PE.T))
        scores: np.ndarray = logits_RP.sigmoid().numpy()
        return scores

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
