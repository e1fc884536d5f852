# SPDX-License-Identifier: Apache-2.0
"""The loop that embeds records: results do not depend on batches and processes, and memory stays bounded."""

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoProcessor

from cgdmer import CGDMERModel
from cgdmer.inference.embeddings import average_windows, embed_records
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ECGInputError
from cgdmer.presets import preset_folder
from cgdmer.simulation.cohort import simulate_record
from small_families import small_config

UNREADABLE = (0, 5, 6)


@pytest.fixture(scope="module")
def model() -> CGDMERModel:
    torch.manual_seed(0)
    return CGDMERModel(small_config("cgdmer")).eval()


@pytest.fixture(scope="module")
def extractor():
    return AutoProcessor.from_pretrained(preset_folder("cgdmer-tiny")).feature_extractor


@dataclass
class MixedRecords:
    """Records of 1 to 9 windows; some cannot be read."""

    count: int = 17

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> ECGRecord:
        if number in UNREADABLE:
            raise ECGInputError(f"record {number} cannot be read.")
        duration = (10.0, 5.0, 85.0, 30.0)[number % 4]
        return simulate_record(["sinus_rhythm"], seed=number, sampling_rate=100, duration=duration)


def expected_batch(
    model, extractor, records, numbers: list[int], most_windows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`pooled` and `embeds` of a batch; of 85 seconds, the last five are a ninth window."""
    batches = [extractor(records[number], windows=True, return_tensors="pt") for number in numbers]
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in extractor.model_input_names}
    counts = [len(batch["ecg_values"]) for batch in batches]
    pooled = []
    with torch.no_grad():
        for start in range(0, sum(counts), most_windows):
            inputs = {name: tensor[start : start + most_windows] for name, tensor in joined.items()}
            pooled.append(model.base_model(**inputs).pooler_output)
        embeds = [model.project("ecg", part) for part in pooled]
    new_seconds = [torch.tensor([10.0] * (count - 1) + [5.0 if count == 9 else 10.0]) for count in counts]
    means = [
        [
            seconds @ part / seconds.sum()
            for seconds, part in zip(new_seconds, torch.cat(rows).split(counts), strict=True)
        ]
        for rows in (pooled, embeds)
    ]
    return torch.stack(means[0]), torch.stack(means[1])


@pytest.mark.parametrize(("batch_size", "num_proc", "first"), [(64, 0, 0), (7, 2, 0), (3, 1, 4), (1, 0, 0)])
def test_batches_are_complete_in_order_and_averaged_by_record(model, extractor, batch_size, num_proc, first):
    records = MixedRecords()

    def pooled_and_embeds(windows):
        pooled = model.base_model(**windows).pooler_output
        return torch.cat([pooled, model.project("ecg", pooled)], dim=1)

    options = {"first": first, "batch_size": batch_size, "num_proc": num_proc, "description": "both"}
    batches = list(average_windows(model, pooled_and_embeds, 16 + 6, extractor, records, **options))
    starts = range(first, len(records), batch_size)
    assert len(batches) == len(starts)
    for start, (errors, means) in zip(starts, batches, strict=True):
        numbers = list(range(start, min(start + batch_size, len(records))))
        reasons = [None if error is None else str(error) for error in errors]
        assert reasons == [f"record {one} cannot be read." if one in UNREADABLE else None for one in numbers]
        readable = [one for one in numbers if one not in UNREADABLE]
        assert means.shape == (len(readable), 16 + 6)
        if readable:
            expected = torch.cat(expected_batch(model, extractor, records, readable, batch_size), dim=1)
            torch.testing.assert_close(means, expected, rtol=1e-5, atol=1e-6)


@dataclass
class LongRecords:
    """Records of ten minutes: 60 windows each."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, number: int) -> ECGRecord:
        record = simulate_record(["sinus_rhythm"], seed=number, sampling_rate=100, duration=10.0)
        return replace(record, signal=np.tile(record.signal, (1, 60)))


def test_only_a_few_long_recordings_are_in_memory_at_a_time(model, extractor):
    sizes = []
    hook = model.base_model.register_forward_hook(lambda *call: sizes.append(len(call[-1].pooler_output)))
    tracemalloc.start()
    features = embed_records(model, extractor, LongRecords())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    hook.remove()
    assert sizes == [8] * 480
    one = extractor(LongRecords()[63], return_tensors="pt")
    with torch.no_grad():
        pooled = model.base_model(**one).pooler_output
    np.testing.assert_allclose(features.pooled[63], pooled[0].numpy(), rtol=1e-4, atol=1e-5)
    assert F.normalize(torch.from_numpy(features.embeds), dim=-1).allclose(
        torch.from_numpy(features.embeds), atol=1e-6
    )
    all_windows = 64 * 60 * 12 * 1000 * 4  # bytes
    assert most < all_windows / 2
