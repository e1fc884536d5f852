# SPDX-License-Identifier: Apache-2.0
"""Configuration of MERIT (Nguyen et al., 2026, arXiv 2605.27583), whose full text is not public."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig

from .configuration_checks import refuse_to_restore_nothing, refuse_weights
from .configuration_ecg_text import ECGTextConfig
from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ConfigurationError

PAPER, HUB_TAG = "MERIT, arXiv 2605.27583", "merit"


@strict
class MERITECGConfig(LeadTimeEncoderConfig):
    r"""The ECG branch: tokens of leads and patches of time, masking, encoder and decoder. All sizes are ours.

    For the options see `LeadTimeEncoderConfig`.
    """

    model_type = "merit_ecg"
    paper, hub_tag = PAPER, HUB_TAG


@strict
class MERITConfig(ECGTextConfig):
    r"""Masked modelling of the ECG beside its alignment with the report.

    Stated by the paper's abstract: an objective from information theory, approximated by signal reconstruction
    together with cross-modal contrastive alignment; two branches, masked ECG modelling for structure and ECG-text
    alignment for meaning.

    Ours is everything else: one encoder for both branches, of which the first sees the masked ECG and feeds a decoder,
    and the second sees the whole ECG and feeds a head; encoder, sizes, mask, heads on both towers, temperature, and
    the weights' values. See `MERITForPreTraining` for the objective.

    Args:
        ecg_config (`MERITECGConfig` or `dict`): the ECG branch.
        text_config, text_model_name, text_pooling, temperature, score_scale, score_bias: see `ECGTextConfig`.
        projection_hidden_size, projection_size, projection_dropout: of the two heads.
        ecg_reconstruction_loss_weight (`float`): of the squared error over masked patches; 0 leaves out its branch.
        beta (`float`): weight of InfoNCE: how much what the report tells counts against the signal itself. 0 leaves
            out the text.
    """

    model_type = "merit"
    paper, hub_tag = PAPER, HUB_TAG
    sub_configs: ClassVar = {"ecg_config": MERITECGConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = {MERITECGConfig.model_type: MERITECGConfig}

    ecg_reconstruction_loss_weight: float | int = 1.0
    beta: float | int = 1.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_weights(self, "ecg_reconstruction_loss_weight", "beta")
        refuse_to_restore_nothing(self, self.ecg_config)
        if self.beta == 0 and self.ecg_reconstruction_loss_weight == 0:
            raise ConfigurationError(
                "beta and ecg_reconstruction_loss_weight are both 0: there is nothing to train on."
            )

    @property
    def aligns(self) -> bool:
        """Whether ECG and text embeddings are pulled together."""
        return self.beta > 0

    @property
    def contrasts(self) -> bool:
        """Whether any loss compares the records of a batch with each other."""
        return self.aligns
