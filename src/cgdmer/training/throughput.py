# SPDX-License-Identifier: Apache-2.0
"""The speed of a run, the time it waits for data, and its share of the device's peak."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from accelerate import Accelerator

from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.training.flops import peak_teraflops, step_flops

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")

_LENGTHS_COUNTED_ALIKE = 8  # tokens; three more are about 1 % of a step of cgdmer-base, two of cgdmer-tiny


class Throughput:
    """Counts samples, seconds, waiting time, and operations: since the last `metrics`, and in total.

    Its clock runs between `start` and `stop`, so that validation and saving do not count. Operations are counted for
    `counted_model`, unwrapped, if there is one.
    """

    def __init__(self, accelerator: Accelerator, counted_model: ECGPreTrainedModel | None = None):
        self._accelerator, self._counted_model = accelerator, counted_model
        self._flops_by_shape: dict[tuple[int, int, int], int] = {}
        self._recent, self._whole = _Tally(), _Tally()
        self._started: float | None = None

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self._read_clock()
        self._started = None

    def waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; the time spent waiting for each is counted."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._recent.waiting += time.perf_counter() - asked
            yield batch

    def count(self, batch: dict[str, torch.Tensor]) -> None:
        """Every process has trained on one batch."""
        self._recent.samples += len(batch["ecg_values"]) * self._accelerator.num_processes
        if self._counted_model is not None:
            self._recent.operations += self._operations(self._counted_model, batch)

    def _operations(self, model: ECGPreTrainedModel, batch: dict[str, torch.Tensor]) -> int:
        """Of this process's batch, or of one with texts of nearly the same length, because counting is slow."""
        texts, length = batch["input_ids"].shape if "input_ids" in batch else (0, 0)
        shape = (len(batch["ecg_values"]), texts, length // _LENGTHS_COUNTED_ALIKE)
        if shape not in self._flops_by_shape:
            try:
                self._flops_by_shape[shape] = step_flops(model, batch)
            except RuntimeError as error:
                logger.warning("The operations of this model cannot be counted and are not logged: %s", error)
                self._counted_model = None
                return 0
        return self._flops_by_shape[shape]

    def metrics(self) -> dict[str, float]:
        """Since the last call. Call it once the device has finished what was counted."""
        self._read_clock()
        metrics = self._describe(self._recent)
        self._whole.add(self._recent)
        self._recent = _Tally()
        return metrics

    def summary(self) -> dict[str, float]:
        """Of the whole run, or since it was resumed."""
        return self._describe(self._whole)

    @property
    def seconds(self) -> float:
        """The time that the clock ran up to the last `metrics`, since the start or since the run was resumed."""
        return self._whole.seconds

    def _read_clock(self) -> None:
        if self._started is not None:
            now = time.perf_counter()
            self._recent.seconds += now - self._started
            self._started = now

    def _describe(self, tally: "_Tally") -> dict[str, float]:
        if tally.seconds == 0:
            return {}
        metrics = {
            "samples_per_second": tally.samples / tally.seconds,
            "data_wait_share": tally.waiting / tally.seconds,
        }
        device = self._accelerator.device
        memory = _peak_memory(device)
        if memory is not None:
            metrics["peak_memory_gb"] = memory / 1e9
        if self._counted_model is not None:
            metrics["teraflops_per_device"] = tally.operations / tally.seconds / 1e12
            peak = peak_teraflops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
            if peak is not None and self._accelerator.mixed_precision in ("bf16", "fp16"):
                metrics["model_flop_utilization"] = metrics["teraflops_per_device"] / peak
        return metrics


def _peak_memory(device: torch.device) -> float | None:
    """Bytes, of the GPU or else of this process; None if the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # on Windows
        return None
    # Linux counts in units of 1,024 bytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Tally:
    def __init__(self) -> None:
        self.samples, self.seconds, self.waiting, self.operations = 0, 0.0, 0.0, 0.0

    def add(self, other: "_Tally") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def in_words(metrics: dict[str, float]) -> str:
    """One line for the end of a run."""
    if not metrics:
        return "no step was made"
    words = (
        f"{metrics['samples_per_second']:.0f} samples/s, {metrics['data_wait_share']:.1%} of the time waiting for data"
    )
    if "peak_memory_gb" in metrics:
        words += f", at most {metrics['peak_memory_gb']:.2f} GB on a device"
    if "teraflops_per_device" in metrics:
        words += f", {metrics['teraflops_per_device']:.1f} TFLOP/s"
    if "model_flop_utilization" in metrics:
        words += f" ({metrics['model_flop_utilization']:.1%} of the device's peak)"
    return words
