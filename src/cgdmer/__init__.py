# SPDX-License-Identifier: Apache-2.0
"""ECG foundation models for the Hugging Face Hub.

Importing this package registers its models, feature extractor, processor and pipelines with transformers.
"""

from transformers import AutoModel, AutoModelForAudioClassification, AutoModelForZeroShotImageClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .families import register_family
from .models.configuration_cgdmer import CGDMERConfig, CGDMERECGConfig
from .models.configuration_coreecg import CoReECGConfig
from .models.configuration_ecg_encoders import ECGResNetConfig, ECGViTConfig
from .models.configuration_merit import MERITConfig, MERITECGConfig
from .models.ecg_record import ECGRecord
from .models.errors import CGDMERError
from .models.feature_extraction_ecg import ECGFeatureExtractor
from .models.modeling_cgdmer import (
    CGDMERECGModel,
    CGDMERForECGClassification,
    CGDMERForZeroShot,
    CGDMERModel,
)
from .models.modeling_coreecg import CoReECGForECGClassification, CoReECGForPreTraining, CoReECGModel
from .models.modeling_ecg_encoders import ECGResNetModel, ECGViTModel
from .models.modeling_merit import (
    MERITECGModel,
    MERITForECGClassification,
    MERITForPreTraining,
    MERITForZeroShot,
    MERITModel,
)
from .models.pipeline_ecg_classification import ECGClassificationPipeline
from .models.pipeline_ecg_embedding import ECGEmbeddingPipeline
from .models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline
from .models.pretraining_cgdmer import CGDMERForPreTraining
from .models.processing_ecg import ECGProcessor
from .models.reading_record import read_record
from .models.reading_wfdb import read_wfdb
from .presets import SHIPPED_MODEL

__version__ = "0.1.0"


# A family is a line: its classes say which Auto classes serve them.
register_family(CGDMERModel, CGDMERForPreTraining, CGDMERForZeroShot, CGDMERECGModel, CGDMERForECGClassification)
register_family(CoReECGModel, CoReECGForPreTraining, CoReECGForECGClassification)
register_family(MERITModel, MERITForPreTraining, MERITForZeroShot, MERITECGModel, MERITForECGClassification)
register_family(ECGViTModel)
register_family(ECGResNetModel)


def _register_pipelines() -> None:
    """Auto classes of transformers have no place for ECGs: the nearest ones stand in (see the README)."""
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
    PIPELINE_REGISTRY.register_pipeline(
        "ecg-embedding",
        pipeline_class=ECGEmbeddingPipeline,
        pt_model=AutoModel,
        default={"model": (str(SHIPPED_MODEL), "main")},
        type="multimodal",
    )


_register_pipelines()

__all__ = [
    "CGDMERConfig",
    "CGDMERECGConfig",
    "CGDMERECGModel",
    "CGDMERError",
    "CGDMERForECGClassification",
    "CGDMERForPreTraining",
    "CGDMERForZeroShot",
    "CGDMERModel",
    "CoReECGConfig",
    "CoReECGForECGClassification",
    "CoReECGForPreTraining",
    "CoReECGModel",
    "ECGClassificationPipeline",
    "ECGEmbeddingPipeline",
    "ECGFeatureExtractor",
    "ECGProcessor",
    "ECGRecord",
    "ECGResNetConfig",
    "ECGResNetModel",
    "ECGViTConfig",
    "ECGViTModel",
    "MERITConfig",
    "MERITECGConfig",
    "MERITECGModel",
    "MERITForECGClassification",
    "MERITForPreTraining",
    "MERITForZeroShot",
    "MERITModel",
    "ZeroShotECGClassificationPipeline",
    "read_record",
    "read_wfdb",
]
