# SPDX-License-Identifier: Apache-2.0
"""The whole story on simulated patients: pretrain, evaluate, save, load again, classify, draw."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor, pipeline

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.simulation import CONDITIONS, simulate_cohort
from cgdmer.data.storage import load_dataset_folder, row_to_record, split_of_fold
from cgdmer.data.writing import write_dataset
from cgdmer.evaluation.ecg_paper import RESEARCH_USE_ONLY, save_ecg_plot
from cgdmer.evaluation.evaluate import ZERO_SHOT, evaluate
from cgdmer.evaluation.report import terminal_table, without_nan
from cgdmer.evaluation.tasks import get_task
from cgdmer.models.errors import CGDMERError, CorpusError
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.training.arguments import parse_arguments
from cgdmer.training.loop import pretrain


def demo(output_dir: str, num_patients: int = 2500, num_train_epochs: int = 12, seed: int = 0) -> dict[str, Any]:
    """Run it all and write to `output_dir`: cohort/, model/, results.json and ecg.png.

    Returns:
        `zero_shot` and `zero_shot_untrained` (see `statistics.measure`), `classified` (one record's scores),
        `seconds`.

    Raises:
        CGDMERError: a step failed, or the model that was loaded again is not the model that was trained.
    """
    started = time.perf_counter()
    folder = Path(output_dir)
    if folder.exists() and any(folder.iterdir()):
        raise CorpusError(f"{folder} is not empty. Name a new folder for the demo.")
    folder.mkdir(parents=True, exist_ok=True)

    print(f"1. Simulating {num_patients} patients with {len(CONDITIONS)} conditions", flush=True)
    write_dataset(
        # The model's own rate: the same hearts as at any other, and the fastest to make.
        simulate_cohort(num_patients, seed=seed, sampling_rate=100),
        folder / "cohort",
        splits=split_of_fold,
        description="Simulated patients; no recording of a person.",
    )
    print("2. Pretraining the tiny preset on their ECGs and the findings of their reports", flush=True)
    trained = pretrain(
        parse_arguments(
            [
                *("--config_name", "cgdmer-tiny", "--dataset", str(folder / "cohort")),
                *("--output_dir", str(folder / "model"), "--text_source", "statements", "--seed", str(seed)),
                *("--num_train_epochs", str(num_train_epochs), "--per_device_train_batch_size", "64"),
                *("--learning_rate", "1e-3", "--num_warmup_steps", "50", "--weight_decay", "0.05"),
            ]
        )
    )
    print("3. Loading the saved model with AutoModel and measuring it on unseen patients", flush=True)
    model = AutoModel.from_pretrained(folder / "model")
    if not isinstance(model, ECGTextModel):
        raise CGDMERError(f"AutoModel loaded a {type(model).__name__}, not the model that was trained.")
    processor = AutoProcessor.from_pretrained(folder / "model")
    splits = load_dataset_folder(folder / "cohort")
    trained_on = Fingerprints.of_model(str(folder / "model"))
    evaluation = evaluate(
        model, processor, splits, get_task("simulated"), fractions=(), trained_on=trained_on, seed=seed
    )
    results = without_nan(evaluation.results)
    print(terminal_table(results), flush=True)

    print("4. Classifying one unseen record from text prompts", flush=True)
    record = next(record for record in map(row_to_record, splits["test"]) if "atrial_fibrillation" in record.labels)
    classify = pipeline("zero-shot-ecg-classification", model=str(folder / "model"))
    scores = classify(record, candidate_labels=[condition.name for condition in CONDITIONS.values()])
    print(f"   its report: {record.text}")
    for row in scores[:5]:
        print(f"   {row['score']:6.1%}  {row['label']}")
    print(f"   {RESEARCH_USE_ONLY}")
    save_ecg_plot(record, folder / "ecg.png", title="A simulated patient", scores=scores[:8])

    answer = {
        "zero_shot": results["measures"][ZERO_SHOT],
        "zero_shot_untrained": results["untrained"][ZERO_SHOT],
        "classified": {"record_id": record.record_id, "labels": list(record.labels), "scores": scores},
        "training": trained,
        "seconds": time.perf_counter() - started,
    }
    (folder / "results.json").write_text(json.dumps(answer, indent=2) + "\n")
    print(f"Done in {answer['seconds']:.0f} s. Results and picture: {folder}/results.json, {folder}/ecg.png")
    return answer


__all__ = ["demo"]
