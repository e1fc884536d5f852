# SPDX-License-Identifier: Apache-2.0
"""An evaluation of a model on the tasks of a prepared dataset, from loading both to writing what was measured."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation import report_retrieval
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.evaluate_task import FRACTIONS, Evaluation, evaluate_task
from cgdmer.evaluation.outputs import write_evaluation
from cgdmer.evaluation.report import terminal_table, without_nan, write_results_json
from cgdmer.evaluation.tasks import Task, get_task
from cgdmer.families import load_model, load_processor
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.options import words_of
from cgdmer.presets import model_source


def evaluate_model(arguments: EvaluationArguments, say: Callable[..., None] | None = None) -> dict[str, Any]:
    """Measure a model on tasks, beside the same model with random weights.

    Args:
        arguments: what is measured, and how.
        say: takes lines for a person, as `print` does; None: nothing is said.

    Returns:
        By the name of each task its results, as `cgdmer.evaluation.results.TaskResults` describes them; with
        `arguments.report_retrieval` also what `retrieve_reports` found.

    Raises:
        ConfigurationError: there is no such task, protocol, set of prompts, or feature, or nothing to measure.
        CorpusError: the dataset cannot be used, does not suit a task, or holds records that the model was trained on.
        ModelFolderError: the model is of no family of this package, or damaged.

    Example:
        >>> results = evaluate_model(EvaluationArguments("cgdmer-tiny-ptbxl", dataset="ptbxl"))  # doctest: +SKIP
        >>> results["ptbxl-super"]["measures"]["zero-shot"]["macro_auroc"]  # doctest: +SKIP
    """
    say = say or _silence
    tasks = [get_task(name) for name in arguments.tasks]
    dataset = load_dataset_folder(arguments.dataset)
    model = load_model(arguments.model)
    processor = load_processor(arguments.model, model)
    if arguments.report_retrieval:
        report_retrieval.refuse_without_texts(model)
    if not model.takes_texts:
        say(f"A {type(model).__name__} takes no texts: linear probes alone, zero-shot is left out.")
    trained_on = Fingerprints.of_model(model_source(arguments.model))
    if trained_on is None:
        say("The model does not say which records it was pretrained on: overlap with the test records is not known.")
    command = shlex.join(["cgdmer", "evaluate", *words_of(EvaluationArguments, asdict(arguments))])
    measured = (arguments, model, processor, dataset, trained_on, EmbeddingCache(arguments.cache_dir))
    results = {}
    for task in tasks:
        evaluation = _evaluate(task, *measured)
        evaluation.results["command"] = command
        results[task.name] = without_nan(evaluation.results)
        say(terminal_table(evaluation.results))
        if (overlap := evaluation.results["overlap"]) is not None:
            say(f"Test records pretrained on: {overlap['records']}; by their patient: {overlap['patients']}")
        say()
        if arguments.output_dir:
            for path in write_evaluation(Path(arguments.output_dir) / task.name, evaluation, task, arguments.seed):
                say(f"written: {path}")
    if arguments.report_retrieval:
        found = _retrieve_reports(*measured) | {"command": command}
        say(report_retrieval.retrieval_table(found))
        if arguments.output_dir:
            # Not in a folder of its own: those are of classification tasks, which cards and comparisons read.
            path = Path(arguments.output_dir) / f"{report_retrieval.TASK}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_results_json(path, found)
            say(f"written: {path}")
        results[report_retrieval.TASK] = found
    return results


def _silence(*_: str, **__: Any) -> None:
    pass


def _evaluate(
    task: Task,
    arguments: EvaluationArguments,
    model: ECGPreTrainedModel,
    processor: Any,
    dataset: datasets.DatasetDict,
    trained_on: Fingerprints | None,
    cache: EmbeddingCache,
) -> Evaluation:
    return evaluate_task(
        model,
        processor,
        dataset,
        task,
        arguments.splits,
        prompts=arguments.prompts,
        protocol=arguments.protocol,
        split_files=arguments.split_files,
        fractions=() if arguments.skip_linear_probe else FRACTIONS,
        shots=() if arguments.skip_linear_probe else arguments.shots,
        probed_feature=arguments.probed_feature,
        robustness=arguments.robustness,
        trained_on=trained_on,
        allow_overlap=arguments.allow_overlap,
        cache=cache,
        seed=arguments.seed,
    )


def _retrieve_reports(
    arguments: EvaluationArguments,
    model: ECGPreTrainedModel,
    processor: Any,
    dataset: datasets.DatasetDict,
    trained_on: Fingerprints | None,
    cache: EmbeddingCache,
) -> dict[str, Any]:
    return report_retrieval.retrieve_reports(
        model,
        processor,
        dataset,
        arguments.splits,
        trained_on=trained_on,
        allow_overlap=arguments.allow_overlap,
        cache=cache,
        seed=arguments.seed,
    )
