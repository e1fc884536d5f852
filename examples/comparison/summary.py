# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown of what run.py measured: each row, and its difference from the full model.

    python examples/comparison/summary.py --output_dir WORK > summary.md

A figure is the mean over seeds. Its interval (95 %) is a bootstrap over patients and seeds; a row and the full model
are measured on the same draws of patients. From three seeds it has two thirds of the variance between seeds that many
would show. p is two-sided, of one comparison: correct it for how many there are.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from intervals import Scores, interval, macro_aurocs, p_value
from supervised import SUPERVISED
from tqdm.auto import tqdm

from cgdmer.evaluation.comparison import SCORES
from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY
from cgdmer.evaluation.evaluate import LINEAR_PROBE
from cgdmer.models.errors import CorpusError

FULL = "full"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, type=Path, help="that of run.py")
    parser.add_argument("--bootstrap_samples", type=int, default=500)
    options = parser.parse_args(arguments)
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(options.output_dir.glob(f"*/seed_*/*/{SCORES}")):
        files[path.parents[2].name, path.parent.name].append(path)
    draws: dict[str, dict[tuple[str, str], np.ndarray]] = defaultdict(dict)  # by measure, row and task
    records: dict[str, np.ndarray] = {}
    for (row, task), of_seeds in tqdm(files.items(), desc="bootstrap"):
        scores = Scores(of_seeds)
        if not np.array_equal(records.setdefault(task, scores.records), scores.records):
            raise CorpusError(f"{of_seeds[0]} is not about the records of the other rows. Evaluate again.")
        for measure in scores.by_measure:
            draws[measure][row, task] = macro_aurocs(scores, measure, options.bootstrap_samples)
    for measure, of_rows in draws.items():
        figures, differences = {}, {}
        reference = LINEAR_PROBE if measure == SUPERVISED else measure
        for (row, task), values in of_rows.items():
            low, high = interval(values)
            figures[f"{row}, {len(files[row, task])} seed(s)", task] = f"{values[0]:.3f} ({low:.3f} to {high:.3f})"
            full = draws.get(reference, {}).get((FULL, task))
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
