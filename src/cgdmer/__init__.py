# SPDX-License-Identifier: Apache-2.0
"""ECG foundation models for the Hugging Face Hub.

Importing this package registers its models, feature extractor, processor and pipelines with transformers.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .models.configuration_cgdmer import CGDMERConfig, CGDMERECGConfig
from .models.configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from .models.ecg_record import ECGRecord
from .models.errors import CGDMERError
from .models.feature_extraction_ecg import ECGFeatureExtractor
from .models.modeling_cgdmer import (
    CGDMERECGModel,
    CGDMERForECGClassification,
    CGDMERForZeroShot,
    CGDMERModel,
)
from .models.modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from .models.pipeline_ecg_classification import ECGClassificationPipeline
from .models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline
from .models.pretraining_cgdmer import CGDMERForPreTraining
from .models.processing_ecg import ECGProcessor
from .models.reading_record import read_record
from .models.reading_wfdb import read_wfdb
from .presets import SHIPPED_MODEL

__version__ = "0.1.0"


def _register() -> None:
    """Auto classes of transformers have no place for ECGs: the nearest ones stand in (see the README)."""
    for config, model in (
        (CGDMERConfig, CGDMERModel),
        (CGDMERECGConfig, CGDMERECGModel),
        (ECGViTConfig, ECGViTModel),
        (ECGResNetConfig, ECGResNetModel),
    ):
        AutoConfig.register(config.model_type, config)
        AutoModel.register(config, model)
        AutoFeatureExtractor.register(config, ECGFeatureExtractor)
    AutoModelForPreTraining.register(CGDMERConfig, CGDMERForPreTraining)
    AutoModelForZeroShotImageClassification.register(CGDMERConfig, CGDMERForZeroShot)
    AutoModelForAudioClassification.register(CGDMERECGConfig, CGDMERForECGClassification)
    AutoProcessor.register(CGDMERConfig, ECGProcessor)
    PIPELINE_REGISTRY.register_pipeline(
        "zero-shot-ecg-classification",
        pipeline_class=ZeroShotECGClassificationPipeline,
        pt_model=AutoModelForZeroShotImageClassification,
        default={"model": (str(SHIPPED_MODEL), "main")},
        type="multimodal",
    )
    PIPELINE_REGISTRY.register_pipeline(
        "ecg-classification",
        pipeline_class=ECGClassificationPipeline,
        pt_model=AutoModelForAudioClassification,
        type="multimodal",
    )


_register()

__all__ = [
    "CGDMERConfig",
    "CGDMERECGConfig",
    "CGDMERECGModel",
    "CGDMERError",
    "CGDMERForECGClassification",
    "CGDMERForPreTraining",
    "CGDMERForZeroShot",
    "CGDMERModel",
    "ECGClassificationPipeline",
    "ECGFeatureExtractor",
    "ECGProcessor",
    "ECGRecord",
    "ECGResNetConfig",
    "ECGResNetModel",
    "ECGViTConfig",
    "ECGViTModel",
    "ZeroShotECGClassificationPipeline",
    "read_record",
    "read_wfdb",
]
