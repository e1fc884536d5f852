# SPDX-License-Identifier: Apache-2.0
"""Compare methods on the same records: every row sees the same number of ECGs, with encoders of the same size.

    python examples/comparison/run.py --dataset ptbxl --output_dir WORK --splits validation test \
        --csv examples/comparison/results.csv

Each file in rows/ says what a row of the comparison changes in base.json. Two views of an ECG count as two ECGs. Each
row's learning rate is chosen first: of the same few values, the one with the best linear probe on the last training
fold, for weights trained on the other ones with seed 0 and a third of the ECGs (or the share that the row's file
says: reconstruction has learned nothing by then, at any rate). The choices stand in results_protocol.json beside
results.csv, together with the settings that all rows share. Then each seed trains on all training folds. The test
splits have no part in any choice.

One readout alone can misjudge an encoder. So each is measured by zero-shot where it has learned from texts, by linear
probes of the mean over tokens on shares of the training records, by those of the mean per lead, by nearest neighbors,
by a learned query, and by finetuning with layer-wise learning rates (of a classifier for the classes of all tasks).

A row and seed that is already in the CSV file is skipped, and so is a training that has ended, so the same command
resumes after a kill. The lines of a row and seed are written all at once, after the draws from which summary.py
computes its intervals (results_draws/ next to results.csv). Seconds are those of training steps, without validation
and loading; other work on the machine makes them more.
"""

import argparse
import csv
import json
import math
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from accelerate.utils import set_seed
from intervals import draws_file, write_draws
from rows import ROWS, read_row, write_preset
from supervised import FINETUNED, SUPERVISED, dataset_of_classes, evaluate_classifier, labels_in_training
from transformers import PreTrainedConfig

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import load_dataset_folder
from cgdmer.evaluation.comparison import RESULTS, SCORES, write_scores
from cgdmer.evaluation.evaluate_task import FRACTIONS, Evaluation, evaluate_task
from cgdmer.evaluation.measures import LINEAR_PROBE, ZERO_SHOT
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
COLUMNS += ["frequent_classes", "frequent_macro_auroc", "learning_rate", "steps", "seconds", "version"]
TASKS = ["ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm"]
# The training texts are statements, which do not name superclasses. So a superclass is prompted by its statements.
PROMPTS = {"ptbxl-super": HERE / "superclass_prompts.json"}
CHOOSING_SEED = 0
LEARNING_RATES = [3e-4, 1e-3, 3e-3]
PASSES = 12.0
SHARE_FOR_CHOICE = 1 / 3  # of a row's passes, for each learning rate; a row's file may say another
FURTHER_READOUTS = ["per_lead", "knn", "attention"]  # of all training records
FINETUNING = {"num_train_epochs": 5, "learning_rate": 1e-3, "layer_decay": 0.75}  # the same for every row


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="folder written by `cgdmer prepare`")
    parser.add_argument("--output_dir", required=True, type=Path, help="models and evaluations go here")
    parser.add_argument(
        "--csv", required=True, type=Path, help="the results, one line per row, seed, task, and measure"
    )
    parser.add_argument(
        "--passes", type=float, default=PASSES, help="ECGs to see, as passes over the training records"
    )
    parser.add_argument(
        "--learning_rates", nargs="+", type=float, default=LEARNING_RATES, help="those to choose from, for each row"
    )
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
    for name, row in rows.items():
        _One(name, row, CHOOSING_SEED, options, protocol).choose_learning_rate()
    for seed in options.seeds:
        for name, row in rows.items():
            if (name, str(seed)) in {(line["row"], line["seed"]) for line in read_lines(options.csv)}:
                print(f"{name}, seed {seed}: in {options.csv} already")
                continue
            print(f"{name}, seed {seed}: {row['about']}", flush=True)
            one = _One(name, row, seed, options, protocol)
            evaluations, steps, seconds = one.evaluated()
            lines = []
            for task, evaluation in evaluations.items():
                (one.folder / task).mkdir(exist_ok=True)
                write_results_json(one.folder / task / RESULTS, evaluation.results)
                write_scores(one.folder / task / SCORES, evaluation, get_task(task).class_names)
                for measure, result in evaluation.results["measures"].items():
                    spent = (protocol.learning_rate(name), steps, round(seconds, 1))
                    lines.append((name, seed, task, measure, *figures_of(result), *spent, version))
            write_draws(draws_file(options.csv, name, seed), evaluations)
            add_lines(options.csv, COLUMNS, lines)


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
    """What all rows of a CSV file have in common, and each row's learning rate; kept in a file next to it.

    Raises:
        ConfigurationError: the rows in that file were measured with other settings.
    """

    def __init__(self, options: argparse.Namespace):
        self._file = options.csv.with_name(f"{options.csv.stem}_protocol.json")
        names = ("tasks", "splits", "fractions", "passes", "learning_rates")
        wanted = {name: getattr(options, name) for name in names}
        self._kept = json.loads(self._file.read_text()) if self._file.is_file() else {**wanted, "validation": {}}
        for name, value in wanted.items():
            if self._kept.get(name) != value:
                raise ConfigurationError(
                    f"{self._file}: the rows were measured with {name} {self._kept.get(name)}, not {value}. "
                    "Use the same settings, or name another --csv."
                )

    def validated(self, row: str) -> dict[str, float]:
        """The macro AUROC on the fold held out, by learning rate."""
        found: dict[str, float] = self._kept["validation"].setdefault(row, {})
        return found

    def keep(self, row: str, learning_rate: float, macro_auroc: float) -> None:
        self.validated(row)[str(learning_rate)] = macro_auroc
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_results_json(self._file, self._kept)

    def learning_rate(self, row: str) -> float | None:
        """The chosen one; None for a row that is not trained."""
        found = self.validated(row)
        return float(max(found, key=lambda rate: found[rate])) if found else None


class _One:
    """One row with one seed."""

    def __init__(self, name: str, row: dict[str, Any], seed: int, options: argparse.Namespace, protocol: _Protocol):
        self.name, self.row, self.seed, self.options, self.protocol = name, row, seed, options, protocol
        self.training, self.batch_size = row["training"], row["options"]["per_device_train_batch_size"]
        self.dataset = load_dataset_folder(options.dataset)
        self.place = options.output_dir / name
        self.folder = self.place / f"seed_{seed}"
        self.config = write_preset(self.place / "preset", row)

    def weights_to_start_from(self, rate: float | None = None) -> Path | None:
        """The model of the row that this one starts from; None if it starts from random weights.

        Args:
            rate: of this row, while it is chosen: then the other row's model has not seen the last fold either.
        """
        if (earlier := self.row.get("starts_from")) is None:
            return None
        chosen = self.protocol.learning_rate(earlier)
        part = f"seed_{self.seed}" if rate is None else f"learning_rate_{chosen or 0:g}"
        folder = self.options.output_dir / earlier / part / "model"
        if not folder.is_dir():
            raise ConfigurationError(f"{self.name} starts from {earlier}, which is not trained yet. Run it first.")
        return folder

    def choose_learning_rate(self) -> None:
        """Once for all seeds of the row, on the last training fold."""
        if self.training == "none":
            return
        tuning = tuning_folder(self.dataset, self.options.output_dir / "tuning")
        for rate in self.options.learning_rates:
            if str(rate) in self.protocol.validated(self.name):
                continue
            print(f"{self.name}, learning rate {rate:g}: trained without the last fold", flush=True)
            folder = self.place / f"learning_rate_{rate:g}"
            share = self.row.get("share_for_choice", SHARE_FOR_CHOICE)
            how = (rate, self.options.tasks[:1], ["validation"], [1.0], share)
            start = self.weights_to_start_from(rate)
            found, _, _ = self._trained(tuning, folder, *how, start=start, further=False)
            (evaluation,) = found.values()
            measure = SUPERVISED if self.training == SUPERVISED else LINEAR_PROBE
            self.protocol.keep(self.name, rate, evaluation.results["measures"][measure]["macro_auroc"])

    def evaluated(self) -> tuple[dict[str, Evaluation], int, float]:
        """The evaluation of each task, and the steps and seconds of training."""
        rate, options = self.protocol.learning_rate(self.name), self.options
        how = (rate, options.tasks, options.splits, options.fractions, 1.0)
        return self._trained(
            Path(options.dataset), self.folder, *how, start=self.weights_to_start_from(), further=True
        )

    def _trained(
        self,
        dataset: Path,
        folder: Path,
        learning_rate: float | None,
        tasks: list[str],
        splits: list[str],
        fractions: list[float],
        share: float,
        *,
        start: Path | None,
        further: bool,
    ) -> tuple[dict[str, Evaluation], int, float]:
        folder.mkdir(parents=True, exist_ok=True)
        records, model_folder = load_dataset_folder(dataset), folder / "model"
        if self.training == SUPERVISED:
            self._save_random(model_folder)
            epochs = math.ceil(share * self._passes())
            how = {"num_train_epochs": epochs, "learning_rate": learning_rate}
            seconds = self._finetune(model_folder, dataset, folder / SUPERVISED, how)
            found = self._classified(folder / SUPERVISED, records, tasks, splits, SUPERVISED)
            return found, epochs * (len(records["train"]) // self.batch_size), seconds
        steps, seconds = 0, 0.0
        if learning_rate is None:
            self._save_random(model_folder)
        else:
            steps = self._steps(len(records["train"]), share)
            if not (model_folder / "training_records.safetensors").is_file():  # the last file that `pretrain` writes
                self._pretrain(dataset, model_folder, learning_rate, steps, start)
            seconds = steps * seconds_per_step(model_folder, self.batch_size)
        found = self._read_out(folder, records, tasks, splits, ["mean"], fractions)
        if further:
            others = [self._read_out(folder, records, tasks, splits, FURTHER_READOUTS, [1.0])]
            self._finetune(model_folder, dataset, folder / FINETUNED, FINETUNING)
            others += [self._classified(folder / FINETUNED, records, tasks, splits, FINETUNED)]
            found = {name: _joined(one, *(other[name] for other in others)) for name, one in found.items()}
        shutil.rmtree(folder / "embeddings", ignore_errors=True)
        return found, steps, seconds

    def _read_out(
        self,
        folder: Path,
        records: datasets.DatasetDict,
        tasks: list[str],
        splits: list[str],
        readouts: list[str],
        fractions: list[float],
    ) -> dict[str, Evaluation]:
        model = load_model(folder / "model").to(PartialState().device)
        processor, trained_on = load_processor(folder / "model", model), Fingerprints.of_model(folder / "model")
        # Random weights have their own row.
        how = {"fractions": fractions, "trained_on": trained_on, "untrained": False, "splits": splits}
        how |= {"readouts": readouts, "cache": EmbeddingCache(folder / "embeddings")}
        found = {
            name: evaluate_task(
                model, processor, records, get_task(name), prompts=PROMPTS.get(name, "ensemble"), **how
            )
            for name in tasks
        }
        if not getattr(model.config, "aligns", False):
            found = {name: _without_zero_shot(one) for name, one in found.items()}
        return found

    def _finetune(self, start: Path, dataset: Path, folder: Path, how: dict[str, Any]) -> float:
        """The seconds that it took."""
        seconds_file = folder.with_name(f"{folder.name}_seconds.json")
        if not seconds_file.is_file():
            records = load_dataset_folder(dataset)
            tasks = [get_task(name) for name in self.options.tasks]
            labeled = dataset_of_classes(records, tasks, self.options.output_dir / f"{dataset.name}_of_classes")
            arguments = FinetuningArguments(
                *(str(start), str(labeled), str(folder), labels_in_training(labeled)),
                per_device_train_batch_size=min(self.batch_size, len(records["train"])),
                weight_decay=self.row["options"]["weight_decay"],
                seed=self.seed,
                **how,
            )
            began = time.perf_counter()
            finetune_model(arguments)
            write_results_json(seconds_file, time.perf_counter() - began)
        seconds: float = json.loads(seconds_file.read_text())
        return seconds

    def _classified(
        self, folder: Path, records: datasets.DatasetDict, tasks: list[str], splits: list[str], measure: str
    ) -> dict[str, Evaluation]:
        return {name: evaluate_classifier(folder, records, get_task(name), splits, measure) for name in tasks}

    def _passes(self) -> float:
        passes: float = self.options.passes * self.row.get("passes_factor", 1)
        return passes

    def _steps(self, num_records: int, share: float) -> int:
        """Those in which the row sees this share of its ECGs."""
        return max(1, round(share * self._passes() * num_records / (self.batch_size * self.row.get("views", 1))))

    def _save_random(self, folder: Path) -> None:
        set_seed(self.seed)
        model = class_for(self.config, Purpose.ENCODING)(self.config)
        model.save_pretrained(folder)
        load_processor(self.place / "preset", model).save_pretrained(folder)

    def _pretrain(self, dataset: Path, folder: Path, learning_rate: float, steps: int, start: Path | None) -> None:
        options: dict[str, Any] = {"dataset": dataset, "output_dir": folder}
        if start is None:
            options["config_name"] = self.place / "preset"
        else:
            options["model"] = copy_with_config(start, self.config, folder.with_name("start"))
        options |= {"seed": self.seed, "max_train_steps": steps, "report_to": "none"}
        options |= {"resume_from_checkpoint": "latest", "checkpointing_steps": 500, "checkpoints_total_limit": 1}
        options |= {**self.row["options"], "learning_rate": learning_rate}
        pretrain_model(parse_arguments([f"--{name}={value}" for name, value in options.items()]))


def copy_with_config(model: Path, config: PreTrainedConfig, folder: Path) -> Path:
    """A copy of a model's folder with the settings of another row, such as the weights of its losses."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("step_*", "epoch_*", "reconstructions"))
    config.save_pretrained(folder)
    return folder


def tuning_folder(splits: datasets.DatasetDict, folder: Path) -> Path:
    """Write the training records to a new folder, with the last of their folds as the validation split."""
    if not folder.is_dir():
        rows = splits["train"]
        folds = rows["fold"]
        last = max(folds)
        parts = {
            "train": rows.select([row for row, fold in enumerate(folds) if fold != last]),
            "validation": rows.select([row for row, fold in enumerate(folds) if fold == last]),
        }
        partial = folder.with_name(folder.name + ".part")
        datasets.DatasetDict(parts).save_to_disk(partial)
        partial.rename(folder)
    return folder


def seconds_per_step(folder: Path, batch_size: int) -> float:
    """Mean seconds per step that a run logged."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["samples_per_second"] for line in lines if "samples_per_second" in line}
    parts = zip([0, *rates], rates, strict=False)
    return sum((end - begin) * batch_size / rates[end] for begin, end in parts) / max(rates)


def _joined(first: Evaluation, *others: Evaluation) -> Evaluation:
    """One evaluation with the measures of several on the same records."""
    measures, scores = dict(first.results["measures"]), dict(first.scores)
    for other in others:
        if other.record_ids != first.record_ids:
            raise ConfigurationError("measures of different records cannot be joined.")
        measures |= other.results["measures"]
        scores |= other.scores
    return replace(first, results=first.results | {"measures": measures}, scores=scores)


def _without_zero_shot(evaluation: Evaluation) -> Evaluation:
    """Cosines with texts mean nothing in a model that was not trained to align."""
    measures = {name: one for name, one in evaluation.results["measures"].items() if name != ZERO_SHOT}
    scores = {name: one for name, one in evaluation.scores.items() if name != ZERO_SHOT}
    return replace(evaluation, results=evaluation.results | {"measures": measures}, scores=scores)


if __name__ == "__main__":
    main()
