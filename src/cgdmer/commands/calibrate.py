# SPDX-License-Identifier: Apache-2.0
"""Fit probabilities and thresholds to your own labeled recordings."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.commands._arguments import MODEL_HELP, Positional
from cgdmer.options import option

DESCRIPTION = f"""\
Writes a new model folder in which each finding has a probability for the place that the recordings come from, and
a threshold. `classify`, `score`, and the page then say positive or negative. Use recordings that the model was not
trained on, at least a few hundred; a finding needs ten with it and ten without it. {RESEARCH_USE_ONLY}"""


@dataclass
class Arguments:
    model: Positional = option(MODEL_HELP)
    output_dir: Positional = option("the new folder")
    dataset: str = option("a dataset that `cgdmer prepare` wrote")
    splits: list[str] = option("whose records are used", ["validation"])
    labels: list[str] | None = option("of the dataset (default: all, and the general terms that they imply)", None)
    rule: str = option("how thresholds are chosen", "youden", choices=("youden", "sensitivity", "specificity"))
    level: float = option("of the sensitivity or specificity that --rule names, at least", 0.9)
    by_prevalence: bool = option(
        "MODEL is calibrated already: move its probabilities to how frequent findings are in these recordings. Their "
        "labels are not read, and --labels, --rule, and --level have no effect",
        False,
    )
    seed: int = option("of the bootstrap draws", 0)


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.evaluation.calibrating import calibrate_model
    from cgdmer.evaluation.label_shift import calibrate_by_prevalence

    options = dict(vars(arguments))
    if options.pop("by_prevalence"):
        answer = calibrate_by_prevalence(
            arguments.model, arguments.output_dir, arguments.dataset, splits=arguments.splits
        )
    else:
        answer = calibrate_model(**options)
    width = max(len(name) for name in answer["findings"])
    say(f"{'finding':{width}}  with  prevalence  threshold  sensitivity             specificity")
    for name, point in answer["findings"].items():
        rates = [
            f"{value:.2f} ({low:.2f} to {high:.2f})"
            for value, (low, high) in (
                (point.sensitivity, point.sensitivity_interval),
                (point.specificity, point.specificity_interval),
            )
        ]
        shown = f"{name:{width}}  {point.positives:>4}  {point.prevalence:>10.1%}  {point.threshold:>9.3f}"
        say(f"{shown}  {rates[0]:22}  {rates[1]}")
    for name, reason in answer["left_out"].items():
        say(f"{name}: left out, {reason}")
    findings = {name: asdict(point) for name, point in answer["findings"].items()}
    return {**answer, "findings": findings, "note": RESEARCH_USE_ONLY}
