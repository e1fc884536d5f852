# SPDX-License-Identifier: Apache-2.0
"""The pretraining loop, on Accelerate: any number of processes, checkpoints, validation, metrics."""

import json
import math
import os
import signal
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from tqdm.auto import tqdm

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.trained_findings import merged
from cgdmer.families import extractor_of
from cgdmer.files.writing import write_json
from cgdmer.inference import familiarity
from cgdmer.models.errors import ConfigurationError
from cgdmer.models.prompt_findings import Findings
from cgdmer.options import Marker, options_marked
from cgdmer.presets import model_source
from cgdmer.training import left_out, run_summary
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.cached_gradients import backward_in_chunks
from cgdmer.training.calibration import fit_score
from cgdmer.training.checkpoints import Checkpoints, RunPosition, drop_metrics_beyond, naming
from cgdmer.training.gradient_shares import gradient_shares
from cgdmer.training.left_out import LeftOut
from cgdmer.training.loaders import TrainingLoader, training_and_validation
from cgdmer.training.objectives.base import Objective
from cgdmer.training.optimization import FiniteSteps, adamw, schedule
from cgdmer.training.output_folder import claimed
from cgdmer.training.pairs import PairCollator, PairDataset, noise_shapes_of, tokenizer_of
from cgdmer.training.setup import (
    checkpoint_activations,
    compile_ecg_layers,
    installed_trackers,
    model_and_processor,
    refuse_mixed_precision_without_gpu,
)
from cgdmer.training.sharding import as_whole, keep_word_embeddings_whole, whole_model
from cgdmer.training.stopping import StopRequest
from cgdmer.training.throughput import Throughput, in_words
from cgdmer.training.watching import Watcher

LOGGED = ("_loss", "_bound", "_r2", "_deviation")  # outputs whose names end so are logged
_RECORDS_TO_CENTER = 256


def pretrain_model(arguments: PretrainingArguments) -> dict[str, Any]:
    """Pretrain a model of any family on a prepared dataset, in all processes that were launched.

    Writes to `output_dir`: the model and its processor, the fingerprints of its training records, what they look like
    to a model that aligns (`cgdmer.inference.familiarity`; not from a stream), `metrics.jsonl`,
    `training_arguments.json`, `training_summary.json`, checkpoints, and the pictures of `cgdmer.training.watching`.

    Returns:
        The last validation metrics, the number of steps, the summary of `Throughput`, and how many records were
        `left_out` of training and of validation, because they cannot be used; `left_out.csv` names them.

    Raises:
        ConfigurationError: the options do not fit the model, the data, or the processes.
        CorpusError: the dataset cannot be used.
        ModelFolderError: the model to continue from, or a checkpoint, cannot be used.
        TrainingError: training has diverged, another run is writing to `output_dir`, or it cannot be written.

    Example:
        >>> arguments = cgdmer.PretrainingArguments("ecgs", "run", config_name="cgdmer-tiny", text_source="statements")
        >>> arguments.max_train_steps, arguments.per_device_train_batch_size = 2, 8
        >>> results = cgdmer.pretrain_model(arguments)
        ***** Running training *****...
        >>> results["steps"]
        2
    """
    options = replace(
        arguments,
        model=None if arguments.model is None else model_source(arguments.model),
        report_to=installed_trackers(arguments.report_to),
    )
    refuse_mixed_precision_without_gpu()
    accelerator = Accelerator(
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        log_with=options.report_to or None,
        project_dir=options.output_dir,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise ConfigurationError(
            f"{started} processes were launched, but Accelerate sees {accelerator.num_processes}: each would write "
            "its own run to --output_dir. Without GPUs, set ACCELERATE_USE_CPU=true."
        )
    with claimed(accelerator, Path(options.output_dir), "Then continue with --resume_from_checkpoint latest."):
        return _pretrain(options, accelerator)


def _pretrain(options: PretrainingArguments, accelerator: Accelerator) -> dict[str, Any]:
    checkpoints = Checkpoints(accelerator, Path(options.output_dir), options.checkpoints_total_limit)
    checkpoint = checkpoints.find(options.resume_from_checkpoint)
    set_seed(options.seed)
    model, processor = model_and_processor(options)
    _check_batch(options, accelerator, model.contrasts)
    if options.log_gradient_shares and accelerator.is_fsdp2:
        raise ConfigurationError("--log_gradient_shares needs whole weights, and FSDP2 splits them. Leave it out.")
    if options.objective and accelerator.is_fsdp2:
        raise ConfigurationError("--objective cannot be used with FSDP2. Choose plain multi-GPU training.")
    if options.gradient_checkpointing:
        checkpoint_activations(model.model if isinstance(model, Objective) else model)
    training, validation_loader, validation_pairs = training_and_validation(
        options, processor, accelerator, noise_shapes_of(model.config), getattr(model, "views", None)
    )
    if options.config_name and checkpoint is None and model.contrasts:
        first = PairCollator(tokenizer_of(processor))(training.pairs.first(_RECORDS_TO_CENTER))
        first.pop(left_out.KEY, None)  # named once training comes to them
        model.center_heads(first)
    if options.torch_compile:
        compile_ecg_layers(model)
    optimizer = adamw(model, options.learning_rate, options.weight_decay)

    steps_per_epoch = len(training) // options.gradient_accumulation_steps
    total_steps = options.max_train_steps or options.num_train_epochs * steps_per_epoch
    scheduler = schedule(accelerator, optimizer, options.lr_scheduler_type, total_steps, options.num_warmup_steps)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    keep_word_embeddings_whole(model)
    run = _Training(options, accelerator, model, processor, optimizer, scheduler, checkpoints, training, total_steps)
    first_epoch, batches_done = run.resume(checkpoint)
    epochs = math.ceil(total_steps / steps_per_epoch)
    run.announce(validation_pairs, epochs)

    with run.stop:
        for epoch in range(first_epoch, epochs):
            run.progress.set_description(f"epoch {epoch + 1}/{epochs}")
            run.train_epoch(epoch, batches_done if epoch == first_epoch else 0)
            run.validate(validation_loader)
            if options.checkpointing_steps == "epoch":
                run.save_checkpoint(f"epoch_{epoch}", epoch + 1, 0)
    return run.finish(validation_pairs)


def _global_batch(options: PretrainingArguments, accelerator: Accelerator) -> int:
    return options.per_device_train_batch_size * accelerator.num_processes


def _check_batch(options: PretrainingArguments, accelerator: Accelerator, contrasts: bool) -> None:
    if options.contrastive_chunk_size and not contrasts:
        raise ConfigurationError(
            "--contrastive_chunk_size is for losses that compare records, and this model has none. Use "
            "--gradient_accumulation_steps instead."
        )
    if contrasts and _global_batch(options, accelerator) < 2:
        raise ConfigurationError(
            "a batch of one record has nothing to contrast it with. Raise --per_device_train_batch_size."
        )


@dataclass(eq=False)
class _Training:
    """One training run: its state, and what happens at each point."""

    options: PretrainingArguments
    accelerator: Accelerator
    model: torch.nn.Module
    processor: Any
    optimizer: Any
    scheduler: Any
    checkpoints: Checkpoints
    training: TrainingLoader
    total_steps: int

    step: int = 0
    place: tuple[int, int] = (0, 0)  # the epoch, and the number of its batches done
    saved_step: int = 0
    resumed_at: int = 0
    last_validation: dict[str, float] = field(default_factory=dict)
    progress: Any = None

    def __post_init__(self) -> None:
        accelerator, core = self.accelerator, self.accelerator.unwrap_model(self.model)
        self.folder, self.config = Path(self.options.output_dir), core.config
        self.data = self.training.pairs.identity()
        self.left_out, self.left_out_of_validation = LeftOut(), LeftOut()
        self.finite = FiniteSteps(self.optimizer.optimizer, accelerator.device, accelerator.scaler is not None)
        self.throughput = Throughput(accelerator, core if accelerator.device.type == "cuda" else None)
        self.stop = StopRequest(accelerator)
        self.objective = core if isinstance(core, Objective) else None
        self.watcher = Watcher(
            *(accelerator, self.config, self.processor, self.folder),
            aligns=core.aligns,
            shows_texts=self.options.show_report_texts,
        )

    # Start

    def announce(self, validation: PairDataset, epochs: int) -> None:
        options, accelerator = self.options, self.accelerator
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "training_arguments.json", asdict(options))
            if self.step == 0:
                (self.folder / "metrics.jsonl").unlink(missing_ok=True)
                self.watcher.start_anew()
            trained = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
            print(
                "***** Running training *****\n"
                f"  records: {self.training.pairs.describe()}, {len(validation)} for validation\n"
                f"  weights trained: {trained:,}\n"
                f"  batch: {_global_batch(options, accelerator)} ({accelerator.num_processes} process(es)),"
                f" accumulated over {options.gradient_accumulation_steps}\n"
                f"  steps: {self.total_steps} in {epochs} epoch(s), starting at {self.step}",
                flush=True,
            )
        if options.report_to:
            # Trackers accept only numbers and strings.
            chosen = {name: value for name, value in asdict(options).items() if value is not None}
            kept = {name: value if isinstance(value, int | float) else str(value) for name, value in chosen.items()}
            accelerator.init_trackers("cgdmer_pretrain", kept)
        self.progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            disable=not accelerator.is_main_process,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
        )

    def resume(self, checkpoint: Path | None) -> tuple[int, int]:
        """Load the checkpoint, if any. Returns the epoch to continue in, and the number of its batches done."""
        if checkpoint is None:
            return self.place
        model = self.accelerator.unwrap_model(self.model)
        position, extra = self.checkpoints.load(checkpoint, model, self.optimizer, self.scheduler, self._identity())
        with naming(checkpoint):
            self.training.load_state_dict(extra["loader"])
            self.finite.load_state_dict(extra["steps left out"])
            self.left_out.load_state_dict(extra.get("records left out", {}))
        self.step, self.place = position.step, (position.epoch, position.batch)
        self.resumed_at = position.step
        if checkpoint.resolve().parent == self.folder.resolve():
            self.saved_step = self.step
        if self.accelerator.is_main_process:
            drop_metrics_beyond(self.folder / "metrics.jsonl", position)
        if position.batch == 0:
            self.checkpoints.restore_random_states()
        return self.place

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a resumed run to continue the same curve."""
        config = self.config.to_dict()
        for transient in ("_name_or_path", "transformers_version", "dtype", "architectures"):
            config.pop(transient, None)
        return {
            "model configuration": json.loads(json.dumps(config, default=str)),
            "global batch": _global_batch(self.options, self.accelerator),
            "data": self.data,
            "processes": self.accelerator.num_processes,
            "mixed precision": self.accelerator.mixed_precision,
            "steps": self.total_steps,
            **{name: getattr(self.options, name) for name in options_marked(PretrainingArguments, Marker.FIXED)},
        }

    # Middle

    def train_epoch(self, epoch: int, batches_done: int) -> None:
        self.model.train()
        loader = self.training.batches(epoch, batches_done)
        self.throughput.start()
        loader = self.left_out.watched(self.throughput.waited_for(loader))
        for batches, batch in enumerate(loader, batches_done + 1):
            self.checkpoints.restore_random_states()
            if self.step >= self.total_steps:
                break
            if self.objective is not None:
                self.objective.progress = self.step / self.total_steps
            with self.accelerator.accumulate(self.model):
                if chunk_size := self.options.contrastive_chunk_size:
                    outputs = backward_in_chunks(self.accelerator, self.model, batch, chunk_size)
                else:
                    outputs = self.model(**batch)
                    self._log_gradient_shares(outputs)
                    self.accelerator.backward(outputs.loss)
                if self.accelerator.sync_gradients:
                    limit = self.options.max_grad_norm
                    norm = as_whole(self.accelerator.clip_grad_norm_(self.model.parameters(), limit))
                    self.finite.judge(norm)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            self.throughput.count(batch)
            if not self.accelerator.sync_gradients:
                continue
            if self.objective is not None:
                self.objective.after_step()
            self.step, self.place = self.step + 1, (epoch, batches)
            self.progress.update(1)
            is_logged = self.step % self.options.logging_steps == 0 or self.step == self.total_steps
            if is_logged:
                self._log_step(outputs, norm, epoch)
            every = self.options.checkpointing_steps
            if every and every != "epoch" and self.step % int(every) == 0:
                self.save_checkpoint(f"step_{self.step}", epoch, batches)
            self._stop_if_asked(all_wait=is_logged)
        self.throughput.stop()
        self.checkpoints.restore_random_states()  # if no batch was left

    def _log_step(self, outputs, gradient_norm: torch.Tensor, epoch: int) -> None:
        metrics = self._losses(outputs)
        metrics["gradient_norm"] = float(gradient_norm)
        metrics["steps_left_out"] = self.finite.skipped()
        metrics.update(self.throughput.metrics())
        self.progress.set_postfix_str(
            f"loss {metrics['loss']:.3f}, {metrics['samples_per_second']:.0f} samples/s"
            + (f", {metrics['steps_left_out']} steps left out" if metrics["steps_left_out"] else "")
        )
        self._log({**metrics, "learning_rate": self.scheduler.get_last_lr()[0], "epoch": epoch})

    def _log_gradient_shares(self, outputs) -> None:
        """For the step that is being made."""
        every = self.options.log_gradient_shares
        if every and self.accelerator.sync_gradients and (self.step + 1) % every == 0:
            core = self.accelerator.unwrap_model(self.model)
            self._log(gradient_shares(self.accelerator, core, outputs), self.step + 1)

    def _losses(self, outputs) -> dict[str, float]:
        """The total loss, and each output that is logged, averaged over processes."""
        names = ["loss", *(name for name in outputs if name.endswith(LOGGED) and outputs[name] is not None)]
        values = torch.stack([outputs[name].detach().float() for name in names])
        return dict(zip(names, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    @torch.no_grad()
    def validate(self, loader) -> None:
        """Losses and retrieval on the validation split, with the same masks every time."""
        self.model.eval()
        self.progress.set_description("validation")
        sums: dict[str, float] = {}
        for batch in self.left_out_of_validation.watched(loader):
            outputs = self.model(**batch)
            for name, value in self._losses(outputs).items():
                sums[name] = sums.get(name, 0.0) + value / len(loader)
            self.watcher.see(batch, outputs)
            self._stop_if_asked(all_wait=True)  # a large split takes longer than a stopped run is given
        metrics = {**sums, **self.watcher.retrieval()}
        self.last_validation = {f"validation_{name}": value for name, value in metrics.items()}
        self._log(self.last_validation)
        self.watcher.after_validation(self.step)

    def _log(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = self.step if step is None else step
        self.accelerator.log(metrics, step=step)
        if self.accelerator.is_main_process:
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps({"step": step, **metrics}) + "\n")

    def save_checkpoint(self, name: str, epoch: int, batch: int) -> None:
        self.throughput.stop()
        self.checkpoints.save(
            name,
            self.accelerator.unwrap_model(self.model),
            self.optimizer,
            self.scheduler,
            RunPosition(self.step, epoch, batch),
            self._identity(),
            extra={
                "loader": self.training.state_dict(),
                "steps left out": self.finite.state_dict(),
                "records left out": self.left_out.state_dict(),
            },
        )
        self.throughput.start()
        self.saved_step = self.step

    def _stop_if_asked(self, all_wait: bool) -> None:
        if number := self.stop.agreed(all_wait):
            if self.saved_step != self.step:
                self.save_checkpoint(f"step_{self.step}", *self.place)
            self.progress.close()
            message = (
                f"{self.folder} holds a checkpoint of step {self.step}: resume with --resume_from_checkpoint latest."
            )
            if number == signal.SIGINT:
                raise KeyboardInterrupt(message)
            print(message, flush=True)
            raise SystemExit(128 + number)

    # End

    def finish(self, validation: PairDataset) -> dict[str, Any]:
        options, speed = self.options, self.throughput.summary()
        self.progress.close()
        self.accelerator.wait_for_everyone()
        of_training = LeftOut.of_all(self.accelerator, self.left_out)
        everywhere = LeftOut.of_all(self.accelerator, self.left_out, self.left_out_of_validation)
        model = whole_model(self.accelerator, self.model)
        if model is not None and self.accelerator.is_main_process:
            aligns = model.aligns
            if isinstance(model, Objective):  # of which only the model is of use
                model = model.model
            if aligns:
                fit_score(model, self.processor, validation)
                before = Findings.of_model(options.model) if options.model else None
                named = self.training.pairs.findings() if options.text_source == "statements" else None
                self.processor.findings = before if named is None else merged(named, before)
            model.save_pretrained(self.folder, save_function=self.accelerator.save)
            self.processor.save_pretrained(self.folder)
            earlier = Fingerprints.of_model(options.model) if options.model else None
            trained_on = self.training.pairs.fingerprints(earlier)
            run_summary.write(
                self.folder,
                self.accelerator,
                options,
                command=run_summary.PRETRAIN,
                records=(self.training.pairs.num_records, len(validation)),
                batch_size=_global_batch(options, self.accelerator) * options.gradient_accumulation_steps,
                steps=self.step,
                seconds=self.throughput.seconds,
                resumed_at_step=self.resumed_at,
                left_out=len(of_training.reasons),
            )
            everywhere.write(self.folder)
            trained_on.save(self.folder)
            if aligns:
                self._save_familiarity(model, validation)
            lines = [in_words(speed), left_out.in_words(len(everywhere.reasons)), f"saved to {self.folder}"]
            tqdm.write("\n".join(filter(None, lines)))
        self.accelerator.wait_for_everyone()
        if options.report_to:
            self.accelerator.end_training()
        return {**self.last_validation, "steps": self.step, "left_out": len(everywhere.reasons), **speed}

    def _save_familiarity(self, model: Any, validation: PairDataset) -> None:
        """Without the records of a stream, which cannot be drawn at random, there is none."""
        (self.folder / familiarity.FILE_NAME).unlink(missing_ok=True)  # of an earlier run
        if isinstance(self.training.pairs, PairDataset):
            splits = self.training.pairs.split, validation.split
            found = familiarity.after_training(model, extractor_of(self.processor), *splits)
            if found is not None:
                found.save(self.folder)
