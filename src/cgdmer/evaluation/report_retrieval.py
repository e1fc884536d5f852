# SPDX-License-Identifier: Apache-2.0
"""ECG-conditioned text without a language model: the training reports nearest to an ECG, judged by its own report.

For each test record the reports of the training split are ranked by their cosine with its ECG, and the nearest is
compared with the record's own report by ROUGE. Nothing is chosen on the test records. Two baselines stand beside it:
a report drawn at random from the training records, and the training split's most frequent report for everyone.

A language model may write the text instead: pass it as `write`. It is called with the record and the nearest reports,
best first, and what it returns is judged in the same way. None comes with the package.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import datasets
import numpy as np

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords
from cgdmer.evaluation.rouge import NAMES, rouge
from cgdmer.evaluation.splits import refuse_shared_patients
from cgdmer.evaluation.statistics import BOOTSTRAP_SAMPLES, draws_of_patients, interval
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, CorpusError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor

TASK = "report-retrieval"
RETRIEVED, RANDOM, MOST_FREQUENT = "retrieved", "random report", "most frequent report"


def refuse_without_texts(model: ECGPreTrainedModel) -> None:
    """Raises ConfigurationError for a model that cannot rank reports."""
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
    """ROUGE of the nearest training report, and of what `write` makes of the nearest ones, against the own report.

    Args:
        dataset: a prepared one with reports; those of `train` are the candidates.
        splits: which of its splits are tested, pooled; records without a report have no part in it.
        write: see the module.
        num_reports: how many of the nearest reports `write` is given.
        trained_on: what the model was pretrained on; None: it does not say.
        allow_overlap: measure although test records, or other records of test patients, were pretrained on.
        cache: of embeddings; None keeps nothing.
        seed: of the random baseline and of the bootstrap.

    Returns:
        `task`, `splits`, `records`, `patients`, `candidates` (distinct reports), `overlap`, and `measures`: for
        each of the retrieved, written, random and most frequent report the means of "rouge1", "rouge2" and "rougeL",
        each with its 95 % interval over patients under NAME_interval.

    Raises:
        ConfigurationError: the model takes no texts.
        CorpusError: there are no reports, a patient is in training and test, or the model was pretrained on test
            records.
    """
    refuse_without_texts(model)
    candidates = Counter(text for text in dataset["train"]["text"] if text)
    rows = _tested(dataset, splits, candidates)
    overlap = None if trained_on is None else trained_on.overlap(rows)
    if overlap and any(overlap.values()) and not allow_overlap:
        raise CorpusError(
            f"the model was pretrained on {overlap['records']} of the {len(rows)} test records, and on the patients "
            f"of {overlap['patients']}. Test on others, or allow the overlap (--allow_overlap) and say so."
        )
    reports, records, own, patients = list(candidates), DatasetRecords(rows), list(rows["text"]), _patients(rows)
    nearest = _nearest(model, processor, reports, records, num_reports, cache or EmbeddingCache(None))
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
        "candidates": len(reports),
        "overlap": overlap,
        "measures": {name: _measured(found, own, patients, seed) for name, found in texts.items()},
    }


def _tested(dataset: datasets.DatasetDict, splits: Sequence[str], candidates: Collection[str]) -> datasets.Dataset:
    """The rows of the test splits that have a report, none of them of a patient in the training split."""
    rows = datasets.concatenate_datasets([dataset[name] for name in splits])
    rows = rows.select([number for number, text in enumerate(rows["text"]) if text])
    if not candidates or not len(rows):
        raise CorpusError("the training split or the test splits have no reports. Prepare a corpus that has them.")
    patients_of = {"the training split": dataset["train"], "the test splits": rows}
    refuse_shared_patients({name: _patients(part) for name, part in patients_of.items()})
    return rows


def _nearest(
    model: ECGTextModel,
    processor: ECGProcessor,
    reports: Sequence[str],
    records: DatasetRecords,
    num_reports: int,
    cache: EmbeddingCache,
) -> np.ndarray:
    """(records, num_reports) the places of the reports with the highest cosine, best first."""
    embeds = cache.features(model, processor.feature_extractor, records, "test records").embeds
    assert embeds is not None  # the model takes texts
    cosines = embeds @ cache.texts(model, processor, reports).T
    return np.argsort(-cosines, axis=1, kind="stable")[:, :num_reports]


def _patients(rows: datasets.Dataset) -> list[str]:
    return [patient or record for patient, record in zip(rows["patient_id"], rows["record_id"], strict=True)]


def _measured(texts: list[str], own: list[str], patients: list[str], seed: int) -> dict[str, Any]:
    scores = [rouge(text, reference) for text, reference in zip(texts, own, strict=True)]
    draws = draws_of_patients(patients, BOOTSTRAP_SAMPLES, seed)[1:]
    result: dict[str, Any] = {}
    for name in NAMES:
        values = np.array([score[name] for score in scores])
        result[name] = float(values.mean())
        result[f"{name}_interval"] = interval([times @ values / times.sum() for times in draws])
    return result


def retrieval_table(results: dict[str, Any]) -> str:
    """The results as text for a terminal."""
    lines = [
        f"{results['task']}: {results['records']:,} records of {results['patients']:,} patients "
        f"({', '.join(results['splits'])}), {results['candidates']:,} reports to choose from"
    ]
    for name, measured in results["measures"].items():
        cells = (
            f"{metric} {measured[metric]:.3f} ({low:.3f} to {high:.3f})"
            for metric in NAMES
            for low, high in [measured[f"{metric}_interval"]]
        )
        lines.append(f"{name:22}{'  '.join(cells)}")
    return "\n".join(lines)
