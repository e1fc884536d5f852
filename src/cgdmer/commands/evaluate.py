# SPDX-License-Identifier: Apache-2.0
"""`cgdmer evaluate`: zero-shot classification and linear probing, with confidence intervals."""

from collections.abc import Callable
from typing import Any

from cgdmer.evaluation.arguments import EvaluationArguments as Arguments

HELP = "zero-shot classification and linear probing, with confidence intervals"
DESCRIPTION = """\
Measures MODEL on the test split, beside the same model with random weights. Nothing is chosen on the test
records. In-domain when the model was pretrained on the same corpus: say so when you quote the figures."""


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.evaluation.evaluate import evaluate_model

    return evaluate_model(arguments, say=say)
