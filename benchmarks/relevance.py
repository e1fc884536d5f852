# SPDX-License-Identifier: Apache-2.0
"""Whether relevance is where a simulated abnormality was placed.

    OMP_NUM_THREADS=1 python benchmarks/relevance.py [--model MODEL] [--num_records 40]

For ST elevation in one territory: of the 10% of patches with the highest relevance, the share in the territory's leads
(V1-V4, or II, III, and aVF; reciprocal leads count as wrong), and the number of records where this is more than half.
Target: 80% of the records. For premature ventricular beats: the same for patches within 0.5 s of the onset of such a
beat.

`chance` is the share of such patches among all patches. `knows` is the area under the ROC curve of the label's scores
compared with ECGs that have the other finding (normal ECGs, for premature beats). A model cannot show what it does not
know.
"""

import argparse
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import torch
from machine import print_figures
from sklearn.metrics import roc_auc_score

from cgdmer.explanation.relevance import (
    LabelLogit,
    gradient_relevance,
    integrated_gradients,
    occluded_pieces,
    occlusion_relevance,
)
from cgdmer.inference.scorers import load_scorer
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.simulation import cohort

TERRITORIES = {
    "anterior_st_elevation": ("V1", "V2", "V3", "V4"),
    "inferior_st_elevation": ("II", "III", "aVF"),
}
OTHER = {
    "anterior_st_elevation": "inferior_st_elevation",
    "inferior_st_elevation": "anterior_st_elevation",
    "premature_ventricular_beats": "sinus_rhythm",
}
BEAT_SECONDS = 0.5
METHODS = {
    "integrated gradients": lambda *inputs: integrated_gradients(*inputs)[0],
    "gradient times input": lambda *inputs: gradient_relevance(*inputs, path=(1.0,), weights=(1.0,)),
    "occlusion": lambda *inputs: occlusion_relevance(*inputs, occluded_pieces(inputs[0].encoder, inputs[1])),
}


def with_place(condition: str, seed: int, patches: int, patch_seconds: float) -> tuple[ECGRecord, np.ndarray]:
    """A simulated record, and (12, patches) bool: where its abnormality was placed."""
    onsets: list[float] = []
    place_ectopics = cohort._place_ectopics

    def watched(*arguments):
        all_onsets, premature = place_ectopics(*arguments)
        onsets.extend(all_onsets[premature])
        return all_onsets, premature

    with mock.patch.object(cohort, "_place_ectopics", watched):
        record = cohort.simulate_record([condition], seed=seed)
    place = np.zeros((len(STANDARD_LEADS), patches), dtype=bool)
    for lead in TERRITORIES.get(condition, ()):
        place[STANDARD_LEADS.index(lead)] = True
    starts = np.arange(patches) * patch_seconds
    for onset in onsets:
        place[:, (starts + patch_seconds > onset) & (starts < onset + BEAT_SECONDS)] = True
    return record, place


def share_of_top_tenth(relevance: np.ndarray, place: np.ndarray) -> float:
    """Of the 10% of patches with the highest relevance, the share within `place`."""
    top = np.argsort(-relevance, axis=None, kind="stable")[: relevance.size // 10]
    return float(place.ravel()[top].mean())


def records_with_place(scorer, condition: str, num_records: int) -> Iterator[tuple[dict, np.ndarray]]:
    extractor = scorer.feature_extractor
    patches, seconds = (
        extractor.num_samples // extractor.patch_length,
        extractor.patch_length / extractor.sampling_rate,
    )
    for seed in range(num_records):
        record, place = with_place(condition, seed, patches, seconds)
        yield dict(extractor(record, return_tensors="pt").to(scorer.device)), place


def measure(scorer, condition: str, num_records: int, methods: Sequence[str]) -> dict:
    logit_of = LabelLogit(scorer.model, scorer.head([cohort.ALL_CONDITIONS[condition].name]))
    shares: dict[str, list[float]] = {name: [] for name in methods}
    chances, scores, others = [], [], []
    for inputs, place in records_with_place(scorer, condition, num_records):
        chances.append(place.mean())
        for name in methods:
            relevance = METHODS[name](logit_of, inputs).cpu().numpy()
            shares[name].append(share_of_top_tenth(relevance, place))
        with torch.no_grad():
            scores.append(float(logit_of(inputs)))
    for inputs, _ in records_with_place(scorer, OTHER[condition], num_records):
        with torch.no_grad():
            others.append(float(logit_of(inputs)))
    return {
        "chance": float(np.mean(chances)),
        "knows": roc_auc_score([1] * len(scores) + [0] * len(others), scores + others),
        "mean_score": float(torch.tensor(scores).sigmoid().mean()),
        **{
            name: {"mean_share": float(np.mean(found)), "more_than_half": float((np.array(found) > 0.5).mean())}
            for name, found in shares.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="default: cgdmer-tiny-ptbxl")
    parser.add_argument("--num_records", type=int, default=40, help="records per condition (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    options = parser.parse_args()
    scorer = load_scorer(options.model)
    figures = {condition: measure(scorer, condition, options.num_records, options.methods) for condition in OTHER}
    for method in options.methods:
        right = float(np.mean([figures[condition][method]["more_than_half"] for condition in TERRITORIES]))
        figures[method] = {"st_elevation_in_the_right_leads": right, "within_bar": right >= 0.8}
    print_figures(figures)


if __name__ == "__main__":
    main()
