# SPDX-License-Identifier: Apache-2.0
"""What scores are worth to whoever acts on them, class by class.

Shapes: R records, D draws of patients, G groups of records with the same score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cgdmer.evaluation.statistics import FEWEST_POSITIVES, draws_of_patients, with_interval_of_draws

SPECIFICITIES = (0.9, 0.95)
TOP_SHARE = 0.05  # of the records, as in the PhysioNet Challenge 2025 on Chagas disease
NET_BENEFIT_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
_DRAWS = 200
_MOST_CELLS = 2**22  # draws times records at a time: some 100 MB


def decisions(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str],
    probabilities: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Sensitivity where specificity is fixed, what a limited number of referrals finds, and net benefit.

    Args:
        labels: (R, C) bool.
        scores: (R, C), any monotone score.
        class_names: C.
        patients: one per record.
        probabilities: (R, C), 0 to 1; None: there is no net benefit.
        seed: of the draws of patients.

    Returns:
        By class, for those with ten positive and ten negative records: `sensitivity_at_specificity_90` and `..._95`,
        the highest sensitivity of the thresholds that have at least this specificity on these very records;
        `found_in_top_5`, the share of the positive records among the 5 % with the highest scores; and `net_benefit`, a
        list with, for each threshold t, `model`, the benefit of calling records positive from the probability t on,
        TP / R - FP / R * t / (1 - t), and `all`, that of calling all of them so. (Of none it is 0.) Vickers and Elkin
        2006. Each has an interval (95 %), from bootstrap draws of the patients, and wide enough to hold its value.
    """
    labels = np.asarray(labels, dtype=bool)
    times_DR = draws_of_patients(patients, _DRAWS, seed)
    found = {}
    for column, name in enumerate(class_names):
        positives = int(labels[:, column].sum())
        if min(positives, len(labels) - positives) < FEWEST_POSITIVES:
            continue
        of_class = scores[:, column], None if probabilities is None else probabilities[:, column]
        found[name] = _of_class(labels[:, column], *of_class, times_DR)
    return found


def _of_class(
    held_R: np.ndarray, scores_R: np.ndarray, probabilities_R: np.ndarray | None, times_DR: np.ndarray
) -> dict[str, Any]:
    order = np.argsort(-scores_R, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores_R[order]) != 0, True))  # of records with the same score
    parts: list[dict[str, np.ndarray]] = []
    at_a_time = max(1, _MOST_CELLS // len(held_R))
    for begin in range(0, len(times_DR), at_a_time):
        times = times_DR[begin : begin + at_a_time].astype(float)
        values = _of_ranks(held_R[order], times[:, order], ends)
        if probabilities_R is not None:
            for threshold in NET_BENEFIT_THRESHOLDS:
                values[f"model {threshold}"] = _net_benefit(held_R, probabilities_R >= threshold, times, threshold)
                values[f"all {threshold}"] = _net_benefit(held_R, np.ones_like(held_R), times, threshold)
        parts.append(values)
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    result: dict[str, Any] = {}
    for name in (*(f"sensitivity_at_specificity_{100 * one:g}" for one in SPECIFICITIES), "found_in_top_5"):
        result |= with_interval_of_draws(name, values[name])
    thresholds = NET_BENEFIT_THRESHOLDS if probabilities_R is not None else ()
    result["net_benefit"] = [
        {
            "threshold": one,
            **with_interval_of_draws("model", values[f"model {one}"]),
            "all": float(values[f"all {one}"][0]),
        }
        for one in thresholds
    ]
    return result


def _of_ranks(held_R: np.ndarray, times_DR: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """(D,) of each; the records are in the order of their scores."""
    all_DG = np.cumsum(times_DR, axis=1)[:, ends]
    true_DG = np.cumsum(times_DR * held_R, axis=1)[:, ends]
    positives_D, negatives_D = true_DG[:, -1], all_DG[:, -1] - true_DG[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw can lack positives
        sensitivity_DG = true_DG / positives_D[:, None]
        specificity_DG = 1 - (all_DG - true_DG) / negatives_D[:, None]
    values = {}
    for level in SPECIFICITIES:
        allowed_DG = specificity_DG >= level - 1e-12
        values[f"sensitivity_at_specificity_{100 * level:g}"] = np.where(allowed_DG, sensitivity_DG, 0).max(axis=1)
    # Of records with the same score on the limit, a part is among the highest, and so is that part of the positives.
    found = [
        np.interp(TOP_SHARE * whole[-1], np.append(0, whole), np.append(0, true)) / positives
        for whole, true, positives in zip(all_DG, true_DG, np.where(positives_D > 0, positives_D, np.nan), strict=True)
    ]
    return {**values, "found_in_top_5": np.array(found)}


def _net_benefit(held_R: np.ndarray, called_R: np.ndarray, times_DR: np.ndarray, threshold: float) -> np.ndarray:
    gain_R = called_R * np.where(held_R, 1.0, -threshold / (1 - threshold))
    benefit_D: np.ndarray = times_DR @ gain_R / times_DR.sum(axis=1)
    return benefit_D


def decisions_table(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a row per class, and net benefit at one in ten, with that of calling all positive."""
    heads = ["class", *(f"sensitivity at specificity {one:g}" for one in SPECIFICITIES), "found in the top 5%"]
    with_benefit = any(row["net_benefit"] for row in found.values())
    rows = []
    for name, row in found.items():
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(row[key], *row[f"{key}_interval"])
            for key in (*(f"sensitivity_at_specificity_{100 * one:g}" for one in SPECIFICITIES), "found_in_top_5")
        ]
        for benefit in row["net_benefit"]:
            if benefit["threshold"] == 0.1:
                cells.append(f"{benefit['model']:.3f} ({benefit['all']:.3f})")
        rows.append([name, *cells])
    return [*heads, *(["net benefit at 0.1 (of calling all positive)"] if with_benefit else [])], rows
