# SPDX-License-Identifier: Apache-2.0
"""Zero-shot prompts by task and class: three sets that come with the package, or a user's file.

The packaged sets are in `prompts/`, one file per task with the three wordings of each class. They are kept by task
because an acronym can mean different things in different corpora: in CSN, AF is atrial flutter and ST is sinus
tachycardia. They were written for this package from standard electrocardiography.
"""

import os
from collections.abc import Sequence
from importlib import resources
from typing import Any

from cgdmer.files.reading import parse_json, read_bytes
from cgdmer.models.errors import ConfigurationError

PROMPT_SETS = ("name", "description", "ensemble")

_LARGEST_FILE = 1_000_000  # bytes; the largest packaged file has 31,000
_FORMS = '{"label": "prompt" or ["wording", ...]} or, by task, {"task": {"label": ...}}'


def load_prompts(
    source: str | os.PathLike[str], task_name: str, class_names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The wordings of each class of a task.

    Args:
        source: `name` (what the class is called), `description` (what the ECG shows), `ensemble` (several wordings),
            or the path of a JSON file: flat, `{label: prompt}`, or by task, `{task: {label: prompt}}`. A prompt is a
            string or a list of strings. Other labels are ignored.
        task_name: a task with packaged prompts, or the one to look for in a file by task.
        class_names: the labels of the task's classes.

    Returns:
        label -> its wordings, in the order of `class_names`.

    Raises:
        ConfigurationError: the set or file does not exist, the file is too large or not a JSON object, or the prompt
            of a class is absent, empty, not text, or the same as that of another class. The message names file and
            label.
    """
    file_name, prompts = _packaged(source, task_name) if source in PROMPT_SETS else _of_file(source, task_name)
    loaded: dict[str, tuple[str, ...]] = {}
    label_of: dict[frozenset[str], str] = {}
    for label in class_names:
        place = f"{file_name}: class {label!r} of task {task_name!r}"
        if label not in prompts:
            raise ConfigurationError(f"{place} has no prompt. Expected {_FORMS}; add the label.")
        wordings = _wordings(prompts[label], place)
        same = label_of.setdefault(frozenset(wording.casefold() for wording in wordings), label)
        if same != label:
            raise ConfigurationError(
                f"{place} has the same prompt as class {same!r}, so the two would always score the same. "
                "Expected a different prompt for each class; reword one of the two."
            )
        loaded[label] = wordings
    return loaded


def _packaged(prompt_set: str | os.PathLike[str], task_name: str) -> tuple[str, dict[str, Any]]:
    """A name for messages, and the prompts by label; no prompts if the package has none for the task."""
    packaged = resources.files("cgdmer.evaluation") / "prompts" / f"{task_name}.json"
    classes = parse_json(packaged.read_bytes()) if packaged.is_file() else {}
    return str(packaged), {label: wordings[prompt_set] for label, wordings in classes.items()}


def _of_file(path: str | os.PathLike[str], task_name: str) -> tuple[str, dict[str, Any]]:
    """The same from a user's file."""
    file_name = os.fspath(path)
    try:
        content = read_bytes(path, _LARGEST_FILE)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ConfigurationError(
            f"{file_name!r} is neither a set of prompts nor a file that can be read ({error}). "
            f"Choose one of {', '.join(PROMPT_SETS)}, or give the path of a JSON file. Expected {_FORMS}."
        ) from error
    try:
        document = parse_json(content)
    except ValueError as error:
        raise ConfigurationError(f"{file_name}: not a JSON file ({error}). Expected {_FORMS}.") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file_name}: holds a {type(document).__name__}. Expected a JSON object, {_FORMS}.")
    of_task = document.get(task_name)
    return file_name, of_task if isinstance(of_task, dict) else document


def _wordings(value: object, place: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(
            f"{place}: the prompt is of type {type(value).__name__}. Expected a string or a list of strings."
        )
    wordings = tuple(" ".join(text.split()) for text in texts)
    if not wordings or not all(wordings):
        raise ConfigurationError(
            f"{place}: the prompt is empty. Expected a text, or a list of texts that are not empty."
        )
    return wordings
