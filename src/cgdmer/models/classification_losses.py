# SPDX-License-Identifier: Apache-2.0
"""The losses of a classifier by its `problem_type`, as in transformers, and labels that contradict it.

Shapes: B batch, C outputs of the classifier.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from .errors import ECGInputError

_IGNORED = -100  # as in torch and transformers: a record without a label


def problem_of(labels: torch.Tensor) -> str:
    """The problem type that labels without one mean.

    Raises:
        ECGInputError: they could mean several.
    """
    if labels.ndim == 2 and ((labels >= 0) & (labels <= 1)).all():
        return "multi_label_classification"
    if labels.ndim == 1 and not labels.is_floating_point():
        return "single_label_classification"
    raise ECGInputError(
        f"labels has shape {tuple(labels.shape)} and type {labels.dtype}, and values other than 0 and 1. To learn "
        'measured values, set problem_type to "regression". For classes, pass (batch,) int64, or (batch, labels) of 0 '
        "and 1."
    )


def multi_label_loss(logits_BC: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy; labels (B, C) from 0 to 1."""
    if labels.shape != logits_BC.shape:
        raise _contradiction("multi_label_classification", labels, f"{tuple(logits_BC.shape)} of 0 and 1")
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ECGInputError(
            'labels has values other than 0 and 1, but problem_type is "multi_label_classification". To learn '
            'measured values, set it to "regression".'
        )
    return F.binary_cross_entropy_with_logits(logits_BC, labels.to(logits_BC.dtype))


def single_label_loss(logits_BC: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy; labels (B,), each the index of a class."""
    batch, classes = logits_BC.shape
    if classes == 1:
        raise ECGInputError(
            f"labels has shape {tuple(labels.shape)}: a choice among a single label is always right. For a label that "
            'may be absent, pass floats of shape (batch, 1). For a measured value, set problem_type to "regression".'
        )
    if labels.shape != (batch,) or labels.is_floating_point():
        raise _contradiction("single_label_classification", labels, f"({batch},) of int64")
    if not (((labels >= 0) & (labels < classes)) | (labels == _IGNORED)).all():
        raise ECGInputError(f"labels has values other than 0 to {classes - 1}, the model's classes.")
    return F.cross_entropy(logits_BC, labels.long(), ignore_index=_IGNORED)


def regression_loss(logits_BC: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean squared error; labels (B, C), or (B,) if there is one output."""
    values = labels[:, None] if labels.ndim == 1 else labels
    if values.shape != logits_BC.shape:
        raise _contradiction("regression", labels, f"{tuple(logits_BC.shape)}")
    return F.mse_loss(logits_BC, values.to(logits_BC.dtype))


def _contradiction(problem: str, labels: torch.Tensor, expected: str) -> ECGInputError:
    return ECGInputError(
        f"labels has shape {tuple(labels.shape)} and type {labels.dtype}, but problem_type is {problem!r}, which "
        f"takes {expected}. Change one of the two."
    )


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "multi_label_classification": multi_label_loss,
    "single_label_classification": single_label_loss,
    "regression": regression_loss,
}
