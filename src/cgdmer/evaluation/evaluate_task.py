# SPDX-License-Identifier: Apache-2.0
"""Zero-shot classification and linear probing on a prepared dataset, always beside a randomly initialized model.

Shapes: R test records, C classes, S seeds, E embedding width.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import datasets
import numpy as np
import torch

from cgdmer.data.fingerprints import Fingerprints, Overlap, corpus_of
from cgdmer.evaluation.arguments import ProbedFeature
from cgdmer.evaluation.as_published import published_probes, published_splits
from cgdmer.evaluation.linear_probe import LinearProbe, few_records_per_class, fit_linear_probe, fraction_of_records
from cgdmer.evaluation.patients import patient_groups
from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.results import Measured, Reliability, TaskResults
from cgdmer.evaluation.robustness import DISTURBANCES
from cgdmer.evaluation.splits import LabeledRows, pooled, refuse_shared_patients, repaired_splits
from cgdmer.evaluation.statistics import best_thresholds, measure
from cgdmer.evaluation.tasks import Task
from cgdmer.families import Purpose, class_for, extractor_of
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import RecordFeatures, embed_prompts
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.processing_ecg import ECGProcessor

# What a task's records and labels are; every result names it.
PROTOCOLS = {"repaired": repaired_splits, "as_published": published_splits}
FRACTIONS = (0.01, 0.1, 1.0)  # of the training records
PROBED_FEATURES = get_args(ProbedFeature)  # of `RecordFeatures`
NUM_SEEDS = 5  # draws of a small share of them
ZERO_SHOT = "zero-shot"  # how results name this measure, and the next
LINEAR_PROBE = "linear probe 100 %"
_DRAWS_OF_GROUPS = 200  # bootstraps; a thousand for each of seven groups would take longer than the embeddings


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and what figures are drawn from.

    Attributes:
        results: as they are written.
        record_ids, patients: of the test records.
        labels: (R, C) bool of the test records.
        scores: by measure (S, R, C).
        embeddings: (R, E) the vectors compared with texts (see `RecordFeatures`), or the probes' features made unit
            vectors.
    """

    results: TaskResults
    record_ids: list[str]
    patients: list[str]
    labels: np.ndarray
    scores: dict[str, np.ndarray]
    embeddings: np.ndarray


@dataclass(frozen=True)
class _Parts:
    """The records of one task by what they are for; training and validation only where something is fitted."""

    test: LabeledRows
    validation: LabeledRows | None
    train: LabeledRows | None


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
    probed_feature: str = "pooled",
    robustness: bool = False,
    untrained: bool = True,
    trained_on: Fingerprints | None = None,
    allow_overlap: bool = False,
    cache: EmbeddingCache | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure a model and, in the same way, one of its configuration with random weights.

    Zero-shot: cosine between the record and each class's prompts, of a long recording the mean over its windows, as
    in the pipeline `zero-shot-ecg-classification`. Linear probe: fitted on shares of the training records, its
    regularization chosen on the validation records. Thresholds for F1 are chosen there too. If the
    validation split is tested as well, there is no F1, and the probe chooses on held-out training patients. Nothing
    is chosen on the test records, except by the probe of the protocol `as_published`. Records that belong to no class
    of the task have no part in it.

    A model that takes no texts is measured by linear probes alone.

    Args:
        processor: the model's own; a feature extractor where it takes no texts.
        dataset: a prepared one.
        splits: which of its splits are tested, pooled.
        prompts: a packaged set of prompts or a file (see `load_prompts`).
        protocol: `repaired`, or `as_published` for figures beside those of papers (see `as_published`): its labels,
            its splits, and its probe in place of ours.
        split_files: a folder of split files to use instead of the dataset's own splits (see `splits`).
        fractions: of the training records, above 0 and up to 1, for the linear probe; below 1 with five seeds. Empty:
            no probe, and no training features.
        shots: also probes on so many records of each class, with five seeds.
        probed_feature: what linear probes see, "pooled" (the encoder's feature) or "embeds" (the vector in the space
            shared with text, which only a model that takes texts has).
        robustness: also measure with fewer leads, at lower rates and with noise; the probe is that of all records.
        untrained: also measure a model of the same configuration with random weights.
        trained_on: what the model was pretrained on; None: it does not say.
        allow_overlap: measure although test records, or other records of test patients, were pretrained on.
        cache: of embeddings; None keeps nothing.
        seed: of the random weights, of draws and of the bootstrap.

    Raises:
        ConfigurationError: there is no such protocol, set of prompts or feature, or nothing to measure: neither texts
            nor probes.
        CorpusError: the records or split files do not suit the task, a patient is in training and test, or the model
            was pretrained on test records.
    """
    fits = bool(fractions or shots)
    _refuse_unknown(model, protocol, probed_feature, fits)
    wordings = task.prompts(prompts) if model.takes_texts else None
    parts = _parts(PROTOCOLS[protocol](dataset, task, split_files), task, splits, fits)
    overlap = _overlap(trained_on, parts.test, allow_overlap)
    how = (processor, task, parts, wordings, cache or EmbeddingCache(None), probed_feature, seed)
    run = _ModelOnTask(model, *how, "trained")
    found = run.measures(protocol, fractions, shots)
    scores = {name: value for name, (_, value) in found.items() if value is not None}
    results: TaskResults = {
        "task": task.name,
        "protocol": protocol,
        "prompts": os.fspath(prompts) if model.takes_texts else None,
        "probed_feature": probed_feature if fits else None,
        "splits": list(splits),
        "records_without_label": parts.test.unlabeled,
        "absent_records": parts.test.absent,
        "in_domain": trained_on is not None and corpus_of(parts.test.rows) in trained_on.corpora,
        "overlap": overlap,
        "measures": {name: result for name, (result, _) in found.items()},
        "untrained": {},
        "groups": run.by_group(scores),
        "robustness": run.robustness() if robustness else {},
        "calibration": dict(run.calibration()) if model.takes_texts else {},
        "command": "",
    }
    if untrained:
        beside = _ModelOnTask(untrained_like(model, seed), *how, "untrained").measures(protocol, fractions, shots)
        results["untrained"] = {name: result for name, (result, _) in beside.items()}
    record_ids = list(parts.test.rows["record_id"])
    return Evaluation(results, record_ids, parts.test.patients, parts.test.labels, scores, run.embeds)


def _refuse_unknown(model: ECGPreTrainedModel, protocol: str, probed_feature: str, fits: bool) -> None:
    """Protocols and features that there are none of, and what a model without texts cannot be asked for."""
    if protocol not in PROTOCOLS:
        raise ConfigurationError(f"there is no protocol {protocol!r}. Protocols: {', '.join(PROTOCOLS)}.")
    if not (model.takes_texts or fits):
        raise ConfigurationError(
            f"a {type(model).__name__} takes no texts, so that there is no zero-shot: measure linear probes."
        )
    if probed_feature not in PROBED_FEATURES:
        raise ConfigurationError(f"there is no feature {probed_feature!r} to probe: {' or '.join(PROBED_FEATURES)}.")
    if not model.takes_texts and probed_feature == "embeds":
        raise ConfigurationError(f"a {type(model).__name__} takes no texts and has no embeds: probe 'pooled'.")


def _overlap(trained_on: Fingerprints | None, test: LabeledRows, allowed: bool) -> Overlap | None:
    overlap = None if trained_on is None else trained_on.overlap(test.rows)
    if overlap and any(overlap.values()) and not allowed:
        raise CorpusError(
            f"the model was pretrained on {overlap['records']} of the {len(test)} test records, and on the "
            f"patients of {overlap['patients']}. Test on others, or allow the overlap (--allow_overlap) and say so."
        )
    return overlap


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
    """One model on one task; features of each part are computed once."""

    def __init__(
        self,
        model: ECGPreTrainedModel,
        processor: ECGProcessor | ECGFeatureExtractor,
        task: Task,
        parts: _Parts,
        wordings: list[tuple[str, ...]] | None,
        cache: EmbeddingCache,
        probed_feature: str,
        seed: int,
        described: str,
    ):
        self.model, self.processor, self.task, self.parts = model, processor, task, parts
        self.cache, self.probed_feature, self.seed, self.described = cache, probed_feature, seed, described
        self.prompts = None if wordings is None else embed_prompts(model, processor, wordings)
        self.test = self._features(parts.test, "test records")
        self.validation = None if parts.validation is None else self._features(parts.validation, "validation records")
        self.embeds = _unit(self.test.pooled) if self.test.embeds is None else self.test.embeds
        self._whole_probe: LinearProbe | None = None

    def _features(self, part: LabeledRows, what: str, change_name: str = "") -> RecordFeatures:
        if part.change is not None and not change_name:
            change_name = part.change.__name__
        return self.cache.features(
            self.model, extractor_of(self.processor), part, f"{self.described}, {what}", change_name
        )

    def _probed(self, features: RecordFeatures) -> np.ndarray:
        """(R, D) what linear probes see."""
        return getattr(features, self.probed_feature)

    def _measure(self, scores: np.ndarray, validation_scores: np.ndarray | None) -> tuple[Measured, np.ndarray]:
        """Of scores (S, R, C), with thresholds from the validation records where there are any."""
        thresholds = None
        if validation_scores is not None and self.parts.validation is not None:
            labels = self.parts.validation.labels
            thresholds = np.stack([best_thresholds(labels, one) for one in validation_scores])
        test = self.parts.test
        result = measure(test.labels, scores, self.task.class_names, test.patients, thresholds, seed=self.seed)
        return result, scores

    def measures(
        self, protocol: str, fractions: Sequence[float], shots: Sequence[int]
    ) -> dict[str, tuple[Measured, np.ndarray | None]]:
        """Zero-shot and probes: name -> (what `measure` returned, scores)."""
        found = self.zero_shot()
        if protocol == "as_published" and fractions:
            return found | self.published_probes()
        return found | self.probes(fractions, shots) if fractions or shots else found

    def zero_shot(self) -> dict[str, tuple[Measured, np.ndarray | None]]:
        """Nothing for a model that takes no texts."""
        if self.prompts is None:
            return {}
        validation = None if self.validation is None else self._similarity(self.validation)
        return {ZERO_SHOT: self._measure(self._similarity(self.test), validation)}

    def _similarity(self, features: RecordFeatures) -> np.ndarray:
        """(1, R, C)"""
        assert features.embeds is not None and self.prompts is not None  # the model takes texts
        return (features.embeds @ self.prompts.T)[None]

    def probes(
        self, fractions: Sequence[float], shots: Sequence[int]
    ) -> dict[str, tuple[Measured, np.ndarray | None]]:
        """A probe for each share and number of shots: name -> (what `measure` returned, scores)."""
        train = self.parts.train
        assert train is not None
        features = self._probed(self._features(train, "training records"))
        drawn: dict[str, list[np.ndarray]] = {}
        for fraction in fractions:
            seeds = range(NUM_SEEDS) if fraction < 1 else range(1)
            drawn[f"linear probe {100 * fraction:g} %"] = [
                fraction_of_records(len(train), fraction, self.seed + number) for number in seeds
            ]
        for count in shots:
            drawn[f"linear probe {count} shots"] = [
                few_records_per_class(train.labels, count, self.seed + number) for number in range(NUM_SEEDS)
            ]
        found: dict[str, tuple[Measured, np.ndarray | None]] = {}
        for name, draws in drawn.items():
            probes = [self._fit(features, rows) for rows in draws]
            result, scores = self._measure(
                np.stack([probe.scores(self._probed(self.test)) for probe in probes]),
                None
                if self.validation is None
                else np.stack([probe.scores(self._probed(self.validation)) for probe in probes]),
            )
            result["training_records"] = [len(rows) for rows in draws]
            result["regularisation"] = [probe.strength for probe in probes]
            found[name] = result, scores
            if name == LINEAR_PROBE:
                self._whole_probe = probes[0]
        return found

    def _fit(self, features: np.ndarray, rows: np.ndarray) -> LinearProbe:
        train, validation = self.parts.train, None
        assert train is not None
        if self.validation is not None and self.parts.validation is not None:
            validation = self._probed(self.validation), self.parts.validation.labels
        patients = [train.patients[row] for row in rows]
        return fit_linear_probe(features[rows], train.labels[rows], patients, validation, self.seed)

    def published_probes(self) -> dict[str, tuple[Measured, np.ndarray | None]]:
        """The published probe, which prints one number per share of the training records and nothing else."""
        train, test = self.parts.train, self.parts.test
        assert train is not None
        features = self._probed(self._features(train, "training records"))
        found: dict[str, tuple[Measured, np.ndarray | None]] = {}
        values = published_probes(features, train.labels, self._probed(self.test), test.labels)
        for percent, value in values.items():
            found[f"published probe {percent} %"] = (
                {
                    "macro_auroc": value,
                    "macro_auroc_interval": [float("nan")] * 2,
                    "records": len(test),
                    "patients": len(set(test.patients)),
                    "per_class": {},
                    "left_out": [],
                },
                None,
            )
        return found

    def by_group(self, scores: dict[str, np.ndarray]) -> dict[str, list[dict[str, Any]]]:
        """Zero-shot and the probe of all training records for women and men, young and old; in which no class has
        positives and negatives, a group is left out."""
        test, families = self.parts.test, {}
        for what, groups in patient_groups(test.rows).items():
            rows = []
            for name, mask in groups.items():
                patients = [patient for patient, kept in zip(test.patients, mask, strict=True) if kept]
                labels = test.labels[mask]
                if not (labels.any(axis=0) & ~labels.all(axis=0)).any():
                    continue
                row: dict[str, Any] = {"name": name}
                for measured in (ZERO_SHOT, LINEAR_PROBE):
                    if measured in scores:
                        own = scores[measured][:, mask]
                        row[measured] = measure(
                            *(labels, own, self.task.class_names, patients),
                            bootstrap_samples=_DRAWS_OF_GROUPS,
                            seed=self.seed,
                        )
                rows.append(row)
            if rows:
                families[what] = rows
        return families

    def calibration(self) -> Reliability:
        """Of the scores that the model gives its prompts."""
        cosines = torch.from_numpy(self._similarity(self.test)[0])
        config = self.model.config
        scores = torch.sigmoid(config.score_scale * cosines + config.score_bias)
        return reliability(self.parts.test.labels, scores.numpy())

    def robustness(self) -> dict[str, list[dict[str, Any]]]:
        """Zero-shot and the probe of all training records on disturbed test records.

        A rate that no test record exceeds is left out.
        """
        families: dict[str, list[dict[str, Any]]] = {}
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
            features = self._features(part, disturbance.name, name)
            row: dict[str, Any] = {"name": disturbance.name}
            if self.prompts is not None:
                row[ZERO_SHOT] = self._measure(self._similarity(features), None)[0]
            if self._whole_probe is not None:
                row[LINEAR_PROBE] = self._measure(self._whole_probe.scores(self._probed(features))[None], None)[0]
            families.setdefault(disturbance.family, []).append(row)
        return families


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def untrained_like(model: ECGPreTrainedModel, seed: int = 0) -> ECGPreTrainedModel:
    """The same configuration with random weights; the caller's random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return class_for(model.config, Purpose.ENCODING)(model.config).to(model.device).eval()


def main_measure(measures: Collection[str]) -> str:
    """What is shown first: zero-shot, or where that was not measured the probe of all training records."""
    return next((name for name in (ZERO_SHOT, LINEAR_PROBE) if name in measures), next(iter(measures)))
