# SPDX-License-Identifier: Apache-2.0
"""What the operating points of one hospital become at another.

`cgdmer calibrate` fits them to one dataset; `cgdmer evaluate` of the calibrated model on another dataset says whether
they hold there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cgdmer.evaluation.reliability import reliability
from cgdmer.evaluation.statistics import FEWEST_POSITIVES, measure
from cgdmer.inference.operating_points import OperatingPoint


def transported_points(
    points: Mapping[str, OperatingPoint],
    finding_of_class: Mapping[str, str],
    scores: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """By class, for those that have an operating point and ten positive and ten negative records.

    Args:
        points: by finding.
        finding_of_class: which finding a class is.
        scores: (R,) by finding, as the model gives them before it was calibrated.
        labels: (R, C) bool.
        patients: one per record.

    Returns:
        Dicts with `finding`, `threshold`; `sensitivity` and `specificity` with intervals, on these records;
        `promised`, those that calibration found on its own; and the `expected_calibration_error` and `brier` of the
        probabilities, with those of the scores as they were (`uncalibrated`).
    """
    found: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(class_names):
        finding = finding_of_class.get(name, "")
        held_R = labels[:, column]
        if finding not in points or min(held_R.sum(), (~held_R).sum()) < FEWEST_POSITIVES:
            continue
        point = points[finding]
        probabilities_R = point.probability(scores[finding])
        measured = measure(held_R[:, None], probabilities_R[:, None], [name], patients, np.array([point.threshold]))
        of_class = measured["per_class"][name]
        held = held_R[:, None]
        before, after = (reliability(held, one[:, None]) for one in (scores[finding], probabilities_R))
        kept = ("sensitivity", "sensitivity_interval", "specificity", "specificity_interval")
        found[name] = {
            "finding": finding,
            "threshold": point.threshold,
            **{key: of_class[key] for key in kept},  # type: ignore[literal-required]
            "promised": {key: getattr(point, key) for key in kept},
            **_errors(after),
            "uncalibrated": _errors(before),
        }
    return found


def _errors(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("expected_calibration_error", "brier")}


def transported_table(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: a row per class."""
    heads = ["class", "threshold", "sensitivity", "promised", "specificity", "promised", "calibration error", "before"]

    def rate(row: Mapping[str, Any], name: str) -> str:
        return "{:.2f} ({:.2f} to {:.2f})".format(row[name], *row[f"{name}_interval"])

    rows = [
        [
            *(name, f"{row['threshold']:.3f}"),
            *(rate(part, rated) for rated in ("sensitivity", "specificity") for part in (row, row["promised"])),
            *(f"{part['expected_calibration_error']:.3f}" for part in (row, row["uncalibrated"])),
        ]
        for name, row in found.items()
    ]
    return heads, rows
