# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a model on tasks of a prepared dataset, from loading both to writing the results."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation import report_retrieval
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.evaluate_task import FRACTIONS, evaluate_task
from cgdmer.evaluation.leave_one_out import leave_each_out
from cgdmer.evaluation.outputs import left_out_in_words, write_evaluation
from cgdmer.evaluation.prompt_study import study_table
from cgdmer.evaluation.report import aligned, overlap_in_words, terminal_table, without_nan, write_results_json
from cgdmer.evaluation.tasks import DEFAULT_TASKS, OWN_LABELS, Task, get_task, task_of_classifier, task_of_labels
from cgdmer.families import load_classifier, load_model, load_processor
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.operating_points import OperatingPoints
from cgdmer.inference.scorers import own_labels
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.pipeline_ecg_classification import REGRESSION
from cgdmer.options import words_of
from cgdmer.presets import model_source


def evaluate_model(arguments: EvaluationArguments, say: Callable[..., None] | None = None) -> dict[str, Any]:
    """Measure a model on tasks, along with the same model with random weights.

    Args:
        arguments: what to measure, and how.
        say: called with lines for the user, like `print`; None: silent.

    Returns:
        With `arguments.leave_out`, under `leave_out`, the command and what `leave_each_out` returned. Else the results
        of each task by its name, as `cgdmer.evaluation.results.TaskResults` describes them; with
        `arguments.report_retrieval`, also what `retrieve_reports` returned.

    Raises:
        ConfigurationError: a task, protocol, set of prompts, or feature is unknown, or there is nothing to measure.
        CorpusError: the dataset cannot be used, does not suit a task, or has records that the model was trained on.
        ModelFolderError: the model is damaged or not of a family of this package.

    Example:
        >>> arguments = cgdmer.EvaluationArguments("cgdmer-tiny-ptbxl", "ecgs", ["simulated"], skip_linear_probe=True)
        >>> results = cgdmer.evaluate_model(arguments)
        >>> results["simulated"]["measures"]["zero-shot"]["macro_auroc"] > 0.5
        True
    """
    say = say or (lambda *_: None)
    command = shlex.join(["cgdmer", "evaluate", *words_of(EvaluationArguments, asdict(arguments))])
    if arguments.leave_out is not None:
        hospitals = leave_each_out(arguments, [arguments.dataset, *arguments.with_datasets], say)
        found = {"command": command, "hospitals": hospitals}
        if arguments.output_dir:
            path = Path(arguments.output_dir) / "leave_out.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_results_json(path, found)
            say(f"written: {path}")
        return {"leave_out": found}
    if arguments.with_datasets:
        raise ConfigurationError("--with_datasets is for --leave_out. Evaluate other datasets one by one.")
    for name in arguments.tasks or ():
        if name != OWN_LABELS:
            get_task(name)
    dataset = load_dataset_folder(arguments.dataset)
    model = load_classifier(arguments.model) or load_model(arguments.model)
    processor = load_processor(arguments.model, model)
    if arguments.report_retrieval:
        report_retrieval.refuse_without_texts(model)
    tasks = _tasks(arguments, model, dataset, say)
    source = model_source(arguments.model)
    trained_on, points = Fingerprints.of_model(source), OperatingPoints.of_model(source)
    if trained_on is None:
        say("The model does not say which records it was pretrained on: overlap with the test records is not known.")
    how: dict[str, Any] = {
        "trained_on": trained_on,
        "allow_overlap": arguments.allow_overlap,
        "cache": EmbeddingCache(arguments.cache_dir),
        "seed": arguments.seed,
    }
    results: dict[str, Any] = {}
    for task in tasks:
        measured = model
        if model.classifies and not arguments.skip_linear_probe and not _knows_a_class_of(task, model):
            say(f"{model.name_or_path} has no label of {task.name}: readouts of its encoder are measured instead.")
            measured = load_model(arguments.model)
        evaluation = evaluate_task(
            measured,
            processor,
            dataset,
            task,
            arguments.splits,
            prompts=arguments.prompts,
            protocol=arguments.protocol,
            split_files=arguments.split_files,
            fractions=() if arguments.skip_linear_probe or measured.classifies else FRACTIONS,
            shots=() if arguments.skip_linear_probe else arguments.shots,
            probed_feature=arguments.probed_feature,
            readouts=arguments.readouts,
            robustness=arguments.robustness,
            prompt_study=arguments.prompt_study,
            familiarity=Familiarity.of_model(source) if measured is model else None,
            operating_points=None if points is None or measured is not model else points.of_finding,
            **how,
        )
        evaluation.results["command"] = command
        results[task.name] = without_nan(evaluation.results)
        say(terminal_table(evaluation.results))
        if study := evaluation.results.get("prompt_study"):
            heads, lines = study_table(study)
            say("\n".join(aligned([heads, *lines])))
        if (overlap := evaluation.results["overlap"]) is not None or evaluation.results["in_domain"]:
            say(overlap_in_words(overlap))
        for line in left_out_in_words(evaluation.left_out):
            say(line)
        say()
        if arguments.output_dir:
            for path in write_evaluation(Path(arguments.output_dir) / task.name, evaluation, task, arguments.seed):
                say(f"written: {path}")
    if arguments.report_retrieval:
        found = report_retrieval.retrieve_reports(model, processor, dataset, arguments.splits, **how)
        found["command"] = command
        say(report_retrieval.retrieval_table(found))
        if arguments.output_dir:
            # Not in a folder of its own: cards and comparisons read those, as classification tasks.
            path = Path(arguments.output_dir) / f"{report_retrieval.TASK}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_results_json(path, found)
            say(f"written: {path}")
        results[report_retrieval.TASK] = found
    return results


def _knows_a_class_of(task: Task, classifier: ECGPreTrainedModel) -> bool:
    """Also true for a regression, which is refused as such."""
    return classifier.config.problem_type == REGRESSION or bool(set(own_labels(classifier)) & set(task.class_names))


def _tasks(
    arguments: EvaluationArguments, model: ECGPreTrainedModel, dataset: DatasetDict, say: Callable[..., None]
) -> list[Task]:
    """The tasks that were asked for or, by default, those that suit the model; says what is left out."""
    if not model.classifies:
        if not model.takes_texts:
            say(f"A {type(model).__name__} takes no texts: zero-shot is left out, only linear probes are fitted.")
        return [
            task_of_labels(dataset, arguments.labels) if name == OWN_LABELS else get_task(name)
            for name in arguments.tasks or DEFAULT_TASKS
        ]
    known = own_labels(model)
    tasks = [
        task_of_classifier(dataset, known, arguments.labels) if name == OWN_LABELS else get_task(name)
        for name in arguments.tasks or [OWN_LABELS]
    ]
    say(f"A classifier of {len(known)} labels: they are measured as it scores them, without prompts or new probes.")
    for task in tasks:
        missing = [label for label in arguments.labels or known if label not in task.class_names]
        if task.name == OWN_LABELS and missing:
            say(f"Its labels that no record of the dataset has: {', '.join(missing)}.")
    return tasks
