# SPDX-License-Identifier: Apache-2.0
"""One object for both inputs of an ECG-text model: the feature extractor for signals, a tokenizer for reports."""

from transformers import BatchFeature, ProcessorMixin

from .errors import ECGInputError


class ECGProcessor(ProcessorMixin):
    r"""Calls the feature extractor on `ecg` and the tokenizer on `text`; either may be left out.

    Args:
        feature_extractor ([`ECGFeatureExtractor`]): see there for `sampling_rate`, `lead_names`, `unit` and `gain`.
        tokenizer: any tokenizer of transformers. Texts are padded to the longest and cut at its `model_max_length`.
    """

    def __init__(self, feature_extractor, tokenizer):
        super().__init__(feature_extractor, tokenizer)

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
    ) -> BatchFeature:
        """Returns what the feature extractor and the tokenizer return, in one `BatchFeature`."""
        if ecg is None and text is None:
            raise ECGInputError("ECGProcessor needs ecg, text or both.")
        if text is None and text_kwargs:
            raise ECGInputError(f"{sorted(text_kwargs)} would go to the tokenizer, but there is no text.")
        batch = {}
        if ecg is not None:
            batch.update(
                self.feature_extractor(
                    ecg,
                    sampling_rate=sampling_rate,
                    lead_names=lead_names,
                    unit=unit,
                    gain=gain,
                    windows=windows,
                    return_tensors=return_tensors,
                )
            )
        if text is not None:
            options = {"padding": True, "truncation": True, **text_kwargs}
            batch.update(self.tokenizer(text, return_tensors=return_tensors, **options))
        return BatchFeature(batch)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers, without the model's `dtype`.

        `pipeline` hands it on to the processor, and a tokenizer would keep it among what it saves, as which no type
        of torch can be written.
        """
        kwargs = {name: value for name, value in kwargs.items() if name not in ("dtype", "torch_dtype")}
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, *self.tokenizer.model_input_names]


# Saved with it: where remote code finds the class.
ECGProcessor.register_for_auto_class("AutoProcessor")
