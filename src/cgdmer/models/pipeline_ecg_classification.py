# SPDX-License-Identifier: Apache-2.0
"""The pipeline `ecg-classification`: recordings in, the fine-tuned model's own labels out."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import ChunkPipeline

from .ecg_record import is_record
from .errors import ECGInputError, ModelFolderError
from .reading_record import read_record

_SIGNAL_ARGUMENTS = ("sampling_rate", "lead_names", "unit", "gain")
_RECORDING_HELP = (
    "Pass the path of a recording (WFDB, DICOM, aECG, MUSE XML, EDF), an ECGRecord, an array of shape (leads, time) "
    'with sampling_rate, lead_names and unit, or a dict {"ecg": array, "sampling_rate": ..., "lead_names": ..., '
    '"unit": ...}.'
)


def _kind(value: Any) -> str:
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"a value of type {type(value).__name__}{shape}"


class ECGPipeline(ChunkPipeline):
    """What the pipelines of this package share: any recording becomes windows, whose outputs are averaged."""

    def __call__(self, inputs, **kwargs):
        if isinstance(inputs, tuple):
            inputs = list(inputs)  # transformers takes a tuple for one input
        if isinstance(inputs, list) and not inputs:
            return []
        given = [name for name in _SIGNAL_ARGUMENTS if kwargs.get(name) is not None]
        several = inputs if isinstance(inputs, list) else [inputs]
        if given and all(isinstance(one, (str, os.PathLike)) or is_record(one) for one in several):
            raise ECGInputError(
                f"{given[0]} is for arrays: a file or an ECGRecord states its own. Leave it out; where a file is "
                "wrong, pass dataclasses.replace(read_record(path), ...)."
            )
        return super().__call__(inputs, **kwargs)

    def _signal_parameters(self, kwargs: dict[str, Any], others: tuple[str, ...] = ()) -> dict[str, Any]:
        """Those arguments of a call that describe its arrays; `others` are the pipeline's further arguments."""
        unknown = sorted(set(kwargs) - {*_SIGNAL_ARGUMENTS, *others})
        if unknown:
            known = ", ".join((*others, *_SIGNAL_ARGUMENTS))
            raise ECGInputError(f"the pipeline {self.task} has no argument {unknown[0]!r}; it has {known}.")
        return {name: kwargs[name] for name in _SIGNAL_ARGUMENTS if name in kwargs}

    def _extractor(self):
        return self.feature_extractor if self.processor is None else self.processor.feature_extractor

    def preprocess(self, inputs, **signal_arguments) -> Iterator[dict[str, Any]]:
        recording = inputs
        if isinstance(recording, (str, os.PathLike)):
            recording = read_record(recording)
        elif isinstance(recording, dict):
            unknown = set(recording) - {"ecg", *_SIGNAL_ARGUMENTS}
            if unknown or "ecg" not in recording:
                keys = ", ".join(map(repr, inputs))
                raise ECGInputError(f"cannot read a recording from a dict with the keys {keys}. {_RECORDING_HELP}")
            if is_record(recording["ecg"]) and len(recording) > 1:
                raise ECGInputError("an ECGRecord brings its own sampling rate, lead names and unit: leave those out.")
            signal_arguments = {**signal_arguments, **recording}
            recording = signal_arguments.pop("ecg")
        if is_record(recording):
            signal_arguments = {}  # they are meant for the arrays of a mixed list
        elif not hasattr(recording, "__array__") or np.ndim(recording) != 2:
            raise ECGInputError(f"cannot read a recording from {_kind(recording)}. {_RECORDING_HELP}")
        batch = self._extractor()(recording, windows=True, return_tensors="pt", **signal_arguments)
        names = ("ecg_values", "lead_mask", "patch_mask", "window_weights")
        count = len(batch["ecg_values"])
        for row in range(count):
            yield {**{name: batch[name][row : row + 1] for name in names}, "is_last": row == count - 1}

    def _forward(self, model_inputs, **forward_parameters):
        kept = {name: model_inputs.pop(name) for name in ("is_last", "window_weights")}
        model_inputs["ecg_values"] = model_inputs["ecg_values"].to(self.model.dtype)
        return {**kept, "logits": self.model_logits(model_inputs, **forward_parameters)}

    def model_logits(self, model_inputs: dict[str, torch.Tensor], **forward_parameters: Any) -> torch.Tensor:
        raise NotImplementedError

    @staticmethod
    def mean_logits(model_outputs: list[dict[str, Any]]) -> torch.Tensor:
        """Average over the windows of one recording, in which each moment counts once: (labels,)."""
        logits = torch.cat([outputs["logits"].float() for outputs in model_outputs])
        weights = torch.cat([outputs["window_weights"] for outputs in model_outputs])
        return (weights[:, None] * logits).sum(dim=0)

    @staticmethod
    def ranked(labels: list[str], scores: torch.Tensor) -> list[dict[str, Any]]:
        pairs = sorted(zip(labels, scores.tolist(), strict=True), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in pairs]


class ECGClassificationPipeline(ECGPipeline):
    """Classify recordings with a model that `cgdmer finetune` left, of any family.

    ```python
    classify = pipeline("ecg-classification", model="my-finetuned-model")
    classify("records500/00000/00001_hr")
    ```

    Returns, for each recording, a list of `{"label", "score"}`, highest first: a sigmoid for each label when the
    model was trained with several labels a record, else a softmax. Not a medical device.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, model, *args, **kwargs):
        if getattr(model, "is_untrained_in_part", False):
            name = model.name_or_path
            raise ModelFolderError(
                f"{name} holds no weights of a classifier: it would answer by chance. Train one on labelled records "
                f"(cgdmer finetune {name} --dataset DATASET --output_dir FOLDER) and name its folder."
            )
        super().__init__(model, *args, **kwargs)

    def _sanitize_parameters(self, **kwargs):
        return self._signal_parameters(kwargs), {}, {}

    def model_logits(self, model_inputs, **forward_parameters):
        return self.model(**model_inputs, **forward_parameters).logits

    def postprocess(self, model_outputs):
        logits = self.mean_logits(model_outputs)
        single = self.model.config.problem_type == "single_label_classification"
        labels = [self.model.config.id2label[index] for index in range(len(logits))]
        return self.ranked(labels, logits.softmax(dim=0) if single else logits.sigmoid())
