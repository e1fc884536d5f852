# SPDX-License-Identifier: Apache-2.0
"""From cosine to probability: the two parameters of Platt scaling, fitted on validation records (ours)."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from cgdmer.data.wordings import Wordings
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.training import left_out
from cgdmer.training.pairs import PairDataset, findings_of

MOST_RECORDS = 1000
MOST_TEXTS = 500


@torch.no_grad()
def fit_score(model: ECGTextModel, processor: ECGProcessor, validation: PairDataset, batch_size: int = 32) -> None:
    """Set `config.score_scale` and `config.score_bias`: score = sigmoid(scale * cosine + bias).

    Compares every text (each distinct statement if the corpus has them, else each distinct report) with every
    validation record. A pair is positive when the record has that finding or report. With findings, a score is the
    finding's probability among such records. With reports, few texts fit any record but their own, so both classes
    get equal weight. If findings are also stated in other words, those wordings and the general terms are among the
    texts: a general term is true more often than a single finding, and a curve fitted to single findings alone would
    underestimate it.
    """
    model.eval()
    wordings = validation.make_pair.wordings
    split = validation.split.select(range(min(MOST_RECORDS, len(validation.split))))
    rows = list(split.select_columns(["text", "labels", "statements"]))
    has_findings = any(row["statements"] for row in rows)
    held, says = findings_and_texts(rows, wordings)
    texts = sorted(says)
    if len(texts) > MOST_TEXTS:
        texts = sorted(np.random.default_rng(0).choice(texts, MOST_TEXTS, replace=False).tolist())
    text_embeds = torch.cat(
        [
            model.get_text_features(
                **processor(text=texts[start : start + batch_size], return_tensors="pt").to(model.device)
            ).pooler_output
            for start in range(0, len(texts), batch_size)
        ]
    )
    cosines: list[torch.Tensor] = []
    usable: list[bool] = []
    for start in range(0, len(split), batch_size):
        samples = [validation[index] for index in range(start, min(start + batch_size, len(split)))]
        usable += [left_out.KEY not in sample for sample in samples]  # else it is another record's
        inputs = {
            name: torch.from_numpy(np.stack([sample[name] for sample in samples])).to(model.device)
            for name in ("ecg_values", "lead_mask", "patch_mask")
        }
        cosines.append((model.get_ecg_features(**inputs).pooler_output @ text_embeds.T).float().cpu())
    matches = np.array([[says[text] in own for text in texts] for own in held])[usable]
    if matches.all() or not matches.any():
        warnings.warn(
            "the validation split has only one text or finding, so scores cannot be calibrated on it: they rank "
            "records, but are not probabilities.",
            stacklevel=2,
        )
        return
    scale, bias = platt_scaling(torch.cat(cosines).numpy()[usable], matches, balanced=not has_findings)
    model.config.score_scale, model.config.score_bias = scale, bias


def findings_and_texts(
    rows: Sequence[Mapping[str, Any]], wordings: Wordings | None
) -> tuple[list[set[str]], dict[str, str]]:
    """The findings that hold for each row, and the finding that each text states. A report is its own finding."""
    held: list[set[str]] = []
    says: dict[str, str] = {}
    for row in rows:
        findings = findings_of(row) if row["statements"] else [row["text"]]
        if wordings is not None:
            findings = [wordings.finding(finding) for finding in findings]
        says.update(zip(row["statements"] or [row["text"]], findings, strict=True))
        general = [] if wordings is None else wordings.general_terms(findings)
        held.append({*findings, *general})
    if wordings is not None:
        said = sorted(set().union(*held))
        says |= {text: finding for finding in said for text in wordings.of_finding.get(finding, ())}
    return held, says


def platt_scaling(cosines: np.ndarray, matches: np.ndarray, balanced: bool = False) -> tuple[float, float]:
    """Scale and bias of the logistic curve through (cosine, match) pairs; `balanced`: both classes weigh the same."""
    regression = LogisticRegression(C=1e6, class_weight="balanced" if balanced else None)
    regression.fit(cosines.reshape(-1, 1), matches.reshape(-1))
    return float(regression.coef_[0, 0]), float(regression.intercept_[0])
