# SPDX-License-Identifier: Apache-2.0
"""What `cgdmer evaluate --output_dir` measured, in the two forms that the Hub reads.

* `model-index` in the card's metadata: every measure of every task.
* `.eval_results/TASK.yaml`: one value a task, for the leaderboard of a benchmark. The Hub asks for the id of a dataset
  repository that is registered as a benchmark and lists the task in its `eval.yaml`
  (https://huggingface.co/docs/hub/eval-results), so these are written only where such a dataset is named.
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
from cgdmer.evaluation.evaluate_task import ZERO_SHOT
from cgdmer.evaluation.results import Measured, Reliability, TaskResults
from cgdmer.evaluation.statistics import METRIC_NAMES
from cgdmer.files.checking import check
from cgdmer.files.reading import read_json
from cgdmer.models.errors import CorpusError, PublishingError

# As the Hub calls them; F1 over classes is its "f1" with an average.
_METRIC_TYPES = {"auroc": "roc_auc", "auprc": "average_precision", "f1": "f1"}
_NAME_OF_TASK = re.compile(r"[A-Za-z0-9_.-]+")  # it names a file


def read_results(folders: Sequence[str | os.PathLike[str]]) -> list[TaskResults]:
    """The results of every task, sorted by the task's name, then in the order of the folders.

    Args:
        folders: each of one task, or with a folder a task.

    Raises:
        CorpusError: there are none in a folder, or they are none of this package.
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
    """Of a table of groups or disturbances: each row has the same measures."""
    for row in rows:
        check(row.get("name"), str, f"{place}.name")
        measured = {name: one for name, one in row.items() if name != "name"}
        check(measured, dict[str, Measured], place)
        if not measured or row.keys() != rows[0].keys():
            raise ValueError(f"{place}: its rows have no measures, or different ones")
        _check_intervals(measured, place)


def _check_intervals(measures: Mapping[str, Measured], place: str) -> None:
    """A value has an interval, and an interval two ends."""
    for name, measured in measures.items():
        _check_ends(measured, "macro_", f"{place}.{name}")
        _check_ends(measured.get("frequent", {}), "macro_", f"{place}.{name}.frequent")
        for label, row in measured["per_class"].items():
            _check_ends(row, "", f"{place}.{name}.{label}")


def _check_ends(row: Mapping[str, Any], prefix: str, place: str) -> None:
    for metric in (prefix + name for name in METRIC_NAMES):
        if row.get(metric) is not None and len(row.get(f"{metric}_interval", ())) != 2:
            raise ValueError(f"{place}.{metric}_interval has not two ends")


def as_eval_results(all_results: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """For `model-index`: every measure that has a value, as it stands in the results."""
    found = []
    for results in all_results:
        for measure, values in results["measures"].items():
            for metric, metric_type in _METRIC_TYPES.items():
                value = values.get(f"macro_{metric}")
                if value is None:
                    continue
                found.append(
                    EvalResult(
                        task_type="zero-shot-classification" if measure == ZERO_SHOT else "feature-extraction",
                        task_name=ZERO_SHOT if measure == ZERO_SHOT else "linear probe",
                        dataset_type=results["task"],
                        dataset_name=results["task"],
                        dataset_split="+".join(results["splits"]),
                        dataset_args={"protocol": results["protocol"]},
                        metric_type=metric_type,
                        # The measure stands here: one task on one dataset is one entry, with all its metrics.
                        metric_name=f"macro {METRIC_NAMES[metric]}, {measure}",
                        metric_value=value,
                    )
                )
    return found


def write_benchmark_results(folder: Path, benchmark: str, all_results: Sequence[Mapping[str, Any]]) -> None:
    """Write `.eval_results/TASK.yaml`: the macro AUROC of zero-shot, which is one value for each task.

    Args:
        folder: of the model.
        benchmark: the id of the dataset that lists the tasks.

    Raises:
        CorpusError: a task is there twice, which the format cannot tell apart.
        PublishingError: `benchmark` is no id.
    """
    try:
        validate_repo_id(benchmark)
    except HFValidationError as error:
        raise PublishingError(f"{benchmark!r} is no benchmark's id ({error}). Name a dataset as ORG/NAME.") from error
    tasks = [results["task"] for results in all_results]
    if twice := {task for task in tasks if tasks.count(task) > 1}:
        raise CorpusError(f"there are several results of {sorted(twice)[0]}; a benchmark takes one. Name one folder.")
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
    """The last part of a path, of this machine or another; other words as they are."""
    return PurePath(re.split(r"[/\\]", word.rstrip("/\\"))[-1] or word).name


def command_to_repeat(command: str, repo_id: str) -> str:
    """The command of an evaluation with the model's id for its folder, and no path of the machine it ran on."""
    words = []
    for word in shlex.split(command):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(option + equals + (without_folders(value) if value else ""))
    if words[:2] == ["cgdmer", "evaluate"] and len(words) > 2 and not words[2].startswith("-"):
        words[2] = repo_id
    return shlex.join(words)
