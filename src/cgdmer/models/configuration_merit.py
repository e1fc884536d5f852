# SPDX-License-Identifier: Apache-2.0
"""Configuration of MERIT (Nguyen et al., 2026, arXiv 2605.27583), whose full text is not public."""

from typing import ClassVar

from transformers import AutoConfig

from .configuration_checks import checked, refuse_to_restore_nothing, refuse_unless_weight
from .configuration_ecg_text import ECGTextConfig
from .configuration_lead_time_encoder import LeadTimeEncoderConfig
from .errors import ConfigurationError

PAPER, HUB_TAG = "MERIT, arXiv 2605.27583", "merit"


@checked
class MERITECGConfig(LeadTimeEncoderConfig):
    """The ECG branch: see `LeadTimeEncoderConfig` for the options. All sizes are ours."""

    model_type = "merit_ecg"
    paper, hub_tag = PAPER, HUB_TAG


@checked
class MERITConfig(ECGTextConfig):
    r"""Masked modeling of the ECG together with its alignment with the report.

    The paper's abstract states: an objective from information theory, approximated by signal reconstruction together
    with cross-modal contrastive alignment; two branches, masked ECG modeling for structure and ECG-text alignment for
    meaning.

    Everything else is ours: one encoder for both branches, where the first sees the masked ECG and feeds a decoder,
    and the second sees the whole ECG and feeds a head; encoder, sizes, mask, heads on both towers, temperature, and
    the values of the weights. For the objective, see `MERITForPreTraining`.

    Args:
        ecg_config (`MERITECGConfig` or `dict`): the ECG branch.
        text_config, text_model_name, text_pooling, temperature, score_scale, score_bias: see `ECGTextConfig`.
        projection_hidden_size, projection_size, projection_dropout: the two heads.
        ecg_reconstruction_loss_weight (`float`): for the squared error over masked patches; 0 leaves out that branch.
        beta (`float`): weight of InfoNCE: how much the report counts compared with the signal itself. 0 leaves out
            the text.
    """

    model_type = "merit"
    paper, hub_tag = PAPER, HUB_TAG
    sub_configs: ClassVar = {"ecg_config": MERITECGConfig, "text_config": AutoConfig}
    ecg_configs: ClassVar = {MERITECGConfig.model_type: MERITECGConfig}

    ecg_reconstruction_loss_weight: float | int = 1.0
    beta: float | int = 1.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        refuse_unless_weight(self, "ecg_reconstruction_loss_weight", "beta")
        refuse_to_restore_nothing(self, self.ecg_config)
        if self.beta == 0 and self.ecg_reconstruction_loss_weight == 0:
            raise ConfigurationError(
                "beta and ecg_reconstruction_loss_weight are both 0: there is nothing to train on."
            )

    @property
    def aligns(self) -> bool:
        return self.beta > 0
