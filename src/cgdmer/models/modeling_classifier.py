# SPDX-License-Identifier: Apache-2.0
"""A linear classifier on the feature of any ECG encoder. Shapes: B batch, N patches."""

import copy
from typing import ClassVar

import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .classification_losses import LOSSES, problem_of
from .configuration_lead_time_encoder import ECGWindowConfig
from .errors import ConfigurationError
from .keyword_arguments import refuse_unknown_arguments
from .modeling_base import ECGPreTrainedModel
from .modeling_lead_time_encoder import ENCODER_ARGUMENTS

_OF_THE_LABELS = ("id2label", "label2id", "problem_type")


class ECGEncoderForClassification(ECGPreTrainedModel):
    """An ECG encoder with a linear classifier on its feature: for fine-tuning, or frozen for a linear probe.

    Each encoder's own class inherits from this one and names the encoder.
    """

    config: ECGWindowConfig
    encoder_class: ClassVar[type[ECGPreTrainedModel]]
    pipelines: ClassVar = {"ecg-classification", "ecg-embedding"}
    _may_be_missing = ("classifier.",)

    def __init__(self, config: ECGWindowConfig):
        super().__init__(config)
        self.ecg_model = self.encoder_class._from_config(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config=None, **kwargs):
        """As in transformers; from a model with texts, it takes the ECG encoder.

        An Auto class passes the configuration of the whole model, with the labels in it.

        Raises:
            ConfigurationError: the model's ECG encoder is of another type.
        """
        whole, config = config, getattr(config, "ecg_config", config)
        if config is not whole:
            if not isinstance(config, cls.config_class):
                raise ConfigurationError(
                    f"{pretrained_model_name_or_path} has an ECG encoder of type {config.model_type!r}, for which "
                    f"{cls.__name__} is not the classifier. Load the encoder's own class for classification."
                )
            config = copy.deepcopy(config)
            for name in _OF_THE_LABELS:
                setattr(config, name, getattr(whole, name))
            for name in [name for name in kwargs if hasattr(config, name)]:
                setattr(config, name, kwargs.pop(name))
        return super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)

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
            ecg_values, lead_mask, patch_mask: see [`LeadTimeEncoder`].
            labels: by `config.problem_type`: `"multi_label_classification"` (B, labels), each from 0 to 1 (binary
                cross-entropy); `"single_label_classification"` (B,) int64 (cross-entropy); `"regression"` (B, labels)
                or, for one value, (B,) numbers (mean squared error). Without a problem type, the labels decide between
                the first two, and the configuration notes which, so that the pipeline uses sigmoids or a softmax.

        Raises:
            ECGInputError: the labels contradict the problem type, or leave it open.
        """
        refuse_unknown_arguments(kwargs, self.forward, self, ENCODER_ARGUMENTS)
        outputs = self.ecg_model(ecg_values, lead_mask=lead_mask, patch_mask=patch_mask, return_dict=True, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss = None
        if labels is not None:
            problem = self.config.problem_type or problem_of(labels)
            loss = LOSSES[problem](logits.float(), labels)
            self.config.problem_type = problem
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )
