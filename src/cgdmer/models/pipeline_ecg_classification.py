# SPDX-License-Identifier: Apache-2.0
"""The pipeline `ecg-classification`: recordings in, scores for the fine-tuned model's own labels out."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline

from .devices import usable_device
from .ecg_record import is_record
from .errors import ECGInputError, ModelFolderError
from .keyword_arguments import nearest
from .reading_array_file import is_array_file
from .reading_record import read_record

SINGLE_LABEL, REGRESSION = "single_label_classification", "regression"  # of `config.problem_type`
_SIGNAL_ARGUMENTS = ("sampling_rate", "lead_names", "unit", "gain")
_RECORDING_HELP = (
    "Pass the path of a recording (WFDB, DICOM, aECG, MUSE XML, EDF), an ECGRecord, an array of shape (leads, time) "
    'with sampling_rate, lead_names, and unit, or a dict {"ecg": array, "sampling_rate": ..., "lead_names": ..., '
    '"unit": ...}.'
)


def label_scores(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """A classifier's scores (.., labels) from its logits of the same shape.

    A softmax if the labels exclude each other; of a regression, the logits themselves, which are values in the units
    of the training data; otherwise a sigmoid per label.
    """
    if problem_type == SINGLE_LABEL:
        return logits.softmax(dim=-1)
    return logits if problem_type == REGRESSION else logits.sigmoid()


def _needs_description(recording: Any) -> bool:
    """Whether a rate, leads, and a unit are stated beside a recording: of an array, and of a table of numbers."""
    if isinstance(recording, (str, os.PathLike)):
        return is_array_file(recording)
    return not is_record(recording)


class ECGPipeline(ChunkPipeline):
    """Base class of this package's pipelines: cuts any recording into windows and averages the model's outputs."""

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False
    _own_arguments: tuple[str, ...] = ()  # of a call, besides those that describe arrays

    def __init__(self, model, *args, device=None, **kwargs):
        if device is not None:
            device = usable_device(device)
        super().__init__(model, *args, device=device, **kwargs)

    def __call__(self, inputs, **kwargs):
        if isinstance(inputs, tuple):
            inputs = list(inputs)  # transformers takes a tuple for one input
        if isinstance(inputs, list) and not inputs:
            return []
        given = [name for name in _SIGNAL_ARGUMENTS if kwargs.get(name) is not None]
        several = inputs if isinstance(inputs, list) else [inputs]
        if given and not any(_needs_description(one) for one in several):
            raise ECGInputError(
                f"{given[0]} is for arrays, CSV and NPY files: another file or an ECGRecord states its own. Leave it "
                "out. If a file is wrong or does not say which lead a channel is, pass read_record(path, "
                "lead_names=...) or dataclasses.replace(read_record(path), ...)."
            )
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **kwargs) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = (*self._own_arguments, *_SIGNAL_ARGUMENTS)
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise ECGInputError(
                f"the pipeline {self.task} has no argument {unknown[0]!r}; it has {', '.join(known)}."
                f"{nearest(unknown[0], known)}"
            )
        return {name: kwargs[name] for name in _SIGNAL_ARGUMENTS if name in kwargs}, {}, {}

    def preprocess(self, inputs, **signal_arguments) -> Iterator[dict[str, Any]]:
        recording = inputs
        if isinstance(recording, (str, os.PathLike)):
            stated = signal_arguments if _needs_description(recording) else {}
            if stated.get("gain") is not None:
                raise ECGInputError("gain is for arrays, not for files. Divide the numbers by it, and pass an array.")
            recording = read_record(recording, **{name: stated[name] for name in stated if name != "gain"})
        elif isinstance(recording, dict):
            if "ecg" not in recording or not set(recording) <= {"ecg", *_SIGNAL_ARGUMENTS}:
                keys = ", ".join(map(repr, recording))
                raise ECGInputError(f"cannot read a recording from a dict with the keys {keys}. {_RECORDING_HELP}")
            if is_record(recording["ecg"]) and len(recording) > 1:
                raise ECGInputError("an ECGRecord has its own sampling rate, lead names, and unit: leave those out.")
            signal_arguments = {**signal_arguments, **recording}
            recording = signal_arguments.pop("ecg")
        if is_record(recording):
            signal_arguments = {}  # they are meant for the arrays of a mixed list
        elif not hasattr(recording, "__array__") or np.ndim(recording) not in (1, 2):
            shape = f" of shape {tuple(recording.shape)}" if hasattr(recording, "shape") else ""
            raise ECGInputError(
                f"cannot read a recording from a value of type {type(recording).__name__}{shape}. {_RECORDING_HELP}"
            )
        extractor = self.feature_extractor if self.processor is None else self.processor.feature_extractor
        batch = extractor(recording, windows=True, return_tensors="pt", **signal_arguments)
        names = ("ecg_values", "lead_mask", "patch_mask", "window_weights")
        count = len(batch["ecg_values"])
        for row in range(count):
            yield {**{name: batch[name][row : row + 1] for name in names}, "is_last": row == count - 1}

    def _forward(self, model_inputs, **forward_parameters):
        kept = {name: model_inputs.pop(name) for name in ("is_last", "window_weights")}
        model_inputs["ecg_values"] = model_inputs["ecg_values"].to(self.model.dtype)
        return {**kept, "output": self.window_output(model_inputs, **forward_parameters)}

    def window_output(self, model_inputs: dict[str, torch.Tensor], **forward_parameters: Any) -> torch.Tensor:
        """What is averaged over the windows of a recording: (windows, labels or width)."""
        raise NotImplementedError

    @staticmethod
    def mean_over_windows(model_outputs: list[dict[str, Any]]) -> torch.Tensor:
        """The mean output of one recording, in which each moment counts once: (labels or width,)."""
        outputs = torch.cat([one["output"].float() for one in model_outputs])
        weights = torch.cat([one["window_weights"] for one in model_outputs])
        return (weights[:, None] * outputs).sum(dim=0)

    @staticmethod
    def ranked(labels: list[str], scores: torch.Tensor) -> list[dict[str, Any]]:
        pairs = sorted(zip(labels, scores.tolist(), strict=True), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in pairs]


class ECGClassificationPipeline(ECGPipeline):
    """Classify recordings with a fine-tuned model of any family.

    ```python
    classify = pipeline("ecg-classification", model="my-finetuned-model")
    classify("records500/00000/00001_hr")
    ```

    Takes what `cgdmer finetune`, `transformers.Trainer`, or `save_pretrained` wrote. Returns, for each recording, a
    list of `{"label", "score"}`, highest first. Scores are what `problem_type` in the model's configuration says: a
    softmax for "single_label_classification", else a sigmoid per label. For "regression" they are values in the units
    of the training data, in the order of the model's labels. Not a medical device.
    """

    def __init__(self, model, *args, **kwargs):
        if getattr(model, "is_untrained_in_part", False):
            name = model.name_or_path
            raise ModelFolderError(
                f"{name} holds no weights of a classifier, so its answers would be random. Train one on labeled "
                f"records (cgdmer finetune {name} --dataset DATASET --output_dir FOLDER) and name its folder."
            )
        super().__init__(model, *args, **kwargs)

    def window_output(self, model_inputs, **forward_parameters):
        return self.model(**model_inputs, **forward_parameters).logits

    def postprocess(self, model_outputs):
        logits = self.mean_over_windows(model_outputs)
        problem_type = self.model.config.problem_type
        labels = [self.model.config.id2label[index] for index in range(len(logits))]
        scores = label_scores(logits, problem_type)
        if problem_type == REGRESSION:  # values of different quantities have no order
            return [{"label": label, "score": value} for label, value in zip(labels, scores.tolist(), strict=True)]
        return self.ranked(labels, scores)
