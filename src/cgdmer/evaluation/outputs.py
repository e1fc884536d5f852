# SPDX-License-Identifier: Apache-2.0
"""The files of an evaluation: results.json, per_class.csv, scores.parquet, a report, figures, and left_out.csv."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cgdmer.evaluation.abstention import coverage_figure
from cgdmer.evaluation.comparison import LEFT_OUT, RESULTS, SCORES, write_scores
from cgdmer.evaluation.evaluate_task import Evaluation
from cgdmer.evaluation.figures import conditions_figure, per_class_figure, roc_figure, tsne_figure
from cgdmer.evaluation.measures import MAIN_MEASURES, main_measure
from cgdmer.evaluation.patients import groups_in_words
from cgdmer.evaluation.prompt_study import write_study
from cgdmer.evaluation.reliability_figure import reliability_figure
from cgdmer.evaluation.report import write_markdown, write_per_class_csv, write_results_json
from cgdmer.evaluation.tasks import Task
from cgdmer.models.errors import CorpusError
from cgdmer.plotting.figure_page import save

_MOST_NAMED = 10  # on the terminal


def write_evaluation(folder: str | os.PathLike[str], evaluation: Evaluation, task: Task, seed: int = 0) -> list[Path]:
    """Write everything about one task.

    Args:
        folder: created if absent; files of the same names are replaced.

    Returns:
        The files. A figure for which there is too little data (t-SNE of a handful of records) is left out.
    """
    target = Path(folder)
    results: Mapping[str, Any] = evaluation.results
    class_names = evaluation.class_names or task.class_names
    target.mkdir(parents=True, exist_ok=True)
    write_results_json(target / RESULTS, results)
    write_scores(target / SCORES, evaluation, class_names)
    write_per_class_csv(target / "per_class.csv", results)
    write_left_out(target / LEFT_OUT, evaluation.left_out)
    further = [LEFT_OUT] if evaluation.left_out else []
    if study := results.get("prompt_study"):
        write_study(target / "prompt_study.csv", study)
        further.append("prompt_study.csv")
    figures: dict[str, Path] = {}

    def add_figure(caption: str, name: str, figure: Figure) -> None:
        figures[caption] = target / name
        save(figure, figures[caption])

    shown = {name: results["measures"][name] for name in MAIN_MEASURES if name in results["measures"]}
    main = main_measure(results["measures"])
    if main in results["untrained"]:
        shown[f"{main}, untrained"] = results["untrained"][main]
    add_figure("AUROC by class", "per_class.png", per_class_figure(shown, title=f"{task.name}: AUROC by class"))
    if main in evaluation.scores:
        of_main = evaluation.labels, evaluation.scores[main][0], class_names
        add_figure(f"ROC, {main}", "roc.png", roc_figure(*of_main, f"{task.name}: ROC, {main}"))
    try:
        points = tsne_figure(evaluation.embeddings, evaluation.labels, class_names, seed)
        add_figure("t-SNE of record embeddings", "tsne.png", points)
    except CorpusError:  # fewer than four records with exactly one class
        (target / "tsne.png").unlink(missing_ok=True)
    if results["calibration"]:
        figure = reliability_figure(results["calibration"], f"{task.name}: calibration, {main}")
        add_figure(f"Calibration, {main}", "calibration.png", figure)
    if rows := [row for row in results["coverage"] if main in row]:
        figure = coverage_figure(rows, main, f"{task.name}: coverage against risk")
        add_figure(f"Coverage against risk, {main}", "coverage.png", figure)
    for caption, name in ((groups_in_words(results["groups"]), "groups"), ("Robustness", "robustness")):
        if any(main in row for rows in results[name].values() for row in rows):
            add_figure(f"{caption}, {main}", f"{name}.png", _conditions_figure(results, name, main))
    write_markdown(target / "report.md", results, figures)
    names = (RESULTS, "per_class.csv", SCORES, "report.md", *further)
    return [*(target / name for name in names), *figures.values()]


def _conditions_figure(results: Mapping[str, Any], name: str, main: str) -> Figure:
    """The figure of `groups`, which says how many records each has, or of `robustness`, where all have the same."""
    grouped = name == "groups"
    conditions = {
        family: [
            (
                f"{row['name']} ({row[main]['records']:,})" if grouped else row["name"],
                row[main]["macro_auroc"],
                *row[main]["macro_auroc_interval"],
            )
            for row in rows
        ]
        for family, rows in results[name].items()
    }
    return conditions_figure(
        conditions,
        results["measures"][main]["macro_auroc"],
        f"{results['task']}: {main}",
        "all records" if grouped else "full record",
        ["In brackets: records."] if grouped else [],
    )


def write_left_out(path: Path, left_out: Sequence[tuple[str, str, str]]) -> None:
    """Write what records were for, their ids, and why they cannot be used; without any, remove an earlier file."""
    if not left_out:
        path.unlink(missing_ok=True)
        return
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(("part", "record", "reason"))
        table.writerows(left_out)


def left_out_in_words(left_out: Sequence[tuple[str, str, str]]) -> list[str]:
    """Lines that name the first records that cannot be used."""
    lines = [f"{record!r} ({part}) is left out: {reason}" for part, record, reason in left_out[:_MOST_NAMED]]
    if len(left_out) > _MOST_NAMED:
        lines.append(f"{len(left_out)} records are left out; {LEFT_OUT} in --output_dir names all.")
    return lines
