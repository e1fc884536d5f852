# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves in a folder: results.json, per_class.csv, scores.parquet, a report, and figures."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cgdmer.evaluation.comparison import RESULTS, SCORES, write_scores
from cgdmer.evaluation.evaluate_task import LINEAR_PROBE, ZERO_SHOT, Evaluation, main_measure
from cgdmer.evaluation.figures import draw_per_class_dots, draw_robustness, draw_roc, draw_tsne
from cgdmer.evaluation.report import write_markdown, write_per_class_csv, write_results_json
from cgdmer.evaluation.tasks import Task
from cgdmer.models.errors import CorpusError


def write_evaluation(folder: str | os.PathLike[str], evaluation: Evaluation, task: Task, seed: int = 0) -> list[Path]:
    """Write everything about one task.

    Args:
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files. A figure for which there is too little (t-SNE of a handful of records) is left out.
    """
    target = Path(folder)
    results: Mapping[str, Any] = evaluation.results
    target.mkdir(parents=True, exist_ok=True)
    write_results_json(target / RESULTS, results)
    write_scores(target / SCORES, evaluation, task.class_names)
    write_per_class_csv(target / "per_class.csv", results)
    figures: dict[str, Path] = {}
    by_class = {name: results["measures"][name] for name in (ZERO_SHOT, LINEAR_PROBE) if name in results["measures"]}
    main, shown = main_measure(results["measures"]), dict(by_class)
    if main in results["untrained"]:
        shown[f"{main}, untrained"] = results["untrained"][main]
    figures["AUROC by class"] = target / "per_class.png"
    draw_per_class_dots(figures["AUROC by class"], shown, title=f"{task.name}: AUROC by class")
    if main in evaluation.scores:
        figures[f"ROC, {main}"] = target / "roc.png"
        title = f"{task.name}: ROC, {main}"
        draw_roc(figures[f"ROC, {main}"], evaluation.labels, evaluation.scores[main][0], task.class_names, title)
    try:
        draw_tsne(target / "tsne.png", evaluation.embeddings, evaluation.labels, task.class_names, seed)
        figures["t-SNE of record embeddings"] = target / "tsne.png"
    except CorpusError:  # fewer than four records with exactly one class
        (target / "tsne.png").unlink(missing_ok=True)
    for caption, name in ((f"By sex and age, {main}", "groups"), (f"Robustness, {main}", "robustness")):
        if any(main in row for rows in results[name].values() for row in rows):
            figures[caption] = target / f"{name}.png"
            curves = {
                family: [(row["name"], row[main]["macro_auroc"], *row[main]["macro_auroc_interval"]) for row in rows]
                for family, rows in results[name].items()
            }
            reference = results["measures"][main]["macro_auroc"]
            draw_robustness(figures[caption], curves, reference, f"{task.name}: {main}")
    write_markdown(target / "report.md", results, figures)
    return [*(target / name for name in (RESULTS, "per_class.csv", SCORES, "report.md")), *figures.values()]
