# SPDX-License-Identifier: Apache-2.0
"""Train a classifier on the labels of a dataset."""

from collections.abc import Callable
from typing import Any

from cgdmer.training.arguments import FinetuningArguments as Arguments

DESCRIPTION = """\
Trains the ECG encoder of MODEL with a linear classifier, one sigmoid per label, and saves a folder that
pipeline("ecg-classification", model=OUTPUT_DIR) loads."""


def run(arguments: Arguments, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.training.finetune import finetune_model

    results = finetune_model(arguments)
    say(f"saved to {arguments.output_dir}: {len(results['labels'])} labels")
    for split in ("validation", "test"):
        if split in results:
            low, high = results[split]["macro_auroc_interval"]
            say(f"{split}: macro AUROC {results[split]['macro_auroc']:.3f} (95 % interval {low:.3f} to {high:.3f})")
    return dict(results)
