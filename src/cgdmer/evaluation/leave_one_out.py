# SPDX-License-Identifier: Apache-2.0
"""Leave a hospital out: what is lost where nothing was fitted, in ranking, probabilities, and thresholds.

For each hospital, everything is fitted on the training records of all others, and calibrated on their validation
records. On the hospital's own test records that is compared with what its own training and validation records give:

- ranking: the macro AUROC of a probe of its own, minus that of the probe of the others;
- calibration: the Brier score of the others' probe with the others' probabilities, minus with its own;
- thresholds: sensitivity plus specificity of the others' probe with its own thresholds, minus with the others'.

Each is positive if something is lost. Zero-shot is fitted nowhere, so its ranking cannot lose; its probabilities and
thresholds can.

Shapes: R records, K findings, D draws of patients, E embedding width.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from scipy.special import expit

from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.evaluation.arguments import EvaluationArguments
from cgdmer.evaluation.calibrating import (
    choose_threshold,
    common_slope,
    findings_of_rows,
    platt_scaling_with_prior,
    truth_of,
)
from cgdmer.evaluation.linear_probe import fit_linear_probe
from cgdmer.evaluation.measures import ZERO_SHOT
from cgdmer.evaluation.splits import overlap_with_training
from cgdmer.evaluation.statistics import FEWEST_POSITIVES, auroc_by_column, draws_of_patients, with_interval_of_draws
from cgdmer.families import extractor_of, load_model, load_processor
from cgdmer.inference.embedding_cache import EmbeddingCache
from cgdmer.inference.embeddings import embed_texts
from cgdmer.inference.scorers import Scorer, load_scorer
from cgdmer.models.errors import CorpusError
from cgdmer.presets import model_source

PROBE = "linear probe"
LOSSES = ("ranking", "calibration", "thresholds")
_DRAWS = 200


@dataclass(frozen=True)
class _Rows:
    """All records of all hospitals.

    Attributes:
        hospital, split, patients: (R,) names.
        held: (R, K) bool, which record has which finding.
        features: (R, E) that the probe sees.
        zero_shot: (R, K) logits; None if the model takes no texts.
        unusable: by hospital, the number of test records that the feature extractor cannot use.
    """

    hospital: np.ndarray
    split: np.ndarray
    patients: np.ndarray
    held: np.ndarray
    features: np.ndarray
    zero_shot: np.ndarray | None
    unusable: Mapping[str, int] = field(default_factory=dict)

    def of(self, hospital: str, split: str) -> np.ndarray:
        """(R,) bool."""
        return (self.hospital == hospital) & (self.split == split)

    def of_others(self, hospital: str, split: str) -> np.ndarray:
        return (self.hospital != hospital) & (self.split == split)


def leave_each_out(
    arguments: EvaluationArguments, folders: Sequence[str], say: Callable[..., None] | None = None
) -> dict[str, Any]:
    """Measure each hospital with what was fitted at the others.

    Args:
        arguments: of which `model`, `leave_out`, `splits`, `probed_feature`, `allow_overlap`, `cache_dir`, and `seed`
            are used. With `leave_out="dataset"`, each folder is a hospital; with "source", each `source` that its
            records name (`cgdmer prepare folder --source_column`), and the folder for records without one.
        folders: prepared datasets.
        say: called with lines for the user; None: silent.

    Returns:
        By hospital: `records`, `patients`, `unusable_records` (of the test split, left out), and for `zero-shot` and
        `linear probe` the `findings` that are measured (ten positive and ten negative records in the hospital's test
        split and in the training and validation splits of the others), `macro_auroc`, `macro_auroc_elsewhere` (the
        mean over the others' test records, of what was fitted on them), and `lost`, with an interval (95 %, bootstrap
        over the hospital's patients) for each of `LOSSES`; None where the hospital itself has too few records to fit
        to.

    Raises:
        CorpusError: there are fewer than two hospitals, two folders have the same name, a recording is in two
            hospitals, nothing can be measured, or the model was trained on test records.
    """
    say = say or (lambda *_: None)
    findings, rows = _read(arguments, folders)
    hospitals = list(dict.fromkeys(rows.hospital.tolist()))
    if len(hospitals) < 2:
        raise CorpusError(
            f"there is only one hospital, {hospitals[0]}. Name more datasets (--with_datasets), or leave out by "
            "source."
        )
    results: dict[str, Any] = {}
    for hospital in hospitals:
        of_hospital = rows.of(hospital, "test")
        found: dict[str, Any] = {
            "records": int(of_hospital.sum()),
            "patients": len(set(rows.patients[of_hospital])),
            "unusable_records": rows.unusable.get(hospital, 0),
        }
        if rows.zero_shot is not None:
            found[ZERO_SHOT] = _measured(rows, findings, hospital, rows.zero_shot, None, arguments.seed)
        away, home = (_probe_scores(rows, chosen, arguments.seed) for chosen in _training(rows, hospital))
        found[PROBE] = None if away is None else _measured(rows, findings, hospital, away, home, arguments.seed)
        if any(found.get(name) for name in (ZERO_SHOT, PROBE)):
            results[hospital] = found
        else:
            say(f"{hospital}: left out, no finding has enough records there and elsewhere.")
    if not results:
        raise CorpusError("no finding has enough records at one hospital and at the others: nothing can be measured.")
    say("\n".join(_lines(results)))
    return results


def _read(arguments: EvaluationArguments, folders: Sequence[str]) -> tuple[list[str], _Rows]:
    trained_on = Fingerprints.of_model(model_source(arguments.model))
    names = [Path(folder).resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise CorpusError(f"hospitals are called by their folders, and two have the same name: {', '.join(names)}.")
    parts, hospital, split = [], [], []
    for folder, of_folder in zip(folders, names, strict=True):
        for name, part in load_dataset_folder(folder).items():
            parts.append(part)
            asked = part["source"] if arguments.leave_out == "source" else [None] * len(part)
            hospital += [one or of_folder for one in asked]
            split += ["test" if name in arguments.splits else name] * len(part)
    everything = datasets.concatenate_datasets(parts)
    _refuse_shared(everything["fingerprint"], hospital)
    model = load_model(arguments.model)
    scorer = Scorer(load_scorer(arguments.model).pipeline) if model.takes_texts else None
    if scorer is None:
        findings, held = findings_of_rows(everything)
    else:
        truth, _ = truth_of(scorer, everything, None)
        findings, held = truth.prompts, truth.held
    test = np.array(split) == "test"
    for one in dict.fromkeys(hospital):  # a message names the hospital's own records
        chosen = np.flatnonzero(test & (np.array(hospital) == one))
        overlap_with_training(trained_on, everything.select(chosen), arguments.allow_overlap)
    extractor = extractor_of(load_processor(arguments.model, model))
    features = EmbeddingCache(arguments.cache_dir).features(
        *(model, extractor, DatasetRecords(everything)), description="all hospitals"
    )
    zero_shot = None
    if scorer is not None:
        assert features.embeds is not None
        cosines_RK = features.embeds @ embed_texts(scorer.model, scorer.pipeline.processor, findings).T
        with torch.no_grad():
            zero_shot = scorer.model.score_logits(torch.from_numpy(cosines_RK)).numpy().astype(np.float64)
    ids = everything.select_columns(["patient_id", "record_id"])
    patients = np.array(
        [f"{one}/{row['patient_id'] or row['record_id']}" for one, row in zip(hospital, ids, strict=True)]
    )
    usable = features.usable
    seen = features.pooled if arguments.probed_feature == "pooled" or features.embeds is None else features.embeds
    described = (np.array(hospital)[usable], np.array(split)[usable], patients[usable])
    numbers = held[usable], seen[usable], None if zero_shot is None else zero_shot[usable]
    return findings, _Rows(*described, *numbers, Counter(np.array(hospital)[test & ~usable].tolist()))


def _refuse_shared(fingerprints: Sequence[int], hospitals: Sequence[str]) -> None:
    """Refuse a recording that is in two hospitals: it would be fitted to and tested on."""
    first: dict[int, str] = {}
    for fingerprint, hospital in zip(fingerprints, hospitals, strict=True):
        other = first.setdefault(fingerprint, hospital)
        if other != hospital:
            raise CorpusError(f"a recording is in {other} and in {hospital}. Remove it from one of them.")


def _training(rows: _Rows, hospital: str) -> tuple[np.ndarray, np.ndarray]:
    """(R,) bool twice: of the others, and of the hospital itself."""
    return rows.of_others(hospital, "train"), rows.of(hospital, "train")


def _probe_scores(rows: _Rows, chosen: np.ndarray, seed: int) -> np.ndarray | None:
    """(R, K) logits of a probe that was fitted on the chosen records, NaN for findings with too few; None if all."""
    enough_K = _enough(rows.held[chosen])
    if not enough_K.any():
        return None
    logits_RK = np.full(rows.held.shape, np.nan)
    probe = fit_linear_probe(
        rows.features[chosen], rows.held[chosen][:, enough_K], rows.patients[chosen].tolist(), seed=seed
    )
    logits_RK[:, enough_K] = probe.scores(rows.features)
    return logits_RK


def _enough(held_RK: np.ndarray) -> np.ndarray:
    """(K,) bool: ten positive and ten negative records."""
    positives_K = held_RK.sum(axis=0)
    return (positives_K >= FEWEST_POSITIVES) & (len(held_RK) - positives_K >= FEWEST_POSITIVES)


def _measured(
    rows: _Rows, findings: Sequence[str], hospital: str, away_RK: np.ndarray, home_RK: np.ndarray | None, seed: int
) -> dict[str, Any] | None:
    """One measure at one hospital; None if no finding has enough records.

    Args:
        away_RK: logits that the hospital has no part in.
        home_RK: logits that its own training records gave; None: there are none, or nothing is fitted.
    """
    test, calibration = rows.of(hospital, "test"), rows.of_others(hospital, "validation")
    chosen_K = _enough(rows.held[test]) & _enough(rows.held[calibration]) & np.isfinite(away_RK).all(axis=0)
    if not chosen_K.any():
        return None
    held, logits = rows.held[test][:, chosen_K], away_RK[test][:, chosen_K]
    draws_DR = draws_of_patients(rows.patients[test].tolist(), _DRAWS, seed)
    aurocs_DK = auroc_by_column(held, logits, draws_DR)
    elsewhere = rows.of_others(hospital, "test")
    found: dict[str, Any] = {
        "findings": [name for name, chosen in zip(findings, chosen_K, strict=True) if chosen],
        **with_interval_of_draws("macro_auroc", np.nanmean(aurocs_DK, axis=1)),
        "macro_auroc_elsewhere": _mean_auroc(rows.held[elsewhere][:, chosen_K], away_RK[elsewhere][:, chosen_K]),
        "lost": dict.fromkeys(LOSSES),
    }
    own = rows.of(hospital, "validation")
    if home_RK is not None and (both := np.isfinite(home_RK[test][:, chosen_K]).all(axis=0)).any():
        at_home_DK = auroc_by_column(held[:, both], home_RK[test][:, chosen_K][:, both], draws_DR)
        found["lost"]["ranking"] = with_interval_of_draws("value", np.nanmean(at_home_DK - aurocs_DK[:, both], axis=1))
    columns = [int(column) for column in np.flatnonzero(chosen_K & _enough(rows.held[own]))]
    if columns:
        usual = common_slope(away_RK[calibration][:, chosen_K], rows.held[calibration][:, chosen_K])
        briers, youdens = zip(
            *(
                _of_finding(rows, column, away_RK[:, column], calibration, own, test, draws_DR, usual)
                for column in columns
            ),
            strict=True,
        )
        found["lost"]["calibration"] = with_interval_of_draws("value", np.mean(briers, axis=0))
        found["lost"]["thresholds"] = with_interval_of_draws("value", np.nanmean(youdens, axis=0))
    return found


def _of_finding(
    rows: _Rows,
    column: int,
    logits_R: np.ndarray,
    calibration: np.ndarray,
    own: np.ndarray,
    test: np.ndarray,
    draws_DR: np.ndarray,
    usual_slope: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(D,) twice: what the Brier score and Youden's index lose with the others' curve and threshold."""
    held_R, errors, indices = rows.held[test, column], [], []
    counts_DR = draws_DR.astype(float)
    for fitted_on in (calibration, own):
        slope, intercept = platt_scaling_with_prior(logits_R[fitted_on], rows.held[fitted_on, column], usual_slope)
        fitted, probabilities_R = (expit(slope * logits_R[which] + intercept) for which in (fitted_on, test))
        once = np.ones(int(fitted_on.sum()))
        threshold = choose_threshold(fitted, rows.held[fitted_on, column], once, "youden", 0.0)
        errors.append(counts_DR @ (probabilities_R - held_R) ** 2 / counts_DR.sum(axis=1))
        called_R = probabilities_R >= threshold
        with np.errstate(invalid="ignore"):  # a draw can lack positives
            indices.append(
                counts_DR @ (called_R & held_R) / (counts_DR @ held_R)
                + counts_DR @ (~called_R & ~held_R) / (counts_DR @ ~held_R)
            )
    return errors[0] - errors[1], indices[1] - indices[0]


def _mean_auroc(held_RK: np.ndarray, logits_RK: np.ndarray) -> float | None:
    found = auroc_by_column(held_RK, logits_RK)
    return None if np.isnan(found).all() else float(np.nanmean(found))


def _lines(results: Mapping[str, Any]) -> list[str]:
    from cgdmer.evaluation.report import aligned

    table = [["hospital", "measure", "findings", "macro AUROC", "elsewhere", *(f"{name} lost" for name in LOSSES)]]
    for hospital, found in results.items():
        for name in (ZERO_SHOT, PROBE):
            if (row := found.get(name)) is None:
                continue
            low, high = row["macro_auroc_interval"]
            elsewhere = row["macro_auroc_elsewhere"]
            table.append(
                [
                    *(
                        hospital,
                        name,
                        str(len(row["findings"])),
                        f"{row['macro_auroc']:.3f} ({low:.3f} to {high:.3f})",
                    ),
                    "-" if elsewhere is None else f"{elsewhere:.3f}",
                    *(_lost(row["lost"][loss]) for loss in LOSSES),
                ]
            )
    return aligned(table)


def _lost(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(found["value"], *found["value_interval"])
