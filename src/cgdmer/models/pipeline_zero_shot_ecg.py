# SPDX-License-Identifier: Apache-2.0
"""The pipeline `zero-shot-ecg-classification`: recordings and prompts in, a score for each prompt out."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import torch

from .errors import ECGInputError, ECGInputWarning
from .pipeline_ecg_classification import ECGPipeline
from .prompt_findings import Meaning, meaning_of

_TEXTS_AT_ONCE = 64
_MOST_NAMED = 3


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


class ZeroShotECGClassificationPipeline(ECGPipeline):
    """Score free-text findings for recordings.

    ```python
    classify = pipeline("zero-shot-ecg-classification", model="org/model")
    classify("records500/00000/00001_hr", candidate_labels=["atrial fibrillation", "normal ECG"])
    ```

    Arguments of a call, or of `pipeline` for all calls: `candidate_labels`, a list or a string with commas between the
    labels; `multi_label` (True: an independent probability for each label; False: the labels exclude each other, and
    the scores sum to one); and for arrays `sampling_rate`, `lead_names`, `unit`, and `gain`.

    Returns, for each recording, a list of rows, highest score first: `label`, `score`, and what the label was taken
    for. `known`: whether the model was trained on it (None if the model's folder does not say; the score of an unknown
    one means nothing). `finding`: the trained finding. `similarity`: of the label with a wording of it. `negated`:
    whether the label denies the finding ("no atrial fibrillation"); the score is then one minus the finding's. Not a
    medical device.
    """

    _load_processor = True
    _load_feature_extractor = False
    _own_arguments = ("candidate_labels", "multi_label")

    def __call__(self, inputs, candidate_labels=None, **kwargs):
        if candidate_labels is None:
            candidate_labels = [one.prompt for one in self._postprocess_params.get("candidate_labels", ())]
        labels = check_prompts(candidate_labels)
        return super().__call__(inputs, candidate_labels=labels, **kwargs)

    def _sanitize_parameters(self, **kwargs):
        signal, forward, postprocess = super()._sanitize_parameters(**kwargs)
        if "multi_label" in kwargs:
            postprocess["multi_label"] = kwargs["multi_label"]
        if "candidate_labels" in kwargs:
            meanings = self.meanings(check_prompts(kwargs["candidate_labels"]))
            warn_of_unknown(meanings)
            forward["text_embeds"] = self.embed_texts([one.text for one in meanings])  # once per call of the pipeline
            postprocess["candidate_labels"] = meanings
        return signal, forward, postprocess

    def meanings(self, prompts: Sequence[str]) -> list[Meaning]:
        """What each prompt is taken for."""
        findings = self.processor.findings
        found = [meaning_of(prompt, findings) for prompt in prompts]
        undecided = [number for number, one in enumerate(found) if one.known is None]
        if findings is not None and undecided:
            embeds = self.embed_texts([found[number].text for number in undecided])
            for number, cosines in zip(undecided, embeds @ self._known_wordings.T, strict=True):
                found[number] = findings.by_vector(found[number], cosines)
        return found

    @cached_property
    def _known_wordings(self) -> torch.Tensor:
        """(wordings, width) the vectors of all wordings of known findings."""
        return self.embed_texts([text for _, text in self.processor.findings.known_wordings])

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, width) unit vectors."""
        embeds = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            inputs = self.processor(text=list(texts[start : start + _TEXTS_AT_ONCE]), return_tensors="pt")
            embeds.append(self.model.get_text_features(**inputs.to(self.device)).pooler_output)
        return torch.cat(embeds)

    def window_output(self, model_inputs, **forward_parameters):
        return self.model(**model_inputs, **forward_parameters).logits_per_ecg

    def postprocess(self, model_outputs, candidate_labels, multi_label=True):
        logits = self.mean_over_windows(model_outputs) * signs_of(candidate_labels)
        meanings = {one.prompt: one for one in candidate_labels}
        rows = self.ranked(list(meanings), logits.sigmoid() if multi_label else logits.softmax(dim=0))
        return [{**row, **meanings[row["label"]].fields()} for row in rows]


def signs_of(meanings: Sequence[Meaning]) -> torch.Tensor:
    """(prompts,) -1 for a prompt that denies a finding: its logit is that of the finding, negated."""
    return torch.tensor([-1.0 if one.negated else 1.0 for one in meanings])


def warn_of_unknown(meanings: Sequence[Meaning]) -> None:
    """Warn of prompts that the model does not know.

    Warns:
        ECGInputWarning: their scores mean nothing.
    """
    if unknown := [one for one in meanings if one.known is False or one.reason]:
        named = "; ".join(f"{one.prompt!r} ({one.reason})" for one in unknown[:_MOST_NAMED])
        more = f"; and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        warnings.warn(
            f"the model does not know {named}{more}. Such a score means nothing.", ECGInputWarning, stacklevel=2
        )
