# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown of what run.py measured: each row, and its difference from the full model.

    python examples/comparison/summary.py --csv examples/comparison/results.csv > summary.md

It reads the draws that run.py left beside that file, so that it needs neither models nor records. A figure is the
mean over seeds. Its interval (95 %) is a bootstrap over patients and seeds; a row and the full model are measured on
the same draws of patients. From three seeds it has two thirds of the variance between seeds that many would show. p is
two-sided, of one comparison: correct it for how many there are.
"""

import argparse
from pathlib import Path

from intervals import interval, over_seeds, p_value, read_draws
from supervised import SUPERVISED

from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY
from cgdmer.evaluation.evaluate import LINEAR_PROBE, ZERO_SHOT

FULL = "full"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", required=True, type=Path, help="that of run.py")
    options = parser.parse_args(arguments)
    of_seeds = read_draws(options.csv)
    draws = {key: over_seeds(values) for key, values in of_seeds.items()}
    for measure in sorted({measure for measure, _, _ in draws}, key=lambda name: (name != ZERO_SHOT, name)):
        figures, differences = {}, {}
        reference = LINEAR_PROBE if measure == SUPERVISED else measure
        for (_, row, task), values in ((key, values) for key, values in draws.items() if key[0] == measure):
            low, high = interval(values)
            seeds = len(of_seeds[measure, row, task])
            figures[f"{row}, {seeds} seed(s)", task] = f"{values[0]:.3f} ({low:.3f} to {high:.3f})"
            full = draws.get((reference, FULL, task))
            if row != FULL and full is not None:
                by, (low, high) = values - full, interval(values - full)
                differences[row, task] = f"{by[0]:+.3f} ({low:+.3f} to {high:+.3f}), p {p_value(by):.3f}"
        print(_table(f"{measure}, macro AUROC", figures))
        print(_table(f"{measure}, macro AUROC minus that of {FULL} ({reference})", differences))
    print(RESEARCH_USE_ONLY)


def _table(title: str, cells: dict[tuple[str, str], str]) -> str:
    rows, tasks = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    lines = [["row", *tasks], ["---"] * (len(tasks) + 1)]
    lines += [[row, *(cells.get((row, task), "") for task in tasks)] for row in rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


if __name__ == "__main__":
    main()
