# SPDX-License-Identifier: Apache-2.0
"""Scores labels for many recordings into a Parquet file: `cgdmer score`.

Other processes read and prepare recordings while the model runs. A recording that cannot be read gets a row with the
reason. After a kill, the same command continues where it stopped.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from torch.nn import functional as F

from cgdmer.about import RESEARCH_USE_ONLY, __version__
from cgdmer.files.reading import failing_as, read_text
from cgdmer.inference.embeddings import BATCH_SIZE, Windows, average_windows
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.growing_table import GrowingTable
from cgdmer.inference.scorers import LabelHead, Scorer, abstains, check_abstention, load_scorer
from cgdmer.inference.sources import RecordingSource, open_source
from cgdmer.measurement.heart_rate import NOT_INSTALLED, can_measure
from cgdmer.measurement.remarks import Measured, remarks_on
from cgdmer.models.channels import LeadNames
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError, ECGInputError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.record_use import ECGBatch, RecordUse, by_reason, names_refused_leads

NUM_PROC = 2
_LARGEST_LABELS_FILE = 1_000_000  # bytes; the 71 statements of PTB-XL take about 3,000
_EXPECTED_LABELS = "Expected a text file in UTF-8 with one label per line."
_USE_COLUMNS = {
    **dict.fromkeys(("leads_used", "leads_derived", "leads_not_used"), pa.string()),
    **dict.fromkeys(("seconds_used", "seconds_filled", "seconds_cut"), pa.float32()),
    "doubts": pa.string(),
}
_MEASURED_COLUMNS = ("heart_rate", "pr_interval", "qrs_duration", "qt_interval", "qtc_interval", "axis")
_FAMILIARITY, _ABSTAINED = "familiarity", "abstained"  # the second is no column: then the scores are null
_POSITIVE = ": positive"  # the end of a column's name
_OTHER_COLUMNS = ("record_id", "embedding", *_USE_COLUMNS, _FAMILIARITY, *_MEASURED_COLUMNS, "error")


@dataclass(frozen=True)
class _MeasuredUse(RecordUse):
    """What was used of a recording, and what was measured on it."""

    measured: Measured | None = None


class _Measuring:
    """A feature extractor that also measures recordings, in whatever process reads them."""

    def __init__(self, feature_extractor: ECGFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, record: ECGRecord, **how: Any) -> ECGBatch:
        batch = self.feature_extractor(record, **how)
        measured, _ = remarks_on(record)
        batch.record_use = tuple(_MeasuredUse(**vars(use), measured=measured) for use in batch.record_use)
        return batch


def score_recordings(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    labels: Sequence[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    *,
    splits: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    lead_names: LeadNames | None = None,
    embeddings: bool = False,
    measure: bool = False,
    force_unknown: bool = False,
    abstain: float | None = None,
    scores_only: bool = False,
    batch_size: int = BATCH_SIZE,
    num_proc: int = NUM_PROC,
) -> dict[str, Any]:
    """Score labels for every recording of a folder or a prepared dataset.

    The file has one row per record, sorted by path (or in the dataset's order). Its columns are `record_id` (in a
    folder, the path without suffix; bytes that are not UTF-8 become \\udc80 etc.), one float32 column per label with
    the score of the pipeline `zero-shot-ecg-classification` or, for a classifier, `ecg-classification`, null for a
    finding that the model does not know (what each label was taken for is in the column's metadata); with a calibrated
    model, a bool column per calibrated label, such as "atrial fibrillation: positive"; optionally
    `embedding` (float32 unit vector: for a classifier, the encoder's feature scaled to unit length); what was used of
    the recording; and `error`, the reason a recording could not be read; the other columns are then null. The metadata
    of the schema say, under `cgdmer`, how the file was made, with the `problem_type` of the scores (see `Scorer`).

    What was used, over all windows (see `RecordUse`): `leads_used`, such as "I, II, V1"; `leads_derived` and
    `leads_not_used` with the reasons, such as "V1, V2 (flat); V3 (gap of 2.4 s)"; `seconds_used`; `seconds_filled`,
    the interpolated samples of all leads together; `seconds_cut`; and `doubts`, what casts doubt on the recording.
    `familiarity` is how much the recording is like those that the model was trained on (see `Familiarity`), null if
    the model's folder does not say.

    With `measure`, further columns have what the signal says by itself (see `cgdmer.measurement`): `heart_rate` per
    minute, `pr_interval`, `qrs_duration`, `qt_interval`, and `qtc_interval` in seconds, and `axis` in degrees; null
    where it cannot be told.

    An interrupted run leaves `OUTPUT.partial` (see `GrowingTable`) and continues when it is started again. The result
    is the same as without interruption; with the same batch size, bit for bit.

    Args:
        source: see `open_source`.
        output: a new Parquet file.
        labels: findings in free text; for a classifier, some of its own labels, or None for all of them.
        model: a folder or Hub id; None: the model that comes with the package.
        splits: of a prepared dataset; None: all.
        leads, lead_names: see `open_source`.
        embeddings: add the column `embedding`.
        measure: add the columns with what was measured; needs the extra `measure`.
        force_unknown: also score labels that the model was not trained on.
        abstain: recordings that are doubted, or less familiar than this share, have null in place of scores; None:
            none of them.
        scores_only: do not look for what casts doubt on recordings (besides contradicting limb leads), nor compare
            them with those of training; the columns are then empty. This saves about a tenth of the time.
        batch_size: records per batch, and the most windows per call of the model.
        num_proc: processes that read records; 0: the main process reads.

    Returns:
        `records`, `unreadable` (how many of them could not be read), `with_unused_leads` (how many were scored without
        some of the leads that they have), `abstained` (how many have no scores because of `abstain`), `not_known` (the
        labels without scores), `not_read` (the other files of a folder by their kind, see `RecordingSource`), and
        `output`.

    Raises:
        ECGInputError: there are no labels and the model has none of its own; a label is empty, given twice, unknown to
            the classifier, or the name of another column; a lead is none of the twelve.
        ConfigurationError: a number is out of range, the output does not end in .parquet, options contradict each
            other, the extra `measure` is asked for and not installed, or `abstain` needs a familiarity that the
            model's folder does not have.
        ModelFolderError: the model has neither a text tower nor a classifier, or is damaged.
        CorpusError: the source cannot be used, the output exists, another run is writing it, its partial folder is
            another job's, or a reading process was killed.
        KeyboardInterrupt: Ctrl-C; the message says where the finished rows are.

    Example:
        >>> answer = cgdmer.score_recordings("recordings", "scores.parquet", ["atrial fibrillation", "normal ECG"])
        >>> answer["records"], answer["unreadable"], answer["with_unused_leads"], answer["not_read"]
        (12, 0, 0, {})
    """
    if batch_size < 1 or num_proc < 0:
        raise ConfigurationError(f"batch_size is {batch_size} and num_proc {num_proc}; at least 1 and 0 are needed.")
    if Path(output).suffix != ".parquet":
        raise ConfigurationError(
            f"{output}: the table is written as Parquet. Name a file that ends in .parquet; "
            "pandas.read_parquet(file).to_csv(...) converts it to CSV."
        )
    if measure and not can_measure():
        raise ConfigurationError(f"measure: {NOT_INSTALLED}")
    if scores_only and (measure or abstain is not None):
        raise ConfigurationError("scores_only leaves out what measure and abstain need. Choose one.")
    opened = open_source(source, splits, leads, lead_names)
    scorer = load_scorer(model)
    check_abstention(abstain, scorer)
    head = scorer.head(labels)
    if taken := [label for label in head.labels if label in _OTHER_COLUMNS]:
        raise ECGInputError(
            f"the label {taken[0]!r} is the name of another column. Word it differently, or leave it out."
        )
    not_known = [] if force_unknown else [one.prompt for one in head.meanings or () if one.known is False]
    job = _job(scorer, head, opened.digest, embeddings, not_known, abstain, measure, scores_only)
    schema = _schema(scorer, head, head.width if embeddings else None, job)
    with GrowingTable(Path(output).absolute(), schema, job) as table:
        try:
            extractor: Callable[..., ECGBatch] = scorer.feature_extractor
            if scores_only:
                extractor = partial(extractor, judge=False)
            elif measure:
                extractor = _Measuring(scorer.feature_extractor)
            familiarity = None if scores_only else scorer.familiarity
            _fill(table, scorer, head, opened, extractor, familiarity, abstain, batch_size, num_proc)
        except KeyboardInterrupt:
            table.flush()
            note = f"The finished rows are kept in {table.folder}: start the same command again to continue."
            raise KeyboardInterrupt(note) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise CorpusError(
                "a reading process was killed, perhaps because memory ran out. Use fewer processes (num_proc) or a "
                f"smaller batch_size. The finished rows are kept in {table.folder}: start the same command again to "
                "continue."
            ) from error
        errors = table.finish(len(opened.record_ids))["error"]
    return {
        "records": len(errors),
        "unreadable": len(errors) - errors.null_count,
        "with_unused_leads": _with_unused_leads(Path(output)),
        "abstained": 0 if abstain is None else _abstained(Path(output), abstain),
        "not_known": not_known,
        "not_read": opened.not_read,
        "output": str(output),
    }


def _with_unused_leads(path: Path) -> int:
    """The number of records in a finished table that have leads which were not used."""
    table = pa.parquet.read_table(path, columns=["leads_derived", "leads_not_used"])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return sum(any(names_refused_leads(text or "") for text in row) for row in rows)


def _abstained(path: Path, abstain: float) -> int:
    """The number of records in a finished table that could be read and have no scores."""
    rows = pa.parquet.read_table(path, columns=["doubts", _FAMILIARITY, "error"]).to_pylist()
    return sum(
        row["error"] is None and bool(row["doubts"] or (row[_FAMILIARITY] is not None and row[_FAMILIARITY] < abstain))
        for row in rows
    )


def _fill(
    table: GrowingTable,
    scorer: Scorer,
    head: LabelHead,
    source: RecordingSource,
    extractor: Callable[..., ECGBatch],
    familiarity: Familiarity | None,
    abstain: float | None,
    batch_size: int,
    num_proc: int,
) -> None:
    """Score the records that have no rows yet."""
    model = scorer.model
    uses: list[RecordUse | None] = []

    def compute(windows: Windows) -> torch.Tensor:
        features = head.features(model.base_model(**windows)).float()
        return torch.cat([features, head.logits(features)], dim=1)

    batches = average_windows(
        model,
        compute,
        head.width + head.num_logits,
        extractor,
        source.records,
        first=table.num_rows,
        batch_size=batch_size,
        num_proc=num_proc,
        description="scoring",
        uses=uses,
    )
    for errors, means in batches:
        features, logits = means.split([head.width, head.num_logits], dim=1)
        scores = head.scores(logits.to(scorer.device)).cpu()
        positive: dict[str, np.ndarray] = {}
        if scorer.operating_points is not None:
            found, positive = scorer.operating_points.columns(head.labels, head.meanings, scores.numpy())
            scores = torch.from_numpy(found)
        record_ids = source.record_ids[table.num_rows : table.num_rows + len(errors)]
        familiar = None if familiarity is None else familiarity(features.numpy())
        described = _described(uses[-len(errors) :], errors, familiar, abstain)
        table.append(_rows(table.schema, record_ids, errors, scores, positive, features, described))
        uses.clear()


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """The labels of a text file, one per line; blank lines are skipped.

    Raises:
        ECGInputError: the file is missing, not UTF-8, or too large; or it holds no label, or one twice.
    """
    with failing_as(ECGInputError, path, _EXPECTED_LABELS):
        lines = read_text(path, _LARGEST_LABELS_FILE).splitlines()
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise ECGInputError(f"{path} holds no label. {_EXPECTED_LABELS}")
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise ECGInputError(f"{path} holds the label {twice[0]!r} more than once. Keep one of them.")
    return labels


def _described(
    uses: Sequence[RecordUse | None],
    errors: Sequence[CGDMERError | None],
    familiar: np.ndarray | None,
    abstain: float | None,
) -> list[dict[str, Any]]:
    """For each record, what is said about it beside the scores; empty for an unreadable one.

    Args:
        familiar: (n,) of the readable records.
    """
    found: list[dict[str, Any]] = []
    number = 0
    for use, error in zip(uses, errors, strict=True):
        if use is None or error is not None:
            found.append({})
            continue
        of_record = None if familiar is None else float(np.float32(familiar[number]))  # as the column has it
        number += 1
        row = {**_columns_of(use), _FAMILIARITY: of_record, _ABSTAINED: abstains(abstain, use, of_record)}
        found.append(row)
    return found


def _job(
    scorer: Scorer,
    head: LabelHead,
    records: str,
    embeddings: bool,
    not_known: Sequence[str],
    abstain: float | None,
    measure: bool,
    scores_only: bool,
) -> dict[str, Any]:
    """Everything the rows depend on."""
    return {
        "scores_only": scores_only,
        "measure": measure,
        "abstain": abstain,
        "version": __version__,
        "labels": head.labels,
        "not_known": list(not_known),
        "problem_type": scorer.problem_type,
        "model": scorer.digest(),
        "records": records,
        "embeddings": embeddings,
    }


def _schema(scorer: Scorer, head: LabelHead, width: int | None, job: dict[str, Any]) -> pa.Schema:
    fields: list[pa.Field] = [pa.field("record_id", pa.string())]
    for number, label in enumerate(head.labels):
        meaning = None if head.meanings is None else {"cgdmer": json.dumps(head.meanings[number].fields())}
        fields.append(pa.field(label, pa.float32(), metadata=meaning))
    if scorer.operating_points is not None:
        nothing = np.zeros((1, len(head.labels)))
        decided = scorer.operating_points.columns(head.labels, head.meanings, nothing)[1]
        fields += [pa.field(f"{label}{_POSITIVE}", pa.bool_()) for label in decided]
    if width is not None:
        fields.append(pa.field("embedding", pa.list_(pa.float32(), width)))
    note = json.dumps({**job, "note": RESEARCH_USE_ONLY})
    others = {**_USE_COLUMNS, _FAMILIARITY: pa.float32()}
    if job["measure"]:
        others |= dict.fromkeys(_MEASURED_COLUMNS, pa.float32())
    further = [pa.field(name, kind) for name, kind in (*others.items(), ("error", pa.string()))]
    return pa.schema([*fields, *further], metadata={"cgdmer": note})


def _rows(
    schema: pa.Schema,
    record_ids: list[str],
    errors: list[CGDMERError | None],
    scores: torch.Tensor,
    positive: Mapping[str, np.ndarray],
    embeds: torch.Tensor,
    described: list[dict[str, Any]],
) -> pa.Table:
    """A batch as rows; unreadable records get nulls.

    Args:
        scores, embeds: (n, labels) and (n, width) for the n readable records.
        positive: for each calibrated label, (n,) bool.
        described: see `_described`.
    """
    withheld = np.array([bool(row.get(_ABSTAINED)) for row in described])
    absent = np.array([error is not None for error in errors])

    def spread(values: torch.Tensor) -> np.ndarray:
        whole = np.zeros((len(absent), values.shape[1]), dtype=np.float32)
        whole[~absent] = values.numpy()
        return whole

    columns: list[pa.Array] = [_texts(record_ids)]
    not_known = set(json.loads(schema.metadata[b"cgdmer"])["not_known"])
    for name, column in zip(schema.names[1:], spread(scores).T, strict=False):
        columns.append(pa.array(column, pa.float32(), mask=absent | withheld | (name in not_known)))
    for label, decided in positive.items():
        whole = np.zeros(len(absent), dtype=bool)
        whole[~absent] = decided
        columns.append(pa.array(whole, pa.bool_(), mask=absent | withheld | (label in not_known)))
    if "embedding" in schema.names:
        kind = schema.field("embedding").type
        units = spread(F.normalize(embeds, dim=-1)).ravel()
        columns.append(pa.FixedSizeListArray.from_arrays(units, type=kind, mask=pa.array(absent)))
    for name in (*_USE_COLUMNS, _FAMILIARITY, *_MEASURED_COLUMNS):
        if name in schema.names:
            columns.append(pa.array([row.get(name) for row in described], schema.field(name).type))
    columns.append(_texts([None if error is None else str(error) for error in errors]))
    return pa.Table.from_arrays(columns, schema=schema)


def _columns_of(use: RecordUse) -> dict[str, Any]:
    return {
        "leads_used": ", ".join(use.leads_used),
        "leads_derived": by_reason(use.leads_derived),
        "leads_not_used": by_reason(use.leads_not_used),
        "seconds_used": use.seconds_used,
        "seconds_filled": sum(use.seconds_filled.values()),
        "seconds_cut": sum(use.seconds_cut.values()),
        "doubts": " ".join(use.doubts),
        **(_columns_of_measured(use.measured) if isinstance(use, _MeasuredUse) else {}),
    }


def _columns_of_measured(measured: Measured | None) -> dict[str, Any]:
    if measured is None:
        return {}
    intervals = {} if measured.intervals is None else vars(measured.intervals)
    return {"heart_rate": measured.rate.heart_rate, **{name: intervals.get(name) for name in _MEASURED_COLUMNS[1:]}}


def _texts(values: Sequence[str | None]) -> pa.Array:
    """A column of strings. Parquet's are UTF-8, but file names need not be: other bytes become \\udc80 etc."""
    return pa.array(
        [None if value is None else value.encode("utf-8", "backslashreplace").decode() for value in values],
        pa.string(),
    )
