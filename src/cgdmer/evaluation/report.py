# SPDX-License-Identifier: Apache-2.0
"""The results of a task as text for a terminal, CSV, Markdown, and JSON.

All functions take the same `results`, described by `cgdmer.evaluation.results.TaskResults`. A value that could not be
measured is shown as "-".
"""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.evaluation.decisions import decisions_table
from cgdmer.evaluation.patients import groups_in_words
from cgdmer.evaluation.prompt_study import KINDS, study_table
from cgdmer.evaluation.statistics import FEWEST_POSITIVES, METRIC_NAMES
from cgdmer.evaluation.transported import transported_table
from cgdmer.files.writing import write_text

IN_DOMAIN = "In-domain: the model was pretrained on records of the corpus it is tested on."
PATIENTS_NOT_CHECKED = (
    "Patients were not checked, so it may have been trained on other records of the same people: only whoever trained "
    "a model knows its patients, and only where all records name theirs."
)
INTERVALS = (
    "In brackets: 95 % intervals over patients. Untrained: a model of the same configuration with "
    "random weights, measured in the same way."
)


def terminal_table(results: Mapping[str, Any]) -> str:
    """The results as text: a row per measure with the untrained model's AUROC, then AUROC by class.

    Classes with few positives are marked with a star. Classes that were left out are named in the last line.
    """
    further = [metric for metric in _metrics(results) if metric != "auroc"]
    heads = [f"macro {METRIC_NAMES[metric]}" for metric in further]
    rows = [["", "macro AUROC", "95 % interval", "untrained AUROC", *heads]]
    for name, result in results["measures"].items():
        low, high = result["macro_auroc_interval"]
        untrained = results["untrained"].get(name, {}).get("macro_auroc")
        rows.append(
            [
                name,
                _number(result["macro_auroc"]),
                "-" if _absent(low) else f"{_number(low)} to {_number(high)}",
                _number(untrained),
                *(_number(result.get(f"macro_{metric}")) for metric in further),
            ]
        )
    by_class = [["AUROC by class", "positives", *results["measures"]]]
    for label, row in _classes(results).items():
        values = [result["per_class"].get(label, {}).get("auroc") for result in results["measures"].values()]
        by_class.append([label + _star(row), f"{row['positives']:,}", *map(_number, values)])
    prompts = f", prompts: {results['prompts']}" if results["prompts"] else ""
    first = next(iter(results["measures"].values()))
    partly = results.get("records_with_refused_leads")
    heading = [
        f"{results['task']}, protocol: {results['protocol']}{prompts}",
        f"{first['records']:,} records of {first['patients']:,} patients ({', '.join(results['splits'])}), "
        f"{results['records_without_label']:,} without a class of the task"
        + (f", {results['unusable_records']:,} that cannot be used" if results.get("unusable_records") else ""),
        *([f"{partly:,} of the records have leads that are not used (flat, or with long gaps)"] if partly else []),
        *([IN_DOMAIN] if results["in_domain"] else []),
    ]
    return "\n".join([*heading, "", *aligned(rows), "", *aligned(by_class), *_remarks(results)])


def write_per_class_csv(path: str | os.PathLike[str], results: Mapping[str, Any]) -> None:
    """Write a line per model, measure, and class, with every metric and the ends of its 95 % interval.

    Numbers have all their digits. Cells are empty for what could not be measured, and for classes that were left out.
    """
    columns = [f"{metric}{end}" for metric in METRIC_NAMES for end in ("", "_low", "_high")]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["task", "protocol", "model", "measure", "class", "positives", "records", "few_positives", *columns]
        )
        for model, group in (("trained", "measures"), ("untrained", "untrained")):
            for name, result in results[group].items():
                start = [results["task"], results["protocol"], model, name]
                for label, row in result["per_class"].items():
                    values = [
                        value
                        for metric in METRIC_NAMES
                        for value in (row.get(metric), *(row.get(f"{metric}_interval") or (None, None)))
                    ]
                    few = "true" if row["few_positives"] else "false"
                    cells = ["" if _absent(value) else repr(float(value)) for value in values]
                    writer.writerow([*start, label, row["positives"], result["records"], few, *cells])
                for label in result["left_out"]:
                    writer.writerow([*start, label, "", "", "", *("" for _ in columns)])


def write_markdown(
    path: str | os.PathLike[str], results: Mapping[str, Any], figures: Mapping[str, str | os.PathLike[str]]
) -> None:
    """Write a report: what was measured and how, the tables, the figures, and how to reproduce them.

    Args:
        path: the file to write.
        results: see the module.
        figures: the files of the figures by caption. Paths in the report are relative to its folder, so the folder can
            be moved. PDFs, which Markdown cannot show, are linked.
    """
    folder = Path(path).absolute().parent
    parts = [f"# Evaluation: {results['task']}", f"**{RESEARCH_USE_ONLY}**"]
    if results["in_domain"]:
        parts.append(f"**{IN_DOMAIN}**")
    first = next(iter(results["measures"].values()))
    facts = [
        ["task", results["task"]],
        ["protocol", results["protocol"]],
        ["prompts", results["prompts"] or "-"],
        ["feature of linear probes", results["probed_feature"] or "-"],
        ["test splits", ", ".join(results["splits"])],
        ["records", f"{first['records']:,}"],
        ["patients", f"{first['patients']:,}"],
        ["records without a class of the task", f"{results['records_without_label']:,}"],
        ["records left out because they cannot be used", f"{results.get('unusable_records', 0):,}"],
        ["records with leads that are not used", f"{results.get('records_with_refused_leads') or 0:,}"],
        ["in-domain", "yes" if results["in_domain"] else "no"],
    ]
    parts.append(markdown_table(["", ""], facts, numbers_from=2))
    parts += [overlap_in_words(results.get("overlap")), "## Over all classes"]

    parts += [overall_table(results), INTERVALS]
    links = {
        caption: quote(Path(os.path.relpath(Path(figure).absolute(), folder)).as_posix())
        for caption, figure in figures.items()
    }
    parts += [f"![{plain(caption)}]({link})" for caption, link in links.items() if not link.endswith(".pdf")]
    parts += [f"[{plain(caption)}]({link})" for caption, link in links.items() if link.endswith(".pdf")]

    for metric in _metrics(results):
        parts.append(f"## {METRIC_NAMES[metric][0].upper()}{METRIC_NAMES[metric][1:]} by class")
        columns = {}
        for name, result in results["measures"].items():
            columns[name] = {label: with_interval(row, metric) for label, row in result["per_class"].items()}
            if name in results["untrained"]:
                untrained = results["untrained"][name]["per_class"]
                columns[f"{name}, untrained"] = {label: _number(row.get(metric)) for label, row in untrained.items()}
        rows = [
            [label + _star(row), f"{row['positives']:,}", *(column.get(label, "-") for column in columns.values())]
            for label, row in _classes(results).items()
        ]
        parts.append(markdown_table(["class", "positives", *columns], rows))
        parts += [plain(remark) for remark in _remarks(results)]
    for title, families in (
        (groups_in_words(results["groups"]), results["groups"]),
        ("Robustness", results["robustness"]),
    ):
        if families:
            parts += [f"## {title}", conditions_table(families)]
    if results["calibration"]:
        parts += ["## Calibration", calibration_in_words(results["calibration"])]
    if results.get("operating_points"):
        table = transported_table(results["operating_points"])
        parts += ["## Thresholds that were chosen elsewhere", markdown_table(*table)]
    if results.get("decisions"):
        parts += ["## Decisions", markdown_table(*decisions_table(results["decisions"]))]
    if results.get("coverage"):
        parts += ["## Coverage", coverage_table(results["coverage"])]
    if results.get("prompt_study"):
        parts += ["## Other words", markdown_table(*study_table(results["prompt_study"]))]
        parts += ["\n".join(f"- {kind}: {plain(what)}" for kind, what in KINDS.items())]
    parts += ["## How to reproduce", f"```\n{results['command']}\n```"]
    Path(path).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def overlap_in_words(overlap: Mapping[str, Any] | None) -> str:
    """What is known about test records that the model was trained on, in a few sentences; None: nothing."""
    if overlap is None:
        return "Whether the model was trained on some of these records is unknown."
    found = f"The model was trained on {overlap['records']:,} of these records"
    if overlap["patients"] is None:
        return f"{found}. {PATIENTS_NOT_CHECKED}"
    return f"{found}, and on patients of {overlap['patients']:,}."


def overall_table(results: Mapping[str, Any]) -> str:
    """Markdown: a row per measure and model, a column per metric."""
    metrics = _metrics(results)
    rows = [
        [name, model, *(with_interval(group[name], f"macro_{metric}") for metric in metrics)]
        for name in results["measures"]
        for model, group in (("trained", results["measures"]), ("untrained", results["untrained"]))
        if name in group
    ]
    heads = ["measure", "model", *(f"macro {METRIC_NAMES[metric]}" for metric in metrics)]
    return markdown_table(heads, rows, numbers_from=2)


def _metrics(results: Mapping[str, Any]) -> list[str]:
    measured = [*results["measures"].values(), *results["untrained"].values()]
    return [metric for metric in METRIC_NAMES if any(f"macro_{metric}" in one for one in measured)]


def conditions_table(families: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Markdown: a row per group or disturbance, with the macro AUROC and its interval for each measure."""
    rows_of = [(family, row) for family, rows in families.items() for row in rows]
    names = [name for name in rows_of[0][1] if name != "name"]
    rows = [
        [family, row["name"], f"{row[names[0]]['records']:,}", *(with_interval(row[n], "macro_auroc") for n in names)]
        for family, row in rows_of
    ]
    return markdown_table(["", "", "records", *(f"{name}, macro AUROC" for name in names)], rows, numbers_from=2)


def coverage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row per share of the records that gets an answer."""
    names = [name for name in rows[0] if name not in ("coverage", "familiarity", "records")]
    cells = [
        [
            *(f"{row['coverage']:.0%}", f"{row['records']:,}", _number(row["familiarity"])),
            *(with_interval(row[name], "macro_auroc") for name in names),
        ]
        for row in rows
    ]
    heads = ["with an answer", "records", "least familiarity", *(f"{name}, macro AUROC" for name in names)]
    return markdown_table(heads, cells, numbers_from=0)


def calibration_in_words(calibration: Mapping[str, Any]) -> str:
    """Markdown: a few sentences and a table of the bins."""
    bins = calibration["bins"]
    table = markdown_table(
        ["mean score", "share with the finding", "scores"],
        [[_number(one["mean_score"]), _number(one["share_positive"]), f"{one['scores']:,}"] for one in bins],
        numbers_from=0,
    )
    error, brier, of_prevalence = (
        _number(calibration[name]) for name in ("expected_calibration_error", "brier", "brier_of_prevalence")
    )
    return (
        f"On average, the model's scores differ by {error} from the share of records with the finding. Their Brier "
        f"score is {brier}; scores that always equal the prevalence of a class among these records would have "
        f"{of_prevalence}. Scores were fitted to the prevalence of findings where the model was validated.\n\n{table}"
    )


def write_results_json(path: str | os.PathLike[str], results: Any) -> None:
    """Write strict JSON, with null for NaN. The results may be nested and contain numbers and arrays of NumPy.

    Raises:
        ValueError: a number is infinite, which JSON cannot represent.
    """
    text = json.dumps(without_nan(results), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(Path(path), text + "\n")


def without_nan(value: Any) -> Any:
    """The same value as JSON can represent it: None for NaN, and lists and numbers of Python for those of NumPy."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return without_nan(value.tolist())
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _remarks(results: Mapping[str, Any]) -> list[str]:
    """What readers of a table by class must know."""
    remarks = []
    if any(row["few_positives"] for row in _classes(results).values()):
        remarks.append(f"* fewer than {FEWEST_POSITIVES} positive records: the class's own value says little.")
        frequent = {name: one["frequent"] for name, one in results["measures"].items() if "frequent" in one}
        values = [f"{name} {with_interval(one, 'macro_auroc')}" for name, one in frequent.items()]
        if values:
            count = next(iter(frequent.values()))["classes"]
            remarks.append(f"Macro AUROC over the {count} other classes: {'; '.join(values)}.")
    left_out = dict.fromkeys(label for result in results["measures"].values() for label in result["left_out"])
    if left_out:
        remarks.append(f"Left out, without positive or negative records: {', '.join(left_out)}.")
    for name, why in results.get("readouts_left_out", {}).items():
        remarks.append(f"Readout {name}: left out, because {why}.")
    if not_scored := results.get("classes_not_scored"):
        remarks.append(f"Not among the classifier's labels: {', '.join(not_scored)}.")
    return remarks


def _classes(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """All classes of the measures and what is known about them, in order."""
    return {label: row for result in results["measures"].values() for label, row in result["per_class"].items()}


def _star(row: Mapping[str, Any]) -> str:
    return "*" if row["few_positives"] else ""


def _absent(value: float | None) -> bool:
    return value is None or math.isnan(value)  # numpy takes no integer above 2^64


def _number(value: float | None) -> str:
    return "-" if value is None or _absent(value) else f"{value:.3f}"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """A value with its interval as text, or "-" if it is absent."""
    if _absent(row.get(name)):
        return "-"
    low, high = row[f"{name}_interval"]
    return f"{_number(row[name])} ({_number(low)} to {_number(high)})"


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines with the first column aligned left, the others right, and two spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def markdown_table(heads: list[str], rows: list[list[str]], numbers_from: int = 1) -> str:
    """A Markdown table whose columns from `numbers_from` on are aligned right."""
    alignment = ["---" if column < numbers_from else "---:" for column in range(len(heads))]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in ([*map(plain, heads)], alignment, *([*map(plain, row)] for row in rows))
    )


def plain(text: object) -> str:
    """Escape text so that Markdown sees no table border, tag, emphasis, or link in it."""
    escaped = " ".join(str(text).split())
    for character in "\\|<*[]`":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
