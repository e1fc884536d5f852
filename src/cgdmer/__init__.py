# SPDX-License-Identifier: Apache-2.0
"""ECG foundation models for the Hugging Face Hub.

Names are imported on first use. The models, the feature extractor, the processor, and the pipelines are registered
with transformers as soon as both packages have been imported, in either order: see `cgdmer.families`.
"""

from importlib import import_module
from typing import Any

from cgdmer.about import __version__ as __version__
from cgdmer.families import FAMILIES, register_with_transformers

_NAMES = {
    "evaluation.arguments": "EvaluationArguments",
    "evaluation.calibrating": "calibrate_model",
    "evaluation.evaluate": "evaluate_model",
    "corpora.preparing": "prepare_corpus",
    "explanation.explaining": "explain_recording",
    "inference.dataset_from_records": "dataset_from_records",
    "inference.estimators": "ECGClassifier ECGEmbedder",
    "inference.scoring": "score_recordings",
    "models.ecg_record": "ECGRecord",
    "models.errors": "CGDMERError",
    "models.feature_extraction_ecg": "ECGFeatureExtractor",
    "models.pipeline_ecg_classification": "ECGClassificationPipeline",
    "models.pipeline_ecg_embedding": "ECGEmbeddingPipeline",
    "models.pipeline_zero_shot_ecg": "ZeroShotECGClassificationPipeline",
    "models.processing_ecg": "ECGProcessor",
    "models.reading_record": "read_record",
    "models.reading_wfdb": "read_wfdb",
    "presets": "model_path",
    "simulation.cohort": "simulate_cohort simulate_record",
    "training.arguments": "FinetuningArguments PretrainingArguments",
    "training.finetune": "finetune_model",
    "training.loop": "pretrain_model",
    **{f"models.{module}": names for family in FAMILIES for module, names in family.items()},
}
_MODULE_OF = {name: f"cgdmer.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_MODULE_OF[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})


register_with_transformers()
