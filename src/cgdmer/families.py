# SPDX-License-Identifier: Apache-2.0
"""How a family joins transformers' Auto classes, and how its models are found again from a folder or a configuration.

Training, evaluation, inference and publishing go through here and name no family.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoProcessor,
    PreTrainedConfig,
    pipeline,
)

from cgdmer.models.errors import CGDMERError, ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.pipeline_zero_shot_ecg import ZeroShotECGClassificationPipeline
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.presets import SHIPPED_MODEL

# What a class is for: the Auto class that serves it, as transformers maps configurations to classes.
ENCODING = MODEL_MAPPING
PRETRAINING = MODEL_FOR_PRETRAINING_MAPPING
CLASSIFICATION = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
ZERO_SHOT = MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING


def register_family(*classes: type[ECGPreTrainedModel]) -> None:
    """Register a family's classes with the Auto classes that their `auto_classes` name, and their configurations."""
    for one in classes:
        config = one.config_class
        AutoConfig.register(config.model_type, config, exist_ok=True)
        for auto_class, place in one.auto_classes.items():
            if place.split(".")[1] == one.__name__:
                getattr(transformers, auto_class).register(config, one)
        AutoFeatureExtractor.register(config, ECGFeatureExtractor, exist_ok=True)
        if "text" in one.input_modalities:
            AutoProcessor.register(config, ECGProcessor, exist_ok=True)


def ecg_config_of(config: PreTrainedConfig) -> PreTrainedConfig:
    """The ECG branch of a configuration: a part of it, or itself."""
    return getattr(config, "ecg_config", config)


def config_of(name_or_path: str | os.PathLike[str]) -> PreTrainedConfig:
    """The configuration in a folder or on the Hub.

    Raises:
        ModelFolderError: it is absent from the folder, damaged, or of no family of this package.
    """
    with _refusing(name_or_path, _NO_FAMILY):  # a type that transformers does not know, code of its own, a list
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    if not issubclass(_class_for(config, ENCODING), ECGPreTrainedModel):
        raise ModelFolderError(f"{name_or_path}, of type {config.model_type!r}, {_NO_FAMILY}")
    return config


_NO_FAMILY = (
    "is no model of this package. Name a folder or Hub id that cgdmer.pretrain, `cgdmer finetune` or save_pretrained "
    "wrote."
)


@contextmanager
def _refusing(name_or_path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Makes one error, which names the folder, of the many kinds that its files can cause in transformers."""
    try:
        yield
    except CGDMERError:
        raise
    except Exception as error:  # the tokenizers library raises the bare type
        if isinstance(error, OSError) and not os.path.isdir(name_or_path):
            raise  # no network, no such repository: transformers says it well
        raise ModelFolderError(f"{name_or_path} {problem} ({type(error).__name__}: {error})") from error


def _class_for(config: PreTrainedConfig, purpose) -> type:
    found = purpose.get(type(config), None)
    return found if isinstance(found, type) else object


def class_for(config: PreTrainedConfig, purpose) -> type[ECGPreTrainedModel]:
    """The class that a family has for `ENCODING`, `PRETRAINING` or `CLASSIFICATION`.

    Raises:
        ModelFolderError: it has none.
    """
    found = _class_for(config, purpose)
    if not issubclass(found, ECGPreTrainedModel):
        raise ModelFolderError(f"a model of type {config.model_type!r} has no class for this purpose.")
    return found


def load_model(name_or_path: str | os.PathLike[str]) -> ECGPreTrainedModel:
    """The model in a folder or on the Hub, with what gives embeddings: both towers where there are two.

    Raises:
        ModelFolderError: it is of no family of this package, or damaged.
    """
    return class_for(config_of(name_or_path), ENCODING).from_pretrained(name_or_path)


def load_text_model(name_or_path: str | os.PathLike[str]) -> ECGTextModel:
    """As `load_model`, for what compares ECGs with texts.

    Raises:
        ModelFolderError: also where the model takes no texts.
    """
    return _text_class(name_or_path, config_of(name_or_path), ENCODING).from_pretrained(name_or_path)


def _text_class(name_or_path: str | os.PathLike[str], config: PreTrainedConfig, purpose) -> type[ECGTextModel]:
    encoding = class_for(config, ENCODING)
    if not issubclass(encoding, ECGTextModel):
        raise ModelFolderError(
            f"{name_or_path} is a {encoding.__name__}, which takes no texts. Name a model with a text tower."
        )
    found = class_for(config, purpose)
    assert issubclass(found, ECGTextModel)
    return found


def load_classifier(
    name_or_path: str | os.PathLike[str] | None = None, device: str | None = None
) -> ZeroShotECGClassificationPipeline:
    """The pipeline `zero-shot-ecg-classification`, to be loaded once for many recordings.

    Args:
        name_or_path: a pretrained model's folder or Hub id; None: `presets.SHIPPED_MODEL`.
        device: None: a GPU where there is one.

    Raises:
        ModelFolderError: it is of no family of this package, takes no texts, or is damaged.
    """
    name = str(name_or_path or SHIPPED_MODEL)
    model = _text_class(name, config_of(name), ZERO_SHOT).from_pretrained(name)
    return pipeline(
        "zero-shot-ecg-classification",
        model=model,
        processor=load_processor(name, model),
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )


def load_processor(
    name_or_path: str | os.PathLike[str], model: ECGPreTrainedModel
) -> ECGProcessor | ECGFeatureExtractor:
    """What prepares the model's input: a processor where it takes texts, else a feature extractor.

    Raises:
        ModelFolderError: it is absent from the folder, or damaged.
    """
    auto_class, expected = (
        (AutoProcessor, ECGProcessor) if model.takes_texts else (AutoFeatureExtractor, ECGFeatureExtractor)
    )
    with _refusing(name_or_path, f"holds no {expected.__name__} that can be read. Fetch or save the model again."):
        found = auto_class.from_pretrained(name_or_path)
    if not isinstance(found, expected):
        raise ModelFolderError(
            f"{name_or_path} holds a {type(found).__name__} instead of a {expected.__name__}. Fetch or save the model "
            "again."
        )
    return found


def extractor_of(processor: Any) -> ECGFeatureExtractor:
    """The feature extractor of a processor, or itself."""
    return getattr(processor, "feature_extractor", processor)


__all__ = [
    "CLASSIFICATION",
    "ENCODING",
    "PRETRAINING",
    "ZERO_SHOT",
    "class_for",
    "config_of",
    "ecg_config_of",
    "extractor_of",
    "load_classifier",
    "load_model",
    "load_processor",
    "load_text_model",
    "register_family",
]
