# SPDX-License-Identifier: Apache-2.0
"""Operating points: for each finding, how its score becomes a probability, and from which on it is called positive.

`cgdmer calibrate` writes them into a model's folder, from recordings of the place where the model is to be used.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from cgdmer.files.reading import failing_as, read_json_object
from cgdmer.files.writing import write_json
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.optional_files import optional_file
from cgdmer.models.prompt_findings import Meaning

FILE_NAME = "operating_points.json"
_EXPECTED = "Expected what `cgdmer calibrate` writes. Calibrate the model again, or delete the file."
_CERTAIN = 1e-7  # how near to 0 or 1 a score is before its logarithm is taken


@dataclass(frozen=True)
class OperatingPoint:
    """Of one finding.

    Attributes:
        slope, intercept: probability = sigmoid(slope * logit of the score + intercept).
        threshold: of the probability, from which on the finding is called positive.
        threshold_interval: 95 %, from bootstrap draws of the patients in which the threshold is chosen anew.
        sensitivity, specificity: at the thresholds of these draws, on the patients that are not in them.
        sensitivity_interval, specificity_interval: 95 %.
        positives, records: that it was chosen from.
        prevalence: the share of records with the finding where the probabilities hold; by default that of `positives`.
    """

    slope: float
    intercept: float
    threshold: float
    threshold_interval: tuple[float, float]
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    positives: int
    records: int
    prevalence: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.prevalence):
            object.__setattr__(self, "prevalence", self.positives / self.records)

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Of scores in 0..1."""
        clear = np.clip(np.asarray(scores, dtype=np.float64), _CERTAIN, 1 - _CERTAIN)
        return expit(self.slope * (np.log(clear) - np.log1p(-clear)) + self.intercept)


@dataclass(frozen=True)
class OperatingPoints:
    """Those of a model, by the name of the finding or, for a classifier, by the label.

    Attributes:
        rule: how the thresholds were chosen, in words.
        dataset: what they were chosen on.
    """

    of_finding: Mapping[str, OperatingPoint]
    rule: str
    dataset: str

    def applied(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows of scores with probabilities in their place, highest first, and for each finding `positive` and
        `threshold`; both are None for one that was not calibrated, whose score stays as it is.

        Of a label that denies a finding, all are those of the finding, turned around.
        """
        found = []
        for row in rows:
            point = self.of_finding.get(row.get("finding") or row["label"])
            if point is None:
                found.append({**row, "positive": None, "threshold": None})
                continue
            negated = bool(row.get("negated"))
            probability = float(self.probabilities(point, np.array(row["score"]), negated))
            of_finding = 1 - probability if negated else probability
            decided = {
                "positive": bool(of_finding >= point.threshold) is not negated,
                "threshold": 1 - point.threshold if negated else point.threshold,
            }
            found.append({**row, "score": probability, **decided})
        return sorted(found, key=lambda row: -row["score"])

    def columns(
        self, labels: Sequence[str], meanings: Sequence[Meaning] | None, scores: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The same for many records at once.

        Args:
            meanings: what the labels were taken for; None for those of a classifier.
            scores: (n, labels).

        Returns:
            (n, labels) with probabilities in place of scores; and for each calibrated label (n,) bool, positive.
        """
        columns, positive = [], {}
        for number, label in enumerate(labels):
            meaning = None if meanings is None else meanings[number]
            point = self.of_finding.get(label if meaning is None else meaning.finding or label)
            column = scores[:, number]
            if point is not None:
                negated = meaning is not None and meaning.negated
                column = self.probabilities(point, column, negated)
                positive[label] = ((1 - column if negated else column) >= point.threshold) != negated
            columns.append(column)
        return np.stack(columns, axis=1), positive

    @staticmethod
    def probabilities(point: OperatingPoint, scores: np.ndarray, negated: bool) -> np.ndarray:
        """Of the scores of a label, which may deny the finding."""
        return 1 - point.probability(1 - scores) if negated else point.probability(scores)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write them into a model's folder."""
        points = {name: asdict(point) for name, point in self.of_finding.items()}
        write_json(Path(folder) / FILE_NAME, {"rule": self.rule, "dataset": self.dataset, "findings": points})

    @classmethod
    def of_model(cls, model: str | os.PathLike[str]) -> "OperatingPoints | None":
        """Those in a model's folder or on the Hub; None if there are none.

        Raises:
            ModelFolderError: the file is damaged.
        """
        path = optional_file(model, FILE_NAME)
        if path is None:
            return None
        with failing_as(ModelFolderError, path, _EXPECTED):
            content = read_json_object(path)
        try:
            points = {str(name): _point_from(entry) for name, entry in content["findings"].items()}
            return cls(points, str(content["rule"]), str(content["dataset"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(f"{path} is damaged: {error!r}. {_EXPECTED}") from error


def _point_from(entry: Mapping[str, Any]) -> OperatingPoint:
    values: dict[str, Any] = {
        name: tuple(map(float, value)) if isinstance(value, list) else value for name, value in entry.items()
    }
    point = OperatingPoint(**values)
    numbers = [number for value in values.values() for number in (value if isinstance(value, tuple) else (value,))]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ValueError(f"a number is missing in {str(entry)[:100]}")
    return point
