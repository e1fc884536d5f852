# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says, as it stands in `results.json`.

A value that could not be measured is NaN, or None once it has been through JSON. An `..._interval` holds the low and
the high end of 95 %.
"""

from typing import Any, NotRequired, TypedDict

from cgdmer.data.fingerprints import Overlap


class ClassRow(TypedDict):
    """One class, measured by itself; `f1` where thresholds were chosen."""

    positives: int
    few_positives: bool
    auroc: NotRequired[float | None]
    auroc_interval: NotRequired[list[float | None]]
    auprc: NotRequired[float | None]
    auprc_interval: NotRequired[list[float | None]]
    f1: NotRequired[float | None]
    f1_interval: NotRequired[list[float | None]]


class FrequentClasses(TypedDict):
    """The mean over those classes alone that have enough positive records."""

    classes: int
    macro_auroc: float | None
    macro_auroc_interval: list[float | None]


class Measured(TypedDict):
    """How well scores tell the records of each class from the others: means over classes, and `per_class` by name.

    `left_out` names the classes without both positive and negative records. Of a model that was fitted several times
    all figures are means, `macro_auroc_by_seed` says one by one what they were, and of a linear probe
    `training_records` and `regularisation` what it was fitted with.
    """

    records: int
    patients: int
    macro_auroc: float | None
    macro_auroc_interval: list[float | None]
    macro_auprc: NotRequired[float | None]
    macro_auprc_interval: NotRequired[list[float | None]]
    macro_f1: NotRequired[float | None]
    macro_f1_interval: NotRequired[list[float | None]]
    macro_auroc_by_seed: NotRequired[list[float | None]]
    frequent: NotRequired[FrequentClasses]
    per_class: dict[str, ClassRow]
    left_out: list[str]
    training_records: NotRequired[list[int]]
    regularisation: NotRequired[list[float | None]]


class ReliabilityBin(TypedDict):
    """Scores of about the same size."""

    mean_score: float | None
    share_positive: float | None
    scores: int


class Reliability(TypedDict):
    """Scores against what came true; see `cgdmer.evaluation.reliability`."""

    brier: float | None
    brier_of_prevalence: float | None
    expected_calibration_error: float | None
    bins: list[ReliabilityBin]


class TaskResults(TypedDict):
    """One model on one task.

    Attributes:
        task, protocol: their names.
        prompts: which prompts zero-shot used, in words; None if it was not measured.
        probed_feature: what linear probes saw, "pooled" or "embeds"; None without them.
        splits: the names of the splits tested, pooled.
        records_without_label: how many of the tested records have no class of the task.
        absent_records: how many that a split file lists are not in the dataset.
        in_domain: whether the model was pretrained on other records of the corpus it is tested on.
        overlap: with its training records; None where the model does not say what it was trained on.
        measures: by name ("zero-shot", "linear probe 1 %", ...), in the order to show, all of the same records.
        untrained: by the same names, of a model with random weights. A name may be absent.
        groups, robustness: for each kind of group ("sex", "age") or disturbance ("leads", ...) a list of dicts:
            `name`, and by the names of measures a `Measured` each.
        calibration: a `Reliability` of the scores of zero-shot; empty without them.
        command: the command line that reproduces the results; empty where none was given.
    """

    task: str
    protocol: str
    prompts: NotRequired[str | None]
    probed_feature: NotRequired[str | None]
    splits: list[str]
    records_without_label: NotRequired[int]
    absent_records: NotRequired[int]
    in_domain: bool
    overlap: NotRequired[Overlap | None]
    measures: dict[str, Measured]
    untrained: dict[str, Measured]
    groups: NotRequired[dict[str, list[dict[str, Any]]] | None]
    robustness: NotRequired[dict[str, list[dict[str, Any]]] | None]
    calibration: NotRequired[dict[str, Any] | None]
    command: str


class PairedDifference(TypedDict):
    """By how much one macro AUROC exceeds another; see `cgdmer.evaluation.statistics.paired_difference`."""

    first: float
    second: float
    difference: float
    interval: list[float]
    p_value: float


class Comparison(TypedDict):
    """Two evaluations of the same records; see `cgdmer.evaluation.comparison.compare`."""

    task: str
    protocol: str
    splits: list[str]
    records: int
    patients: int
    measures: dict[str, PairedDifference]
