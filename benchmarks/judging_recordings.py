# SPDX-License-Identifier: Apache-2.0
"""Which recordings are doubted or unfamiliar, as they are and changed, and what telling that costs.

    OMP_NUM_THREADS=1 python benchmarks/judging_recordings.py SOURCE... [--splits validation test] [--most 500]

A SOURCE is a folder of recordings or a prepared dataset, none of whose recordings the packaged model was trained on.
The cost is compared with that of a score: features, encoder, and the cosines with twenty findings.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cgdmer.inference.embeddings import embed_records
from cgdmer.inference.familiarity import UNFAMILIAR
from cgdmer.inference.scorers import load_scorer
from cgdmer.inference.sources import open_source
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError
from cgdmer.models.signal_quality import doubt_about_limb_leads, doubts_about

Change = Callable[[np.ndarray], np.ndarray]  # of (leads, time) millivolts


def _standardized(signal_LT: np.ndarray) -> np.ndarray:
    deviation = np.nanstd(signal_LT, axis=1, keepdims=True)
    return (signal_LT - np.nanmean(signal_LT, axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)


CHANGES: dict[str, Change] = {
    "unchanged": lambda signal_LT: signal_LT,
    **{f"times {factor:g}": (lambda signal_LT, factor=factor: factor * signal_LT) for factor in (2, 5, 10, 0.5, 0.1)},
    "200 steps/mV as microvolts": lambda signal_LT: 0.2 * signal_LT,
    "each lead standardized": _standardized,
    "inverted": lambda signal_LT: -signal_LT,
    "backwards": lambda signal_LT: signal_LT[:, ::-1].copy(),
    "noise instead": lambda signal_LT: np.random.default_rng(0).normal(0, 0.3, signal_LT.shape),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--splits", nargs="+", help="of prepared datasets")
    parser.add_argument("--most", type=int, default=500, help="recordings of each source")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    scorer = load_scorer()
    print(f"{'recordings':16} {'changed':28} {'number':>6}  doubted  unfamiliar  either")
    everything: list[ECGRecord] = []
    for source in options.sources:
        records = _usable(source, options.splits, options.most, scorer)
        everything += records
        _print_line(scorer, source, "unchanged", records)
    for name, change in CHANGES.items():
        _print_line(scorer, "all", name, [replace(one, signal=change(np.asarray(one.signal))) for one in everything])
    _print_cost(scorer, everything[: options.most])


def _usable(source: str, splits: list[str] | None, most: int, scorer) -> list[ECGRecord]:
    try:
        opened = open_source(source, splits)
    except CGDMERError:  # a folder has no splits
        opened = open_source(source)
    found = []
    for number in range(min(most, len(opened.record_ids))):
        try:
            record = opened.records[number]
            scorer.feature_extractor.use_of(record)
            found.append(record)
        except CGDMERError as error:
            print(f"left out: {error}")
    return found


def _print_line(scorer, source: str, change: str, records: list[ECGRecord]) -> None:
    doubted, unfamiliar = np.ones((2, len(records)), dtype=bool)  # a change can make a recording unusable: no answer
    for number, record in enumerate(records):
        try:
            doubted[number] = bool(scorer.feature_extractor.use_of(record).doubts)
        except CGDMERError:
            continue
        unfamiliar[number] = scorer.familiarity_of(record) < UNFAMILIAR
    shares = [one.mean() for one in (doubted, unfamiliar, doubted | unfamiliar)]
    source = source.rstrip("/").rsplit("/", 1)[-1]
    print(
        f"{source:16} {change:28} {len(records):6}  {shares[0]:7.1%}  {shares[1]:10.1%}  {shares[2]:6.1%}", flush=True
    )


def _print_cost(scorer, records: list[ECGRecord]) -> None:
    extractor = scorer.feature_extractor
    whole = [one for one in records if one.signal.shape[0] == 12 and np.isfinite(one.signal).all()]
    present_L = np.ones(12, dtype=bool)
    began = time.process_time()
    found = embed_records(scorer.model, extractor, whole)
    scored = time.process_time()
    for record in whole:
        signal_LT = np.asarray(record.signal, dtype=np.float64)
        doubts_about(signal_LT, present_L, record.sampling_rate)
        doubt_about_limb_leads(signal_LT, present_L)
    doubted = time.process_time()
    scorer.familiarity(found.embeds)
    judged = time.process_time()
    doubts, familiar = doubted - scored, judged - doubted
    plain = scored - began - doubts  # embedding includes the doubts
    per_record = 1000 / len(whole)
    print(
        f"CPU per recording: score {plain * per_record:.2f} ms, doubts {doubts * per_record:.2f} ms, familiarity "
        f"{familiar * per_record:.3f} ms; ratio with both {(plain + doubts + familiar) / plain:.3f}"
    )


if __name__ == "__main__":
    main()
