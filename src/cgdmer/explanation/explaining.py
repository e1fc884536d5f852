# SPDX-License-Identifier: Apache-2.0
"""Why a recording got its score: relevance per lead and patch, checked by occlusion.

Relevance is measured by integrated gradients from a flat line. On simulated ST elevation, with a model that knows the
finding, they put more relevance in the right leads than gradient times input does (`benchmarks/relevance.py`). The
gradient at the tokens of the patches did worse still (0.79 and 0.64 of the top tenth against 0.93 and 0.94, on 12
records of each wall).
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from cgdmer.about import RESEARCH_USE_ONLY
from cgdmer.explanation.relevance import (
    LabelLogit,
    integrated_gradients,
    occluded_pieces,
    occlusion_relevance,
    present_in,
)
from cgdmer.inference.scorers import ZERO_SHOT_TYPE, Scorer, load_scorer, shown_score
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import ECGInputError
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.pipeline_ecg_classification import REGRESSION
from cgdmer.models.reading_record import read_record
from cgdmer.models.record_use import RecordUse
from cgdmer.models.recorded_span import recorded_span
from cgdmer.models.resampling import resampled_length

_WINDOWS_AT_ONCE = 20  # a 24-hour recording has thousands


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of one window of a recording for one label.

    Attributes:
        label: the finding in free text, or a classifier's label.
        score: the score of the whole recording, 0 to 1, or the value of a regression, as `cgdmer classify` gives it.
        window_score: the score of the explained window; the same if the recording has one window.
        window: that window as the model saw it, but neither filtered nor resampled: short gaps are interpolated, and
            limb leads that are absent or flat are derived.
        start_seconds: where the window begins in the recording.
        num_windows: the number of windows in the recording.
        patch_seconds: the duration of a patch.
        present: (12, patches) bool, the patches that the model saw.
        relevance: (12, patches) float32 in the order of `STANDARD_LEADS`, in units of the score's logit (the log odds
            of the label), or of the value of a regression; positive values raise the score. Exactly 0 where nothing is
            present.
        rest: the logit of the window minus that of a flat line, minus the sum of the relevance.
        occlusion: (12, patches) relevance measured in another way: the fall of the logit without two seconds of a
            lead, shared equally among their patches; None if that was not asked for.
        agreement: Spearman's rank correlation of the two over these pieces; None without occlusion, or if either is
            constant.
        problem_type: what the score is, see `Scorer`.
        record_use: what was used of the recording.
    """

    label: str
    score: float
    window_score: float
    window: ECGRecord
    start_seconds: float
    num_windows: int
    patch_seconds: float
    present: np.ndarray
    relevance: np.ndarray
    rest: float
    occlusion: np.ndarray | None
    agreement: float | None
    problem_type: str = ZERO_SHOT_TYPE
    record_use: RecordUse | None = None

    @property
    def is_regression(self) -> bool:
        return self.problem_type == REGRESSION

    def shown(self, score: float) -> str:
        """See `shown_score`."""
        return shown_score(score, self.problem_type)

    def share_by_lead(self) -> dict[str, float]:
        """Each lead's share of what raises the score, largest first; leads without a share are left out."""
        raising = np.maximum(self.relevance, 0.0).sum(axis=1)
        shares = {
            lead: float(part / raising.sum()) for lead, part in zip(STANDARD_LEADS, raising, strict=True) if part > 0
        }
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    def as_json(self) -> dict[str, Any]:
        """Everything but the signal, in a form that JSON can hold."""
        return {
            "record": self.window.record_id,
            "label": self.label,
            "score": self.score,
            "problem_type": self.problem_type,
            "window": {
                "score": self.window_score,
                "start_seconds": self.start_seconds,
                "seconds": self.window.signal.shape[1] / self.window.sampling_rate,
                "of": self.num_windows,
            },
            "leads": list(STANDARD_LEADS),
            "patch_seconds": self.patch_seconds,
            "present": self.present.tolist(),
            "relevance": self.relevance.tolist(),
            "rest": self.rest,
            "occlusion": None if self.occlusion is None else self.occlusion.tolist(),
            "rank_correlation": self.agreement,
            "share_by_lead": self.share_by_lead(),
            "record_use": None if self.record_use is None else self.record_use.as_json(),
            "note": RESEARCH_USE_ONLY,
        }


def explain_record(scorer: Scorer, record: ECGRecord, label: str | None = None, occluded: bool = True) -> Explanation:
    """Find the leads and moments that the score of a label comes from.

    Everything is computed in single precision: half precision would round most falls by occlusion to a few values. In
    a recording longer than the model's window, the window with the highest score is explained: a finding such as a
    premature beat is in one window, and a sum over all windows would say less about each.

    Args:
        scorer: see `cgdmer.inference.scorers.load_scorer`.
        record: signal in millivolts with its rate and leads.
        label: a finding in free text; for a classifier, one of its labels, or None for the one with the highest score.
        occluded: check the relevance against occlusion, which takes as long again.

    Raises:
        ECGInputError: the label is empty or missing, the classifier does not know it, or the recording cannot be used.
    """
    if scorer.model.dtype != torch.float32:
        pipeline = copy.copy(scorer.pipeline)  # leave the caller's own as it is
        pipeline.model = copy.deepcopy(pipeline.model).float()
        scorer = Scorer(pipeline)
    head, extractor = scorer.head(None if label is None else [label]), scorer.feature_extractor
    if scorer.is_regression and len(head.labels) > 1:
        raise ECGInputError(f"label is missing. Name the value to explain, one of {', '.join(head.labels)}.")
    batch = extractor(record, windows=True, return_tensors="pt")

    def windows(start: int, end: int) -> dict[str, torch.Tensor]:
        return {name: batch[name][start:end].to(scorer.device) for name in extractor.model_input_names}

    def logits(start: int) -> torch.Tensor:
        outputs = scorer.model.base_model(**windows(start, start + _WINDOWS_AT_ONCE), return_dict=True)
        return head.logits(head.features(outputs))

    with torch.no_grad():
        logits_WK = torch.cat([logits(start) for start in range(0, len(batch["ecg_values"]), _WINDOWS_AT_ONCE)])
        of_windows_WP = head.scores(logits_WK)
        score_P = head.scores((batch["window_weights"].to(logits_WK.device)[:, None] * logits_WK).sum(dim=0))
        column = int(score_P.argmax())
        chosen = int(head.log_odds(logits_WK)[:, column].argmax())
    logit_of = LabelLogit(scorer.model, head, column)
    inputs = windows(chosen, chosen + 1)
    present = present_in(inputs)
    relevance, rest = integrated_gradients(logit_of, inputs)
    occlusion, agreement = None, None
    if occluded:
        pieces = occluded_pieces(logit_of.encoder, inputs)
        fall = occlusion_relevance(logit_of, inputs, pieces)
        agreement = _rank_correlation(*((one * pieces).sum(dim=(1, 2)) for one in (relevance, fall)))
        occlusion = fall.cpu().numpy()
    window, start_seconds = _window_of(record, extractor, chosen)
    return Explanation(
        label=head.labels[column],
        score=float(score_P[column]),
        window_score=float(of_windows_WP[chosen, column]),
        window=window,
        start_seconds=start_seconds,
        num_windows=len(logits_WK),
        patch_seconds=extractor.patch_length / extractor.sampling_rate,
        present=present.cpu().numpy(),
        relevance=relevance.cpu().numpy(),
        rest=rest,
        occlusion=occlusion,
        agreement=agreement,
        problem_type=scorer.problem_type,
        record_use=batch.record_use[0],
    )


def explain_recording(
    record: str | os.PathLike[str] | ECGRecord,
    label: str | None = None,
    model: str | os.PathLike[str] | None = None,
    leads: Sequence[str] | None = None,
) -> Explanation:
    """Find the leads and moments of a recording that the score of a label comes from: see `explain_record`.

    Args:
        record: the path of a recording (WFDB, DICOM, aECG, MUSE XML, EDF), or an `ECGRecord`.
        label: a finding in free text; for a classifier, one of its labels, or None for the one with the highest score.
        model: a folder or Hub id; None: the model that comes with the package.
        leads: the leads to use, if the file has other channels too; None: all.

    Raises:
        RecordFileError: the file is absent or damaged, or lacks something that must not be guessed.
        ECGInputError: the label is empty or unknown, or the recording cannot be used.
        ModelFolderError: the model has neither a text tower nor a classifier, or is damaged.

    Example:
        >>> record = cgdmer.simulate_record(["atrial_fibrillation"])
        >>> cgdmer.explain_recording(record, "atrial fibrillation").relevance.shape
        (12, 25)
    """
    if not isinstance(record, ECGRecord):
        record = read_record(record, leads)
    elif leads is not None:
        record = keep_leads(record, leads)
    return explain_record(load_scorer(model), record, label)


def _window_of(record: ECGRecord, extractor, number: int) -> tuple[ECGRecord, float]:
    """The part of the recording that window `number` was made from, with its leads, and where it begins in seconds."""
    signal, present_L = extractor.twelve_leads(record)
    before, _ = recorded_span(record.signal, record.sampling_rate)
    seconds = extractor.num_samples / extractor.sampling_rate
    length = resampled_length(signal.shape[1], record.sampling_rate, extractor.sampling_rate)
    start = float(extractor.windows_of(length)[0][number]) / extractor.sampling_rate
    samples = round(seconds * record.sampling_rate)
    begin = max(min(round(start * record.sampling_rate), signal.shape[1] - samples), 0)
    piece = signal[present_L, begin : begin + samples]
    window = ECGRecord(
        signal=piece.astype(np.float32),
        sampling_rate=record.sampling_rate,
        lead_names=tuple(np.array(STANDARD_LEADS)[present_L]),
        record_id=record.record_id,
    )
    return window, before / record.sampling_rate + start


def _rank_correlation(first: torch.Tensor, second: torch.Tensor) -> float | None:
    if first.unique().numel() < 2 or second.unique().numel() < 2:
        return None
    return float(stats.spearmanr(first.cpu().numpy(), second.cpu().numpy()).statistic)
