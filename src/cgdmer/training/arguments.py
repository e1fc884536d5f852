# SPDX-License-Identifier: Apache-2.0
"""Options for pretraining and finetuning, named as in transformers' training scripts."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cgdmer.models.errors import ConfigurationError
from cgdmer.options import Group, Marker, option
from cgdmer.training.objectives import OBJECTIVES, objective_class

FIXED, ON_CARD, POSITIONAL = Marker.FIXED, Marker.ON_CARD, Marker.POSITIONAL

TextSource = Literal["report", "statements"]
_WEIGHT_DECAY = "of weight matrices; not of biases, norms, and embeddings"


@dataclass
class PretrainingArguments:
    """Options of `pretrain_model` and of `accelerate launch -m cgdmer.pretrain`.

    Raises:
        ConfigurationError: a value is out of range, or two options contradict each other.
    """

    dataset: Annotated[str, Group("data")] = option("folder written by `cgdmer prepare`")
    output_dir: str = option("where to write the trained model, metrics.jsonl, and checkpoints")
    streaming: Annotated[bool, FIXED, ON_CARD] = option(
        "read training records shard by shard; --dataset may then be a folder of Parquet or Arrow shards, or a "
        "dataset repository on the Hub",
        False,
    )
    text_source: Annotated[TextSource | None, FIXED, ON_CARD] = option(
        "what each ECG is paired with: its report, or a random subset of its findings, redrawn every epoch; models "
        "trained on signals alone read neither",
        "report",
    )
    wordings: Annotated[bool, FIXED, ON_CARD] = option(
        "with --text_source statements: put most findings in other words, and sometimes state a general term", False
    )
    texts_per_record: Annotated[int, FIXED, ON_CARD] = option(
        "with --text_source statements: draw this many texts per ECG, which is still encoded once", 1
    )
    max_train_samples: Annotated[int | None, ON_CARD] = option(
        "use only the first N training records (default: all)", None
    )
    dataloader_num_workers: int | None = option(
        "worker processes per training process (default: 4 with a GPU, else 0)", None
    )

    lead_dropout: Annotated[
        float, Group("random changes to training records (besides where a trace begins)"), FIXED, ON_CARD
    ] = option("probability of keeping only some leads: I, I and II, or a random subset", 0.0)
    noise: Annotated[float, FIXED, ON_CARD] = option(
        "largest standard deviation of white noise and of baseline wander, in mV", 0.0
    )
    gain: Annotated[float, FIXED, ON_CARD] = option("multiply or divide amplitudes by up to 1 + gain", 0.0)

    config_name: Annotated[str | None, Group("model"), ON_CARD] = option(
        "start from random weights: a preset's folder or name (cgdmer-tiny, coreecg-tiny, ...)", None
    )
    model: Annotated[str | None, ON_CARD] = option(
        "continue from a pretrained model (a folder, a Hub id, or cgdmer-tiny-ptbxl), with a new schedule", None
    )
    objective: Annotated[str | None, FIXED, ON_CARD] = option(
        f"train by another method, for comparisons, and save the encoder alone: {', '.join(OBJECTIVES)} (default: the "
        "model's own losses)",
        None,
    )
    text_model: Annotated[str | None, FIXED, ON_CARD] = option(
        "load the text tower and its tokenizer from this model (default: random weights and the preset's tokenizer, "
        "or those of --model)",
        None,
    )
    freeze_text_layers: Annotated[int | None, FIXED, ON_CARD] = option(
        "freeze the embeddings and the lowest N layers of the text tower (default: half of its layers with "
        "--text_model, else none)",
        None,
    )
    gradient_checkpointing: bool = option("save memory by computing activations twice", False)

    per_device_train_batch_size: Annotated[int, Group("optimization"), ON_CARD] = option(
        "records per batch and process", 64
    )
    contrastive_chunk_size: int | None = option(
        "keep the graph of this many pairs at a time: the same step in less memory, but each pair is encoded twice "
        "(default: of the whole batch)",
        None,
    )
    gradient_accumulation_steps: Annotated[int, FIXED, ON_CARD] = option("batches per step", 1)
    learning_rate: Annotated[float, FIXED, ON_CARD] = option("peak of the schedule", 2e-4)
    weight_decay: Annotated[float, FIXED, ON_CARD] = option(_WEIGHT_DECAY, 1e-5)
    num_train_epochs: Annotated[int, ON_CARD] = option("passes over the training records", 50)
    max_train_steps: Annotated[int | None, ON_CARD] = option(
        "end after N steps (default: after --num_train_epochs)", None
    )
    lr_scheduler_type: Annotated[str, FIXED, ON_CARD] = option("one of transformers' schedules", "cosine")
    num_warmup_steps: Annotated[int, FIXED, ON_CARD] = option("steps over which the learning rate rises", 0)
    max_grad_norm: Annotated[float, FIXED, ON_CARD] = option("clip gradients to this norm", 1.0)
    seed: Annotated[int, FIXED, ON_CARD] = option("seed of weights, order, masks, and all other draws", 0)
    torch_compile: bool = option("compile the ECG layers: faster steps after a minute or two", False)

    checkpointing_steps: Annotated[str | None, Group("output")] = option(
        'save a checkpoint every N steps or every "epoch" (default: only when SIGTERM or Ctrl-C stops the run)', None
    )
    checkpoints_total_limit: int | None = option("keep only the latest N checkpoints (default: all)", None)
    resume_from_checkpoint: str | None = option(
        'a step_N or epoch_N folder of the same run, or "latest": the newest intact one in --output_dir, or a fresh '
        "start if there is none yet (default: a fresh start, which refuses a folder that holds a run)",
        None,
    )
    logging_steps: int = option("write a line to metrics.jsonl every N steps", 10)
    log_gradient_shares: int | None = option(
        "every N steps, write how much each loss moves the ECG encoder to metrics.jsonl, at a backward pass per loss "
        "(default: never)",
        None,
    )
    show_report_texts: bool = option("print the records' reports on the pictures of reconstructions", False)
    report_to: list[str] | None = option(
        "trackers to log to, by their names in Accelerate (tensorboard, wandb, ...), or 'all' that are installed, or "
        "'none' (default: tensorboard if it is installed)",
        None,
        metavar="TRACKER",
    )

    def __post_init__(self) -> None:
        if (self.config_name is None) == (self.model is None):
            raise ConfigurationError(
                "pass either --config_name, a preset to start from with random weights, or --model, a pretrained "
                "model to continue from."
            )
        every = self.checkpointing_steps
        if every not in (None, "epoch") and not (str(every).isdigit() and int(every) > 0):
            raise ConfigurationError(f"--checkpointing_steps is {every!r}; expected a positive number or 'epoch'.")
        _refuse_below(
            *(self, 1, "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"),
            *("logging_steps", "texts_per_record", "max_train_steps", "max_train_samples", "contrastive_chunk_size"),
            *("checkpoints_total_limit", "log_gradient_shares"),
        )
        _refuse_below(
            *(self, 0, "noise", "gain", "learning_rate", "weight_decay", "num_warmup_steps", "freeze_text_layers"),
            "dataloader_num_workers",
        )
        if not self.max_grad_norm > 0:
            raise ConfigurationError(f"--max_grad_norm is {self.max_grad_norm}; expected more than 0.")
        if not 0 <= self.lead_dropout <= 1:
            raise ConfigurationError(f"--lead_dropout is {self.lead_dropout}; expected a probability from 0 to 1.")
        for name, is_used in (("wordings", self.wordings), ("texts_per_record", self.texts_per_record > 1)):
            if is_used and self.text_source != "statements":
                raise ConfigurationError(
                    f"--{name} needs texts made of findings. Pass --text_source statements, or leave it out."
                )
        if self.objective:
            objective_class(self.objective)
            if self.contrastive_chunk_size:
                raise ConfigurationError("--contrastive_chunk_size cannot be used with --objective. Leave one out.")
        for name in ("contrastive_chunk_size", "torch_compile"):
            if self.log_gradient_shares and getattr(self, name):
                raise ConfigurationError(f"--log_gradient_shares cannot be used with --{name}. Leave one out.")
        if self.streaming and self.max_train_samples:
            raise ConfigurationError("--max_train_samples cannot be used with --streaming. Leave it out.")


@dataclass
class FinetuningArguments:
    """Options of `finetune_model` and of `cgdmer finetune`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    model: Annotated[str, POSITIONAL, ON_CARD] = option("folder or Hub id of a pretrained model, or cgdmer-tiny-ptbxl")
    dataset: str = option("folder written by `cgdmer prepare`")
    output_dir: str = option("where to write the trained model and its results")
    labels: Annotated[list[str] | None, ON_CARD] = option(
        "labels to train on (default: all with at least ten training records)", None
    )
    freeze_encoder: Annotated[bool, ON_CARD] = option("train only the classifier: a linear probe", False)
    num_train_epochs: Annotated[int, ON_CARD] = option("passes over the training records", 10)
    learning_rate: Annotated[float, ON_CARD] = option("peak of the schedule", 3e-4)
    layer_decay: Annotated[float, ON_CARD] = option(
        "each layer of the encoder learns at this share of the rate of the layer above it; 1: all at the same", 1.0
    )
    per_device_train_batch_size: Annotated[int, ON_CARD] = option("records per batch and process", 64)
    weight_decay: Annotated[float, ON_CARD] = option(_WEIGHT_DECAY, 0.01)
    seed: Annotated[int, ON_CARD] = option("seed of the classifier's initial weights and of the order of records", 0)

    def __post_init__(self) -> None:
        _refuse_below(self, 1, "num_train_epochs", "per_device_train_batch_size")
        _refuse_below(self, 0, "learning_rate", "weight_decay")
        if not 0 < self.layer_decay <= 1:
            raise ConfigurationError(f"--layer_decay is {self.layer_decay}; expected more than 0, and at most 1.")


def _refuse_below(arguments: Any, lowest: int, *names: str) -> None:
    """NaN is refused too. None means that the value is decided later."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not value >= lowest:
            raise ConfigurationError(f"--{name} is {value}; expected at least {lowest}.")
