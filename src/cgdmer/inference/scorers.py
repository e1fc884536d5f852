# SPDX-License-Identifier: Apache-2.0
"""Scores of labels for recordings, whatever a model was trained for: any text, or a classifier's own labels.

Commands, the page, explanations, exports, and evaluations use a `Scorer` and its `LabelHead`. They do not ask what
kind of model it is.

Shapes: R recordings or windows, E width of what is averaged over windows, K outputs
of the model, P labels.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from cgdmer.families import extractor_of, load_scoring_pipeline
from cgdmer.inference.embedding_cache import weights_digest
from cgdmer.inference.embeddings import embed_records
from cgdmer.inference.familiarity import FILE_NAME as FAMILIARITY_FILE
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.operating_points import OperatingPoints
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import ConfigurationError, ECGInputError, ModelFolderError
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel, project_ecg
from cgdmer.models.pipeline_ecg_classification import REGRESSION, SINGLE_LABEL, ECGPipeline, label_scores
from cgdmer.models.pipeline_zero_shot_ecg import check_prompts, signs_of, warn_of_unknown
from cgdmer.models.prompt_findings import Meaning
from cgdmer.models.record_use import RecordUse
from cgdmer.presets import SHIPPED_MODEL, model_source

ZERO_SHOT_TYPE = "zero_shot"  # beside the values of `problem_type` in transformers
_LABELS_SHOWN = 20


class LabelHead(nn.Module):
    """From the encoder's feature of a recording to the scores of P labels.

    Attributes:
        labels: P texts.
        width, num_logits: E and K.
        meanings: what each text was taken for; None for a classifier's own labels.
    """

    meanings: list[Meaning] | None = None

    def __init__(self, labels: Sequence[str], width: int, num_logits: int):
        super().__init__()
        self.labels, self.width, self.num_logits = list(labels), width, num_logits

    def features(self, outputs: ModelOutput) -> torch.Tensor:
        """(R, E) from the encoder's output, to be averaged over the windows of a recording."""
        raise NotImplementedError

    def logits(self, features_RE: torch.Tensor) -> torch.Tensor:
        """(R, K). An affine map: the logits of a mean are the mean of the logits."""
        raise NotImplementedError

    def of_labels(self, logits_RK: torch.Tensor) -> torch.Tensor:
        """(R, P) the logits of the labels, in their order."""
        return logits_RK

    def scores(self, logits_RK: torch.Tensor) -> torch.Tensor:
        """(R, P) in 0..1, or the values of a regression."""
        raise NotImplementedError

    def log_odds(self, logits_RK: torch.Tensor) -> torch.Tensor:
        """(R, P), whose sigmoid is the score; of a regression, the values. Relevance explains these."""
        raise NotImplementedError


class TextHead(LabelHead):
    """Scores of texts: the ECG's embedding compared with those of the texts. A denied finding has minus its logit."""

    text_embeds_PE: torch.Tensor
    signs_P: torch.Tensor

    def __init__(self, model: ECGTextModel, meanings: Sequence[Meaning], text_embeds_PE: torch.Tensor):
        super().__init__([one.prompt for one in meanings], model.config.projection_size, len(meanings))
        self.meanings = list(meanings)
        self.projection = model.head_of("ecg")
        self.score_logits = model.score_logits
        self.register_buffer("text_embeds_PE", text_embeds_PE)
        self.register_buffer("signs_P", signs_of(meanings).to(text_embeds_PE.device))

    def features(self, outputs: ModelOutput) -> torch.Tensor:
        return project_ecg(self.projection, outputs)

    def logits(self, features_RE: torch.Tensor) -> torch.Tensor:
        logits_RP = self.score_logits(features_RE @ self.text_embeds_PE.to(features_RE.dtype).T)
        return logits_RP * self.signs_P.to(logits_RP.dtype)

    def scores(self, logits_RK: torch.Tensor) -> torch.Tensor:
        return logits_RK.sigmoid()

    def log_odds(self, logits_RK: torch.Tensor) -> torch.Tensor:
        return logits_RK


class ClassifierHead(LabelHead):
    """Scores of some of a classifier's labels, as its problem type defines them over all of its labels."""

    columns_P: torch.Tensor

    def __init__(self, model: ECGPreTrainedModel, labels: Sequence[str]):
        super().__init__(labels, model.base_model.config.hidden_size, model.config.num_labels)
        self.classifier = model.classifier
        self.problem_type = model.config.problem_type
        own = own_labels(model)
        columns = [own.index(label) for label in labels]
        self.register_buffer("columns_P", torch.tensor(columns, device=model.device))

    def features(self, outputs: ModelOutput) -> torch.Tensor:
        pooled_RD: torch.Tensor = outputs.pooler_output
        return pooled_RD

    def logits(self, features_RE: torch.Tensor) -> torch.Tensor:
        weight, bias = (each.to(features_RE.dtype) for each in (self.classifier.weight, self.classifier.bias))
        return F.linear(features_RE, weight, bias)

    def of_labels(self, logits_RK: torch.Tensor) -> torch.Tensor:
        return logits_RK.index_select(-1, self.columns_P)

    def scores(self, logits_RK: torch.Tensor) -> torch.Tensor:
        return self.of_labels(label_scores(logits_RK, self.problem_type))

    def log_odds(self, logits_RK: torch.Tensor) -> torch.Tensor:
        chosen_RP = self.of_labels(logits_RK)
        if self.problem_type != SINGLE_LABEL:
            return chosen_RP
        itself_PK = F.one_hot(self.columns_P, logits_RK.shape[-1]).bool()
        others_RPK = logits_RK[..., None, :].masked_fill(itself_PK, -torch.inf)
        return chosen_RP - others_RPK.logsumexp(dim=-1)


class Scorer:
    """A loaded model that scores labels for recordings.

    Args:
        pipeline: `zero-shot-ecg-classification`, which scores any text, or `ecg-classification`, which scores the
            labels that its model was trained on.

    Attributes:
        model, device: of the pipeline.
        feature_extractor: the model's own.
        own_labels: a classifier's labels; None: any text can be scored.
        operating_points: with which scores become probabilities and decisions; None: the model was not calibrated.
        familiarity: what the training recordings look like to the model; None: its folder does not say.
        problem_type: what the scores are: "zero_shot" or, as in transformers, "multi_label_classification" (each by
            itself), "single_label_classification" (they add up to one), or "regression" (values in the units of the
            training data).
    """

    def __init__(
        self,
        pipeline: ECGPipeline,
        operating_points: OperatingPoints | None = None,
        familiarity: Familiarity | None = None,
    ):
        self.pipeline = pipeline
        self.operating_points, self.familiarity = operating_points, familiarity
        self.model: Any = pipeline.model
        self.device = pipeline.device
        self.feature_extractor = extractor_of(pipeline.processor or pipeline.feature_extractor)
        self.own_labels = None if self.model.takes_texts else own_labels(self.model)
        self.problem_type: str = ZERO_SHOT_TYPE
        if self.own_labels is not None:
            self.problem_type = self.model.config.problem_type or "multi_label_classification"

    @property
    def is_regression(self) -> bool:
        return self.problem_type == REGRESSION

    def shown(self, score: float | None) -> str:
        """See `shown_score`."""
        return shown_score(score, self.problem_type)

    def __call__(
        self, record: Any, labels: Sequence[str] | None = None, exclusive: bool = False
    ) -> list[dict[str, Any]]:
        """The scores of one recording, `[{"label", "score"}, ...]`: highest first; of a regression, in its order.

        For findings in free text, a row also says what the label was taken for, see the pipeline. With a calibrated
        model, a row has `positive` and `threshold` too, see `OperatingPoints.applied`; not if labels exclude each
        other.

        Args:
            record: an `ECGRecord`, or the path of a recording.
            labels, exclusive: see `check_labels`.

        Raises:
            ECGInputError, ConfigurationError: see `check_labels`; or the recording cannot be used.
        """
        labels = self.check_labels(labels, exclusive)
        if self.own_labels is None:
            rows = self.pipeline(record, candidate_labels=labels, multi_label=not exclusive)
        else:
            rows = [row for row in self.pipeline(record) if row["label"] in labels]
        return rows if self.operating_points is None or exclusive else self.operating_points.applied(rows)

    def familiarity_of(self, record: ECGRecord) -> float | None:
        """How familiar a recording is, see `Familiarity`; None if the model's folder does not say.

        Raises:
            ECGInputError: the recording cannot be used.
        """
        if self.familiarity is None:
            return None
        found = embed_records(self.model, self.feature_extractor, [record])
        return float(self.familiarity(found.pooled if found.embeds is None else found.embeds)[0])

    def head(self, labels: Sequence[str] | None = None) -> LabelHead:
        """What turns the encoder's feature, `model.base_model(...).pooler_output`, into scores of these labels.

        Raises:
            ECGInputError: see `check_labels`.

        Warns:
            ECGInputWarning: the model does not know a finding.
        """
        labels = self.check_labels(labels)
        if self.own_labels is None:
            meanings = self.pipeline.meanings(labels)
            warn_of_unknown(meanings)
            return TextHead(self.model, meanings, self.pipeline.embed_texts([one.text for one in meanings]))
        return ClassifierHead(self.model, labels)

    def check_labels(self, labels: Sequence[str] | None, exclusive: bool = False) -> list[str]:
        """The labels to score.

        Args:
            labels: findings in free text; for a classifier, some of its own labels, or None for all of them.
            exclusive: findings in free text exclude each other, so their scores shall add up to one.

        Raises:
            ECGInputError: there is none, one is empty or given twice, or the classifier does not know it.
            ConfigurationError: `exclusive` with a classifier, which was trained with or without it.
        """
        if self.own_labels is None:
            if labels is None:
                raise ECGInputError(
                    f"{self._name} scores findings in free text. Name them (--labels), for example "
                    '"atrial fibrillation" "normal ECG".'
                )
            return check_prompts(labels)
        if exclusive:
            raise ConfigurationError(
                f"exclusive is for findings in free text, and {self._name} is a classifier: whether its labels "
                f"exclude each other was decided in training ({self.problem_type}). Leave it out."
            )
        if labels is None:
            return list(self.own_labels)
        labels = check_prompts(labels)
        for label in labels:
            if label not in self.own_labels:
                raise ECGInputError(self._unknown(label, self.own_labels))
        return labels

    def digest(self) -> str:
        """Hexadecimal: of everything about the model that scores depend on."""
        digest = hashlib.sha256(weights_digest(self.model))
        texts = [
            self.model.config.to_json_string(),
            self.feature_extractor.to_json_string(),
            repr(self.operating_points),
            "" if self.familiarity is None else self.familiarity.digest(),
        ]
        if self.own_labels is None:
            texts.append(repr(sorted(self.pipeline.processor.tokenizer.get_vocab().items())))
            findings = self.pipeline.processor.findings
            texts.append(repr(None if findings is None else findings.findings))
        for text in texts:
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()

    @property
    def _name(self) -> str:
        return self.model.name_or_path or type(self.model).__name__

    def _unknown(self, label: str, own: Sequence[str]) -> str:
        lowered = {name.casefold(): name for name in own}
        close = difflib.get_close_matches(label.casefold(), lowered, n=1, cutoff=0.5)
        nearest = f" Did you mean {lowered[close[0]]!r}?" if close else ""
        rest = f" and {len(own) - _LABELS_SHOWN} more" if len(own) > _LABELS_SHOWN else ""
        return (
            f"{self._name} is a classifier without a label {label!r}.{nearest} Its labels: "
            f"{', '.join(own[:_LABELS_SHOWN])}{rest}. Findings in free text need a model with a text tower."
        )


def check_abstention(abstain: float | None, scorer: Scorer) -> None:
    """Refuse a share that is none, or that the model cannot tell.

    Raises:
        ConfigurationError: see above.
    """
    if abstain is None:
        return
    if not 0 <= abstain < 1:
        raise ConfigurationError(f"abstain is {abstain}; expected a share from 0 to below 1, such as 0.05.")
    if abstain and scorer.familiarity is None:
        raise ConfigurationError(
            f"{scorer.model.name_or_path} does not say what its training recordings look like (there is no "
            f"{FAMILIARITY_FILE}), so how familiar a recording is cannot be told. With 0, only recordings with "
            "doubts get no scores."
        )


def abstains(abstain: float | None, use: RecordUse, familiar: float | None) -> bool:
    """Whether a recording gets no scores: there are doubts about it, or it is too unfamiliar.

    Args:
        abstain: see `check_abstention`; None: every recording gets scores.
        familiar: see `Scorer.familiarity_of`.
    """
    return abstain is not None and (bool(use.doubts) or (familiar is not None and familiar < abstain))


def without_unknown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of scores in which a label that the model does not know has the score None, and comes last."""
    unknown = [{**row, "score": None} for row in rows if row.get("known") is False]
    return [row for row in rows if row.get("known") is not False] + unknown


def taken_for(row: Mapping[str, Any]) -> str:
    """Whether the row is positive, and what its label was taken for if that is not what it says, in words."""
    if row.get("known") is False:
        return "not known to the model"
    finding, notes = row.get("finding"), []
    if row.get("positive") is not None:
        notes.append(f"{'positive' if row['positive'] else 'negative'}, threshold {row['threshold']:.1%}")
    elif "positive" in row:
        notes.append("not calibrated")
    if finding is not None and finding.casefold() not in row["label"].casefold():
        notes.append(f"taken for: {'no ' if row['negated'] else ''}{finding}")
    return "; ".join(notes)


def shown_score(score: float | None, problem_type: str) -> str:
    """A score as text: a percentage; the value of a regression, which is none; or "?" for an unknown label."""
    if score is None:
        return "?"
    return f"{score:.4g}" if problem_type == REGRESSION else f"{score:.1%}"


def own_labels(model: ECGPreTrainedModel) -> list[str]:
    """A classifier's labels in the order of its outputs.

    Raises:
        ModelFolderError: two have the same name.
    """
    labels = [str(model.config.id2label[number]) for number in range(model.config.num_labels)]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ModelFolderError(
            f"{model.name_or_path} has the label {twice!r} more than once (id2label in config.json). Name each one."
        )
    return labels


def load_scorer(model: str | os.PathLike[str] | None = None, device: str | None = None) -> Scorer:
    """The model of a folder or Hub id, ready to score; load it once for many recordings.

    Args:
        model: a model that takes texts, or a classifier that `cgdmer finetune`, `transformers.Trainer`, or
            `save_pretrained` wrote; None: the model that comes with the package.
        device: None: a GPU if there is one.

    Raises:
        ModelFolderError: it is not of a family of this package, has neither a text tower nor a trained classifier, or
            is damaged.

    Example:
        >>> score = load_scorer()
        >>> record = cgdmer.simulate_record(["atrial_fibrillation"])
        >>> [row["label"] for row in score(record, ["normal ECG", "atrial fibrillation"])]
        ['atrial fibrillation', 'normal ECG']
    """
    pipeline, source = load_scoring_pipeline(model, device), model_source(model or SHIPPED_MODEL)
    config = pipeline.model.config
    width = config.projection_size if pipeline.model.takes_texts else pipeline.model.base_model.config.hidden_size
    return Scorer(pipeline, OperatingPoints.of_model(source), Familiarity.of_model(source, width))
