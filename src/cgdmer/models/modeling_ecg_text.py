# SPDX-License-Identifier: Apache-2.0
"""An ECG tower and a text tower in one space, shared by all families with texts: embeddings, and scores of prompts.

Shapes: B batch, E embedding width, S tokens per report, H text width, U distinct texts.
"""

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_ecg_text import ECGTextConfig
from .errors import CGDMERError, ConfigurationError, shown
from .keyword_arguments import OF_ANY_MODEL, refuse_unknown_arguments
from .modeling_base import ECGPreTrainedModel, masked_mean
from .modeling_lead_time_encoder import ENCODER_ARGUMENTS
from .projection_head import ProjectionHead

MOST_MODULES = 20_000  # a BERT of twelve layers has 200


class NestedOutput(ModelOutput):
    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class ECGTextOutput(NestedOutput):
    """Output of both towers.

    Args:
        logits_per_ecg: (ECGs, texts), `score_scale` * cosine + `score_bias`; the score is its sigmoid.
        logits_per_text: its transpose.
        ecg_embeds, text_embeds: (.., E) unit vectors.
        ecg_model_output, text_model_output: the towers' own outputs.
    """

    logits_per_ecg: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    ecg_model_output: ModelOutput | None = None
    text_model_output: BaseModelOutputWithPooling | None = None


@dataclass
class ZeroShotOutput(NestedOutput):
    """Scores of prompts.

    Args:
        scores: (ECGs, prompts) in 0..1.
        logits_per_ecg: (ECGs, prompts), before the sigmoid or softmax.
        cosine_per_ecg: (ECGs, prompts), for ranking measures such as AUROC.
        ecg_embeds, text_embeds: (.., E) unit vectors.
    """

    scores: torch.Tensor | None = None
    logits_per_ecg: torch.Tensor | None = None
    cosine_per_ecg: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None


def _text_tower(text_config: PreTrainedConfig) -> PreTrainedModel:
    """Any text encoder of transformers, whose own checks of its configuration are few.

    Raises:
        ConfigurationError: it cannot be built, or has too many parts.
    """
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MOST_MODULES:
            raise ConfigurationError(f"text_config asks for more than {MOST_MODULES} modules. Choose a smaller one.")

    # Of a T5, which also has a decoder, the encoder alone.
    encodes = type(text_config) in AutoModelForTextEncoding._model_mapping
    hook = register_module_module_registration_hook(counted)
    try:
        return (AutoModelForTextEncoding if encodes else AutoModel).from_config(text_config, trust_remote_code=False)
    except CGDMERError:
        raise
    except Exception as error:  # of any class of transformers
        raise ConfigurationError(
            f"no text tower can be built from text_config ({type(error).__name__}: {shown(str(error))})."
        ) from error
    finally:
        hook.remove()


def project_ecg(head: nn.Module, outputs: ModelOutput) -> torch.Tensor:
    """(B, E) unit vectors from the ECG tower's output.

    Args:
        head: the model's `head_of("ecg")`. One that has `takes_tokens` is given the tokens and their mask, and any
            other the pooled feature.
    """
    if getattr(head, "takes_tokens", False):
        return F.normalize(head(outputs.last_hidden_state, outputs.visible_mask), dim=-1)
    return F.normalize(head(outputs.pooler_output), dim=-1)


class ECGTextModel(ECGPreTrainedModel):
    """Two towers with one head each, which map ECGs and texts to unit vectors in one space.

    A family's own model inherits from this one, creates its heads, and returns them from `head_of`.
    """

    config: ECGTextConfig
    input_modalities = ("ecg", "text")
    # By the model_type of their configuration. Without the package, transformers' registry does not know them.
    ecg_models: ClassVar[dict[str, type[ECGPreTrainedModel]]] = {}
    pipelines: ClassVar = {"ecg-embedding", "zero-shot-ecg-classification"}

    def __init__(self, config: ECGTextConfig):
        super().__init__(config)
        self.ecg_model = self.ecg_models[config.ecg_config.model_type]._from_config(config.ecg_config)
        self.text_model = _text_tower(config.text_config)
        if config.text_pooling != "pooler" and getattr(self.text_model, "pooler", None) is not None:
            self.text_model.pooler = None  # otherwise its weights would be saved and loaded, but never used

    def head_of(self, modality: str) -> nn.Module:
        """The head that maps features of a tower, "ecg" or "text", to the shared space; see `project_ecg`."""
        raise NotImplementedError

    def project(self, modality: str, features: torch.Tensor) -> torch.Tensor:
        """(B, E) unit vectors from a tower's pooled features."""
        return F.normalize(self.head_of(modality)(features), dim=-1)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def encode_text(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs) -> BaseModelOutputWithPooling:
        """The text tower alone; `pooler_output` (B, H) is what the heads take."""
        if any(name not in OF_ANY_MODEL for name in kwargs):
            own = inspect.signature(self.text_model.forward).parameters
            refuse_unknown_arguments(kwargs, self.encode_text, self, own)
        if token_type_ids is not None:
            kwargs["token_type_ids"] = token_type_ids
        outputs = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        if self.config.text_pooling == "pooler":
            pooled = getattr(outputs, "pooler_output", None)
            if pooled is None:
                raise ConfigurationError(
                    f"{type(self.text_model).__name__} has no pooler. Set text_pooling to 'mean'."
                )
        elif self.config.text_pooling == "first_token":
            pooled = outputs.last_hidden_state[:, 0]
        elif self.config.text_pooling == "last_token":
            pooled = outputs.last_hidden_state[:, -1]
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            pooled = masked_mean(outputs.last_hidden_state, mask)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=pooled,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    def pooled_texts(
        self, input_ids, attention_mask=None, token_type_ids=None, distinct_texts=None, text_index=None
    ) -> torch.Tensor:
        """(texts, H); a repeated text is encoded once.

        Args:
            distinct_texts: (U,) int64, the first row of each distinct text.
            text_index: (texts,) int64, which of them each row is.
        """
        rows = (input_ids, attention_mask, token_type_ids)
        if distinct_texts is None or text_index is None:
            return self.encode_text(*rows).pooler_output
        distinct = (None if each is None else each[distinct_texts] for each in rows)
        return self.encode_text(*distinct).pooler_output.index_select(0, text_index)

    @torch.no_grad()
    def center_heads(self, batch: dict[str, torch.Tensor]) -> None:
        """See `PreTrainingMixin`."""
        was_training = self.training
        self.eval()
        ecg = self.ecg_model(batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"))
        text = self.encode_text(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
        for modality, outputs in (("ecg", ecg), ("text", text)):
            head = self.head_of(modality)
            assert isinstance(head, ProjectionHead)  # of every family that is pretrained
            head.center(outputs.pooler_output)
        self.train(was_training)

    @can_return_tuple
    def get_ecg_features(self, ecg_values, lead_mask=None, patch_mask=None, **kwargs) -> BaseModelOutputWithPooling:
        """ECG embeddings: `pooler_output` (B, E) holds unit vectors."""
        refuse_unknown_arguments(kwargs, self.get_ecg_features, self, ENCODER_ARGUMENTS)
        outputs = self.ecg_model(ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=project_ecg(self.head_of("ecg"), outputs),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @can_return_tuple
    def get_text_features(
        self, input_ids, attention_mask=None, token_type_ids=None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Text embeddings: `pooler_output` (B, E) holds unit vectors."""
        outputs = self.encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
        outputs["pooler_output"] = self.project("text", outputs.pooler_output)
        return outputs

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> ECGTextOutput:
        r"""Compare every ECG with every text.

        Args:
            ecg_values, lead_mask, patch_mask: see [`LeadTimeEncoder`].
            input_ids, attention_mask, token_type_ids: from the tokenizer.
        """
        refuse_unknown_arguments(kwargs, self.forward, self)
        ecg_outputs = self.ecg_model(
            ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs
        )
        text_outputs = self.encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
        ecg_embeds = project_ecg(self.head_of("ecg"), ecg_outputs)
        text_embeds = self.project("text", text_outputs.pooler_output)
        logits_per_ecg = self.score_logits(ecg_embeds @ text_embeds.T)
        return ECGTextOutput(
            logits_per_ecg=logits_per_ecg,
            logits_per_text=logits_per_ecg.T,
            ecg_embeds=ecg_embeds,
            text_embeds=text_embeds,
            ecg_model_output=ecg_outputs,
            text_model_output=text_outputs,
        )

    def score_logits(self, cosines: torch.Tensor) -> torch.Tensor:
        return self.config.score_scale * cosines + self.config.score_bias


class ZeroShotMixin:
    """For a subclass of a family's `ECGTextModel`: prompts in, one score per prompt out."""

    @can_return_tuple
    def forward(
        self: Any,
        ecg_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
        multi_label: bool = True,
        **kwargs,
    ) -> ZeroShotOutput:
        r"""Score every prompt for every ECG.

        Args:
            ecg_values, lead_mask, patch_mask: see [`LeadTimeEncoder`].
            input_ids, attention_mask, token_type_ids: the tokenized prompts.
            text_embeds: (prompts, E), embeddings of the prompts instead of their tokens.
            multi_label: True: each prompt by itself, sigmoid(score_scale * cosine + score_bias). False: prompts are
                mutually exclusive, softmax over them.
        """
        refuse_unknown_arguments(kwargs, self.forward, self, ENCODER_ARGUMENTS)
        if (input_ids is None) == (text_embeds is None):
            raise ValueError("pass either input_ids or text_embeds")
        if text_embeds is None:
            texts = (input_ids, attention_mask, token_type_ids)
            text_embeds = self.get_text_features(*texts, return_dict=True).pooler_output
        ecg_embeds = self.get_ecg_features(ecg_values, lead_mask, patch_mask, return_dict=True, **kwargs).pooler_output
        cosines = ecg_embeds @ text_embeds.T
        logits = self.score_logits(cosines)
        scores = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
        return ZeroShotOutput(
            scores=scores,
            logits_per_ecg=logits,
            cosine_per_ecg=cosines,
            ecg_embeds=ecg_embeds,
            text_embeds=text_embeds,
        )
