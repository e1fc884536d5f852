# SPDX-License-Identifier: Apache-2.0
"""The pretraining loop, on Accelerate: any number of processes, checkpoints, validation, metrics."""

import json
import math
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_scheduler

from cgdmer.data.fingerprints import Fingerprints, fingerprint_of_split
from cgdmer.data.storage import load_dataset_folder
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.training.cached_gradients import backward_in_chunks
from cgdmer.training.calibration import fit_score
from cgdmer.training.checkpoints import Checkpoints, Position, drop_metrics_beyond
from cgdmer.training.pairs import EpochSampler, PairCollator, PairDataset
from cgdmer.training.setup import center_heads, model_and_processor
from cgdmer.training.watching import Watcher

# What a resumed run must share with its checkpoint, beside the model, the data and the processes.
SAME_OPTIONS = (
    *("seed", "text_source", "gradient_accumulation_steps", "learning_rate", "weight_decay", "lr_scheduler_type"),
    *("num_warmup_steps", "max_grad_norm", "freeze_text_layers", "text_model_name_or_path"),
)
LOSSES = ("contrastive", "siglip", "ecg_reconstruction", "text_reconstruction", "orthogonality")


def pretrain(options: Namespace) -> dict[str, Any]:
    """Run the training that the options describe; see `cgdmer.training.arguments`.

    Writes to `output_dir`: the model and its processor, the fingerprints of its training records, `metrics.jsonl`,
    `training_arguments.json`, checkpoints, and what `cgdmer.training.watching` draws.

    Returns:
        The last validation metrics, the number of steps and the samples a second.
    """
    # Parts that no loss reaches are frozen by the model: DDP need not search for them.
    accelerator = Accelerator(
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        log_with=options.report_to or None,
        project_dir=options.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=False)],
    )
    checkpoints = Checkpoints(accelerator, Path(options.output_dir), options.checkpoints_total_limit)
    checkpoint = checkpoints.find(options.resume_from_checkpoint)
    set_seed(options.seed)
    model, processor = model_and_processor(options)
    if options.gradient_checkpointing:
        # The new name came after transformers 5.17; the old one is deprecated.
        name = "activation_checkpointing_enable"
        getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
    train_loader, sampler, validation_loader, splits = _loaders(options, processor, accelerator.num_processes)
    if options.contrastive_chunk_size and not model.config.aligns:
        raise ConfigurationError(
            "--contrastive_chunk_size is for the contrastive and sigmoid losses, and this configuration has neither. "
            "Use --gradient_accumulation_steps."
        )
    if options.config_name and checkpoint is None and model.config.aligns:
        center_heads(model, splits["train"], train_loader.collate_fn)
    optimizer = torch.optim.AdamW(_parameter_groups(model, options.weight_decay), lr=options.learning_rate)

    steps_an_epoch = len(train_loader) // accelerator.num_processes // options.gradient_accumulation_steps
    if steps_an_epoch == 0:
        raise ConfigurationError(
            f"{len(splits['train'])} training records do not fill one step of "
            f"{options.per_device_train_batch_size} x {accelerator.num_processes} processes x "
            f"{options.gradient_accumulation_steps} accumulated batches. Lower --per_device_train_batch_size."
        )
    total_steps = options.max_train_steps or options.num_train_epochs * steps_an_epoch
    epochs = math.ceil(total_steps / steps_an_epoch)
    # Accelerate advances the schedule once a process and step.
    scheduler = get_scheduler(
        options.lr_scheduler_type,
        optimizer,
        num_warmup_steps=options.num_warmup_steps * accelerator.num_processes,
        num_training_steps=total_steps * accelerator.num_processes,
    )
    model, optimizer, train_loader, validation_loader, scheduler = accelerator.prepare(
        model, optimizer, train_loader, validation_loader, scheduler
    )
    run = _Run(options, accelerator, model, processor, optimizer, scheduler, checkpoints, total_steps)
    run.data = fingerprint_of_split(splits["train"].split)
    first_epoch, batches_done = run.resume(checkpoint)
    run.announce(splits, epochs)

    for epoch in range(first_epoch, epochs):
        loader = train_loader
        if epoch == first_epoch and batches_done:
            loader = accelerator.skip_first_batches(train_loader, batches_done)
        # Accelerate's loader counts epochs by itself and tells either the sampler or the dataset: tell all three.
        loader.set_epoch(epoch)
        sampler.set_epoch(epoch)
        splits["train"].set_epoch(epoch)
        run.train_epoch(loader, epoch, batches_done if epoch == first_epoch else 0)
        run.validate(validation_loader)
        if options.checkpointing_steps == "epoch":
            run.save_checkpoint(f"epoch_{epoch}", epoch + 1, 0)
    return run.finish(splits)


class _Run:
    """One training run: what it holds, and what it does at each point."""

    def __init__(self, options, accelerator, model, processor, optimizer, scheduler, checkpoints, total_steps):
        self.options, self.accelerator = options, accelerator
        self.model, self.processor = model, processor
        self.optimizer, self.scheduler = optimizer, scheduler
        self.checkpoints, self.total_steps = checkpoints, total_steps
        self.step = 0
        self.data: dict[str, Any] = {}
        self.seconds, self.samples = 0.0, 0
        self.last_validation: dict[str, float] = {}
        self.folder = Path(options.output_dir)
        self.progress: Any = None
        self.watcher = Watcher(accelerator, accelerator.unwrap_model(model).config, processor, self.folder)

    # Start

    def announce(self, splits, epochs: int) -> None:
        options, accelerator = self.options, self.accelerator
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "training_arguments.json").write_text(json.dumps(vars(options), indent=2) + "\n")
            if self.step == 0:
                (self.folder / "metrics.jsonl").unlink(missing_ok=True)
                self.watcher.start_anew()
            trained = sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad)
            batch = options.per_device_train_batch_size * accelerator.num_processes
            print(
                "***** Running training *****\n"
                f"  records: {len(splits['train'])} train, {len(splits['validation'])} validation"
                f" ({splits['train'].num_without_text} training records without text left out)\n"
                f"  weights trained: {trained:,}\n"
                f"  batch: {batch} ({accelerator.num_processes} process(es)),"
                f" accumulated over {options.gradient_accumulation_steps}\n"
                f"  steps: {self.total_steps} in {epochs} epoch(s), starting at {self.step}",
                flush=True,
            )
        if options.report_to:
            # Trackers take numbers and strings.
            kept = {k: v if isinstance(v, int | float) else str(v) for k, v in vars(options).items() if v is not None}
            accelerator.init_trackers("cgdmer_pretrain", kept)
        self.progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            disable=not accelerator.is_main_process,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
        )

    def resume(self, checkpoint: Path | None) -> tuple[int, int]:
        """Load the checkpoint, if any; the epoch to go on in, and how many of its batches are done."""
        if checkpoint is None:
            return 0, 0
        model = self.accelerator.unwrap_model(self.model)
        position, _ = self.checkpoints.load(checkpoint, model, self.optimizer, self.scheduler, self._fingerprint())
        self.step = position.step
        if self.accelerator.is_main_process:
            drop_metrics_beyond(self.folder / "metrics.jsonl", position)
        if position.batch == 0:
            self.checkpoints.restore_random_states()
        return position.epoch, position.batch

    def _fingerprint(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on along the same curve."""
        config = self.accelerator.unwrap_model(self.model).config.to_dict()
        for transient in ("_name_or_path", "transformers_version", "dtype", "architectures"):
            config.pop(transient, None)
        return {
            "model configuration": json.loads(json.dumps(config, default=str)),
            "global batch": self.options.per_device_train_batch_size * self.accelerator.num_processes,
            "data": self.data,
            "processes": self.accelerator.num_processes,
            "mixed precision": self.accelerator.mixed_precision,
            "steps": self.total_steps,
            **{name: getattr(self.options, name) for name in SAME_OPTIONS},
        }

    # Middle

    def train_epoch(self, loader, epoch: int, batches_done: int = 0) -> None:
        self.model.train()
        self.progress.set_description(f"epoch {epoch + 1}/{math.ceil(self.total_steps / self.steps_an_epoch)}")
        started = time.perf_counter()
        for batches, batch in enumerate(loader, batches_done + 1):
            self.checkpoints.restore_random_states()
            if self.step >= self.total_steps:
                break
            with self.accelerator.accumulate(self.model):
                if self.options.contrastive_chunk_size:
                    outputs = backward_in_chunks(
                        self.accelerator, self.model, batch, self.options.contrastive_chunk_size
                    )
                else:
                    outputs = self.model(**batch)
                    self.accelerator.backward(outputs.loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            self.samples += len(batch["ecg_values"]) * self.accelerator.num_processes
            if not self.accelerator.sync_gradients:
                continue
            self.step += 1
            now = time.perf_counter()
            self.seconds, started = self.seconds + now - started, now
            self.progress.update(1)
            if self.step % self.options.logging_steps == 0 or self.step == self.total_steps:
                metrics = self._losses(outputs)
                self.progress.set_postfix_str(
                    f"loss {metrics['loss']:.3f}, {self.samples / self.seconds:.0f} samples/s"
                )
                self._log({**metrics, "learning_rate": self.scheduler.get_last_lr()[0], "epoch": epoch})
            every = self.options.checkpointing_steps
            if every and every != "epoch" and self.step % int(every) == 0:
                self.save_checkpoint(f"step_{self.step}", epoch, batches)
        self.checkpoints.restore_random_states()  # where no batch was left

    def _losses(self, outputs) -> dict[str, float]:
        """The total loss and every branch, averaged over processes."""
        names = ["loss", *(f"{name}_loss" for name in LOSSES if outputs.get(f"{name}_loss") is not None)]
        values = torch.stack([outputs[name].detach().float() for name in names])
        return dict(zip(names, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    @torch.no_grad()
    def validate(self, loader) -> None:
        """Losses and retrieval on the validation split, with the same masks every time."""
        self.model.eval()
        self.progress.set_description("validation")
        sums: dict[str, float] = {}
        for batch in loader:
            outputs = self.model(**batch)
            for name, value in self._losses(outputs).items():
                sums[name] = sums.get(name, 0.0) + value / len(loader)
            self.watcher.see(batch, outputs)
        metrics = {**sums, **self.watcher.retrieval()}
        self.last_validation = {f"validation_{name}": value for name, value in metrics.items()}
        self._log(self.last_validation)
        self.watcher.after_validation(self.step)

    def _log(self, metrics: dict[str, float]) -> None:
        if self.seconds:
            metrics = {**metrics, "samples_per_second": self.samples / self.seconds}
        self.accelerator.log(metrics, step=self.step)
        if self.accelerator.is_main_process:
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps({"step": self.step, **metrics}) + "\n")

    def save_checkpoint(self, name: str, epoch: int, batch: int) -> None:
        model = self.accelerator.unwrap_model(self.model)
        position = Position(self.step, epoch, batch)
        self.checkpoints.save(name, model, self.optimizer, self.scheduler, position, self._fingerprint())

    # End

    def finish(self, splits) -> dict[str, Any]:
        self.progress.close()
        self.accelerator.wait_for_everyone()
        model = self.accelerator.unwrap_model(self.model)
        if self.accelerator.is_main_process:
            if model.config.aligns:
                fit_score(model, self.processor, splits["validation"])
            model.save_pretrained(self.folder, save_function=self.accelerator.save)
            self.processor.save_pretrained(self.folder)
            trained_on = Fingerprints.of(splits["train"].split)
            if self.options.model_name_or_path:
                earlier = Fingerprints.of_model(self.options.model_name_or_path)
                trained_on = trained_on if earlier is None else trained_on | earlier
            trained_on.save(self.folder)
            tqdm.write(f"saved to {self.folder}")
        self.accelerator.wait_for_everyone()
        if self.options.report_to:
            self.accelerator.end_training()
        rate = self.samples / self.seconds if self.seconds else 0.0
        return {**self.last_validation, "steps": self.step, "samples_per_second": rate}


def _loaders(options, processor, num_processes: int):
    loaded = load_dataset_folder(options.dataset)
    train = loaded["train"]
    if options.max_train_samples:
        train = train.select(range(min(options.max_train_samples, len(train))))
    extractor = processor.feature_extractor
    splits = {
        "train": PairDataset(train, extractor, options.text_source, options.seed),
        "validation": PairDataset(
            loaded["validation"], extractor, options.text_source, options.seed, fixed_epoch=2**31
        ),
    }
    batch_size = options.per_device_train_batch_size
    if len(splits["validation"]) < num_processes:
        raise CorpusError(f"{options.dataset}: the validation split has fewer records than there are processes.")
    collator = PairCollator(processor.tokenizer)
    sampler = EpochSampler(len(splits["train"]), options.seed)
    # A last, smaller batch would be filled up with records of the first one: the same pair twice, as negatives.
    train_loader = DataLoader(
        splits["train"],
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collator,
        num_workers=options.dataloader_num_workers,
        drop_last=True,
    )
    validation_loader = DataLoader(
        splits["validation"],
        batch_size=min(batch_size, len(splits["validation"]) // num_processes),
        collate_fn=collator,
        num_workers=options.dataloader_num_workers,
        drop_last=True,
    )
    return train_loader, sampler, validation_loader, splits


def _parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices alone, as usual: not on biases, norms, embeddings of places, or the loss's scale."""
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    decayed = [weight for name, weight in trained if weight.ndim > 1 and "embedding" not in name]
    others = [weight for name, weight in trained if not (weight.ndim > 1 and "embedding" not in name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


__all__ = ["pretrain"]
