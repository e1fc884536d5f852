# SPDX-License-Identifier: Apache-2.0
"""How a family joins transformers' Auto classes, and how its models are found again from a folder or a configuration.

Training, evaluation, inference and publishing go through here and name no family.
"""

import os
from typing import Any

import transformers
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    AutoProcessor,
    PreTrainedConfig,
)

from cgdmer.models.errors import CGDMERError, ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor

# What a class is for: the Auto class that serves it, as transformers maps configurations to classes.
ENCODING = MODEL_MAPPING
PRETRAINING = MODEL_FOR_PRETRAINING_MAPPING
CLASSIFICATION = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING


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
        ModelFolderError: it is of no family of this package.
    """
    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except CGDMERError:
        raise
    except ValueError as error:  # a type that transformers does not know, or code of its own
        raise ModelFolderError(f"{name_or_path} {_NO_FAMILY} ({error})") from error
    if not issubclass(_class_for(config, ENCODING), ECGPreTrainedModel):
        raise ModelFolderError(f"{name_or_path}, of type {config.model_type!r}, {_NO_FAMILY}")
    return config


_NO_FAMILY = (
    "is no model of this package. Name a folder or Hub id that cgdmer.pretrain, `cgdmer finetune` or save_pretrained "
    "wrote."
)


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
    model = load_model(name_or_path)
    if not isinstance(model, ECGTextModel):
        raise ModelFolderError(
            f"{name_or_path} is a {type(model).__name__}, which takes no texts. Name a model with a text tower."
        )
    return model


def load_processor(
    name_or_path: str | os.PathLike[str], model: ECGPreTrainedModel
) -> ECGProcessor | ECGFeatureExtractor:
    """What prepares the model's input: a processor where it takes texts, else a feature extractor."""
    return (AutoProcessor if model.takes_texts else AutoFeatureExtractor).from_pretrained(name_or_path)


def extractor_of(processor: Any) -> ECGFeatureExtractor:
    """The feature extractor of a processor, or itself."""
    return getattr(processor, "feature_extractor", processor)


__all__ = [
    "CLASSIFICATION",
    "ENCODING",
    "PRETRAINING",
    "class_for",
    "config_of",
    "ecg_config_of",
    "extractor_of",
    "load_model",
    "load_processor",
    "load_text_model",
    "register_family",
]
