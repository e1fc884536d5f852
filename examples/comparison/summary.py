# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of the results of run.py: each row, and its difference from the full model, or another row.

    python examples/comparison/summary.py --csv examples/comparison/six_minutes.csv > examples/comparison/summary.md

It reads the draws that run.py left next to that file, so it needs neither models nor records. A figure is the mean
over seeds, for classes with ten or more positives. Rarer classes count only in the CSV file, because many draws of
patients lack them. The interval (95%) is over patients and seeds: what draws of patients change in all seeds alike is
the variance of patients, and the differences between seeds are theirs, with the t of so few (`benchmarks/coverage.py`
measures how often it holds the true value). A row and the full model are compared on the same draws of patients and on
the seeds that both have. With one seed, the interval is over patients alone; then there is no p, and a difference may
be due to the seed. p is two-sided and for one comparison: correct it for the number of comparisons.
"""

import argparse
from collections.abc import Sized
from pathlib import Path

from intervals import OverSeeds, over_seeds, read_draws
from supervised import SUPERVISED

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.evaluation.comparison import p_in_words
from cgdmer.evaluation.measures import LINEAR_PROBE, ZERO_SHOT

FULL = "full"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", required=True, type=Path, help="the CSV file of run.py")
    parser.add_argument("--reference", default=FULL, help="the row that all others are compared with")
    options = parser.parse_args(arguments)
    draws = read_draws(options.csv)
    if options.reference not in (rows := sorted({row for _, row, _ in draws})):
        parser.error(f"{options.csv} has no row {options.reference!r}. Rows: {', '.join(rows)}.")
    for measure in sorted({measure for measure, _, _ in draws}, key=lambda name: (name != ZERO_SHOT, name)):
        figures, differences = {}, {}
        reference = LINEAR_PROBE if measure == SUPERVISED else measure
        for (_, row, task), of_seeds in ((key, found) for key, found in draws.items() if key[0] == measure):
            figures[f"{row}, {in_words(of_seeds)}", task] = with_interval(over_seeds(of_seeds), "")
            full = draws.get((reference, options.reference, task), {})
            if row != options.reference and (both := sorted(of_seeds.keys() & full.keys())):
                by = over_seeds({seed: of_seeds[seed] - full[seed] for seed in both})
                p = f", p {p_in_words(by.p_value())}" if by.seeds > 1 else ""
                differences[f"{row}, {in_words(both)}", task] = with_interval(by, "+") + p
        print(_table(f"{measure}, macro AUROC", figures))
        print(_table(f"{measure}, macro AUROC minus that of {options.reference} ({reference})", differences))
    print(RESEARCH_USE_ONLY)


def in_words(seeds: Sized) -> str:
    return f"{len(seeds)} seed" + "s" * (len(seeds) > 1)


def with_interval(mean: OverSeeds, sign: str) -> str:
    low, high = mean.interval()
    return f"{mean.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _table(title: str, cells: dict[tuple[str, str], str]) -> str:
    rows, tasks = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    lines = [["row", *tasks], ["---"] * (len(tasks) + 1)]
    lines += [[row, *(cells.get((row, task), "") for task in tasks)] for row in rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


if __name__ == "__main__":
    main()
