# SPDX-License-Identifier: Apache-2.0
"""The pipeline `zero-shot-ecg-classification`: recordings and prompts in, a score for each prompt out."""

import warnings
from collections.abc import Sequence

import torch

from .errors import ECGInputError, ECGInputWarning
from .negation import asks_to_compare, without_denial
from .pipeline_ecg_classification import ECGPipeline


def check_prompts(prompts: str | Sequence[str]) -> list[str]:
    """The prompts as a list; a string is split at its commas.

    Raises:
        ECGInputError: there is none, or one is empty, given twice, or not a text.
    """
    if isinstance(prompts, str):
        prompts = [part.strip() for part in prompts.split(",") if part.strip()]
    prompts = list(prompts) if prompts is not None else []
    if not prompts:
        raise ECGInputError('no candidate_labels: pass at least one, e.g. ["atrial fibrillation", "normal ECG"].')
    seen = set()
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise ECGInputError(f"candidate label {prompt!r} is empty or not a text.")
        if prompt in seen:
            raise ECGInputError(f"candidate label {prompt!r} is given more than once.")
        seen.add(prompt)
    return prompts


def signs_of(prompts: Sequence[str]) -> torch.Tensor:
    """(prompts,) -1 for a prompt that denies a finding: its logit is that of the finding, negated."""
    return torch.tensor([-1.0 if without_denial(prompt)[1] else 1.0 for prompt in prompts])


class ZeroShotECGClassificationPipeline(ECGPipeline):
    """Score free-text findings for recordings.

    ```python
    classify = pipeline("zero-shot-ecg-classification", model="org/model")
    classify("records500/00000/00001_hr", candidate_labels=["atrial fibrillation", "normal ECG"])
    ```

    Arguments of a call, or of `pipeline` for all calls: `candidate_labels`, a list or a string with commas between the
    labels; `multi_label` (True: an independent probability for each label; False: the labels exclude each other, and
    the scores sum to one); and for arrays `sampling_rate`, `lead_names`, `unit`, and `gain`. Returns, for each
    recording, a list of `{"label", "score"}`, highest first. A label that denies a finding ("no atrial fibrillation")
    has one minus the finding's score, and `"negated": True`. Not a medical device.
    """

    _load_processor = True
    _load_feature_extractor = False
    _own_arguments = ("candidate_labels", "multi_label")

    def __call__(self, inputs, candidate_labels=None, **kwargs):
        if candidate_labels is None:
            candidate_labels = self._postprocess_params.get("candidate_labels")
        labels = check_prompts(candidate_labels)
        return super().__call__(inputs, candidate_labels=labels, **kwargs)

    def _sanitize_parameters(self, **kwargs):
        signal, forward, postprocess = super()._sanitize_parameters(**kwargs)
        if "multi_label" in kwargs:
            postprocess["multi_label"] = kwargs["multi_label"]
        if "candidate_labels" in kwargs:
            labels = check_prompts(kwargs["candidate_labels"])
            forward["text_embeds"] = self.embed_prompts(labels)  # once per call, not once per recording
            postprocess["candidate_labels"] = labels
        return signal, forward, postprocess

    @torch.no_grad()
    def embed_prompts(self, prompts: list[str]) -> torch.Tensor:
        """(prompts, width) unit vectors; of a denied finding, that of the finding (see `signs_of`).

        A period at the end of a prompt means nothing, but would move its vector.

        Warns:
            ECGInputWarning: a prompt asks for a comparison, which the model cannot make.
        """
        if compares := [prompt for prompt in prompts if asks_to_compare(prompt)]:
            warnings.warn(
                f"the model knows findings, and compares neither numbers nor recordings: the score of {compares[0]!r} "
                "does not mean what it says. Name a finding instead.",
                ECGInputWarning,
                stacklevel=3,
            )
        findings = [without_denial(prompt)[0] for prompt in prompts]
        texts = [finding.rstrip(" .;:") or finding for finding in findings]
        inputs = self.processor(text=texts, return_tensors="pt").to(self.device)
        return self.model.get_text_features(**inputs).pooler_output

    def window_output(self, model_inputs, **forward_parameters):
        return self.model(**model_inputs, **forward_parameters).logits_per_ecg

    def postprocess(self, model_outputs, candidate_labels, multi_label=True):
        logits = self.mean_over_windows(model_outputs) * signs_of(candidate_labels)
        rows = self.ranked(candidate_labels, logits.sigmoid() if multi_label else logits.softmax(dim=0))
        return [{**row, "negated": True} if without_denial(row["label"])[1] else row for row in rows]
