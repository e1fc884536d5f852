# SPDX-License-Identifier: Apache-2.0
"""Frozen features of records and prompts."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_cgdmer import CGDMERModel, CGDMERPreTrainedModel
from cgdmer.models.processing_ecg import ECGProcessor


@dataclass(frozen=True)
class RecordFeatures:
    """Features of n records, in their order.

    Attributes:
        pooled: (n, width) the mean of the encoder's tokens: what a linear probe sees.
        embeds: (n, width) unit vectors in the space shared with text: what zero-shot compares. None for a model
            without a text tower.
    """

    pooled: np.ndarray
    embeds: np.ndarray | None


@torch.no_grad()
def embed_records(
    model: CGDMERPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Iterable[ECGRecord],
    total: int | None = None,
    batch_size: int = 64,
    description: str = "embedding",
) -> RecordFeatures:
    """Run the ECG branch over records; a recording longer than the model's window is averaged over its windows."""
    model.eval()
    pooled, embeds = [], []
    iterator = iter(records)
    with tqdm(total=total, desc=description, unit="record") as progress:
        while batch := list(islice(iterator, batch_size)):
            inputs = feature_extractor(batch, windows=True, return_tensors="pt").to(model.device)
            record_index = inputs.pop("record_index")
            outputs = model.ecg_model(**inputs)
            pooled.append(_mean_by_record(outputs.pooler_output, record_index, len(batch)))
            if isinstance(model, CGDMERModel):
                shared = F.normalize(model.ecg_shared_head(outputs.pooler_output), dim=-1)
                embeds.append(_mean_by_record(shared, record_index, len(batch)))
            progress.update(len(batch))
    if not embeds:
        return RecordFeatures(np.concatenate(pooled), None)
    mean = np.concatenate(embeds)
    return RecordFeatures(np.concatenate(pooled), mean / np.linalg.norm(mean, axis=1, keepdims=True))


def _mean_by_record(rows: torch.Tensor, record_index: torch.Tensor, count: int) -> np.ndarray:
    sums = torch.zeros(count, rows.shape[1], device=rows.device).index_add_(0, record_index, rows.float())
    return (sums / torch.bincount(record_index, minlength=count)[:, None]).cpu().numpy()


@torch.no_grad()
def embed_prompts(model: CGDMERModel, processor: ECGProcessor, wordings: list[tuple[str, ...]]) -> np.ndarray:
    """(classes, width) unit vectors: for each class the mean over its wordings, made a unit vector again."""
    model.eval()
    classes = []
    for texts in wordings:
        inputs = processor(text=list(texts), return_tensors="pt").to(model.device)
        classes.append(F.normalize(model.get_text_features(**inputs).pooler_output.mean(dim=0), dim=-1))
    return torch.stack(classes).float().cpu().numpy()


__all__ = ["RecordFeatures", "embed_prompts", "embed_records"]
