# SPDX-License-Identifier: Apache-2.0
"""Frozen features of records and texts: the one loop in which records are read, prepared and sent through a model."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import BatchFeature

from cgdmer.data.workers import outlive_signals
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, ECGInputWarning
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor

BATCH_SIZE = 64
_RECORDS_TOGETHER = 4  # that a process prepares and hands over; one of a day has hundreds of megabytes

Windows = dict[str, torch.Tensor]


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
    num_proc: int = 0,
    description: str = "embedding",
) -> Iterator[EncodedBatch]:
    """Run the ECG branch over records, in their order and with a progress bar.

    A recording longer than the model's window is averaged over its windows. They go through the model as the records
    come, so that a few recordings are in memory at a time, however long they are.

    Args:
        first: begin with this record; those before it count as done.
        batch_size: records a batch, and the most windows that the model takes at once.
        num_proc: processes that read and prepare records while the model works; 0: none, all in turn.
    """
    model.eval()
    loader = DataLoader(
        _PreparedRecords(records, feature_extractor),
        batch_size=_RECORDS_TOGETHER,  # not a whole batch: as many long ones would not fit into memory
        sampler=range(first, len(records)),
        collate_fn=_joined,
        num_workers=num_proc,
        worker_init_fn=outlive_signals,
        generator=torch.Generator(),  # the loader draws a number that nobody uses: not from the caller's state
    )
    with tqdm(total=len(records), initial=first, desc=description, unit="record") as progress:
        prepared = _one_by_one(loader)
        for start in range(first, len(records), batch_size):
            batch = _encode(model, islice(prepared, min(batch_size, len(records) - start)), batch_size)
            yield batch
            progress.update(len(batch.errors))


def embed_records(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    batch_size: int = BATCH_SIZE,
    description: str = "embedding",
    num_proc: int = 0,
) -> RecordFeatures:
    """The features of all records.

    Raises:
        CGDMERError: of the type that reading a record raised; the message says which record.
    """
    pooled, embeds = [], []
    number = 0
    options = {"batch_size": batch_size, "num_proc": num_proc}
    for batch in encode_records(model, feature_extractor, records, description=description, **options):
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
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ECGInputWarning)  # of one among many, and of noise added on purpose
                return self.feature_extractor(self.records[number], windows=True, return_tensors="np")
        except CGDMERError as error:
            return error


def _joined(prepared: list[BatchFeature | CGDMERError]) -> tuple[Windows, list[int], list[CGDMERError | None]]:
    """The windows of all records, how many each record has, and the errors."""
    features = [one for one in prepared if not isinstance(one, CGDMERError)]
    windows = {
        name: torch.from_numpy(np.concatenate([one[name] for one in features]))
        for name in ECGFeatureExtractor.model_input_names
        if features
    }
    counts = [len(one["record_index"]) for one in features]
    return windows, counts, [one if isinstance(one, CGDMERError) else None for one in prepared]


def _one_by_one(
    joined: Iterable[tuple[Windows, list[int], list[CGDMERError | None]]],
) -> Iterator[Windows | CGDMERError]:
    """The windows of each record by itself, or why there are none."""
    for windows, counts, errors in joined:
        start, remaining = 0, iter(counts)
        for error in errors:
            if error is not None:
                yield error
            else:
                end = start + next(remaining)
                yield {name: tensor[start:end] for name, tensor in windows.items()}
                start = end


@torch.no_grad()
def _encode(model: ECGPreTrainedModel, prepared: Iterable[Windows | CGDMERError], most_windows: int) -> EncodedBatch:
    """What the model makes of a batch of records, `most_windows` windows at a time."""
    errors: list[CGDMERError | None] = []
    counts: list[int] = []  # of windows, of each record that could be read
    pooled = _Sums(model.base_model.config.hidden_size)
    embeds = _Sums(model.config.projection_size) if model.takes_texts else None
    for windows, record_index in _chunks(prepared, most_windows, errors, counts):
        inputs = {name: tensor.to(model.device) for name, tensor in windows.items()}
        inputs["ecg_values"] = inputs["ecg_values"].to(model.dtype)
        outputs = model.base_model(**inputs)
        pooled.add(record_index, outputs.pooler_output)
        if embeds is not None:
            embeds.add(record_index, model.project("ecg", outputs.pooler_output))
    return EncodedBatch(errors, pooled.means(counts), None if embeds is None else embeds.means(counts))


def _chunks(
    prepared: Iterable[Windows | CGDMERError],
    most_windows: int,
    errors: list[CGDMERError | None],
    counts: list[int],
) -> Iterator[tuple[Windows, torch.Tensor]]:
    """The windows of all records, so many at a time, and of which readable record each is.

    Args:
        errors, counts: are filled in on the way.
    """
    pieces: list[Windows] = []
    record_index: list[int] = []
    for one in prepared:
        errors.append(one if isinstance(one, CGDMERError) else None)
        if isinstance(one, CGDMERError):
            continue
        count, start = len(one["ecg_values"]), 0
        while start < count:
            end = min(count, start + most_windows - len(record_index))
            # Copied: what comes from another process holds a file handle of this one.
            pieces.append({name: tensor[start:end].clone() for name, tensor in one.items()})
            record_index += [len(counts)] * (end - start)
            if len(record_index) == most_windows:
                yield _together(pieces), torch.tensor(record_index)
                pieces, record_index = [], []
            start = end
        counts.append(count)
    if pieces:
        yield _together(pieces), torch.tensor(record_index)


def _together(pieces: list[Windows]) -> Windows:
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


class _Sums:
    """Of the features of each record's windows."""

    def __init__(self, width: int):
        self._sums = torch.zeros(0, width)

    def add(self, record_index: torch.Tensor, features: torch.Tensor) -> None:
        """Windows with the records that they belong to, whose order is that of their numbers."""
        missing = int(record_index[-1]) + 1 - len(self._sums)
        self._sums = torch.cat([self._sums, torch.zeros(missing, self._sums.shape[1])])
        self._sums.index_add_(0, record_index, features.float().cpu())

    def means(self, counts: list[int]) -> torch.Tensor:
        return self._sums / torch.tensor(counts)[:, None] if counts else self._sums


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
