# SPDX-License-Identifier: Apache-2.0
"""Evaluate zero-shot classification and linear probing, with confidence intervals."""

from collections.abc import Callable
from typing import Any

from cgdmer.evaluation.arguments import EvaluationArguments as Arguments

DESCRIPTION = """\
Evaluates MODEL on the test split, and the same model with random weights for comparison. Nothing is chosen
on the test records. If the model was pretrained on the same corpus, the results are in-domain: say so when
you quote them."""


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.evaluation.evaluate import evaluate_model

    return evaluate_model(arguments, say=say)
