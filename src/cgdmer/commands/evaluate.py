# SPDX-License-Identifier: Apache-2.0
"""Evaluate zero-shot classification and linear probing, with confidence intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.options import Marker, option

DESCRIPTION = """\
Evaluates MODEL on the test split, and the same model with random weights for comparison. Nothing is chosen
on the test records. If the model was pretrained on the same corpus, the results are in-domain: say so when
you quote them. Several models are also put side by side, with what each costs."""


@dataclass
class Arguments(EvaluationArguments):
    other_models: Annotated[list[str], Marker.POSITIONAL] = option("further models, to compare with the first", [])


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    if arguments.other_models:
        from cgdmer.evaluation.side_by_side import evaluate_models

        return evaluate_models(arguments, [arguments.model, *arguments.other_models], say=say)
    from cgdmer.evaluation.evaluate import evaluate_model

    return evaluate_model(arguments, say=say)
