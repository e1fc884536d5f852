# SPDX-License-Identifier: Apache-2.0
"""Probabilities for another place, without its labels: `cgdmer calibrate --by_prevalence`.

If findings look the same at two hospitals and only their frequency differs, the probabilities of one follow from those
of the other and the frequencies, and the frequencies from the scores alone (Saerens, Latinne, and Decaestecker 2002).
Sensitivity and specificity then stay what they were. If findings look different there, only labels can tell.

The most likely frequency alone is often 0 for findings that a model scores poorly. So the frequency that is known
counts as much as a hundred records (ours), which few new ones do not outweigh, and thousands do.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from cgdmer.data.storage import DatasetRecords
from cgdmer.evaluation.calibrating import logits_of, open_for_calibration
from cgdmer.inference.operating_points import OperatingPoint, OperatingPoints
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.presets import SHIPPED_MODEL, model_source

FEWEST_RECORDS = 100
_STEPS, _ENOUGH = 1000, 1e-6
_KNOWN_RECORDS = 100  # that the known frequency counts for
_RARE = 1e-4  # a frequency is never said to be below this, nor as near to one


def calibrate_by_prevalence(
    model: str | os.PathLike[str] | None,
    output_dir: str | os.PathLike[str],
    dataset: str | os.PathLike[str],
    *,
    splits: Sequence[str] = ("validation",),
) -> dict[str, Any]:
    """Copy a calibrated model's folder, with its operating points moved to how frequent findings are elsewhere.

    Args:
        model: a folder that `cgdmer calibrate` wrote.
        output_dir: the new folder.
        dataset: written by `cgdmer prepare`. Its labels are not read.
        splits: whose records are used, at least a hundred of them. Not those that the model was trained on.

    Returns:
        `findings` (see `OperatingPoint`, by finding), `left_out` (empty), `rule`, `records`, and `output_dir`.

    Raises:
        ConfigurationError: the model is not a folder, or was not calibrated.
        CorpusError: there are too few records, the model was trained on some of them, or the output exists.
    """
    source, target = Path(model_source(model or SHIPPED_MODEL)), Path(output_dir)
    scorer, rows = open_for_calibration(source, target, dataset, splits)
    points = OperatingPoints.of_model(source)
    if points is None:
        raise ConfigurationError(
            f"{source} was not calibrated, so its scores are no probabilities that could be moved. First use `cgdmer "
            "calibrate` with labeled recordings."
        )
    names = list(points.of_finding)
    logits_RK, usable = logits_of(scorer, scorer.head(names), DatasetRecords(rows))
    if usable.sum() < FEWEST_RECORDS:
        raise CorpusError(
            f"{dataset} has {int(usable.sum())} records that can be used in {', '.join(splits)}; at least "
            f"{FEWEST_RECORDS} are needed to tell how frequent findings are. Name more splits."
        )
    moved = {name: moved_point(points.of_finding[name], logits_RK[:, column]) for column, name in enumerate(names)}
    description = rows.info.description or Path(dataset).name
    rule = f"{points.rule}, moved to the prevalence elsewhere"
    shutil.copytree(source, target)
    OperatingPoints(moved, rule, description).save(target)
    return {
        "findings": moved,
        "left_out": {},
        "rule": rule,
        "records": int(usable.sum()),
        "output_dir": str(target),
    }


def moved_point(point: OperatingPoint, logits_R: np.ndarray) -> OperatingPoint:
    """The operating point at a place where unlabeled records have these logits.

    The threshold stays at the same score, so sensitivity and specificity stay.
    """
    there = prevalence(point, logits_R)
    shift = float(logit(there) - logit(_kept_apart(point.prevalence)))
    low, high = point.threshold_interval

    def moved(threshold: float) -> float:
        return float(expit(logit(threshold) + shift)) if 0 < threshold < 1 else threshold

    return replace(
        point,
        intercept=point.intercept + shift,
        threshold=moved(point.threshold),
        threshold_interval=(moved(low), moved(high)),
        prevalence=there,
    )


def prevalence(point: OperatingPoint, logits_R: np.ndarray) -> float:
    """The most probable share of records with the finding: by the scores of unlabeled ones and what is known (EM)."""
    known = share = _kept_apart(point.prevalence)
    odds_R = point.slope * logits_R + point.intercept - logit(known)  # of the likelihoods
    for _ in range(_STEPS):
        positives = float(expit(odds_R + logit(share)).sum()) + _KNOWN_RECORDS * known
        before, share = share, _kept_apart(positives / (len(logits_R) + _KNOWN_RECORDS))
        if abs(share - before) < _ENOUGH:
            break
    return share


def _kept_apart(share: float) -> float:
    return min(max(share, _RARE), 1 - _RARE)
