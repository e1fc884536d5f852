# SPDX-License-Identifier: Apache-2.0
"""What a readout is, and how one chooses a setting on records that are not tested.

Shapes: R records, C classes, D feature width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from cgdmer.evaluation.arguments import ProbedFeature
from cgdmer.evaluation.linear_probe import held_out_patients
from cgdmer.inference.embeddings import Further, RecordFeatures
from cgdmer.models.modeling_base import ECGPreTrainedModel

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class LabeledFeatures:
    """What a frozen encoder gives for some records, and their labels.

    Attributes:
        features: of R records.
        labels: (R, C) bool.
        patients: one per record.
    """

    features: RecordFeatures
    labels: np.ndarray
    patients: Sequence[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: np.ndarray) -> "LabeledFeatures":
        """Some of the records, by their numbers."""
        return LabeledFeatures(self.features[rows], self.labels[rows], [self.patients[row] for row in rows])


class Fitted(Protocol):
    """A readout fitted to training records.

    Attributes:
        chosen: the setting that was chosen, by its name in results.
    """

    @property
    def chosen(self) -> Mapping[str, float]: ...

    def scores(self, features: RecordFeatures) -> np.ndarray:
        """(R, C), any monotone score."""
        ...


@dataclass(frozen=True)
class Readout:
    """A way to classify records by what a frozen encoder gives for them.

    Attributes:
        probed_feature: which vector of a record to see, by its name in `RecordFeatures`. Readouts of per-lead means
            and tokens ignore it.
        measure: how its measures are called in results, before the share of the training records.
        further: what it needs besides one vector per record.
        repeated: whether it is also fitted on shares of the training records, with several draws.
    """

    probed_feature: ProbedFeature = "pooled"
    measure: ClassVar[str]
    further: ClassVar[tuple[Further, ...]] = ()
    repeated: ClassVar[bool] = True

    def vectors(self, features: RecordFeatures) -> np.ndarray:
        """(R, D)"""
        return getattr(features, self.probed_feature)

    def why_not(self, model: ECGPreTrainedModel) -> str:
        """Why a model cannot be read out in this way; empty if it can."""
        return ""

    def fit(self, training: LabeledFeatures, validation: LabeledFeatures | None = None, seed: int = 0) -> Fitted:
        """Fit on training records, with a setting that is chosen on other records.

        Args:
            validation: records of other patients. Without them, an eighth of the training patients is held out for
                the choice, after which all records are fitted (see `fit_linear_probe`).
            seed: of held-out patients, and of whatever else is random.
        """
        raise NotImplementedError


def chosen_on_others(
    training: LabeledFeatures,
    validation: LabeledFeatures | None,
    seed: int,
    choose: Callable[[LabeledFeatures, LabeledFeatures], Setting],
    usual: Setting,
) -> Setting:
    """The setting that is best on the validation records or, without them, on held-out training patients.

    Args:
        choose: takes the records to fit and those to measure on.
        usual: if nothing can be chosen: there are few patients, or no class has both positive and negative records.
    """
    if validation is None:
        parts = held_out_patients(training.patients, seed)
        if parts is None:
            return usual
        training, validation = (training[rows] for rows in parts)
    labels = validation.labels
    return choose(training, validation) if (labels.any(axis=0) & ~labels.all(axis=0)).any() else usual
