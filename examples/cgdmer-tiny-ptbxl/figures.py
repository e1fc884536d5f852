# SPDX-License-Identifier: Apache-2.0
"""Print the results section of the model card, from the results of `cgdmer evaluate --robustness` on the four tasks.

    python figures.py RESULTS

The macro AUROC is shown over all classes and over classes with ten or more positives.
"""

import json
import sys
from pathlib import Path
from typing import Any

from cgdmer.evaluation.comparison import RESULTS
from cgdmer.evaluation.measures import LINEAR_PROBE, ZERO_SHOT
from cgdmer.evaluation.report import markdown_table
from cgdmer.evaluation.statistics import FEWEST_POSITIVES

TASKS = {"super": "superclasses", "sub": "subclasses", "form": "form", "rhythm": "rhythm"}


def main(folder: str) -> None:
    rows, lines = [], []
    for short, name in TASKS.items():
        place = Path(folder) / f"ptbxl-{short}"
        results = json.loads((place / RESULTS).read_text())
        measures, untrained = results["measures"], results["untrained"]
        frequent = measures[ZERO_SHOT]["frequent"]
        cells = [in_words(measures[ZERO_SHOT]), f"{in_words(frequent)}; {frequent['classes']} classes"]
        cells.append(in_words(measures[LINEAR_PROBE]))
        random = f"{untrained[ZERO_SHOT]['macro_auroc']:.3f}"
        rows.append([name, f"{measures[ZERO_SHOT]['records']}", *cells, random])
        lines.append(f"- {short}: {by_class(measures[ZERO_SHOT]['per_class'])}.")
        if short == "super":
            robustness, groups, calibration = results["robustness"], results["groups"], results["calibration"]
    heads = ["task", "records", "zero-shot, all classes", f"zero-shot, {FEWEST_POSITIVES} or more positives"]
    print(markdown_table([*heads, "linear probe, all training labels", "zero-shot, random weights"], rows))
    print("\nSuperclasses, zero-shot:\n")
    for kind in (*robustness.values(), *groups.values()):
        print(f"- {', '.join(condition(one) for one in kind)}.")
    error, brier = calibration["expected_calibration_error"], calibration["brier"]
    print(f"\nCalibration (superclasses): mean difference {error:.3f}, Brier score {brier:.3f} (of the frequency of a")
    print(f"class: {calibration['brier_of_prevalence']:.3f}).")
    for one in calibration["bins"]:
        print(f"  {one['mean_score']:.3f} said, {one['share_positive']:.3f} found, {one['scores']} scores")
    print(f"\nClasses with {FEWEST_POSITIVES} or more positives, and the number of positives:\n")
    print("\n".join(lines))


def in_words(result: dict[str, Any]) -> str:
    low, high = result["macro_auroc_interval"]
    return f"{result['macro_auroc']:.3f} ({low:.3f} to {high:.3f})"


def condition(one: dict[str, Any]) -> str:
    return f"{one['name']} {in_words(one[ZERO_SHOT])}, {one[ZERO_SHOT]['records']} records"


def by_class(results: dict[str, dict[str, Any]]) -> str:
    found = {name: one for name, one in results.items() if not one["few_positives"]}
    ordered = sorted(found.items(), key=lambda item: -item[1]["auroc"])
    return ", ".join(f"{name} {one['auroc']:.2f} ({one['positives']})" for name, one in ordered)


if __name__ == "__main__":
    main(*sys.argv[1:])
