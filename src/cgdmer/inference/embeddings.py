# SPDX-License-Identifier: Apache-2.0
"""Frozen features of records and texts. The one loop that reads records, prepares them, and runs a model is here."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from cgdmer.data.workers import outlive_signals
from cgdmer.inference.token_files import RecordTokens, TemporaryFolder, TokenWriter, read_tokens
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError, ECGInputWarning
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_all_leads import AllLeadsEncoderOutput
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel, project_ecg
from cgdmer.models.modeling_lead_time_encoder import LeadTimeEncoderOutput
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.models.record_use import ECGBatch, RecordUse, by_reason

BATCH_SIZE = 64
# The activations of many do not fit into the caches of a CPU: for transformers and residual networks alike, 8 at once
# take the least time per window, or nearly so, and 64 take up to 1.7 times as long.
_MOST_WINDOWS_ON_CPU = 8
_RECORDS_PER_HANDOVER = 4  # from a reading process; a record of one day has hundreds of megabytes

Unusable = Literal["raise", "nan"]
Further = Literal["per_lead", "tokens"]  # features that are computed only if they are asked for
Windows = dict[str, torch.Tensor]
_Count = tuple[int, RecordUse]  # of a record: its windows, and what was used of it
Computation = Callable[[Windows], torch.Tensor]  # takes the model's inputs, returns (windows, width)


class Records(Protocol):
    """A sequence of records: a list, or an object that reads each one from disk on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> ECGRecord: ...


@dataclass(frozen=True)
class RecordFeatures:
    """Features of n records, in order. Long records are averaged over windows, and each moment counts once.

    Attributes:
        pooled: (n, width) the mean of the encoder's tokens; the input of a linear probe.
        embeds: (n, width) vectors in the space shared with text. The dot product with a text's unit vector is the
            zero-shot cosine. A record of one window has a unit vector; a longer one has the mean of its windows' unit
            vectors, which is shorter if they differ. None for a model without a text tower.
        refused_leads: (n, 12) bool, the standard leads that were recorded but not used (see `RecordUse`); None if
            that is not known.
        per_lead: (n, 12, width) the mean of the tokens of each lead, NaN for a lead that a record lacks; None if they
            were not asked for.
        tokens: all tokens, in a file; None if they were not asked for.
    """

    pooled: np.ndarray
    embeds: np.ndarray | None = None
    refused_leads: np.ndarray | None = None
    per_lead: np.ndarray | None = None
    tokens: RecordTokens | None = None

    @property
    def usable(self) -> np.ndarray:
        """(n,) bool: False for records that could not be used, whose features are NaN."""
        return np.isfinite(self.pooled).all(axis=1)

    def __getitem__(self, rows: np.ndarray) -> "RecordFeatures":
        """The features of some of the records."""
        return RecordFeatures(**{name: array[rows] for name, array in vars(self).items() if array is not None})


def embed_records(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    batch_size: int = BATCH_SIZE,
    description: str = "embedding",
    num_proc: int = 0,
    unusable: Unusable = "raise",
    further: Collection[Further] = (),
    tokens_at: Path | None = None,
) -> RecordFeatures:
    """The features of all records.

    Args:
        unusable: what to do about a record that cannot be used; "nan": its features are NaN.
        further: what else to compute, in the same pass.
        tokens_at: the file for tokens, if they are computed; None: a temporary one, deleted with the features.

    Raises:
        CGDMERError: a record cannot be used; of the same type as the reader's error. The message says which record.
        ConfigurationError: features per lead of an encoder that has none.
        CorpusError: none of them can be used, or there is no space for tokens.
    """
    if "per_lead" in further and not has_leads(model):
        raise ConfigurationError(f"the tokens of a {type(model.base_model).__name__} belong to no lead.")
    temporary = TemporaryFolder() if "tokens" in further and tokens_at is None else None
    path = temporary.path / "tokens" if temporary is not None else tokens_at
    widths = _widths(model, further)
    places: list[tuple[torch.Tensor, torch.Tensor]] = []
    options: dict[str, Any] = {"batch_size": batch_size, "num_proc": num_proc, "description": description}
    options |= {"unusable": unusable, "places": places}
    with nullcontext() if path is None else TokenWriter(path) as writer:
        compute = partial(_features_of_windows, model, further, writer)
        means, refused = _average_all(model, compute, sum(widths.values()), feature_extractor, records, **options)
        if writer is not None:
            numbers, weights = (torch.cat(of_windows).numpy() for of_windows in zip(*places, strict=True))
            writer.finish(numbers, weights)
    tokens = None if path is None else read_tokens(path, len(records), widths["pooled"], temporary)
    return RecordFeatures(**_by_name(means, widths), refused_leads=refused, tokens=tokens)


def has_leads(model: ECGPreTrainedModel) -> bool:
    """Whether each token of the encoder belongs to one lead."""
    return bool(model.base_model.tokens_have_leads)


def classifier_logits(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    description: str = "classifying",
    unusable: Unusable = "raise",
) -> np.ndarray:
    """A classifier's logits, (n, labels), before the sigmoid or softmax of the pipeline `ecg-classification`.

    Args:
        unusable: as in `embed_records`.

    Raises:
        CGDMERError: as in `embed_records`.
    """

    def compute(windows: Windows) -> torch.Tensor:
        return model(**windows).logits

    options: dict[str, Any] = {"description": description, "unusable": unusable}
    return _average_all(model, compute, model.config.num_labels, feature_extractor, records, **options)[0]


def _widths(model: ECGPreTrainedModel, further: Collection[Further]) -> dict[str, int]:
    """The widths of what is computed for each window."""
    width, leads = model.base_model.config.hidden_size, len(STANDARD_LEADS)
    return {
        "pooled": width,
        **({"embeds": model.config.projection_size} if model.takes_texts else {}),
        **({"per_lead": leads * width} if "per_lead" in further else {}),
    }


def _features_of_windows(
    model: ECGPreTrainedModel, further: Collection[Further], writer: TokenWriter | None, windows: Windows
) -> torch.Tensor:
    """(windows, sum of `_widths`) float32; tokens go to the writer."""
    outputs = model.base_model(**windows)
    found = [outputs.pooler_output.float()]
    if model.takes_texts:
        # Normalized again in single precision: in half precision their length is not exactly 1.
        found.append(F.normalize(project_ecg(model.head_of("ecg"), outputs).float(), dim=-1))
    if "per_lead" in further:
        found.append(_means_of_leads(outputs, model.base_model.config.num_patches))
    if writer is not None:
        tokens, mask = outputs.last_hidden_state, outputs.visible_mask
        writer.add(tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool) if mask is None else mask.bool())
    return torch.cat(found, dim=1)


def _means_of_leads(outputs: LeadTimeEncoderOutput | AllLeadsEncoderOutput, num_patches: int) -> torch.Tensor:
    """(windows, 12 * width), for each window the mean token of each lead, NaN for an absent one."""
    tokens, indices, mask = outputs.last_hidden_state, outputs.visible_indices, outputs.visible_mask
    assert tokens is not None and indices is not None
    of_lead = F.one_hot(indices // num_patches, len(STANDARD_LEADS)).float()
    if mask is not None:
        of_lead = of_lead * mask[..., None]
    return (of_lead.transpose(1, 2) @ tokens.float() / of_lead.sum(dim=1)[..., None]).flatten(1)


def _by_name(means: np.ndarray, widths: Mapping[str, int]) -> dict[str, Any]:
    """The columns of what was computed, as `RecordFeatures` has them."""
    columns = np.split(means, np.cumsum(list(widths.values()))[:-1], axis=1)
    found = {name: np.ascontiguousarray(one) for name, one in zip(widths, columns, strict=True)}
    if "per_lead" in found:
        found["per_lead"] = found["per_lead"].reshape(len(means), len(STANDARD_LEADS), -1)
    return found


def average_windows(
    model: ECGPreTrainedModel,
    compute: Computation,
    width: int,
    feature_extractor: Callable[..., ECGBatch],
    records: Records,
    *,
    first: int = 0,
    batch_size: int = BATCH_SIZE,
    num_proc: int = 0,
    description: str,
    uses: list[RecordUse | None] | None = None,
    places: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> Iterator[tuple[list[CGDMERError | None], torch.Tensor]]:
    """Prepare records and run a model on them, in order, with a progress bar.

    The output for a record longer than the model's window is averaged over its windows, and each moment counts once.
    Windows go through the model as records arrive, so only a few records are in memory at a time, however long.

    Args:
        compute: called without gradients, with the model in evaluation mode.
        width: of the output of `compute`.
        first: start with this record; earlier ones count as done.
        batch_size: records per batch, and the most windows per call of the model (on a CPU never more than 8, which
            is fastest there).
        num_proc: processes that read and prepare records while the model runs; 0: all in this process.
        uses: one entry per record is appended: what was used of it, or None if it could not be read.
        places: one entry per call of `compute` is appended: the number of each window's record, and the weight of the
            window in the average.

    Yields:
        Per batch: for each record, the reason it could not be read, or None; and (n, width) float32 for the n others.
    """
    model.eval()
    most = min(batch_size, _MOST_WINDOWS_ON_CPU) if model.device.type == "cpu" else batch_size
    loader = DataLoader(
        _PreparedRecords(records, feature_extractor),
        batch_size=_RECORDS_PER_HANDOVER,  # not a whole batch: so many long records would not fit in memory
        sampler=range(first, len(records)),
        collate_fn=_joined,
        num_workers=num_proc,
        worker_init_fn=outlive_signals,
        generator=torch.Generator(),  # the loader draws a seed: not from the caller's random state
    )
    with tqdm(total=len(records), initial=first, desc=description, unit="record") as progress:
        prepared = _one_by_one(loader, [] if uses is None else uses)
        for start in range(first, len(records), batch_size):
            count = min(batch_size, len(records) - start)
            errors: list[CGDMERError | None] = []
            means = torch.zeros(count, width)
            with torch.no_grad():
                for windows, record_index in _chunks(islice(prepared, count), most, errors):
                    weights = windows.pop("window_weights")
                    inputs = {name: tensor.to(model.device) for name, tensor in windows.items()}
                    inputs["ecg_values"] = inputs["ecg_values"].to(model.dtype)
                    if places is not None:
                        places.append((start + record_index, weights))
                    means.index_add_(0, record_index, weights[:, None] * compute(inputs).float().cpu())
            yield errors, means[torch.tensor([error is None for error in errors])]
            progress.update(count)


def _average_all(
    model: ECGPreTrainedModel,
    compute: Computation,
    width: int,
    feature_extractor: ECGFeatureExtractor,
    records: Records,
    unusable: Unusable,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """(n, width) for all n records, and (n, 12) the leads that were recorded but not used: a warning for all."""
    uses: list[RecordUse | None] = []
    means = np.full((len(records), width), np.nan, dtype=np.float32)
    number, failed = 0, 0
    for errors, batch in average_windows(model, compute, width, feature_extractor, records, uses=uses, **options):
        usable = np.array([error is None for error in errors])
        if not usable.all():
            first = int(usable.argmin())
            error = errors[first] or CGDMERError()
            failed += int((~usable).sum())
            if unusable == "raise" or failed == len(records):
                who = f"record {number + first} of {len(records)}"
                if unusable == "nan":
                    raise CorpusError(f"none of {len(records)} records can be used; {who}: {error}") from error
                raise type(error)(f"{who}: {error}") from error
        means[number : number + len(errors)][usable] = batch.numpy()
        number += len(errors)
    of_records = [{} if use is None else use.refused_leads for use in uses]
    partly = [number for number, leads in enumerate(of_records) if leads]
    if partly:
        warnings.warn(
            f"{len(partly)} of {len(records)} recordings have leads that are not used; the first is recording "
            f"{partly[0]}: {by_reason(of_records[partly[0]])}.",
            ECGInputWarning,
            stacklevel=4,
        )
    return means, np.array([[lead in leads for lead in STANDARD_LEADS] for leads in of_records])


def reasons(records: Records, feature_extractor: ECGFeatureExtractor, numbers: Iterable[int]) -> dict[int, str]:
    """Why some records cannot be used, by their numbers."""
    prepared = _PreparedRecords(records, feature_extractor)
    return {int(number): str(prepared[int(number)]) for number in numbers}


class _PreparedRecords(Dataset):
    """The model's inputs for each record, or the reason there are none."""

    def __init__(self, records: Records, feature_extractor: Callable[..., ECGBatch]):
        self.records, self.feature_extractor = records, feature_extractor

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> ECGBatch | CGDMERError:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ECGInputWarning)  # too many for many records; noise may be intended
                return self.feature_extractor(self.records[number], windows=True, return_tensors="np")
        except CGDMERError as error:
            return error


def _joined(prepared: list[ECGBatch | CGDMERError]) -> tuple[Windows, list[_Count | CGDMERError]]:
    """The windows of all records, and for each record their number and its use, or the reason there are none.

    Joined, because every tensor that a process hands over takes time.
    """
    features = [one for one in prepared if not isinstance(one, CGDMERError)]
    windows = {
        name: torch.from_numpy(np.concatenate([one[name] for one in features]))
        for name in (*ECGFeatureExtractor.model_input_names, "window_weights")
        if features
    }
    return windows, [
        one if isinstance(one, CGDMERError) else (len(one["record_index"]), one.record_use[0]) for one in prepared
    ]


def _one_by_one(
    joined: Iterable[tuple[Windows, list[_Count | CGDMERError]]], uses: list[RecordUse | None]
) -> Iterator[Windows | CGDMERError]:
    """The windows of each record, or the reason there are none; `uses` gets an entry per record."""
    for windows, counts in joined:
        start = 0
        for count in counts:
            if isinstance(count, CGDMERError):
                uses.append(None)
                yield count
            else:
                length, use = count
                uses.append(use)
                yield {name: tensor[start : start + length] for name, tensor in windows.items()}
                start += length


def _chunks(
    prepared: Iterable[Windows | CGDMERError], most_windows: int, errors: list[CGDMERError | None]
) -> Iterator[tuple[Windows, torch.Tensor]]:
    """The windows of all records, `most_windows` at a time, and the number of each window's record.

    Args:
        errors: one entry per record is appended.
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
            # Copied: a tensor from another process keeps a file handle open.
            pieces.append({name: tensor[start:end].clone() for name, tensor in one.items()})
            record_index += [len(errors) - 1] * (end - start)
            if len(record_index) == most_windows:
                yield _together(pieces), torch.tensor(record_index)
                pieces, record_index = [], []
            start = end
    if pieces:
        yield _together(pieces), torch.tensor(record_index)


def _together(pieces: list[Windows]) -> Windows:
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


@torch.no_grad()
def embed_texts(
    model: ECGTextModel, processor: ECGProcessor, texts: Sequence[str], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """(texts, width) unit vectors."""
    model.eval()
    embeds = np.zeros((len(texts), model.config.projection_size), dtype=np.float32)
    by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))  # for less padding
    for start in tqdm(range(0, len(texts), batch_size), desc="texts", unit="batch", disable=len(texts) <= batch_size):
        chosen = by_length[start : start + batch_size]
        inputs = processor(text=[texts[number] for number in chosen], return_tensors="pt").to(model.device)
        embeds[chosen] = model.get_text_features(**inputs).pooler_output.float().cpu().numpy()
    return embeds


def embed_prompts(model: ECGTextModel, processor: ECGProcessor, wordings: list[tuple[str, ...]]) -> np.ndarray:
    """(classes, width) unit vectors: for each class the normalized mean over its wordings."""
    means = np.stack([embed_texts(model, processor, texts).mean(axis=0) for texts in wordings])
    return means / np.linalg.norm(means, axis=1, keepdims=True)
