# SPDX-License-Identifier: Apache-2.0
"""CG-DMER (Niu et al., ICASSP 2026, arXiv 2602.21154) in PyTorch: both towers, zero-shot, classification."""

from typing import TYPE_CHECKING, ClassVar

from .configuration_cgdmer import CGDMERConfig, CGDMERECGConfig
from .modeling_classifier import ECGEncoderForClassification
from .modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from .modeling_ecg_text import ECGTextModel, ZeroShotMixin
from .modeling_lead_time_encoder import LeadTimeEncoder
from .projection_head import ProjectionHead

if TYPE_CHECKING:
    # Lets transformers copy this file too, see `hub_folder`.
    from .pretraining_cgdmer import CGDMERForPreTraining  # noqa: F401


class CGDMERECGModel(LeadTimeEncoder):
    """The ECG branch without heads, over the visible lead-time tokens. Loads from any CG-DMER checkpoint."""

    config: CGDMERECGConfig
    auto_classes: ClassVar = {
        "AutoModel": "modeling_cgdmer.CGDMERECGModel",
        "AutoModelForAudioClassification": "modeling_cgdmer.CGDMERForECGClassification",
    }


class CGDMERModel(ECGTextModel):
    """Both towers and the heads: map ECGs and texts to unit vectors in one space, the shared parts of eq. 4."""

    config: CGDMERConfig
    ecg_models: ClassVar = {
        model.config_class.model_type: model for model in (CGDMERECGModel, ECGViTModel, ECGResNetModel)
    }
    auto_classes: ClassVar = {
        "AutoModel": "modeling_cgdmer.CGDMERModel",
        "AutoModelForPreTraining": "pretraining_cgdmer.CGDMERForPreTraining",
        "AutoModelForZeroShotImageClassification": "modeling_cgdmer.CGDMERForZeroShot",
    }

    def __init__(self, config: CGDMERConfig):
        super().__init__(config)
        ecg_width, text_width = config.ecg_config.hidden_size, config.text_config.hidden_size
        # The four two-layer networks f_sh and f_sp of eq. 4.
        self.ecg_shared_head = ProjectionHead(config, ecg_width)
        self.text_shared_head = ProjectionHead(config, text_width)
        if config.orthogonality_loss_weight > 0:
            self.ecg_specific_head = ProjectionHead(config, ecg_width)
            self.text_specific_head = ProjectionHead(config, text_width)
        self.post_init()

    def head_of(self, modality: str) -> ProjectionHead:
        return self.ecg_shared_head if modality == "ecg" else self.text_shared_head


class CGDMERForZeroShot(ZeroShotMixin, CGDMERModel):
    """Prompts in, one score per prompt out."""


class CGDMERForECGClassification(ECGEncoderForClassification):
    """The ECG encoder with a linear classifier on its mean token: for fine-tuning, or frozen for a linear probe."""

    config: CGDMERECGConfig
    encoder_class = CGDMERECGModel
    auto_classes = CGDMERECGModel.auto_classes
