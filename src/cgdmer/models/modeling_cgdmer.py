# SPDX-License-Identifier: Apache-2.0
"""CG-DMER (Niu et al., ICASSP 2026, arXiv 2602.21154) in PyTorch: both towers, zero-shot, classification.

Shapes: B batch, L leads, T samples, N patches a lead, K visible tokens, D encoder width, E embedding width,
S tokens of a report, H text width.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import ModelOutput, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_cgdmer import CGDMERConfig, CGDMERECGConfig
from .errors import ConfigurationError, ECGInputError
from .lead_time_tokenizer import LeadTimeTokenizer
from .masking import gather_visible
from .modeling_base import CGDMERPreTrainedModel, check_ecg_values, present_patches
from .modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from .transformer_layers import encoder_layers


@dataclass
class CGDMERECGModelOutput(ModelOutput):
    """Output of the ECG encoder.

    Args:
        last_hidden_state: (B, K, D), tokens of the visible patches after the encoder's norm.
        pooler_output: (B, D), their mean; the feature for linear probes.
        visible_indices: (B, K), which of the L * N patches (lead-major) each token stands for.
        visible_mask: (B, K) bool, False for filling in records with fewer visible patches than others.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    visible_indices: torch.Tensor | None = None
    visible_mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class NestedOutput(ModelOutput):
    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class CGDMEROutput(NestedOutput):
    """Output of both towers.

    Args:
        logits_per_ecg: (ECGs, texts), `score_scale` * cosine + `score_bias`; its sigmoid is the score.
        logits_per_text: its transpose.
        ecg_embeds, text_embeds: (.., E) unit vectors, the shared parts.
        ecg_model_output, text_model_output: the towers' own outputs.
    """

    logits_per_ecg: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    ecg_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    ecg_model_output: CGDMERECGModelOutput | None = None
    text_model_output: BaseModelOutputWithPooling | None = None


@dataclass
class CGDMERZeroShotOutput(NestedOutput):
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


class ProjectionHead(nn.Module):
    """One of the four two-layer networks f_sh, f_sp of eq. 4."""

    def __init__(self, config: CGDMERConfig, input_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.fc1 = nn.Linear(input_size, config.projection_hidden_size)
        self.dropout = nn.Dropout(config.projection_dropout)
        self.fc2 = nn.Linear(config.projection_hidden_size, config.projection_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(F.gelu(self.fc1(self.norm(features)))))


class CGDMERECGModel(CGDMERPreTrainedModel):
    """The ECG branch without heads: a transformer over the visible lead-time tokens.

    Loads from its own checkpoint and from any other CG-DMER checkpoint.
    """

    config: CGDMERECGConfig
    input_modalities = ("ecg",)
    auto_classes: ClassVar = {
        "AutoModel": "modeling_cgdmer.CGDMERECGModel",
        "AutoModelForAudioClassification": "modeling_cgdmer.CGDMERForECGClassification",
    }

    def __init__(self, config: CGDMERECGConfig):
        super().__init__(config)
        self.tokenizer = LeadTimeTokenizer(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = encoder_layers(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.tokenizer.projection

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        ecg_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        bool_masked_pos: torch.Tensor | None = None,
        num_visible: int | None = None,
        **kwargs,
    ) -> CGDMERECGModelOutput:
        r"""
        Args:
            ecg_values: (B, 12, T) as the feature extractor returns it.
            lead_mask: (B, 12), 0 for a lead that was not recorded.
            patch_mask: (B, N), 0 for a patch beyond the recording's end.
            bool_masked_pos: (B, 12, N) bool, True for patches to hide; hidden and absent patches get no token.
            num_visible: every record has exactly so many visible tokens, where the caller knows it: saves a wait for
                the device, and the mask.
        """
        check_ecg_values(ecg_values, self.config)
        everything_visible = lead_mask is None and patch_mask is None and bool_masked_pos is None
        visible_BM = present_patches(ecg_values, lead_mask, patch_mask, self.config.num_patches)
        if bool_masked_pos is not None:
            visible_BM = visible_BM & ~bool_masked_pos
        visible_BM = visible_BM.flatten(1)
        needs_mask = not everything_visible and num_visible is None
        if num_visible is None:
            num_visible = visible_BM.shape[1] if everything_visible else int(visible_BM.sum(dim=1).max())
            if not num_visible:
                raise ECGInputError("lead_mask and patch_mask leave nothing of any recording. Leave such records out.")
        if num_visible == visible_BM.shape[1]:
            indices_BK = torch.arange(num_visible, device=ecg_values.device).expand(ecg_values.shape[0], -1)
            hidden, valid_BK = self.tokenizer(ecg_values), visible_BM
        else:
            indices_BK, valid_BK = gather_visible(visible_BM, num_visible)
            hidden = self.tokenizer(ecg_values, indices_BK)
        hidden = self.dropout(hidden)
        attention_mask = None
        if needs_mask:
            attention_mask = create_bidirectional_mask(self.config, hidden, valid_BK)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        hidden = self.norm(hidden)
        weights_BK1 = valid_BK[..., None].to(hidden.dtype)
        pooled = (hidden * weights_BK1).sum(dim=1) / weights_BK1.sum(dim=1).clamp(min=1)
        return CGDMERECGModelOutput(
            last_hidden_state=hidden, pooler_output=pooled, visible_indices=indices_BK, visible_mask=valid_BK
        )


# By their configuration's type. Without the package transformers' own registry would not know them.
ECG_MODELS = {model.config_class.model_type: model for model in (CGDMERECGModel, ECGViTModel, ECGResNetModel)}


class CGDMERModel(CGDMERPreTrainedModel):
    """Both towers and the heads: ECGs and texts to unit vectors in one space."""

    auto_classes: ClassVar = {
        "AutoModel": "modeling_cgdmer.CGDMERModel",
        "AutoModelForPreTraining": "pretraining_cgdmer.CGDMERForPreTraining",
        "AutoModelForZeroShotImageClassification": "modeling_cgdmer.CGDMERForZeroShot",
    }
    pipelines: ClassVar = {"zero-shot-ecg-classification"}

    def __init__(self, config: CGDMERConfig):
        super().__init__(config)
        self.ecg_model = ECG_MODELS[config.ecg_config.model_type]._from_config(config.ecg_config)
        self.text_model = AutoModel.from_config(config.text_config)
        if config.text_pooling == "mean" and getattr(self.text_model, "pooler", None) is not None:
            self.text_model.pooler = None  # else its weights would be saved, loaded and never used
        text_width = config.text_config.hidden_size
        self.ecg_shared_head = ProjectionHead(config, config.ecg_config.hidden_size)
        self.text_shared_head = ProjectionHead(config, text_width)
        if config.orthogonality_loss_weight > 0:
            self.ecg_specific_head = ProjectionHead(config, config.ecg_config.hidden_size)
            self.text_specific_head = ProjectionHead(config, text_width)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def encode_text(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs) -> BaseModelOutputWithPooling:
        """The text tower alone; `pooler_output` (B, H) is what the heads take."""
        if token_type_ids is not None:
            kwargs["token_type_ids"] = token_type_ids
        outputs = self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        if self.config.text_pooling == "pooler":
            pooled = getattr(outputs, "pooler_output", None)
            if pooled is None:
                raise ConfigurationError(
                    f"{type(self.text_model).__name__} has no pooler. Set text_pooling to 'mean'."
                )
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            weights = mask[..., None].to(outputs.last_hidden_state.dtype)
            pooled = (outputs.last_hidden_state * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=pooled,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    @can_return_tuple
    def get_ecg_features(self, ecg_values, lead_mask=None, patch_mask=None, **kwargs) -> BaseModelOutputWithPooling:
        """ECG embeddings: `pooler_output` (B, E) holds unit vectors, the shared part of eq. 4."""
        outputs = self.ecg_model(ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=F.normalize(self.ecg_shared_head(outputs.pooler_output), dim=-1),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @can_return_tuple
    def get_text_features(
        self, input_ids, attention_mask=None, token_type_ids=None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Text embeddings: `pooler_output` (B, E) holds unit vectors, the shared part of eq. 4."""
        outputs = self.encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
        outputs["pooler_output"] = F.normalize(self.text_shared_head(outputs.pooler_output), dim=-1)
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
    ) -> CGDMEROutput:
        r"""Compare every ECG with every text.

        Args:
            ecg_values, lead_mask, patch_mask: see [`CGDMERECGModel`].
            input_ids, attention_mask, token_type_ids: from the tokenizer.
        """
        ecg_outputs = self.ecg_model(
            ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs
        )
        text_outputs = self.encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
        ecg_embeds = F.normalize(self.ecg_shared_head(ecg_outputs.pooler_output), dim=-1)
        text_embeds = F.normalize(self.text_shared_head(text_outputs.pooler_output), dim=-1)
        logits_per_ecg = self.score_logits(ecg_embeds @ text_embeds.T)
        return CGDMEROutput(
            logits_per_ecg=logits_per_ecg,
            logits_per_text=logits_per_ecg.T,
            ecg_embeds=ecg_embeds,
            text_embeds=text_embeds,
            ecg_model_output=ecg_outputs,
            text_model_output=text_outputs,
        )

    def score_logits(self, cosines: torch.Tensor) -> torch.Tensor:
        return self.config.score_scale * cosines + self.config.score_bias


class CGDMERForZeroShot(CGDMERModel):
    """Prompts in, one score a prompt out."""

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
        multi_label: bool = True,
        **kwargs,
    ) -> CGDMERZeroShotOutput:
        r"""Score every prompt for every ECG.

        Args:
            ecg_values, lead_mask, patch_mask: see [`CGDMERECGModel`].
            input_ids, attention_mask, token_type_ids: the tokenized prompts.
            text_embeds: (prompts, E), instead of the above, prompts that are embedded already.
            multi_label: True: each prompt by itself, sigmoid(score_scale * cosine + score_bias). False: the prompts
                exclude each other, softmax over them.
        """
        if (input_ids is None) == (text_embeds is None):
            raise ValueError("pass either input_ids or text_embeds")
        if text_embeds is None:
            text_embeds = self.get_text_features(
                input_ids, attention_mask, token_type_ids, return_dict=True
            ).pooler_output
        ecg_embeds = self.get_ecg_features(ecg_values, lead_mask, patch_mask, return_dict=True, **kwargs).pooler_output
        cosines = ecg_embeds @ text_embeds.T
        logits = self.score_logits(cosines)
        scores = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
        return CGDMERZeroShotOutput(
            scores=scores,
            logits_per_ecg=logits,
            cosine_per_ecg=cosines,
            ecg_embeds=ecg_embeds,
            text_embeds=text_embeds,
        )


class CGDMERForECGClassification(CGDMERPreTrainedModel):
    """The ECG encoder with a linear classifier on its mean token: fine-tuning, or a linear probe when frozen."""

    config: CGDMERECGConfig
    input_modalities = ("ecg",)
    auto_classes = CGDMERECGModel.auto_classes
    pipelines: ClassVar = {"ecg-classification"}
    _may_be_missing = ("classifier.",)

    def __init__(self, config: CGDMERECGConfig):
        super().__init__(config)
        self.ecg_model = CGDMERECGModel._from_config(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        ecg_values: torch.Tensor,
        lead_mask: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            ecg_values, lead_mask, patch_mask: see [`CGDMERECGModel`].
            labels: (B, labels) float for several labels a record (binary cross-entropy), or (B,) int64 for one
                (cross-entropy). `config.problem_type` records which.
        """
        outputs = self.ecg_model(ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss = None
        if labels is not None:
            if labels.ndim == 2:
                loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float())
            else:
                loss = F.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = [
    "CGDMERECGModel",
    "CGDMERForECGClassification",
    "CGDMERForZeroShot",
    "CGDMERModel",
    "CGDMERPreTrainedModel",
]
