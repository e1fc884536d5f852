# SPDX-License-Identifier: Apache-2.0
"""Do readings name what is there, and what do they invent? What `cgdmer report` states, beside three texts.

    python benchmarks/readings.py DATASET --splits validation [--model MODEL]
    python benchmarks/readings.py --simulated 200

The truth is the record's own statements. The other texts are the most frequent statements of a training record, those
of a training record drawn at random, and those of the training record whose ECG is nearest. Simulated patients are not
those of the model's training and have no training records, so only the reading is measured on them.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np

from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.evaluation.report import aligned
from cgdmer.evaluation.rouge import rouge
from cgdmer.evaluation.stated_findings import compare_texts, stated_in
from cgdmer.inference.embeddings import embed_records
from cgdmer.inference.scorers import load_scorer
from cgdmer.reading.reading import read_ecg
from cgdmer.simulation.cohort import simulate_cohort

SEED = 20261203  # of simulated patients; the model was trained on others
TIMED = 20
MEASURES = ("recall", "precision", "invented", "missed", "contradictions", "unread")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", help="folder written by `cgdmer prepare`")
    parser.add_argument("--splits", nargs="+", default=["validation"])
    parser.add_argument("--simulated", type=int, metavar="PATIENTS", help="measure on so many instead")
    parser.add_argument("--model", help="default: the one that comes with the package")
    options = parser.parse_args(arguments)
    if (options.dataset is None) == (options.simulated is None):
        parser.error("name a dataset or --simulated PATIENTS.")
    scorer = load_scorer(options.model)
    if options.simulated:
        records: Sequence[Any] = list(simulate_cohort(options.simulated, seed=SEED, further=True))
        others = {}
    else:
        splits = load_dataset_folder(options.dataset)
        rows = datasets.concatenate_datasets([splits[name] for name in options.splits])
        records = DatasetRecords(rows)
        others = _other_texts(scorer, splits["train"], records)
    own = [_text(record.statements) for record in records]
    readings = [read_ecg(record, scorer, relevance=False) for record in records]
    texts = {"reading": [one.statement() if one.is_judged else "" for one in readings], **others}
    findings, patients = scorer.pipeline.processor.findings, [str(record.patient_id) for record in records]
    true = [stated_in(text, findings).present for text in own]
    judged = sum(one.is_judged for one in readings)
    print(f"{len(own)} records of {len(set(patients))} patients; {judged} of them judged")
    lines = [["text", *MEASURES, "ROUGE-L"]]
    for name, found in texts.items():
        measured = compare_texts(found, true, patients, findings)
        cells = [
            f"{measured[one]:.3f} ({low:.3f} to {high:.3f})"
            for one in MEASURES
            for low, high in [measured[f"{one}_interval"]]
        ]
        overlap = np.mean([rouge(text, reference)["rougeL"] for text, reference in zip(found, own, strict=True)])
        lines.append([name, *cells, f"{overlap:.3f}"])
    print("\n".join(aligned(lines)))
    by_finding = compare_texts(texts["reading"], true, patients, findings)["by_finding"]
    seconds = [_cpu_seconds(record, scorer) for record in records[:TIMED]]
    print(f"CPU seconds of a reading with relevance: median {np.median(seconds):.2f}, largest {max(seconds):.2f}")
    print("stated by the reading, of records that have it:")
    print("\n".join(f"  {one['stated']:.0%} of {one['records']}  {name}" for name, one in by_finding.items()))


def _cpu_seconds(record: Any, scorer: Any) -> float:
    began = time.process_time()
    read_ecg(record, scorer)
    return time.process_time() - began


def _text(statements: Sequence[str]) -> str:
    return " ".join(f"{statement.rstrip('.')}." for statement in statements)


def _other_texts(scorer: Any, train: datasets.Dataset, records: DatasetRecords) -> dict[str, list[str]]:
    of_train = [_text(statements) for statements in train["statements"]]
    drawn = np.random.default_rng(0).integers(len(of_train), size=len(records))
    candidates = embed_records(scorer.model, scorer.feature_extractor, DatasetRecords(train)).embeds
    wanted = embed_records(scorer.model, scorer.feature_extractor, records).embeds
    assert candidates is not None and wanted is not None  # the model takes texts
    nearest = np.argmax(wanted @ candidates.T, axis=1)
    return {
        "nearest ECG's": [of_train[number] for number in nearest],
        "random": [of_train[number] for number in drawn],
        "most frequent": [Counter(of_train).most_common(1)[0][0]] * len(records),
    }


if __name__ == "__main__":
    main()
