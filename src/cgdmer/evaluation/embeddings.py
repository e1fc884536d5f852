# SPDX-License-Identifier: Apache-2.0
"""Frozen features of records and texts: the one loop in which records are read, prepared and sent through a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import BatchFeature

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.training.stopping import outlive_signals

BATCH_SIZE = 64


class Records(Protocol):
    """Records by their position: a list, or what reads each from disk when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> ECGRecord: ...


@dataclass(frozen=True)
class RecordFeatures:
    """Features of n records, in their order.

    Attributes:
        pooled: (n, width) the mean of the encoder's tokens: what a linear probe sees.
        embeds: (n, width) unit vectors in the space shared with text: what zero-shot compares. None for a model
            without a text tower.
    """

    pooled: np.ndarray
    embeds: np.ndarray | None = None


@dataclass(frozen=True)
class EncodedBatch:
    """What a model makes of consecutive records, n of which could be read.

    Attributes:
        errors: for each record why it could not be read; None for the n that could.
        pooled: (n, width) float32, the mean over a recording's windows of what a linear probe sees.
        embeds: (n, width) float32, the mean over a recording's windows of unit vectors, which itself is shorter than
            1 where the windows differ. None for a model without a text tower.
    """

    errors: list[CGDMERError | None]
    pooled: torch.Tensor
    embeds: torch.Tensor | None


def encode_records(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    *,
    first: int = 0,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    description: str = "embedding",
) -> Iterator[EncodedBatch]:
    """Run the ECG branch over records, in their order and with a progress bar.

    A recording longer than the model's window is averaged over its windows.

    Args:
        first: begin with this record; those before it count as done.
        batch_size: records a batch, and the most windows that the model takes at once.
        num_workers: processes that read and prepare records while the model works; 0: none, all in turn.
    """
    model.eval()
    loader = DataLoader(
        _PreparedRecords(records, feature_extractor),
        batch_size=batch_size,
        sampler=range(first, len(records)),
        collate_fn=_joined,
        num_workers=num_workers,
        worker_init_fn=outlive_signals,
        pin_memory=model.device.type == "cuda",
        generator=torch.Generator(),  # the loader draws a number that nobody uses: not from the caller's state
    )
    with tqdm(total=len(records), initial=first, desc=description, unit="record") as progress:
        for windows, counts, errors in loader:
            pooled, embeds = _encode(model, windows, counts, batch_size)
            yield EncodedBatch(errors, pooled, embeds)
            progress.update(len(errors))


def embed_records(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    batch_size: int = BATCH_SIZE,
    description: str = "embedding",
) -> RecordFeatures:
    """The features of all records.

    Raises:
        CGDMERError: of the type that reading a record raised; the message says which record.
    """
    pooled, embeds = [], []
    number = 0
    for batch in encode_records(model, feature_extractor, records, batch_size=batch_size, description=description):
        for error in batch.errors:
            if error is not None:
                raise type(error)(f"record {number} of {len(records)}: {error}") from error
            number += 1
        pooled.append(batch.pooled.numpy())
        if batch.embeds is not None:
            embeds.append(F.normalize(batch.embeds, dim=-1).numpy())
    return RecordFeatures(np.concatenate(pooled), np.concatenate(embeds) if embeds else None)


class _PreparedRecords(Dataset):
    """What the model takes of each record, or why there is nothing."""

    def __init__(self, records: Records, feature_extractor: ECGFeatureExtractor):
        self.records, self.feature_extractor = records, feature_extractor

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> BatchFeature | CGDMERError:
        try:
            return self.feature_extractor(self.records[number], windows=True, return_tensors="np")
        except CGDMERError as error:
            return error


def _joined(
    prepared: list[BatchFeature | CGDMERError],
) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[CGDMERError | None]]:
    """The windows of all records, how many each record has, and the errors."""
    features = [one for one in prepared if not isinstance(one, CGDMERError)]
    windows = {
        name: torch.from_numpy(np.concatenate([one[name] for one in features]))
        for name in ECGFeatureExtractor.model_input_names
        if features
    }
    counts = torch.tensor([len(one["record_index"]) for one in features], dtype=torch.int64)
    return windows, counts, [one if isinstance(one, CGDMERError) else None for one in prepared]


@torch.no_grad()
def _encode(
    model: ECGPreTrainedModel, windows: dict[str, torch.Tensor], counts: torch.Tensor, most_windows: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`pooled` and `embeds` of an `EncodedBatch`, on the CPU."""
    if not len(counts):
        nothing = torch.zeros(0, model.base_model.config.hidden_size)
        return nothing, torch.zeros(0, model.config.projection_size) if model.takes_texts else None
    pooled, embeds = [], []
    for start in range(0, int(counts.sum()), most_windows):
        inputs = {
            name: tensor[start : start + most_windows].to(model.device, non_blocking=True)
            for name, tensor in windows.items()
        }
        inputs["ecg_values"] = inputs["ecg_values"].to(model.dtype)
        outputs = model.base_model(**inputs)
        pooled.append(outputs.pooler_output)
        if model.takes_texts:
            embeds.append(model.project("ecg", outputs.pooler_output))
    return _mean_by_record(pooled, counts), _mean_by_record(embeds, counts) if model.takes_texts else None


def _mean_by_record(parts: list[torch.Tensor], counts: torch.Tensor) -> torch.Tensor:
    rows = torch.cat(parts).float().cpu()
    record_index = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return torch.zeros(len(counts), rows.shape[1]).index_add_(0, record_index, rows) / counts[:, None]


@torch.no_grad()
def embed_texts(
    model: ECGTextModel, processor: ECGProcessor, texts: Sequence[str], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """(texts, width) unit vectors."""
    model.eval()
    embeds = np.zeros((len(texts), model.config.projection_size), dtype=np.float32)
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))  # so that there is little padding
    for start in tqdm(range(0, len(texts), batch_size), desc="texts", unit="batch", disable=len(texts) <= batch_size):
        chosen = by_length[start : start + batch_size]
        inputs = processor(text=[texts[number] for number in chosen], return_tensors="pt").to(model.device)
        embeds[chosen] = model.get_text_features(**inputs).pooler_output.float().cpu().numpy()
    return embeds


def embed_prompts(model: ECGTextModel, processor: ECGProcessor, wordings: list[tuple[str, ...]]) -> np.ndarray:
    """(classes, width) unit vectors: for each class the mean over its wordings, made a unit vector again."""
    means = np.stack([embed_texts(model, processor, texts).mean(axis=0) for texts in wordings])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


__all__ = [
    "BATCH_SIZE",
    "EncodedBatch",
    "RecordFeatures",
    "Records",
    "embed_prompts",
    "embed_records",
    "embed_texts",
    "encode_records",
]
