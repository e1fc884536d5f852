# SPDX-License-Identifier: Apache-2.0
"""Pretrain, evaluate and classify on simulated patients, in a few minutes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.files.writing import write_json
from cgdmer.models.errors import CGDMERError, CorpusError
from cgdmer.options import option

DESCRIPTION = """\
Simulates patients, pretrains the tiny preset on their ECGs and reports, saves and reloads the model,
evaluates zero-shot classification on unseen patients against an untrained model, and classifies and draws
one record."""


@dataclass
class Arguments:
    output_dir: str = option("a new or empty folder")
    num_patients: int = option("number of simulated patients", 2500)
    num_train_epochs: int = option("passes over the training patients", 12)
    seed: int = option("seed of the patients and of the training", 0)


def run(arguments: Arguments, say: Callable[..., None] = print) -> dict[str, Any]:
    """Run everything and write cohort/, model/, results.json and ecg.png to `output_dir`.

    Returns:
        `zero_shot` and `zero_shot_untrained` (see `statistics.measure`), `classified` (one record's scores),
        `training`, `seconds`.

    Raises:
        CGDMERError: a step failed, or the reloaded model is not the trained one.
    """
    started = time.perf_counter()
    folder = Path(arguments.output_dir)
    if folder.exists() and any(folder.iterdir()):
        raise CorpusError(f"{folder} is not empty. Name a new folder for the demo.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_cohort(arguments, folder / "cohort", say)
    training = _pretrain(arguments, folder, say)
    results = _measure(folder, arguments.seed, say)
    record, scores = _classify(folder, say)
    answer = {
        "zero_shot": results["measures"]["zero-shot"],
        "zero_shot_untrained": results["untrained"]["zero-shot"],
        "classified": {"record_id": record.record_id, "labels": list(record.labels), "scores": scores},
        "training": training,
        "seconds": time.perf_counter() - started,
    }
    write_json(folder / "results.json", answer)
    say(f"Done in {answer['seconds']:.0f} s. Results and picture: {folder}/results.json, {folder}/ecg.png")
    return answer


def _write_cohort(arguments: Arguments, folder: Path, say: Callable[..., None]) -> None:
    from cgdmer.data.storage import split_of_fold
    from cgdmer.data.writing import write_dataset
    from cgdmer.simulation.cohort import simulate_cohort
    from cgdmer.simulation.conditions import CONDITIONS

    say(f"1. Simulating {arguments.num_patients} patients with {len(CONDITIONS)} conditions")
    write_dataset(
        # The model's own rate: the patients are the same at any rate, and this one is the fastest.
        simulate_cohort(arguments.num_patients, seed=arguments.seed, sampling_rate=100),
        folder,
        splits=split_of_fold,
        description="Simulated patients; no recording of a person.",
    )


def _pretrain(arguments: Arguments, folder: Path, say: Callable[..., None]) -> dict[str, Any]:
    from cgdmer.training.arguments import PretrainingArguments
    from cgdmer.training.loop import pretrain_model

    say("2. Pretraining the tiny preset on their ECGs and the findings of their reports")
    return pretrain_model(
        PretrainingArguments(
            dataset=str(folder / "cohort"),
            output_dir=str(folder / "model"),
            config_name="cgdmer-tiny",
            text_source="statements",
            num_train_epochs=arguments.num_train_epochs,
            learning_rate=1e-3,
            num_warmup_steps=50,
            weight_decay=0.05,
            seed=arguments.seed,
        )
    )


def _measure(folder: Path, seed: int, say: Callable[..., None]) -> dict[str, Any]:
    from transformers import AutoModel, AutoProcessor

    from cgdmer.data.fingerprints import Fingerprints
    from cgdmer.data.storage import load_dataset_folder
    from cgdmer.evaluation.evaluate_task import evaluate_task
    from cgdmer.evaluation.report import terminal_table, without_nan
    from cgdmer.evaluation.tasks import get_task
    from cgdmer.models.modeling_ecg_text import ECGTextModel

    say("3. Loading the saved model with AutoModel and evaluating it on unseen patients")
    model = AutoModel.from_pretrained(folder / "model", trust_remote_code=False)
    if not isinstance(model, ECGTextModel):
        raise CGDMERError(f"AutoModel loaded a {type(model).__name__}, not the model that was trained.")
    evaluation = evaluate_task(
        model,
        AutoProcessor.from_pretrained(folder / "model", trust_remote_code=False),
        load_dataset_folder(folder / "cohort"),
        get_task("simulated"),
        fractions=(),
        trained_on=Fingerprints.of_model(str(folder / "model")),
        seed=seed,
    )
    results = without_nan(evaluation.results)
    say(terminal_table(results))
    return results


def _classify(folder: Path, say: Callable[..., None]) -> tuple[Any, list[dict[str, Any]]]:
    """One unseen record and its scores."""
    from transformers import pipeline

    from cgdmer.data.storage import load_dataset_folder, row_to_record
    from cgdmer.plotting.ecg_paper import save_ecg_plot
    from cgdmer.simulation.conditions import CONDITIONS

    say("4. Classifying one unseen record from text prompts")
    unseen = map(row_to_record, load_dataset_folder(folder / "cohort")["test"])
    record = next(record for record in unseen if "atrial_fibrillation" in record.labels)
    classify = pipeline("zero-shot-ecg-classification", model=str(folder / "model"), trust_remote_code=False)
    scores = classify(record, candidate_labels=[condition.name for condition in CONDITIONS.values()])
    say(f"   its report: {record.text}")
    for row in scores[:5]:
        say(f"   {row['score']:6.1%}  {row['label']}")
    say(f"   {RESEARCH_USE_ONLY}")
    save_ecg_plot(record, folder / "ecg.png", title="A simulated patient", scores=scores[:8])
    return record, scores
