# SPDX-License-Identifier: Apache-2.0
"""Why a recording got its score: relevance per lead and patch, checked by occlusion.

Relevance is integrated gradients from a flat line. On simulated ST elevation, with a model that knows the finding,
they put more of it in the right leads than gradient times input does (`benchmarks/relevance.py`); with the gradient at
the patches' tokens it was less still (0.79 and 0.64 of the top tenth against 0.93 and 0.94, 12 records of each wall).
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
from cgdmer.explanation.relevance import integrated_gradients, occlusion_relevance, present_in, prompt_logits
from cgdmer.families import load_classifier
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.leads import STANDARD_LEADS, recorded_span
from cgdmer.models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline, check_prompts
from cgdmer.models.reading_record import read_record
from cgdmer.models.resampling import resampled_length
from cgdmer.models.windows import cut_windows

_WINDOWS_AT_ONCE = 20  # that the model takes; a recording of a day has thousands


@dataclass(frozen=True, eq=False)
class Explanation:
    """The relevance of one window of a recording for one label.

    Attributes:
        label: the finding in free text.
        score: of the whole recording, 0 to 1, as `cgdmer classify` gives it.
        window_score: of the window that is explained; the same for a recording of one window.
        window: that part of the recording as the model was given it, but not filtered or resampled: short gaps
            interpolated, and limb leads derived that are absent, or stand still.
        start_seconds: where it begins in the recording.
        num_windows: how many the recording has.
        patch_seconds: how long a patch lasts.
        present: (12, patches) bool, which patches the model had.
        relevance: (12, patches) float32 in the order of `STANDARD_LEADS`, in units of the score's logit: what is
            above 0 raises the score. Exactly 0 where nothing is present.
        rest: the logit of the window minus that of a flat line, less the sum of the relevance.
        occlusion: relevance in another way: by how much the logit falls without the patch.
        agreement: Spearman's rank correlation of both over the patches present; None where one of them is constant.
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
    occlusion: np.ndarray
    agreement: float | None

    def share_by_lead(self) -> dict[str, float]:
        """How what raises the score is divided among the leads that have some of it, largest share first."""
        raising = np.maximum(self.relevance, 0.0).sum(axis=1)
        shares = {
            lead: float(part / raising.sum()) for lead, part in zip(STANDARD_LEADS, raising, strict=True) if part > 0
        }
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    def as_json(self) -> dict[str, Any]:
        """What can be written as JSON: everything but the signal."""
        return {
            "record": self.window.record_id,
            "label": self.label,
            "score": self.score,
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
            "occlusion": self.occlusion.tolist(),
            "rank_correlation": self.agreement,
            "share_by_lead": self.share_by_lead(),
            "note": RESEARCH_USE_ONLY,
        }


def explain_record(classify: ZeroShotECGClassificationPipeline, record: ECGRecord, label: str) -> Explanation:
    """Which leads and which moments the score of a label comes from.

    Computed in single precision: in half precision most falls by occlusion would be rounded to a few values. A
    recording longer than the model's window is explained where its score is highest: one window, because a finding
    such as a premature beat is in one of them, and the sum over all would say less about each.

    Args:
        classify: a pipeline `zero-shot-ecg-classification`.
        record: signal in millivolts with its rate and leads.
        label: a finding in free text.

    Raises:
        ECGInputError: the label is empty, or the recording cannot be used.
    """
    (label,) = check_prompts([label])
    if classify.model.dtype != torch.float32:
        classify = copy.copy(classify)  # the caller's own stays as it is
        classify.model = copy.deepcopy(classify.model).float()
    model, extractor = classify.model, classify.processor.feature_extractor
    batch = extractor(record, windows=True, return_tensors="pt")

    def windows(start: int, end: int) -> dict[str, torch.Tensor]:
        return {name: batch[name][start:end].to(classify.device) for name in extractor.model_input_names}

    text_embed = classify.embed_prompts([label])[0]
    starts = range(0, len(batch["ecg_values"]), _WINDOWS_AT_ONCE)
    with torch.no_grad():
        parts = [prompt_logits(model, windows(start, start + _WINDOWS_AT_ONCE), text_embed) for start in starts]
    logits = torch.cat(parts)
    chosen = int(logits.argmax())
    inputs = windows(chosen, chosen + 1)
    present = present_in(inputs)
    relevance, rest = integrated_gradients(model, inputs, text_embed)
    occlusion = occlusion_relevance(model, inputs, text_embed)
    window, start_seconds = _window_of(record, extractor, chosen)
    return Explanation(
        label=label,
        score=float((batch["window_weights"].to(logits.device) * logits).sum().sigmoid()),
        window_score=float(logits[chosen].sigmoid()),
        window=window,
        start_seconds=start_seconds,
        num_windows=len(logits),
        patch_seconds=extractor.patch_length / extractor.sampling_rate,
        present=present.cpu().numpy(),
        relevance=relevance.cpu().numpy(),
        rest=rest,
        occlusion=occlusion.cpu().numpy(),
        agreement=_rank_correlation(relevance[present], occlusion[present]),
    )


def explain_recording(
    record: str | os.PathLike[str] | ECGRecord,
    label: str,
    model: str | os.PathLike[str] | None = None,
    leads: Sequence[str] | None = None,
) -> Explanation:
    """Which leads and which moments of a recording the score of a label comes from: see `explain_record`.

    Args:
        record: the path of a recording (WFDB, DICOM, aECG, MUSE XML, EDF), or an `ECGRecord`.
        label: a finding in free text.
        model: a folder or Hub id; None: the one that comes with the package.
        leads: of a file with other channels too, the leads to use; None: all.

    Raises:
        RecordFileError: the file is absent, damaged, or silent about something that must not be guessed.
        ECGInputError: the label is empty, or the recording cannot be used.
        ModelFolderError: the model takes no texts, or is damaged.

    Example:
        >>> explanation = explain_recording(cgdmer.simulate_record(["atrial_fibrillation"]), "atrial fibrillation")
        >>> explanation.relevance.shape
        (12, 25)
    """
    if not isinstance(record, ECGRecord):
        record = read_record(record, leads)
    elif leads is not None:
        record = keep_leads(record, leads)
    return explain_record(load_classifier(model), record, label)


def _window_of(record: ECGRecord, extractor, number: int) -> tuple[ECGRecord, float]:
    """What of the recording window `number` was made of, with the leads in it, and where it begins in seconds."""
    signal, present_L = extractor.twelve_leads(record)
    before, _ = recorded_span(record.signal, record.sampling_rate)
    seconds = extractor.num_samples / extractor.sampling_rate
    length = resampled_length(signal.shape[1], record.sampling_rate, extractor.sampling_rate)
    start = float(cut_windows(length, extractor.num_samples)[0][number]) / extractor.sampling_rate
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
