# SPDX-License-Identifier: Apache-2.0
"""Several models on the same records: one table and figure per task, with paired differences and what each costs."""

import csv
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from datasets import DatasetDict, concatenate_datasets

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.comparison import compare, p_in_words
from cgdmer.evaluation.evaluate import evaluate_model
from cgdmer.evaluation.figures import conditions_figure
from cgdmer.evaluation.measures import MAIN_MEASURES
from cgdmer.evaluation.report import IN_DOMAIN, aligned, markdown_table
from cgdmer.evaluation.report_retrieval import TASK as REPORT_RETRIEVAL
from cgdmer.families import config_of, load_feature_extractor, load_model
from cgdmer.files.writing import write_text
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.errors import ConfigurationError
from cgdmer.plotting.figure_page import save

_TIMED_RECORDS, _FIRST_RECORDS = 64, 8  # the first ones are not timed: caches fill, and threads start


class Cost(TypedDict):
    """What a model costs: `milliseconds` per record on this machine, from the record to its embedding, with the
    preprocessing, in batches; and `megabytes` of weights as they are loaded, with those of the text tower."""

    milliseconds: float
    megabytes: float


class Line(TypedDict):
    """One model by one measure on one task.

    Attributes:
        untrained: the macro AUROC of the same architecture with random weights, and its interval; None if it was not
            measured.
        difference: of the macro AUROC from that of the first model on the records that both can use, with its
            `difference_interval` and `p_value`; None for the first model itself, or if it lacks the measure.
        in_domain: whether the model was pretrained on records of the same corpus.
    """

    task: str
    measure: str
    model: str
    records: int
    macro_auroc: float | None
    macro_auroc_interval: list[float | None]
    untrained: float | None
    untrained_interval: list[float | None] | None
    difference: float | None
    difference_interval: list[float] | None
    p_value: float | None
    in_domain: bool
    milliseconds: float
    megabytes: float


def evaluate_models(
    arguments: EvaluationArguments, models: Sequence[str], say: Callable[..., None] | None = None
) -> dict[str, Any]:
    """Evaluate models one after the other in the same way, and put them side by side.

    Args:
        arguments: as for one model; `model` is ignored. Each model's own results are in a subfolder of `output_dir`,
            next to models.md, models.csv, and a figure per task.
        models: folders or Hub ids, the first of which the others are compared with.
        say: called with lines for the user, like `print`; None: silent.

    Returns:
        `models`: the results of each, as `evaluate_model` returns them, by its name (the last part of its path, with
        a number if another has the same); `side_by_side`: a list of `Line`.

    Raises:
        ConfigurationError: fewer than two models, or one of them twice; and as `evaluate_model`.
        ModelFolderError: one of them is not there, before any is evaluated; and as `evaluate_model`.
    """
    say = say or (lambda *_: None)
    if len(models) < 2 or len(set(models)) < len(models):
        raise ConfigurationError(f"models are {', '.join(models)}; expected two or more different ones.")
    for model in models:
        config_of(model)  # a wrong name is said before the first one is evaluated
    names = _distinct_names(models)
    given = arguments.output_dir
    with nullcontext(given) if given is not None else tempfile.TemporaryDirectory() as folder:
        results: dict[str, Any] = {}
        for name, model in names.items():
            say(f"=== {name}")
            results[name] = evaluate_model(replace(arguments, model=model, output_dir=os.path.join(folder, name)), say)
        dataset = load_dataset_folder(arguments.dataset)
        costs = {name: cost_of(model, dataset, arguments.splits) for name, model in names.items()}
        lines = _lines(Path(folder), results, costs)
        for text in _texts(lines, list(names)):
            say(text)
        if given is not None:
            for path in _write(Path(given), lines, list(names)):
                say(f"written: {path}")
    return {"models": results, "side_by_side": lines}


def cost_of(model: str | os.PathLike[str], dataset: DatasetDict, splits: Sequence[str]) -> Cost:
    """Measure a model on the first test records."""
    loaded, extractor = load_model(model), load_feature_extractor(model)
    rows = concatenate_datasets([dataset[split] for split in splits])
    few = rows.select(range(min(_FIRST_RECORDS, len(rows))))
    timed = rows.select(range(min(_TIMED_RECORDS, len(rows))))
    embed_records(loaded, extractor, DatasetRecords(few), description="warming up", unusable="nan")
    start = time.perf_counter()
    embed_records(loaded, extractor, DatasetRecords(timed), description="timing", unusable="nan")
    seconds = time.perf_counter() - start
    numbers = [*loaded.parameters(), *loaded.buffers()]
    size = sum(one.numel() * one.element_size() for one in numbers)
    return {"milliseconds": 1000 * seconds / len(timed), "megabytes": size / 1e6}


def _distinct_names(models: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for model in models:
        name = Path(os.fspath(model)).name or "model"
        number = 2
        while name in names:
            name, number = f"{Path(model).name}-{number}", number + 1
        names[name] = model
    return names


def _lines(folder: Path, results: Mapping[str, Any], costs: Mapping[str, Cost]) -> list[Line]:
    lines: list[Line] = []
    first = next(iter(results))
    tasks = dict.fromkeys(task for of_model in results.values() for task in of_model if task != REPORT_RETRIEVAL)
    for task in tasks:
        with_task = [name for name in results if task in results[name]]
        compared: dict[str, Any] = {}
        for name in with_task:
            if name != first and first in with_task and _common(results, task, name, first):
                compared[name] = compare(folder / name / task, folder / first / task)["measures"]
        for measure in MAIN_MEASURES:
            for name in with_task:
                of_task = results[name][task]
                if measure not in of_task["measures"]:
                    continue
                found, paired = of_task["measures"][measure], compared.get(name, {}).get(measure)
                untrained = of_task["untrained"].get(measure, {})
                lines.append(
                    {
                        "task": task,
                        "measure": measure,
                        "model": name,
                        "records": found["records"],
                        "macro_auroc": found["macro_auroc"],
                        "macro_auroc_interval": found["macro_auroc_interval"],
                        "untrained": untrained.get("macro_auroc"),
                        "untrained_interval": untrained.get("macro_auroc_interval"),
                        "difference": None if paired is None else paired["difference"],
                        "difference_interval": None if paired is None else list(paired["interval"]),
                        "p_value": None if paired is None else paired["p_value"],
                        "in_domain": of_task["in_domain"],
                        **costs[name],
                    }
                )
    return lines


def _common(results: Mapping[str, Any], task: str, one: str, other: str) -> bool:
    """Whether two models have a measure in common, on the same classes."""
    left, right = results[one][task], results[other][task]
    same = left.get("classes_not_scored", []) == right.get("classes_not_scored", [])
    return same and bool(left["measures"].keys() & right["measures"].keys())


_HEADS = ["model", "macro AUROC (95 %)", "random weights", "minus the first (95 %)", "p", "ms per ECG", "MB"]


def _rows(lines: Sequence[Line]) -> list[list[str]]:
    rows = []
    for line in lines:
        low, high = line["macro_auroc_interval"]
        value = f"{_number(line['macro_auroc'])} ({_number(low)} to {_number(high)})"
        difference, p = "-", "-"
        if line["difference"] is not None and line["difference_interval"] is not None:
            below, above = line["difference_interval"]
            difference = f"{line['difference']:+.3f} ({below:+.3f} to {above:+.3f})"
            p = p_in_words(line["p_value"] if line["p_value"] is not None else math.nan)
        name = line["model"] + (" *" if line["in_domain"] else "")
        cost = [f"{line['milliseconds']:.1f}", f"{line['megabytes']:.1f}"]
        rows.append([name, value, _number(line["untrained"]), difference, p, *cost])
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _by_table(lines: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    tables: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        tables.setdefault((line["task"], line["measure"]), []).append(line)
    return tables


def _notes(lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    starred = [f"* {IN_DOMAIN}"] if any(line["in_domain"] for line in lines) else []
    return [
        *starred,
        f"Differences are from {names[0]}, paired over patients, on the records that both models can use. p is "
        "two-sided and for one comparison: correct it for the number of comparisons.",
        "Milliseconds are from a record to its embedding on this machine, in batches; other work on it makes them "
        "more. Megabytes are those of all weights as loaded.",
        RESEARCH_USE_ONLY,
    ]


def _texts(lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    """The tables for a terminal."""
    texts = ["=== side by side"]
    for (task, measure), of_table in _by_table(lines).items():
        texts += [f"{task}, {measure}, {of_table[0]['records']:,} records", *aligned([_HEADS, *_rows(of_table)]), ""]
    return [*texts, *_notes(lines, names)]


def _write(folder: Path, lines: Sequence[Line], names: Sequence[str]) -> list[Path]:
    written = [folder / "models.md", folder / "models.csv"]
    parts = ["# Models side by side"]
    for (task, measure), of_table in _by_table(lines).items():
        parts += [f"## {task}, {measure}", markdown_table(_HEADS, _rows(of_table))]
    figures: dict[str, dict[str, list[tuple[str, float, float, float]]]] = {}
    for line in lines:
        rows = figures.setdefault(line["task"], {}).setdefault(line["measure"], [])
        rows.append((line["model"], *_drawn(line["macro_auroc"], line["macro_auroc_interval"])))
        if line["untrained_interval"] is not None:
            random = _drawn(line["untrained"], line["untrained_interval"])
            rows.append((f"{line['model']}, random weights", *random))
    for task, families in figures.items():
        path = folder / f"{task}.png"
        save(conditions_figure(families, 0.5, f"{task}: models side by side", "no better than chance"), path)
        parts.append(f"![{task}]({path.name})")
        written.append(path)
    write_text(written[0], "\n\n".join([*parts, *_notes(lines, names)]) + "\n")
    with open(written[1], "w", newline="", encoding="utf-8") as file:
        flat = [_flat(line) for line in lines]
        table = csv.DictWriter(file, list(flat[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(flat)
    return written


def _drawn(value: float | None, interval: Sequence[float | None]) -> tuple[float, float, float]:
    found = [math.nan if number is None else number for number in (value, *interval)]
    return found[0], found[1], found[2]


def _flat(line: Line) -> dict[str, Any]:
    """With a column for each end of an interval."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        if name.endswith("_interval"):
            stem = name.removesuffix("_interval")
            flat[f"{stem}_low"], flat[f"{stem}_high"] = value if isinstance(value, list) else (None, None)
        else:
            flat[name] = value
    return flat
