# SPDX-License-Identifier: Apache-2.0
"""The results of an evaluation, as they are in `results.json`.

A value that could not be measured is NaN, or None after a round trip through JSON. An `..._interval` holds the low and
the high end of the 95 % interval.
"""

from typing import Any, NotRequired, TypedDict

from cgdmer.data.fingerprints import Overlap


class ClassRow(TypedDict):
    """One class by itself; `f1`, `sensitivity`, and `specificity` are there if thresholds were chosen."""

    positives: int
    few_positives: bool
    auroc: NotRequired[float | None]
    auroc_interval: NotRequired[list[float | None]]
    auprc: NotRequired[float | None]
    auprc_interval: NotRequired[list[float | None]]
    f1: NotRequired[float | None]
    f1_interval: NotRequired[list[float | None]]
    sensitivity: NotRequired[float | None]
    sensitivity_interval: NotRequired[list[float | None]]
    specificity: NotRequired[float | None]
    specificity_interval: NotRequired[list[float | None]]


class FrequentClasses(TypedDict):
    """The mean over the classes that have enough positive records."""

    classes: int
    macro_auroc: float | None
    macro_auroc_interval: list[float | None]


class Measured(TypedDict):
    """How well scores separate the records of each class from the others: means over classes, and each class by name.

    `left_out` names the classes without both positive and negative records. If a model was fitted several times, all
    values are means, and `macro_auroc_by_seed` has one per fit. For readouts, `training_records` has one value per
    fit, and so has the setting that was chosen: `regularization`, `neighbors`, or `steps` of training.
    """

    records: int
    patients: int
    macro_auroc: float | None
    macro_auroc_interval: list[float | None]
    macro_auprc: NotRequired[float | None]
    macro_auprc_interval: NotRequired[list[float | None]]
    macro_f1: NotRequired[float | None]
    macro_f1_interval: NotRequired[list[float | None]]
    macro_sensitivity: NotRequired[float | None]
    macro_sensitivity_interval: NotRequired[list[float | None]]
    macro_specificity: NotRequired[float | None]
    macro_specificity_interval: NotRequired[list[float | None]]
    macro_auroc_by_seed: NotRequired[list[float | None]]
    frequent: NotRequired[FrequentClasses]
    per_class: dict[str, ClassRow]
    left_out: list[str]
    training_records: NotRequired[list[int]]
    regularization: NotRequired[list[float | None]]
    neighbors: NotRequired[list[int]]
    steps: NotRequired[list[int]]


class ReliabilityBin(TypedDict):
    """Scores of similar size."""

    mean_score: float | None
    share_positive: float | None
    scores: int


class Reliability(TypedDict):
    """Scores compared with labels; see `cgdmer.evaluation.reliability`."""

    brier: float | None
    brier_of_prevalence: float | None
    expected_calibration_error: float | None
    bins: list[ReliabilityBin]


class TaskResults(TypedDict):
    """One model on one task.

    Attributes:
        task, protocol: their names.
        prompts: the prompts that zero-shot used, in words; None if it was not measured.
        probed_feature: what linear probes saw, "pooled" or "embeds"; None without probes.
        splits: the names of the test splits, which are pooled.
        records_without_label: the number of test records without a class of the task.
        absent_records: the number of records that a split file lists and the dataset lacks.
        unusable_records: the number of test records left out because the feature extractor cannot use them.
        records_with_refused_leads: how many of the test records have leads that were recorded but not used, because
            they are flat or have long gaps; the records are measured without them.
        in_domain: whether the model was pretrained on other records of the test corpus.
        overlap: of the test records with the training records, see `Overlap`; None if those are unknown.
        measures: by name ("zero-shot", "classifier", "linear probe 1 %", "attention probe 100 %", ...), in the order
            to show, all on the same records.
        untrained: by the same names, the measures of a model with random weights. A name may be absent.
        groups, robustness: for each kind of group ("sex", "age") or disturbance ("leads", ...), a list of dicts with
            a `name` and a `Measured` per measure.
        calibration: a `Reliability` of the scores that the pipelines give; empty without a text tower or classifier.
        decisions: by class, what scores are worth to whoever acts on them, see `cgdmer.evaluation.decisions`.
        coverage: rows for shares of the records that get an answer, the most familiar ones, see
            `cgdmer.evaluation.abstention`; empty if the model does not say what it was trained on.
        operating_points: by class, what those of a calibrated model are worth on these records, see
            `cgdmer.evaluation.transported`; empty if the model was not calibrated.
        prompt_study: rows of `cgdmer.evaluation.prompt_study`; absent if it was not asked for.
        readouts_left_out: why readouts that were asked for are not among the measures, by their names.
        classes_not_scored: classes of the task that are not among a classifier's labels.
        command: the command line that reproduces the results; empty if there is none.
    """

    task: str
    protocol: str
    prompts: NotRequired[str | None]
    probed_feature: NotRequired[str | None]
    splits: list[str]
    records_without_label: NotRequired[int]
    absent_records: NotRequired[int]
    unusable_records: NotRequired[int]
    records_with_refused_leads: NotRequired[int | None]
    in_domain: bool
    overlap: NotRequired[Overlap | None]
    measures: dict[str, Measured]
    untrained: dict[str, Measured]
    groups: NotRequired[dict[str, list[dict[str, Any]]] | None]
    robustness: NotRequired[dict[str, list[dict[str, Any]]] | None]
    calibration: NotRequired[dict[str, Any] | None]
    decisions: NotRequired[dict[str, dict[str, Any]]]
    coverage: NotRequired[list[dict[str, Any]]]
    operating_points: NotRequired[dict[str, dict[str, Any]]]
    prompt_study: NotRequired[list[dict[str, Any]]]
    readouts_left_out: NotRequired[dict[str, str]]
    classes_not_scored: NotRequired[list[str]]
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
    left_out: list[int]
    measures: dict[str, PairedDifference]
