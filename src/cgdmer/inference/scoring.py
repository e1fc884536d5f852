# SPDX-License-Identifier: Apache-2.0
"""Scores of findings for many recordings, in a Parquet file: what `cgdmer score` does.

Processes read and prepare recordings while the model works. A recording that cannot be read has its row too, with
the reason. Started again after a kill, the same command goes on where it was stopped.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.families import load_classifier
from cgdmer.files.reading import failing_as, read_text
from cgdmer.inference.embedding_cache import weights_digest
from cgdmer.inference.embeddings import BATCH_SIZE, EncodedBatch, encode_records
from cgdmer.inference.growing_table import GrowingTable
from cgdmer.inference.sources import RecordingSource, open_source
from cgdmer.models.errors import ConfigurationError, CorpusError, ECGInputError
from cgdmer.models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline, check_prompts

NUM_PROC = 2
_LARGEST_LABELS_FILE = 1_000_000  # bytes; all 71 statements of PTB-XL in words have some 3,000
_EXPECTED_LABELS = "Expected a text file in UTF-8 with one label per line."
_OTHER_COLUMNS = ("record_id", "embedding", "error")


def score_recordings(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    labels: Sequence[str],
    model: str | os.PathLike[str] | None = None,
    *,
    splits: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    embeddings: bool = False,
    batch_size: int = BATCH_SIZE,
    num_proc: int = NUM_PROC,
) -> dict[str, Any]:
    """Score every label, each by itself, for every recording of a folder or a prepared dataset.

    The file has one row per record, in the order of the record's paths (of the dataset): `record_id` (in a folder the
    path without suffix; bytes of it that are not UTF-8 as \\udc80 etc.), a float32 column for each label under its
    name, with the score that the pipeline `zero-shot-ecg-classification` gives, `embedding` if asked for (float32 unit
    vector), and `error`, which says why a recording could not be read; the other columns of its row are null then.
    What the file was made with stands in its schema's metadata, under `cgdmer`.

    Interrupted, the run leaves `OUTPUT.partial` (see `GrowingTable`) and goes on when it is started again. The result
    is the same as without interruption, to the last bit with the same batch size.

    Args:
        source: see `open_source`.
        output: a new Parquet file.
        labels: findings in free text.
        model: a folder or Hub id; None: the one that comes with the package.
        splits: of a prepared dataset; None: all.
        leads: those of the twelve leads to use, e.g. where there are other channels too; None: all.
        embeddings: add the column `embedding`.
        batch_size: records that are read together, and the most windows that the model takes at once.
        num_proc: processes that read; 0: the main one, in turn with the model.

    Returns:
        `records`, `unreadable` (how many of them could not be read) and `output`.

    Raises:
        ECGInputError: a label is empty, given twice, or the name of another column; a lead is none of the twelve.
        ConfigurationError: a number is out of range, or the file's name does not end in .parquet.
        ModelFolderError: the model takes no texts, or is damaged.
        CorpusError: the source cannot be used, the file exists, another run is at work on it, its partial folder
            belongs to another job, or a reading process was killed.
        KeyboardInterrupt: after Ctrl-C, with a message that says where the finished rows are.
    """
    labels = check_prompts(labels)
    if taken := [label for label in labels if label in _OTHER_COLUMNS]:
        raise ECGInputError(f"the label {taken[0]!r} is the name of another column. Word it differently.")
    if batch_size < 1 or num_proc < 0:
        raise ConfigurationError(f"batch_size is {batch_size} and num_proc {num_proc}; at least 1 and 0 are needed.")
    if Path(output).suffix != ".parquet":
        raise ConfigurationError(
            f"{output}: the table is written as Parquet. Name a file that ends in .parquet; "
            "pandas.read_parquet(file).to_csv(...) makes CSV of it."
        )
    opened = open_source(source, splits, leads)
    classify = load_classifier(model)
    job = _job(classify, labels, opened.digest, embeddings)
    width = classify.model.config.projection_size if embeddings else None
    with GrowingTable(Path(output).absolute(), _schema(labels, width, job), job) as table:
        try:
            _fill(table, classify, labels, opened, batch_size, num_proc)
        except KeyboardInterrupt:
            table.flush()
            note = f"The finished rows are kept in {table.folder}: start the same command again to go on."
            raise KeyboardInterrupt(note) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise CorpusError(
                "a reading process was killed, perhaps for want of memory. Use fewer processes (num_proc) or a "
                f"smaller batch_size. The finished rows are kept in {table.folder}: the same command goes on from "
                "them."
            ) from error
        errors = table.finish(len(opened.record_ids))["error"]
    return {"records": len(errors), "unreadable": len(errors) - errors.null_count, "output": str(output)}


def _fill(
    table: GrowingTable,
    classify: ZeroShotECGClassificationPipeline,
    labels: list[str],
    source: RecordingSource,
    batch_size: int,
    num_proc: int,
) -> None:
    """Score the records that have no row yet."""
    label_embeds = classify.embed_prompts(labels).float().cpu()
    batches = encode_records(
        classify.model,
        classify.processor.feature_extractor,
        source.records,
        first=table.num_rows,
        batch_size=batch_size,
        num_proc=num_proc,
        description="scoring",
    )
    for batch in batches:
        assert batch.embeds is not None  # a zero-shot model has a text tower
        scores = classify.model.score_logits(batch.embeds @ label_embeds.T).sigmoid()
        record_ids = source.record_ids[table.num_rows : table.num_rows + len(batch.errors)]
        table.append(_rows(table.schema, record_ids, batch, scores))


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """The labels of a text file, one per line; blank lines are passed over.

    Raises:
        ECGInputError: the file is absent, not UTF-8 text, or too large, or holds no label or one twice.
    """
    with failing_as(ECGInputError, path, _EXPECTED_LABELS):
        lines = read_text(path, _LARGEST_LABELS_FILE).splitlines()
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise ECGInputError(f"{path} holds no label. {_EXPECTED_LABELS}")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise ECGInputError(f"{path} holds the label {twice[0]!r} more than once. Keep one of them.")
    return labels


def _job(
    classify: ZeroShotECGClassificationPipeline, labels: list[str], records: str, embeddings: bool
) -> dict[str, Any]:
    """Everything that the rows depend on."""
    digest = hashlib.sha256(weights_digest(classify.model))
    for text in (
        classify.model.config.to_json_string(),
        classify.processor.feature_extractor.to_json_string(),
        repr(sorted(classify.processor.tokenizer.get_vocab().items())),
    ):
        digest.update(text.encode() + b"\0")
    return {
        "version": __version__,
        "labels": labels,
        "model": digest.hexdigest(),
        "records": records,
        "embeddings": embeddings,
    }


def _schema(labels: list[str], width: int | None, job: dict[str, Any]) -> pa.Schema:
    fields = [("record_id", pa.string()), *((label, pa.float32()) for label in labels)]
    if width is not None:
        fields.append(("embedding", pa.list_(pa.float32(), width)))
    note = json.dumps({**job, "note": RESEARCH_USE_ONLY})
    return pa.schema([*fields, ("error", pa.string())], metadata={"cgdmer": note})


def _rows(schema: pa.Schema, record_ids: list[str], batch: EncodedBatch, scores: torch.Tensor) -> pa.Table:
    """A batch as rows, those of unreadable records with nulls.

    Args:
        scores: (n, labels) of the n records that could be read.
    """
    absent = np.array([error is not None for error in batch.errors])

    def spread(values: torch.Tensor) -> np.ndarray:
        whole = np.zeros((len(absent), values.shape[1]), dtype=np.float32)
        whole[~absent] = values.numpy()
        return whole

    columns: list[pa.Array] = [_texts(record_ids)]
    columns += [pa.array(column, pa.float32(), mask=absent) for column in spread(scores).T]
    if "embedding" in schema.names:
        assert batch.embeds is not None
        kind = schema.field("embedding").type
        units = spread(F.normalize(batch.embeds, dim=-1)).ravel()
        columns.append(pa.FixedSizeListArray.from_arrays(units, type=kind, mask=pa.array(absent)))
    columns.append(_texts([None if error is None else str(error) for error in batch.errors]))
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(values: Sequence[str | None]) -> pa.Array:
    """A column. File names need not be UTF-8, of which Parquet's texts are: other bytes are written as \\udc80 etc."""
    return pa.array(
        [None if value is None else value.encode("utf-8", "backslashreplace").decode() for value in values],
        pa.string(),
    )
