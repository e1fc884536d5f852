# SPDX-License-Identifier: Apache-2.0
"""D-BETA (Pham et al., ICML 2025, arXiv 2410.02131), first called C-MELT: zero-shot scores from its released weights.

Written from a description of what these weights compute; the layers that fuse both towers in pretraining are left
out. For training by its losses, see the objective `c_melt`.
"""

from typing import ClassVar

from torch import nn

from .configuration_d_beta import DBetaConfig
from .modeling_ecg_text import ECGTextModel, ZeroShotMixin
from .modeling_ecg_wav2vec import ECGWav2VecModel


class TanhHead(nn.Sequential):
    """(B, features) -> (B, E) in -1..1: two linear maps, of which only the second is followed by a tanh."""

    def __init__(self, features: int, size: int):
        super().__init__(nn.Linear(features, size), nn.Linear(size, size), nn.Tanh())


class DBetaModel(ECGTextModel):
    """Both towers and their heads: map ECGs and texts to unit vectors in one space."""

    config: DBetaConfig
    ecg_models: ClassVar = {ECGWav2VecModel.config_class.model_type: ECGWav2VecModel}
    auto_classes: ClassVar = {
        "AutoModel": "modeling_d_beta.DBetaModel",
        "AutoModelForZeroShotImageClassification": "modeling_d_beta.DBetaForZeroShot",
    }
    _no_split_modules: ClassVar = ["PostNormLayer"]

    def __init__(self, config: DBetaConfig):
        super().__init__(config)
        self.ecg_head = TanhHead(config.ecg_config.hidden_size, config.projection_size)
        self.text_head = TanhHead(config.text_config.hidden_size, config.projection_size)
        self.post_init()

    def head_of(self, modality: str) -> nn.Module:
        return self.ecg_head if modality == "ecg" else self.text_head


class DBetaForZeroShot(ZeroShotMixin, DBetaModel):
    """Prompts in, one score per prompt out."""
