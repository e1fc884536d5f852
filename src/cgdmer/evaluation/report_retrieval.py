# SPDX-License-Identifier: Apache-2.0
"""ECG-conditioned text without a language model: the nearest training reports, compared with each ECG's own report.

For each test record, the reports of the training split are ranked by their cosine with its ECG, and the nearest is
compared with the record's own report by ROUGE. Nothing is chosen on the test records. There are two baselines: a
report drawn at random from the training records, and the most frequent training report for every record.

A language model can write the text instead. Pass it as `write`: it is called with the record and the nearest reports,
best first, and what it returns is measured in the same way. The package comes with none.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

import datasets
import numpy as np

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords
from cgdmer.evaluation.estimates import mean_with_interval
from cgdmer.evaluation.rouge import NAMES, rouge
from cgdmer.evaluation.splits import overlap_with_training, patients_of, refuse_shared_patients
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import reasons
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor

TASK = "report-retrieval"
_MOST_NAMED = 10  # on the terminal
RETRIEVED, RANDOM, MOST_FREQUENT = "retrieved", "random report", "most frequent report"


def refuse_without_texts(model: ECGPreTrainedModel) -> None:
    """Raise ConfigurationError for a model that cannot rank reports."""
    if not model.takes_texts:
        raise ConfigurationError(f"a {type(model).__name__} takes no texts: it cannot rank reports.")


def retrieve_reports(
    model: ECGTextModel,
    processor: ECGProcessor,
    dataset: datasets.DatasetDict,
    splits: Sequence[str] = ("test",),
    *,
    write: Callable[[ECGRecord, list[str]], str] | None = None,
    num_reports: int = 5,
    trained_on: Fingerprints | None = None,
    allow_overlap: bool = False,
    cache: EmbeddingCache | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the nearest training report, and what `write` makes of the nearest ones, with each record's own report.

    Args:
        dataset: a prepared dataset with reports; those of `train` are the candidates.
        splits: the splits to test on, pooled; records without a report are left out.
        write: see the module.
        num_reports: the number of nearest reports that `write` gets.
        trained_on: the records that the model was pretrained on; None: unknown.
        allow_overlap: measure even if the model was pretrained on test records or on other records of their patients.
        cache: a cache of embeddings; None: embeddings are not kept.
        seed: of the random baseline.

    Returns:
        `task`, `splits`, `records`, `patients`, `left_out` (the ids of records that the feature extractor
        cannot use, with the reasons), `candidates` (distinct reports), `overlap`, and `measures`: for each
        of the retrieved, written, random, and most frequent report, the means of "rouge1", "rouge2", and "rougeL",
        each with its 95 % interval over patients under NAME_interval.

    Raises:
        ConfigurationError: the model takes no texts.
        CorpusError: there are no reports, a patient is in training and test, or the model was pretrained on test
            records.
    """
    refuse_without_texts(model)
    candidates = Counter(text for text in dataset["train"]["text"] if text)
    rows = _tested(dataset, splits, candidates)
    overlap = overlap_with_training(trained_on, rows, allow_overlap)
    cache = cache or EmbeddingCache(None)
    features = cache.features(model, processor.feature_extractor, DatasetRecords(rows), "test records")
    unusable = reasons(DatasetRecords(rows), processor.feature_extractor, np.flatnonzero(~features.usable))
    left_out = {rows[number]["record_id"]: reason for number, reason in unusable.items()}
    rows, features = rows.select(np.flatnonzero(features.usable)), features[features.usable]
    reports, records, own, patients = list(candidates), DatasetRecords(rows), list(rows["text"]), patients_of(rows)
    embeds = features.embeds
    assert embeds is not None  # the model takes texts
    cosines = embeds @ cache.texts(model, processor, reports).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :num_reports]  # best first
    shares = np.array(list(candidates.values())) / candidates.total()
    texts = {RETRIEVED: [reports[row[0]] for row in nearest]}
    if write is not None:
        texts["written"] = [write(records[number], [reports[at] for at in row]) for number, row in enumerate(nearest)]
    drawn = np.random.default_rng(seed).choice(len(reports), len(own), p=shares)
    texts[RANDOM] = [reports[number] for number in drawn]
    texts[MOST_FREQUENT] = [candidates.most_common(1)[0][0]] * len(own)
    return {
        "task": TASK,
        "splits": list(splits),
        "records": len(own),
        "patients": len(set(patients)),
        "left_out": left_out,
        "candidates": len(reports),
        "overlap": overlap,
        "measures": {name: _measured(found, own, patients) for name, found in texts.items()},
    }


def _tested(dataset: datasets.DatasetDict, splits: Sequence[str], candidates: Collection[str]) -> datasets.Dataset:
    """The rows of the test splits that have a report; none of their patients is in the training split."""
    rows = datasets.concatenate_datasets([dataset[name] for name in splits])
    rows = rows.select([number for number, text in enumerate(rows["text"]) if text])
    if not candidates or not len(rows):
        raise CorpusError("the training split or the test splits have no reports. Prepare a corpus that has them.")
    refuse_shared_patients({"the training split": patients_of(dataset["train"]), "the test splits": patients_of(rows)})
    return rows


def _measured(texts: list[str], own: list[str], patients: list[str]) -> dict[str, Any]:
    scores = [rouge(text, reference) for text, reference in zip(texts, own, strict=True)]
    result: dict[str, Any] = {}
    for name in NAMES:
        values = np.array([score[name] for score in scores])
        result[name], result[f"{name}_interval"] = mean_with_interval(values, patients)
    return result


def retrieval_table(results: dict[str, Any]) -> str:
    """The results as text for a terminal."""
    lines = [
        *(f"{record!r} is left out: {reason}" for record, reason in islice(results["left_out"].items(), _MOST_NAMED)),
        *([f"{len(results['left_out'])} records are left out."] if results["left_out"] else []),
        f"{results['task']}: {results['records']:,} records of {results['patients']:,} patients "
        f"({', '.join(results['splits'])}), {results['candidates']:,} reports to choose from",
    ]
    for name, measured in results["measures"].items():
        cells = (
            f"{metric} {measured[metric]:.3f} ({low:.3f} to {high:.3f})"
            for metric in NAMES
            for low, high in [measured[f"{metric}_interval"]]
        )
        lines.append(f"{name:22}{'  '.join(cells)}")
    return "\n".join(lines)
