# SPDX-License-Identifier: Apache-2.0
"""Shared by all benchmarks: machine and versions, timing in turns, and printing of figures."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("cgdmer", "torch", "transformers", "datasets", "numpy", "scipy", "wfdb")


def machine() -> dict[str, Any]:
    """Processor, load (including the benchmark), threads, the GPU if there is one, and versions."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "clock": "processor" if has_processor_clock() else "wall",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def has_processor_clock() -> bool:
    """With one thread and no GPU, CPU time can be measured, which other work hardly affects."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def best_seconds(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] | None = None
) -> dict[str, float]:
    """The shortest time of each contender, after one call that does not count.

    Contenders take turns, so that other work on the machine affects all of them alike. Other work can only add to a
    time, so the shortest time is closest to the true one.

    Args:
        contenders: what to time, by name.
        rounds: how many turns each gets.
        clock: default: CPU time if `has_processor_clock`, otherwise wall-clock time.
    """
    clock = clock or (time.process_time if has_processor_clock() else time.perf_counter)
    for contender in contenders.values():
        contender()
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, contender in contenders.items():
            _wait_for_gpu()
            started = clock()
            contender()
            _wait_for_gpu()
            best[name] = min(best[name], clock() - started)
    return best


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print the machine and the figures as JSON, with four significant digits."""
    print(json.dumps({"machine": machine(), **_rounded(figures)}, indent=2))


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
