# SPDX-License-Identifier: Apache-2.0
"""Operating points from a user's own labeled recordings: `cgdmer calibrate`.

Scores that were fitted to one hospital's patients are no probabilities at another, and its thresholds are wrong
there: findings are more or less frequent, and devices and doctors differ. A few hundred recordings of the new place
mend both.

Shapes: R records, K findings, D bootstrap draws.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.data.wordings import Wordings, load_wordings
from cgdmer.evaluation.statistics import draws_of_patients
from cgdmer.inference.embeddings import Windows, average_windows
from cgdmer.inference.operating_points import OperatingPoint, OperatingPoints
from cgdmer.inference.scorers import ZERO_SHOT_TYPE, LabelHead, Scorer, load_scorer
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import SHIPPED_MODEL, model_source

RULES = ("youden", "sensitivity", "specificity")
FEWEST = 10  # records with the finding, and records without it
_DRAWS = 500
# Of the prior, in slopes that are common to all findings (ours): ten positives alone would fit any slope.
_SLOPE_DEVIATION = 0.5
_COMMON_SLOPES = np.geomspace(0.05, 50, 61)  # that are tried
_NEWTON_STEPS = 30
_INTERVAL = (2.5, 97.5)


class Truth(NamedTuple):
    """The findings of records: the label that is scored for each, and (R, K) bool which record has it."""

    prompts: list[str]
    held: np.ndarray


def calibrate_model(
    model: str | os.PathLike[str] | None,
    output_dir: str | os.PathLike[str],
    dataset: str | os.PathLike[str],
    *,
    splits: Sequence[str] = ("validation",),
    labels: Sequence[str] | None = None,
    rule: str = "youden",
    level: float = 0.9,
    seed: int = 0,
) -> dict[str, Any]:
    """Copy a model's folder, with operating points for the findings of a dataset's records.

    Args:
        model: a folder; None: the model that comes with the package.
        output_dir: the new folder.
        dataset: written by `cgdmer prepare`.
        splits: whose records are used. Not those that the model was trained on.
        labels: of the dataset; None: all of them, and the general terms that they imply.
        rule: how each threshold is chosen: "youden" (the largest sum of sensitivity and specificity), or so that the
            "sensitivity" or the "specificity" is at least `level`.
        level: of that sensitivity or specificity.
        seed: of the bootstrap draws.

    Returns:
        `findings` (see `OperatingPoint`, by finding), `left_out` (why other labels have none), `rule`, `records`, and
        `output_dir`.

    Raises:
        ConfigurationError: the rule or level is none, the model is not a folder, or its scores exclude each other.
        CorpusError: no finding has ten records with it and ten without it, the model was trained on some of the
            records, or the output exists.

    Example:
        >>> answer = cgdmer.calibrate_model("cgdmer-tiny-ptbxl", "calibrated", "ecgs", splits=["train", "validation"])
        >>> answer["findings"]["arrhythmia"].sensitivity > 0.6
        True
    """
    if rule not in RULES:
        raise ConfigurationError(f"rule is {rule!r}; expected one of {', '.join(RULES)}.")
    if not 0 < level < 1:
        raise ConfigurationError(f"level is {level}; expected a number between 0 and 1, such as 0.9.")
    source, target = Path(model_source(model or SHIPPED_MODEL)), Path(output_dir)
    scorer, rows = open_for_calibration(source, target, dataset, splits)
    truth, left_out = truth_of(scorer, rows, labels)
    head = scorer.head(truth.prompts)
    logits_RK, usable = logits_of(scorer, head, DatasetRecords(rows))
    patients = [str(row["patient_id"] or row["record_id"]) for row in rows.select_columns(["patient_id", "record_id"])]
    patients = [one for one, kept in zip(patients, usable, strict=True) if kept]
    draws_DR = draws_of_patients(patients, _DRAWS, seed)
    points = {}
    held_RK = truth.held[usable]
    enough_K = np.minimum(held_RK.sum(axis=0), (~held_RK).sum(axis=0)) >= FEWEST
    usual_slope = common_slope(logits_RK[:, enough_K], held_RK[:, enough_K]) if enough_K.any() else 1.0
    for column, prompt in enumerate(truth.prompts):
        held_R = held_RK[:, column]
        if not enough_K[column]:
            left_out[prompt] = f"{int(held_R.sum())} of {len(held_R)} records have it"
            continue
        name = prompt if head.meanings is None else head.meanings[column].finding or prompt
        points[name] = operating_point(logits_RK[:, column], held_R, draws_DR, rule, level, usual_slope)
    if not points:
        raise CorpusError(
            f"no finding has {FEWEST} records with it and {FEWEST} without it in {', '.join(splits)} of {dataset}. "
            "Name more splits, or prepare more records."
        )
    in_words = rule if rule == "youden" else f"{rule} at least {level:g}"
    description = rows.info.description or Path(dataset).name
    shutil.copytree(source, target)
    OperatingPoints(points, in_words, description).save(target)
    return {
        "findings": points,
        "left_out": left_out,
        "rule": in_words,
        "records": int(usable.sum()),
        "output_dir": str(target),
    }


def open_for_calibration(
    source: Path, target: Path, dataset: str | os.PathLike[str], splits: Sequence[str]
) -> tuple[Scorer, Dataset]:
    """The model as it was before any calibration, and the records to calibrate it on. Raises as `calibrate_model`."""
    if not source.is_dir():
        raise ConfigurationError(f"{source} is not a folder. Download the model first: hf download {source}.")
    if target.exists():
        raise CorpusError(f"{target} exists. Name a new folder.")
    scorer = Scorer(load_scorer(source).pipeline)
    if scorer.problem_type not in (ZERO_SHOT_TYPE, "multi_label_classification"):
        raise ConfigurationError(
            f"{source} gives scores of the kind {scorer.problem_type}. Only findings that are scored each by itself "
            "have operating points."
        )
    folder = load_dataset_folder(dataset)
    if absent := [split for split in splits if split not in folder]:
        raise ConfigurationError(f"{dataset} has no split {absent[0]!r}. It has {', '.join(folder)}.")
    rows = concatenate_datasets([folder[split] for split in splits])
    trained_on = Fingerprints.of_model(str(source))
    overlap = None if trained_on is None else trained_on.overlap(rows)
    if overlap is not None and (overlap["records"] or overlap["patients"]):
        raise CorpusError(
            f"the model was trained on {overlap['records']} of these records, and on patients of "
            f"{overlap['patients'] or 0}. Scores are too good there. Name other splits."
        )
    return scorer, rows


def truth_of(scorer: Scorer, rows: Any, labels: Sequence[str] | None) -> tuple[Truth, dict[str, str]]:
    """What can be scored of the dataset's labels, and why the rest cannot."""
    described = list(rows.select_columns(["labels", "statements"]))
    given = {label for row in described for label in row["labels"]}
    if labels is not None and (absent := [label for label in labels if label not in given]):
        raise ConfigurationError(f"no record of the dataset has the label {absent[0]!r}.")
    wanted = given if labels is None else set(labels)
    if scorer.own_labels is not None:
        own = [label for label in scorer.own_labels if label in wanted]
        held = np.array([[label in row["labels"] for label in own] for row in described], dtype=bool)
        return Truth(own, held.reshape(len(described), len(own))), {
            label: "it is none of the classifier's labels" for label in sorted(wanted - set(own))
        }
    wordings = load_wordings()
    of_row = [set(findings_of_labels(row["labels"], wordings, general=labels is None)) for row in described]
    candidates = {wordings.finding(label) for label in wanted}
    if labels is None:
        candidates.update(*of_row)
    said = {wordings.finding(label): text for row in described for label, text in _stated(row)}
    prompts: dict[str, list[str]] = {}
    left_out = {}
    for finding in sorted(candidates):
        texts = [said.get(finding, ""), *wordings.of_finding.get(finding, ()), finding.replace("_", " ")]
        meanings = scorer.pipeline.meanings([text for text in dict.fromkeys(texts) if text])
        known = next((one for one in meanings if one.known is not False and not one.negated), None)
        if known is None:
            left_out[finding] = meanings[0].reason
        else:
            prompts.setdefault(known.finding or known.text, []).append(finding)
    held = np.array([[any(one in own for one in same) for same in prompts.values()] for own in of_row], dtype=bool)
    return Truth(list(prompts), held.reshape(len(described), len(prompts))), left_out


def findings_of_rows(rows: Any) -> tuple[list[str], np.ndarray]:
    """The findings that records of a dataset have and what these imply, and (R, K) bool which record has which."""
    wordings = load_wordings()
    of_row = [set(findings_of_labels(labels, wordings, general=True)) for labels in rows["labels"]]
    names = sorted(set().union(*of_row))
    held = np.array([[name in own for name in names] for own in of_row], dtype=bool)
    return names, held.reshape(len(of_row), len(names))


def findings_of_labels(labels: Sequence[str], wordings: Wordings, general: bool) -> list[str]:
    held = [wordings.finding(label) for label in labels]
    return [*held, *(wordings.general_terms(held) if general else ())]


def _stated(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from zip(row["labels"], (text.strip().rstrip(".") for text in row["statements"]), strict=False)


def logits_of(scorer: Scorer, head: LabelHead, records: DatasetRecords) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) the logits of the n records that can be used, and (R,) bool which those are."""

    def compute(windows: Windows) -> torch.Tensor:
        return head.logits(head.features(scorer.model.base_model(**windows)).float())

    found, usable = [], []
    batches = average_windows(
        *(scorer.model, compute, head.num_logits, scorer.feature_extractor, records), description="calibrating"
    )
    for errors, means in batches:
        usable += [error is None for error in errors]
        found.append(head.of_labels(means.to(scorer.device)).cpu().numpy())
    return np.concatenate(found).astype(np.float64), np.array(usable)


def operating_point(
    logits_R: np.ndarray,
    held_R: np.ndarray,
    draws_DR: np.ndarray,
    rule: str,
    level: float,
    usual_slope: float = 1.0,
) -> OperatingPoint:
    """The operating point of one finding.

    Args:
        logits_R: of the scores.
        held_R: bool, which records have the finding.
        draws_DR: how often each record counts, see `draws_of_patients`; the first row is all of them once.
        rule, level: see `calibrate_model`.
        usual_slope: see `common_slope`.
    """
    slope, intercept = platt_scaling_with_prior(logits_R, held_R, usual_slope)
    probabilities_R = expit(slope * logits_R + intercept)
    thresholds, rates = [], []
    for counts_R in draws_DR[1:]:
        drawn = counts_R > 0
        if min(held_R[drawn].sum(), (~held_R[drawn]).sum()) == 0:
            continue
        chosen = choose_threshold(probabilities_R, held_R, counts_R, rule, level)
        thresholds.append(chosen)
        positive_R = probabilities_R >= chosen
        with_R, without_R = ~drawn & held_R, ~drawn & ~held_R
        rates.append(
            (
                positive_R[with_R].mean() if with_R.any() else np.nan,
                1 - positive_R[without_R].mean() if without_R.any() else np.nan,
            )
        )
    sensitivities, specificities = np.array(rates).T
    return OperatingPoint(
        slope=slope,
        intercept=intercept,
        threshold=choose_threshold(probabilities_R, held_R, draws_DR[0], rule, level),
        threshold_interval=_interval(np.array(thresholds)),
        sensitivity=float(np.nanmean(sensitivities)),
        sensitivity_interval=_interval(sensitivities),
        specificity=float(np.nanmean(specificities)),
        specificity_interval=_interval(specificities),
        positives=int(held_R.sum()),
        records=len(held_R),
    )


def common_slope(logits_RK: np.ndarray, held_RK: np.ndarray) -> float:
    """The slope with which logistic curves fit all findings best, each with an intercept of its own.

    Scores that are on another scale than log odds, such as cosines or those of a strongly regularized probe, need a
    slope far from 1, and ten positives do not show it.
    """

    def fit(slope: float) -> float:
        values_RK = slope * logits_RK
        intercepts_K = np.zeros(values_RK.shape[1])
        for _ in range(_NEWTON_STEPS):
            chances_RK = expit(values_RK + intercepts_K)
            curvature_K = np.maximum((chances_RK * (1 - chances_RK)).sum(axis=0), 1e-6)
            steps_K = (held_RK - chances_RK).sum(axis=0) / curvature_K
            intercepts_K += np.clip(steps_K, -2, 2)
        odds_RK = values_RK + intercepts_K
        return float(np.where(held_RK, log_expit(odds_RK), log_expit(-odds_RK)).sum())

    return float(max(_COMMON_SLOPES, key=fit))


def platt_scaling_with_prior(
    logits_R: np.ndarray, held_R: np.ndarray, usual_slope: float = 1.0
) -> tuple[float, float]:
    """Slope and intercept of the most probable logistic curve, with a normal prior around the usual slope."""

    scaled_R = usual_slope * logits_R

    def loss(parameters: np.ndarray) -> float:
        values_R = parameters[0] * scaled_R + parameters[1]
        fit = np.where(held_R, log_expit(values_R), log_expit(-values_R)).sum()
        return float(((parameters[0] - 1) / _SLOPE_DEVIATION) ** 2 / 2 - fit)

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(1e-3, None), (None, None)]).x
    return float(usual_slope * slope), float(intercept)


def choose_threshold(
    probabilities_R: np.ndarray, held_R: np.ndarray, counts_R: np.ndarray, rule: str, level: float
) -> float:
    """The threshold by a rule (see `calibrate_model`), halfway between two of the probabilities.

    Args:
        counts_R: how often each record counts.
    """
    order = np.argsort(-probabilities_R, kind="stable")
    sorted_R, with_R = probabilities_R[order], held_R[order]
    true_R = np.cumsum(counts_R[order] * with_R, dtype=np.float64)
    false_R = np.cumsum(counts_R[order] * ~with_R, dtype=np.float64)
    ends = np.flatnonzero(np.append(np.diff(sorted_R) != 0, True))  # equal probabilities are on one side
    sensitivity, specificity = true_R[ends] / true_R[-1], 1 - false_R[ends] / false_R[-1]
    if rule == "sensitivity":
        place = int(np.argmax(sensitivity >= level))
    elif rule == "specificity":
        allowed = np.flatnonzero(specificity >= level)
        if not len(allowed):
            return float(np.nextafter(sorted_R[0], 2.0))  # the very first value has too many without the finding
        place = int(allowed[-1])
    else:
        place = int(np.argmax(sensitivity + specificity))
    last = ends[place]
    below = sorted_R[last + 1] if last + 1 < len(sorted_R) else 0.0
    return float((sorted_R[last] + below) / 2)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, _INTERVAL)
    return float(low), float(high)
