# SPDX-License-Identifier: Apache-2.0
"""Search in a prepared dataset by the cosine between ECGs and texts: `cgdmer search`.

Text to ECG finds the records nearest to a text. ECG to report finds the distinct reports nearest to a record.
"""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.families import load_processor, load_text_model
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import embed_records, embed_texts, reasons
from cgdmer.inference.sources import dataset_rows
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError, ECGInputError, ECGInputWarning
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.models.prompt_findings import meaning_of
from cgdmer.models.reading_record import read_record
from cgdmer.presets import SHIPPED_MODEL

TOP = 10
_MOST_NAMED = 10  # of the records that cannot be used


def nearest(candidates: np.ndarray, query: np.ndarray, top: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """The candidates most similar to a query, best first; ties keep their order.

    Args:
        candidates: (n, width) unit vectors, or `RecordFeatures.embeds`.
        query: (width,) likewise.
        top: how many to return, 1 or more; all if there are fewer.

    Returns:
        Their rows and their cosines, both (at most top,).
    """
    cosines = np.einsum("nw,w->n", candidates, query)  # unlike BLAS, gives equal rows equal cosines
    rows = np.argsort(-cosines, kind="stable")[:top]
    return rows, cosines[rows]


def search_records(
    text: str,
    records: DatasetRecords,
    model: ECGTextModel,
    processor: ECGProcessor,
    top: int = TOP,
    cache: EmbeddingCache | None = None,
) -> list[dict[str, Any]]:
    """Text to ECG: the records nearest to a text, best first. An `ECGInputWarning` names those that cannot be used.

    Args:
        cache: for the records' embeddings; None: they are not kept.

    Returns:
        For each record its `record_id`, `cosine`, and its own report as `text`, or None. A text that is a known
        finding in other words (see `cgdmer.models.prompt_findings`) is searched by the finding's name, and a denied
        one by minus its cosine.

    Raises:
        ECGInputError: the text is empty.
        ConfigurationError: top is below 1.
    """
    _check_top(top)
    if not text.strip():
        raise ECGInputError("the text to search for is empty.")
    cache = cache or EmbeddingCache(None)
    features = cache.features(model, processor.feature_extractor, records, "embedding")
    usable = np.flatnonzero(features.usable)
    known = records.rows.select_columns(["record_id", "text"])
    unusable = np.flatnonzero(~features.usable)
    if len(unusable):
        found_reasons = reasons(records, processor.feature_extractor, unusable[:_MOST_NAMED])
        named = "; ".join(f"{known[number]['record_id']!r}: {reason}" for number, reason in found_reasons.items())
        warnings.warn(
            f"{len(unusable)} records cannot be used and are not searched ({named}).", ECGInputWarning, stacklevel=2
        )
    assert features.embeds is not None  # it has a text tower
    meaning = meaning_of(text, processor.findings)
    taken_for = text if meaning.finding is None else meaning.text
    query = embed_texts(model, processor, [taken_for])[0]
    denied = meaning.finding is not None and meaning.negated
    found, cosines = nearest(features.embeds[usable], -query if denied else query, top)
    found = usable[found]
    return [{**known[int(number)], "cosine": float(cosine)} for number, cosine in zip(found, cosines, strict=True)]


def search_reports(
    record: ECGRecord,
    records: DatasetRecords,
    model: ECGTextModel,
    processor: ECGProcessor,
    top: int = TOP,
    cache: EmbeddingCache | None = None,
) -> list[dict[str, Any]]:
    """ECG to report: the distinct reports of a dataset nearest to a record, best first.

    Args:
        record: any recording; for a long one, cosines are averaged over its windows.
        cache: for the reports' embeddings; None: they are not kept.

    Returns:
        For each report its `text`, `cosine`, and the number of `records` that have exactly this report.

    Raises:
        CorpusError: no record of the dataset has a report.
        ECGInputError: the record cannot be used.
        ConfigurationError: top is below 1.
    """
    _check_top(top)
    cache = cache or EmbeddingCache(None)
    counts = Counter(row["text"] for row in records.rows.select_columns("text") if row["text"])
    if not counts:
        raise CorpusError("no record of the dataset has a report. Prepare it from a corpus with reports.")
    texts = list(counts)
    query = embed_records(model, processor.feature_extractor, [record], description="record").embeds
    assert query is not None  # it has a text tower
    found, cosines = nearest(cache.texts(model, processor, texts), query[0], top)
    return [
        {"text": texts[number], "cosine": float(cosine), "records": counts[texts[number]]}
        for number, cosine in zip(found, cosines, strict=True)
    ]


def search_dataset(
    dataset: str | os.PathLike[str],
    text: str | None = None,
    *,
    record: str | os.PathLike[str] | None = None,
    splits: Sequence[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    top: int = TOP,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """`search_records` for a text, `search_reports` for a record, in a folder that `cgdmer prepare` wrote.

    Args:
        dataset: the folder.
        text: search for records.
        record: search for reports instead: the id of a record in any split of the dataset, or the path of a recording
            (see `read_record`).
        splits: search in these; None: in all.
        model: a folder or Hub id; None: the model that comes with the package.
        cache_dir: where embeddings are kept; None: `DATASET.embeddings`, beside the dataset.

    Raises:
        ECGInputError: text and record are both given, or neither; the text is empty, or the record cannot be used.
        CorpusError: the dataset cannot be used, or the record's name is ambiguous.
        RecordFileError: the record is neither in the dataset nor a readable file.
        ConfigurationError: top is below 1.
        ModelFolderError: the model has no text tower.
    """
    if (text is None) == (record is None):
        raise ECGInputError("text and record are both given, or neither. Pass either a text or a record.")
    loaded = load_dataset_folder(dataset)
    records = DatasetRecords(dataset_rows(loaded, splits, dataset))
    query = None if record is None else _query(record, DatasetRecords(dataset_rows(loaded, None, dataset)))
    name = model or SHIPPED_MODEL
    text_model = load_text_model(name).to("cuda" if torch.cuda.is_available() else "cpu")
    processor = load_processor(name, text_model)
    assert isinstance(processor, ECGProcessor)  # the model takes texts
    whole = Path(dataset).absolute()
    cache = EmbeddingCache(cache_dir or whole.with_name(f"{whole.name}.embeddings"))
    if query is not None:
        return search_reports(query, records, text_model, processor, top, cache)
    assert text is not None
    return search_records(text, records, text_model, processor, top, cache)


def _check_top(top: int) -> None:
    if top < 1:
        raise ConfigurationError(f"top is {top}; at least 1 is needed.")


def _query(name: str | os.PathLike[str], records: DatasetRecords) -> ECGRecord:
    """A record by its id in the dataset, or else by its path."""
    record_id = os.fspath(name)
    numbers = [number for number, known in enumerate(records.rows["record_id"]) if known == record_id]
    if not numbers:
        return read_record(name)
    if len(numbers) > 1 or any(Path(path).is_file() for path in (record_id, f"{record_id.removesuffix('.hea')}.hea")):
        raise CorpusError(
            f"{record_id!r} is the id of a record in the dataset and also "
            f"{'that of another record' if len(numbers) > 1 else 'a file'}. Name the record by a longer path."
        )
    return records[numbers[0]]
