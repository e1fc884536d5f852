# SPDX-License-Identifier: Apache-2.0
"""How fast a run is, what it waits for, and how much of the device it uses."""

import re
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from accelerate import Accelerator
from transformers import PreTrainedConfig

from cgdmer.training.flops import training_step_flops

Batch = TypeVar("Batch")

# Dense 16-bit matrix products with 32-bit sums, in 10^12 operations a second, as the makers' data sheets state them;
# the first name that stands in a device's own counts.
PEAK_TERAFLOPS = {
    "B200": 2250.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "GH200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "A6000": 155.0,
    "A40": 150.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}


class Throughput:
    """Counts samples, seconds, waiting and operations: since the last `metrics`, and in all.

    Its clock runs between `start` and `stop`, so that validation and saving do not count.

    Args:
        accelerator: of the run.
        config: of the model; None where operations cannot be counted from it.
        frozen_text_layers: see `training_step_flops`.
    """

    def __init__(self, accelerator: Accelerator, config: PreTrainedConfig | None, frozen_text_layers: int = 0):
        self._accelerator, self._config, self._frozen_text_layers = accelerator, config, frozen_text_layers
        self._recent, self._whole = _Tally(), _Tally()
        self._started: float | None = None

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self._read_clock()
        self._started = None

    def waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, with a clock on how long each lets itself be waited for."""
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
        """One batch of every process was trained on."""
        samples = len(batch["ecg_values"]) * self._accelerator.num_processes
        self._recent.samples += samples
        if self._config is not None:
            texts, length, distinct = 1, 0, 1
            if "input_ids" in batch:
                (texts, length), distinct = batch["input_ids"].shape, len(batch["distinct_texts"])
            self._recent.operations += training_step_flops(
                self._config, samples, length, self._frozen_text_layers, distinct / texts
            )

    def metrics(self) -> dict[str, float]:
        """Since the last call; to be called when the device has done what was counted."""
        self._read_clock()
        metrics = self._describe(self._recent)
        self._whole.add(self._recent)
        self._recent = _Tally()
        return metrics

    def summary(self) -> dict[str, float]:
        """Of the whole run (of a resumed one: since then)."""
        return self._describe(self._whole)

    @property
    def seconds(self) -> float:
        """That the clock ran until the last `metrics` (of a resumed run: since then)."""
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
            "peak_memory_gb": self._peak_memory() / 1e9,
        }
        if self._config is not None:
            teraflops = tally.operations / tally.seconds / 1e12 / self._accelerator.num_processes
            metrics["teraflops_a_device"] = teraflops
            peak = peak_teraflops(torch.cuda.get_device_name(self._accelerator.device))
            if peak is not None and self._accelerator.mixed_precision in ("bf16", "fp16"):
                metrics["model_flop_utilisation"] = teraflops / peak
        return metrics

    def _peak_memory(self) -> float:
        device = self._accelerator.device
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device)
        # Of this process; Linux counts in units of 1,024 bytes, macOS in bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Tally:
    def __init__(self) -> None:
        self.samples, self.seconds, self.waiting, self.operations = 0, 0.0, 0.0, 0.0

    def add(self, other: "_Tally") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def peak_teraflops(device_name: str) -> float | None:
    """The device's highest rate of 16-bit matrix products; None where it is not in the table."""
    return next((peak for name, peak in PEAK_TERAFLOPS.items() if re.search(rf"\b{name}\b", device_name)), None)


def in_words(metrics: dict[str, float]) -> str:
    """One line for the end of a run."""
    if not metrics:
        return "no step was made"
    words = (
        f"{metrics['samples_per_second']:.0f} samples/s, {metrics['data_wait_share']:.1%} of the time waiting for "
        f"data, at most {metrics['peak_memory_gb']:.2f} GB on a device"
    )
    if "teraflops_a_device" in metrics:
        words += f", {metrics['teraflops_a_device']:.1f} TFLOP/s"
    if "model_flop_utilisation" in metrics:
        words += f" ({metrics['model_flop_utilisation']:.1%} of the device's peak)"
    return words
