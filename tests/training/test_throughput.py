# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from accelerate import Accelerator

from cgdmer.training import throughput
from cgdmer.training.throughput import Throughput, in_words, peak_teraflops


class Clock:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    return clock


def batch(records: int) -> dict[str, torch.Tensor]:
    return {"ecg_values": torch.zeros(records, 12, 10)}


def test_samples_and_waiting_are_those_between_start_and_stop(clock):
    def loader():
        for _ in range(4):
            clock.now += 1.0  # is waited for
            yield batch(6)

    meter = Throughput(Accelerator(cpu=True), None)
    clock.now += 50.0  # before the start
    meter.start()
    measured = []
    for number, one in enumerate(meter.waited_for(loader())):
        clock.now += 2.0  # the step
        meter.count(one)
        if number % 2:
            measured.append(meter.metrics())
            meter.stop()
            clock.now += 30.0  # saving
            meter.start()
    for metrics in measured:
        assert metrics["samples_per_second"] == pytest.approx(12 / 6)
        assert metrics["data_wait_share"] == pytest.approx(2 / 6)
        assert 0.1 < metrics["peak_memory_gb"] < 100
    assert meter.summary() == pytest.approx({**measured[1], "peak_memory_gb": meter.summary()["peak_memory_gb"]})
    assert in_words(meter.summary()).startswith("2 samples/s, 33.3% of the time waiting for data, at most ")
    assert in_words(Throughput(Accelerator(cpu=True), None).summary()) == "no step was made"


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-40GB", 312.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("Tesla T4", 65.0),
        ("NVIDIA GeForce RTX 3090", 71.0),
        ("NVIDIA T400 4GB", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_peaks_go_by_the_whole_name(device, peak):
    assert peak_teraflops(device) == peak
