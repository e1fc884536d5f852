# SPDX-License-Identifier: Apache-2.0
"""One object for both inputs of an ECG-text model: the feature extractor for signals, a tokenizer for reports."""

import inspect
import os

from transformers import ProcessorMixin

from .errors import ECGInputError
from .keyword_arguments import refuse_unknown_arguments
from .prompt_findings import Findings
from .record_use import ECGBatch

_NOT_OPTIONS = ("text", "kwargs", "text_target", "text_pair_target")  # of a tokenizer
_OF_DOWNLOADS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class ECGProcessor(ProcessorMixin):
    r"""Calls the feature extractor on `ecg` and the tokenizer on `text`; either may be left out.

    Args:
        feature_extractor ([`ECGFeatureExtractor`]): explains `sampling_rate`, `lead_names`, `unit`, and `gain`.
        tokenizer: any transformers tokenizer. Texts are padded to the longest and cut at its `model_max_length`.

    Attributes:
        findings ([`Findings`]): which findings the model was trained to tell apart; None if its folder does not say.
    """

    def __init__(self, feature_extractor, tokenizer):
        super().__init__(feature_extractor, tokenizer)
        self.findings: Findings | None = None

    def __call__(
        self,
        ecg=None,
        text=None,
        sampling_rate=None,
        lead_names=None,
        unit=None,
        gain=None,
        windows=False,
        return_tensors=None,
        **text_kwargs,
    ) -> ECGBatch:
        """The outputs of the feature extractor and the tokenizer in one batch, with its attribute `record_use`."""
        own = inspect.signature(self.tokenizer.__call__).parameters
        refuse_unknown_arguments(text_kwargs, self.__call__, self, [name for name in own if name not in _NOT_OPTIONS])
        if ecg is None and text is None:
            raise ECGInputError("ECGProcessor needs ecg, text, or both.")
        if text is None and text_kwargs:
            raise ECGInputError(f"{sorted(text_kwargs)} would go to the tokenizer, but there is no text.")
        batch = ECGBatch()
        if ecg is not None:
            batch = self.feature_extractor(ecg, sampling_rate, lead_names, unit, gain, windows, return_tensors)
        if text is not None:
            options = {"padding": True, "truncation": True, **text_kwargs}
            batch.update(self.tokenizer(text, return_tensors=return_tensors, **options))
        return batch

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers, but ignores the model's `dtype`, and never asks whether to run a tokenizer's own code.

        `pipeline` passes the type to the processor too, and a tokenizer would try to save it, which fails for a torch
        type. The code runs with `trust_remote_code=True` alone.
        """
        kwargs = {name: value for name, value in kwargs.items() if name not in ("dtype", "torch_dtype")}
        kwargs["trust_remote_code"] = bool(kwargs.get("trust_remote_code"))
        download = {name: kwargs[name] for name in _OF_DOWNLOADS if kwargs.get(name) is not None}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        loaded.findings = Findings.of_model(pretrained_model_name_or_path, **download)
        return loaded

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """As in transformers, and the findings are saved too."""
        os.makedirs(save_directory, exist_ok=True)
        if self.findings is not None:
            self.findings.save(save_directory)
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, *self.tokenizer.model_input_names]


# Saved with the model, so that remote code finds the class.
ECGProcessor.register_for_auto_class("AutoProcessor")
