# SPDX-License-Identifier: Apache-2.0
"""Compare methods on the same records, with the same training time and encoders of the same size.

    python examples/comparison/run.py --dataset ptbxl --output_dir WORK --splits validation test \
        --csv examples/comparison/results.csv --minutes 6

Each file in rows/ says what a row of the comparison changes in base.json. Nothing is chosen on the validation split,
so you can test on it too. A row and seed that is already in the CSV file is skipped, so the same command resumes after
a kill. The lines of a row and seed are written all at once, after the draws from which summary.py computes its
intervals (results_draws/ next to results.csv).

`--minutes` counts training steps only, without validation and loading. The time per step is measured for all rows
before the first training (steps 21 to 30 of a run of 30). It is kept in results_protocol.json next to results.csv,
together with the tasks and splits. This is because the cosine schedule must know its end in advance, and because all
seeds of a row make the same number of steps, wherever they run and however often they are interrupted. The machine
should do nothing else until the first training begins. After that, other work makes the runs take longer, but does not
change the number of steps.
"""

import argparse
import csv
import json
import shutil
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed
from intervals import draws_file, write_draws
from rows import ROWS, read_row, write_preset
from supervised import SUPERVISED, dataset_of_classes, evaluate_classifier, labels_in_training, seconds_per_step

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.comparison import RESULTS, SCORES, write_scores
from cgdmer.evaluation.evaluate_task import FRACTIONS, ZERO_SHOT, Evaluation, evaluate_task
from cgdmer.evaluation.report import write_results_json
from cgdmer.evaluation.tasks import get_task
from cgdmer.families import Purpose, class_for, load_model, load_processor
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.models.errors import ConfigurationError
from cgdmer.pretrain import parse_arguments
from cgdmer.training.arguments import FinetuningArguments
from cgdmer.training.finetune import finetune_model
from cgdmer.training.loop import pretrain_model

HERE = Path(__file__).resolve().parent
COLUMNS = ["row", "seed", "task", "measure", "macro_auroc", "interval_low", "interval_high"]
COLUMNS += ["frequent_classes", "frequent_macro_auroc", "steps", "seconds", "version"]
TASKS = ["ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm"]
# The training texts are statements, which do not name superclasses. So a superclass is prompted by its statements.
PROMPTS = {"ptbxl-super": HERE / "superclass_prompts.json"}
STEPS_TO_MEASURE = 30


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="folder written by `cgdmer prepare`")
    parser.add_argument("--output_dir", required=True, type=Path, help="models and evaluations go here")
    parser.add_argument(
        "--csv", required=True, type=Path, help="the results, one line per row, seed, task, and measure"
    )
    parser.add_argument("--minutes", type=float, default=6.0, help="time for training steps, for each row and seed")
    parser.add_argument("--max_train_steps", type=int, help="train for this many steps instead, to try things out")
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--splits", nargs="+", default=["test"], help="splits to test on, pooled")
    parser.add_argument(
        "--fractions",
        nargs="*",
        type=float,
        default=list(FRACTIONS),
        help="linear probes: shares of the training records",
    )
    parser.add_argument("--base", type=Path, default=HERE / "base.json")
    options = parser.parse_args(arguments)
    rows = {name: read_row(name, options.base) for name in options.rows}
    protocol = _Protocol(options)
    git = ["git", "describe", "--always", "--dirty"]
    version = subprocess.run(git, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    if not options.max_train_steps:
        for name, row in rows.items():
            _One(name, row, options.seeds[0], options, protocol).measure_a_step()
    for seed in options.seeds:
        for name, row in rows.items():
            if (name, str(seed)) in {(line["row"], line["seed"]) for line in read_lines(options.csv)}:
                print(f"{name}, seed {seed}: in {options.csv} already")
                continue
            print(f"{name}, seed {seed}: {row['about']}", flush=True)
            one = _One(name, row, seed, options, protocol)
            evaluations, steps, seconds = one.supervised() if row["training"] == SUPERVISED else one.pretrained()
            lines = []
            for task, evaluation in evaluations.items():
                (one.folder / task).mkdir(exist_ok=True)
                write_results_json(one.folder / task / RESULTS, evaluation.results)
                write_scores(one.folder / task / SCORES, evaluation, get_task(task).class_names)
                for measure, result in evaluation.results["measures"].items():
                    lines.append((name, seed, task, measure, *figures_of(result), steps, round(seconds, 1), version))
            write_draws(draws_file(options.csv, name, seed), evaluations)
            add_lines(options.csv, COLUMNS, lines)
            shutil.rmtree(one.folder / "embeddings", ignore_errors=True)


def figures_of(result: dict[str, Any]) -> tuple[float | str, ...]:
    """The mean over all classes, its interval, the number of classes with ten or more positives, and their mean."""
    frequent = result.get("frequent", {"classes": 0, "macro_auroc": ""})
    return (
        *(result["macro_auroc"], *result["macro_auroc_interval"]),
        *(frequent["classes"], frequent["macro_auroc"]),
    )


def read_lines(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add_lines(path: Path, columns: list[str], lines: list[tuple]) -> None:
    """Add all lines or, if the process ends early, none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("w", newline="") as file:
        earlier = [tuple(line[column] for column in columns) for line in read_lines(path)]
        csv.writer(file, lineterminator="\n").writerows([tuple(columns), *earlier, *lines])
    partial.replace(path)


class _Protocol:
    """What all rows of a CSV file have in common, and the time per step of each row; kept in a file next to it.

    Raises:
        ConfigurationError: the rows in that file were measured with other settings.
    """

    def __init__(self, options: argparse.Namespace):
        self._file = options.csv.with_name(f"{options.csv.stem}_protocol.json")
        wanted = {name: getattr(options, name) for name in ("tasks", "splits", "fractions", "minutes")}
        self._kept = json.loads(self._file.read_text()) if self._file.is_file() else {**wanted, "seconds_per_step": {}}
        for name, value in wanted.items():
            if self._kept[name] != value and not (name == "minutes" and options.max_train_steps):
                raise ConfigurationError(
                    f"{self._file}: the rows were measured with {name} {self._kept[name]}, not {value}. "
                    "Use the same settings, or name another --csv."
                )

    @property
    def seconds_per_step(self) -> dict[str, float]:
        return self._kept["seconds_per_step"]

    def keep(self, row: str, seconds: float) -> None:
        self.seconds_per_step[row] = seconds
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_results_json(self._file, self._kept)


class _One:
    """One row with one seed."""

    def __init__(self, name: str, row: dict[str, Any], seed: int, options: argparse.Namespace, protocol: _Protocol):
        self.seed, self.options, self.settings, self.training = seed, options, row["options"], row["training"]
        self.protocol = protocol
        self.dataset = load_dataset_folder(options.dataset)
        self.place = options.output_dir / name
        self.folder = self.place / f"seed_{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = write_preset(self.place / "preset", row)

    def pretrained(self) -> tuple[dict[str, Evaluation], int, float]:
        """The evaluation of each task, and the steps and seconds of training."""
        model_folder, steps, seconds = self.folder / "model", 0, 0.0
        if self.training == "none":
            self._save_random(model_folder)
        else:
            steps = self._steps()
            if not (model_folder / "training_records.safetensors").is_file():  # the last file that `pretrain` writes
                self._pretrain(model_folder, self.seed, steps)
            seconds = steps * _seconds_logged(model_folder, self.settings["per_device_train_batch_size"])
        model = load_model(model_folder).to(PartialState().device)
        processor, trained_on = load_processor(model_folder, model), Fingerprints.of_model(model_folder)
        # Random weights have their own row.
        how = {"fractions": self.options.fractions, "trained_on": trained_on, "untrained": False}
        how["splits"] = self.options.splits
        how["cache"] = EmbeddingCache(self.folder / "embeddings")
        found = {
            name: evaluate_task(
                model, processor, self.dataset, get_task(name), prompts=PROMPTS.get(name, "ensemble"), **how
            )
            for name in self.options.tasks
        }
        if not self.config.aligns:
            found = {name: _without_zero_shot(one) for name, one in found.items()}
        return found, steps, seconds

    def supervised(self) -> tuple[dict[str, Evaluation], int, float]:
        """As `pretrained`, but training ends with a whole epoch, and the seconds are those of the whole finetuning."""
        dataset, start, batch = self._supervised_start()
        model_folder = self.folder / "model"
        steps_per_epoch = len(self.dataset["train"]) // batch
        epochs = max(1, round(self._steps() / steps_per_epoch))
        seconds_file = self.folder / "seconds.json"
        if not seconds_file.is_file():
            began = time.perf_counter()
            finetune_model(
                FinetuningArguments(
                    *(str(start), str(dataset), str(model_folder), labels_in_training(dataset)),
                    num_train_epochs=epochs,
                    learning_rate=self.settings["learning_rate"],
                    per_device_train_batch_size=batch,
                    weight_decay=self.settings["weight_decay"],
                    seed=self.seed,
                )
            )
            write_results_json(seconds_file, time.perf_counter() - began)
        how = {"splits": self.options.splits}
        tasks = [get_task(name) for name in self.options.tasks]
        found = {task.name: evaluate_classifier(model_folder, self.dataset, task, **how) for task in tasks}
        return found, epochs * steps_per_epoch, json.loads(seconds_file.read_text())

    def measure_a_step(self) -> None:
        """Once for all seeds of the row."""
        if self.training == "none" or self.place.name in self.protocol.seconds_per_step:
            return
        print(f"{self.place.name}: how long a step takes", flush=True)
        if self.training == SUPERVISED:
            dataset, start, batch = self._supervised_start()
            seconds = seconds_per_step(start, dataset, batch)
        else:
            folder = self.place / "timing"
            shutil.rmtree(folder, ignore_errors=True)
            self._pretrain(folder, 0, STEPS_TO_MEASURE)
            batch = self.settings["per_device_train_batch_size"]
            seconds = _seconds_logged(folder, batch, after=STEPS_TO_MEASURE - 10)
        self.protocol.keep(self.place.name, seconds)

    def _steps(self) -> int:
        """As many as fit into the time."""
        if self.options.max_train_steps:
            return self.options.max_train_steps
        return max(1, round(60 * self.options.minutes / self.protocol.seconds_per_step[self.place.name]))

    def _supervised_start(self) -> tuple[Path, Path, int]:
        """(dataset with the classes of all tasks, folder of random weights to start from, batch size)."""
        tasks = [get_task(name) for name in self.options.tasks]
        dataset = dataset_of_classes(self.dataset, tasks, self.options.output_dir / "dataset_of_classes")
        self._save_random(self.folder / "start")
        return (
            dataset,
            self.folder / "start",
            min(self.settings["per_device_train_batch_size"], len(self.dataset["train"])),
        )

    def _save_random(self, folder: Path) -> None:
        set_seed(self.seed)
        model = class_for(self.config, Purpose.ENCODING)(self.config)
        model.save_pretrained(folder)
        load_processor(self.place / "preset", model).save_pretrained(folder)

    def _pretrain(self, folder: Path, seed: int, steps: int) -> None:
        options = {"dataset": self.options.dataset, "config_name": self.place / "preset", "output_dir": folder}
        options |= {"seed": seed, "max_train_steps": steps, "report_to": "none", "resume_from_checkpoint": "latest"}
        options |= {"checkpointing_steps": 500, "checkpoints_total_limit": 1, **self.settings}
        pretrain_model(parse_arguments([f"--{name}={value}" for name, value in options.items()]))


def _seconds_logged(folder: Path, batch_size: int, after: int = 0) -> float:
    """Mean seconds per step that a run logged after its first `after` steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["samples_per_second"] for line in lines if "samples_per_second" in line}
    parts = [(end - begin, rates[end]) for begin, end in pairwise([0, *rates]) if begin >= after]
    return sum(steps * batch_size / rate for steps, rate in parts) / sum(steps for steps, _ in parts)


def _without_zero_shot(evaluation: Evaluation) -> Evaluation:
    """Cosines with texts mean nothing in a model that was not trained to align."""
    measures = {name: one for name, one in evaluation.results["measures"].items() if name != ZERO_SHOT}
    scores = {name: one for name, one in evaluation.scores.items() if name != ZERO_SHOT}
    return replace(evaluation, results=evaluation.results | {"measures": measures}, scores=scores)


if __name__ == "__main__":
    main()
