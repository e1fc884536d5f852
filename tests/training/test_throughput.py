# SPDX-License-Identifier: Apache-2.0
import sys

import pytest
import torch
from accelerate import Accelerator
from transformers import LongformerConfig

from cgdmer import CGDMERForPreTraining
from cgdmer.training import throughput
from cgdmer.training.flops import step_flops
from cgdmer.training.throughput import Throughput, in_words
from small_families import small_config


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
            clock.now += 1.0  # waiting
            yield batch(6)

    meter = Throughput(Accelerator(cpu=True))
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
    assert in_words(Throughput(Accelerator(cpu=True)).summary()) == "no step was made"


def pairs(records: int, length: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 100, (records, length))
    return {"ecg_values": torch.zeros(records, 12, 1000), "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_operations_are_summed_over_batches_and_counted_once_for_texts_of_similar_length(clock, monkeypatch):
    counted = []

    def counting(model, batch) -> int:
        counted.append((*batch["input_ids"].shape, step_flops(model, batch)))
        return counted[-1][-1]

    monkeypatch.setattr(throughput, "step_flops", counting)
    model = CGDMERForPreTraining(small_config("cgdmer"))
    meter = Throughput(Accelerator(cpu=True), model)
    meter.start()
    for shape in ((4, 16), (4, 18), (4, 40), (2, 16), (4, 23)):
        meter.count(pairs(*shape))
    clock.now += 2.0
    metrics = meter.metrics()
    assert [tuple(shape) for *shape, _ in counted] == [(4, 16), (4, 40), (2, 16)]
    short, long, few = (flops for *_, flops in counted)
    assert short < long and 2 * few == short
    assert metrics["teraflops_per_device"] == pytest.approx((3 * short + long + few) / 2 / 1e12)
    assert "model_flop_utilization" not in metrics  # CPUs are not in the table of peaks
    assert " GB on a device, 0.0 TFLOP/s" in in_words(metrics)


def test_a_model_that_cannot_be_counted_is_trained_nevertheless(clock, caplog):
    """A Longformer's padding depends on the values of its input."""
    config = small_config("cgdmer")
    config.text_config = LongformerConfig(
        vocab_size=1000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    meter = Throughput(Accelerator(cpu=True), CGDMERForPreTraining(config))
    meter.start()
    for _ in range(2):
        meter.count(pairs(2, 20))
    clock.now += 1.0
    assert meter.metrics()["samples_per_second"] == 4.0
    assert "teraflops_per_device" not in meter.summary()
    assert [record.levelname for record in caplog.records if record.name == throughput.__name__] == ["WARNING"]
    assert "cannot be counted" in caplog.text


def test_memory_is_left_out_if_the_system_does_not_say(clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    meter = Throughput(Accelerator(cpu=True))
    meter.start()
    meter.count(batch(2))
    clock.now += 1.0
    assert in_words(meter.metrics()) == "2 samples/s, 0.0% of the time waiting for data"
