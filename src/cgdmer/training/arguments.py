# SPDX-License-Identifier: Apache-2.0
"""Command-line arguments of `cgdmer.pretrain`, named as in transformers' no_trainer scripts."""

import argparse

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from cgdmer.models.errors import ConfigurationError
from cgdmer.presets import model_source
from cgdmer.training.pairs import TEXT_SOURCES

TRACKERS = sorted(kind.value for kind in LoggerType if kind != LoggerType.ALL)


def build_parser(description: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cgdmer.pretrain", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", required=True, help="folder written by `cgdmer prepare`")
    data.add_argument(
        "--streaming",
        action="store_true",
        help="read training records shard by shard; --dataset may then be a folder of Parquet or Arrow shards, or a "
        "dataset repository on the Hub",
    )
    data.add_argument(
        "--text_source",
        choices=TEXT_SOURCES,
        default="report",
        help="what an ECG is paired with: its report, or a random part of its findings, afresh every epoch; a model "
        "of signals alone reads neither",
    )
    data.add_argument(
        "--wordings",
        action="store_true",
        help="with --text_source statements: most findings in words other than the corpus's, and general terms",
    )
    data.add_argument(
        "--texts_per_record",
        type=int,
        default=1,
        help="with --text_source statements: draw so many texts of an ECG's findings, for one pass of the ECG",
    )
    data.add_argument("--max_train_samples", type=int, help="use only the first N training records")
    data.add_argument(
        "--dataloader_num_workers",
        type=int,
        help="processes that prepare batches beside each training process (default: 4 beside a GPU, else 0)",
    )

    change = parser.add_argument_group("random changes to training records (beside where a trace begins)")
    change.add_argument(
        "--lead_dropout",
        type=float,
        default=0.0,
        help="probability that a record keeps lead I, I and II, or any others",
    )
    change.add_argument("--noise", type=float, default=0.0, help="mV; standard deviation of noise and wander, at most")
    change.add_argument("--gain", type=float, default=0.0, help="amplitudes times 1 + gain at most, or divided")

    model = parser.add_argument_group("model")
    start = model.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--config_name", help="start from random weights: a preset's folder or name (cgdmer-tiny, coreecg-tiny, ...)"
    )
    start.add_argument(
        "--model_name_or_path",
        type=model_source,
        help="go on from a pretrained model (a folder, a Hub id or cgdmer-tiny-ptbxl), with a new schedule",
    )
    model.add_argument("--text_model_name_or_path", help="load the text tower and its tokenizer from here")
    model.add_argument(
        "--freeze_text_layers",
        type=int,
        help="keep the embeddings and the lowest N layers of the text tower as they are "
        "(default: half of the layers of a pretrained text tower, else none)",
    )
    model.add_argument("--gradient_checkpointing", action="store_true")

    optimisation = parser.add_argument_group("optimisation")
    optimisation.add_argument("--per_device_train_batch_size", type=int, default=64)
    optimisation.add_argument(
        "--contrastive_chunk_size",
        type=int,
        help="hold the graph of so many pairs at a time: the same step in less memory, each pair encoded twice",
    )
    optimisation.add_argument("--gradient_accumulation_steps", type=int, default=1)
    optimisation.add_argument("--learning_rate", type=float, default=2e-4)
    optimisation.add_argument("--weight_decay", type=float, default=1e-5)
    optimisation.add_argument("--num_train_epochs", type=int, default=50)
    optimisation.add_argument("--max_train_steps", type=int, help="overrides --num_train_epochs")
    optimisation.add_argument("--lr_scheduler_type", default="cosine")
    optimisation.add_argument("--num_warmup_steps", type=int, default=0)
    optimisation.add_argument("--max_grad_norm", type=float, default=1.0)
    optimisation.add_argument("--seed", type=int, default=0)
    optimisation.add_argument(
        "--torch_compile",
        action="store_true",
        help="compile the ECG layers: faster steps after a minute or two",
    )

    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", required=True, help="the trained model, metrics.jsonl and checkpoints go here")
    output.add_argument(
        "--checkpointing_steps",
        help='save everything every N steps, or "epoch"; without it, only when SIGTERM or Ctrl-C stops the run',
    )
    output.add_argument("--checkpoints_total_limit", type=int, help="keep only the last N checkpoints")
    output.add_argument(
        "--resume_from_checkpoint",
        help='a step_N or epoch_N folder of the same run, or "latest": the newest whole one in --output_dir, or a new '
        "start where there is none yet",
    )
    output.add_argument("--logging_steps", type=int, default=10, help="write a line of metrics.jsonl every N steps")
    output.add_argument(
        "--report_to",
        nargs="+",
        metavar="TRACKER",
        help=f"trackers to log to: {', '.join(TRACKERS)}; all that are installed, or none "
        "(default: tensorboard if it is installed)",
    )
    return parser


def parse_arguments(arguments: list[str] | None = None, description: str | None = None) -> argparse.Namespace:
    """Parse and check.

    Raises:
        ConfigurationError: values that contradict each other, or a tracker that is not installed.
    """
    options = build_parser(description).parse_args(arguments)
    every = options.checkpointing_steps
    if every not in (None, "epoch") and not (every.isdigit() and int(every) > 0):
        raise ConfigurationError(f"--checkpointing_steps is {every!r}; expected a positive number or 'epoch'.")
    for name in (
        *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "logging_steps"),
        "texts_per_record",
        *("max_train_steps", "max_train_samples", "contrastive_chunk_size", "checkpoints_total_limit"),
    ):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"--{name} is {value}; expected at least 1.")
    if not options.max_grad_norm > 0:
        raise ConfigurationError(f"--max_grad_norm is {options.max_grad_norm}; expected more than 0.")
    if not 0 <= options.lead_dropout <= 1:
        raise ConfigurationError(f"--lead_dropout is {options.lead_dropout}; expected a probability.")
    for name in (
        "noise",
        "gain",
        "learning_rate",
        "weight_decay",
        "num_warmup_steps",
        "freeze_text_layers",
        "dataloader_num_workers",
    ):
        value = getattr(options, name)
        if value is not None and not value >= 0:
            raise ConfigurationError(f"--{name} is {value}; expected at least 0.")
    if options.wordings and options.text_source != "statements":
        raise ConfigurationError("--wordings are of findings. Pass --text_source statements, or leave it out.")
    if options.texts_per_record > 1 and options.text_source != "statements":
        raise ConfigurationError(
            "--texts_per_record draws several texts of a record's findings. Pass --text_source statements, or leave "
            "it out."
        )
    if options.streaming and options.max_train_samples:
        raise ConfigurationError("--max_train_samples chooses records of a folder; with --streaming, leave it out.")
    options.report_to = _trackers(options.report_to)
    return options


def _trackers(names: list[str] | None) -> list[str]:
    installed = [tracker.value for tracker in get_available_trackers()]
    if names is None:
        return ["tensorboard"] if "tensorboard" in installed else []
    if names == ["none"]:
        return []
    if names == ["all"]:
        return installed
    for name in names:
        if name not in TRACKERS:
            known = ", ".join(TRACKERS)
            raise ConfigurationError(
                f"--report_to names {name!r}; expected some of {known}, or 'all' or 'none' alone."
            )
        if name not in installed:
            raise ConfigurationError(
                f"--report_to names {name!r}, which is not installed. Install it, or name one that is "
                f"({', '.join(installed) or 'there is none'}), or 'none'."
            )
    return names


__all__ = ["build_parser", "parse_arguments"]
