# SPDX-License-Identifier: Apache-2.0
"""The results of `cgdmer evaluate --output_dir`, in the two forms that the Hub reads.

* `model-index` in the card's metadata: every measure of every task.
* `.eval_results/TASK.yaml`: one value per task, for the leaderboard of a benchmark. The Hub asks for the id of a
  dataset that is registered as a benchmark and lists the task in its `eval.yaml`
  (https://huggingface.co/docs/hub/eval-results), so these are written only if such a dataset is named.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id, yaml_dump

from cgdmer.evaluation.comparison import RESULTS
from cgdmer.evaluation.measures import CLASSIFIER, ZERO_SHOT
from cgdmer.evaluation.readouts.register import READOUTS
from cgdmer.evaluation.results import Measured, Reliability, TaskResults
from cgdmer.evaluation.statistics import METRIC_NAMES
from cgdmer.files.json_types import check
from cgdmer.files.reading import read_json
from cgdmer.models.errors import CorpusError, PublishingError

# The Hub's names; it has no other name for the F1 averaged over classes.
_METRIC_TYPES = {"auroc": "roc_auc", "auprc": "average_precision", "f1": "f1"}
_NAME_OF_TASK = re.compile(r"[A-Za-z0-9_.-]+")  # it becomes a file name
# As the Hub names them; there is no type for classifiers of ECGs.
_TASK_TYPES = {ZERO_SHOT: "zero-shot-classification", CLASSIFIER: "audio-classification"}


def read_results(folders: Sequence[str | os.PathLike[str]]) -> list[TaskResults]:
    """The results of every task, sorted by task, then in the order of the folders.

    Args:
        folders: each holds the results of one task, or one folder per task.

    Raises:
        CorpusError: a folder holds no results, or they are not as `cgdmer evaluate` writes them.
    """
    found = []
    for folder in map(Path, folders):
        files = [folder / RESULTS] if (folder / RESULTS).is_file() else sorted(folder.glob(f"*/{RESULTS}"))
        if not files:
            raise CorpusError(f"{folder} holds no {RESULTS}. Name a folder that `cgdmer evaluate --output_dir` wrote.")
        found += [_read(file) for file in files]
    return sorted(found, key=lambda results: results["task"])


def _read(file: Path) -> TaskResults:
    try:
        results = read_json(file)
        check(results, TaskResults)
        if not _NAME_OF_TASK.fullmatch(results["task"]):
            raise ValueError(f"task is {results['task'][:100]!r}; expected letters, digits, and any of _.-")
        if results.get("calibration"):
            check(results["calibration"], Reliability, "calibration")
        if not results["measures"]:
            raise ValueError("measures is empty")
        shlex.split(results["command"])
        for group in ("measures", "untrained"):
            _check_intervals(results[group], group)
        for kind in ("groups", "robustness"):
            _check_conditions([row for rows in (results.get(kind) or {}).values() for row in rows], kind)
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"{file} is not as `cgdmer evaluate` writes it ({error}). Evaluate the model again."
        ) from error
    return results


def _check_conditions(rows: list[dict[str, Any]], place: str) -> None:
    """Check a table of groups or disturbances: all rows have the same measures."""
    for row in rows:
        check(row.get("name"), str, f"{place}.name")
        measured = {name: one for name, one in row.items() if name != "name"}
        check(measured, dict[str, Measured], place)
        if not measured or row.keys() != rows[0].keys():
            raise ValueError(f"{place}: its rows have no measures, or different ones")
        _check_intervals(measured, place)


def _check_intervals(measures: Mapping[str, Measured], place: str) -> None:
    """Check that every value has an interval with two ends."""
    for name, measured in measures.items():
        _check_ends(measured, "macro_", f"{place}.{name}")
        _check_ends(measured.get("frequent", {}), "macro_", f"{place}.{name}.frequent")
        for label, row in measured["per_class"].items():
            _check_ends(row, "", f"{place}.{name}.{label}")


def _check_ends(row: Mapping[str, Any], prefix: str, place: str) -> None:
    for metric in (prefix + name for name in METRIC_NAMES):
        if row.get(metric) is not None and len(row.get(f"{metric}_interval", ())) != 2:
            raise ValueError(f"{place}.{metric}_interval does not have two ends")


def as_eval_results(all_results: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """Every measure that has a value, for `model-index`."""
    found = []
    for results in all_results:
        for measure, values in results["measures"].items():
            for metric, metric_type in _METRIC_TYPES.items():
                value = values.get(f"macro_{metric}")
                if value is None:
                    continue
                found.append(
                    EvalResult(
                        task_type=_TASK_TYPES.get(measure, "feature-extraction"),
                        task_name=measure if measure in _TASK_TYPES else _readout_of(measure),
                        dataset_type=results["task"],
                        dataset_name=results["task"],
                        dataset_split="+".join(results["splits"]),
                        dataset_args={"protocol": results["protocol"]},
                        metric_type=metric_type,
                        # The measure is named here because one task on one dataset is one entry for all metrics.
                        metric_name=f"macro {METRIC_NAMES[metric]}, {measure}",
                        metric_value=value,
                    )
                )
    return found


def _readout_of(measure: str) -> str:
    """The name of a measure without the share of the training records."""
    names = (readout.measure for readout in READOUTS.values())
    return next((name for name in names if measure.startswith(name)), "linear probe")


def write_benchmark_results(folder: Path, benchmark: str, all_results: Sequence[Mapping[str, Any]]) -> None:
    """Write `.eval_results/TASK.yaml` with the zero-shot macro AUROC, one value per task.

    Args:
        folder: of the model.
        benchmark: the id of the dataset that lists the tasks.

    Raises:
        CorpusError: there are two results of one task, which the format does not allow.
        PublishingError: `benchmark` is not a valid id.
    """
    try:
        validate_repo_id(benchmark)
    except HFValidationError as error:
        raise PublishingError(
            f"{benchmark!r} is not the id of a benchmark ({error}). Name a dataset as ORG/NAME."
        ) from error
    tasks = [results["task"] for results in all_results]
    if twice := {task for task in tasks if tasks.count(task) > 1}:
        raise CorpusError(
            f"there are several results of {sorted(twice)[0]}, but a benchmark takes one. Name one folder."
        )
    for results in all_results:
        value = results["measures"].get(ZERO_SHOT, {}).get("macro_auroc")
        if value is None:
            continue
        entry = EvalResultEntry(
            dataset_id=benchmark,
            task_id=results["task"],
            value=value,
            notes=f"{ZERO_SHOT}, macro AUROC, splits {'+'.join(results['splits'])}, protocol "
            f"{results['protocol']}, prompts {without_folders(str(results.get('prompts') or 'none'))}",
        )
        path = folder / ".eval_results" / f"{results['task']}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml_dump(eval_result_entries_to_yaml([entry])), encoding="utf-8")


def without_folders(word: str) -> str:
    """The last part of a path, POSIX or Windows; other words are unchanged."""
    return PurePath(re.split(r"[/\\]", word.rstrip("/\\"))[-1] or word).name


def command_to_repeat(command: str, repo_id: str) -> str:
    """The command of an evaluation, with the model's Hub id and without local paths."""
    words = []
    for word in shlex.split(command):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(option + equals + (without_folders(value) if value else ""))
    if words[:2] == ["cgdmer", "evaluate"] and len(words) > 2 and not words[2].startswith("-"):
        words[2] = repo_id
    return shlex.join(words)
