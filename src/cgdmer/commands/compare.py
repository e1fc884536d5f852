# SPDX-License-Identifier: Apache-2.0
"""Compare two evaluations of the same records, patient by patient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cgdmer.commands._arguments import Positional
from cgdmer.options import option

DESCRIPTION = """\
Measures by how much the macro AUROC of the first exceeds that of the second. Both are folders that
`cgdmer evaluate --output_dir` wrote for the same task, protocol and test records."""


@dataclass
class Arguments:
    first: Positional = option("results of one task, e.g. OUT_A/ptbxl-super")
    second: Positional = option("results to compare with, e.g. OUT_B/ptbxl-super")


def run(arguments: Arguments, say: Callable[..., None]) -> Mapping[str, Any]:
    from cgdmer.evaluation.comparison import compare, comparison_table

    compared = compare(arguments.first, arguments.second)
    say(comparison_table(compared))
    return compared
