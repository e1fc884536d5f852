# SPDX-License-Identifier: Apache-2.0
"""The names of what an evaluation measures."""

from collections.abc import Collection

from cgdmer.evaluation.readouts.register import READOUTS

# The names of these measures in results, and the order in which one of them is the main one.
ZERO_SHOT, CLASSIFIER, LINEAR_PROBE = "zero-shot", "classifier", f"{READOUTS['mean'].measure} 100 %"
MAIN_MEASURES = (ZERO_SHOT, CLASSIFIER, *(f"{readout.measure} 100 %" for readout in READOUTS.values()))


def main_measure(measures: Collection[str]) -> str:
    """The measure to show first: zero-shot or the classifier or, without them, a readout of all training records."""
    return next((name for name in MAIN_MEASURES if name in measures), next(iter(measures)))
