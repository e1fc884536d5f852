# SPDX-License-Identifier: Apache-2.0
"""The model families, and how to find a family's class for a purpose, from a folder or a configuration.

Training, evaluation, inference, and publishing use this module and name no family. Importing it imports neither torch
nor transformers.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

from cgdmer.files.model_files import check_model_files
from cgdmer.models.errors import CGDMERError, ModelFolderError
from cgdmer.presets import SHIPPED_MODEL, model_source

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
    from cgdmer.models.modeling_base import ECGPreTrainedModel
    from cgdmer.models.modeling_ecg_text import ECGTextModel
    from cgdmer.models.pipeline_ecg_classification import ECGPipeline
    from cgdmer.models.processing_ecg import ECGProcessor

# A family is an entry here: its files in models/ with their public classes, which name the Auto classes they serve.
FAMILIES: tuple[dict[str, str], ...] = (
    {
        "configuration_cgdmer": "CGDMERConfig CGDMERECGConfig",
        "modeling_cgdmer": "CGDMERModel CGDMERForZeroShot CGDMERECGModel CGDMERForECGClassification",
        "pretraining_cgdmer": "CGDMERForPreTraining",
    },
    {
        "configuration_coreecg": "CoReECGConfig",
        "modeling_coreecg": "CoReECGModel CoReECGForPreTraining CoReECGForECGClassification",
    },
    {
        "configuration_merit": "MERITConfig MERITECGConfig",
        "modeling_merit": "MERITModel MERITForPreTraining MERITForZeroShot MERITECGModel MERITForECGClassification",
    },
    # Encoders for comparisons under CG-DMER's objectives.
    {
        "configuration_ecg_encoders": "ECGResNetConfig ECGViTConfig",
        "modeling_ecg_encoders": "ECGResNetModel ECGViTModel ECGResNetForECGClassification ECGViTForECGClassification",
    },
    # Models that others have released, see `cgdmer.conversion`.
    {
        "configuration_merl": "MERLConfig",
        "modeling_merl": "MERLModel MERLForZeroShot",
    },
    {
        "configuration_net1d": "Net1DConfig",
        "modeling_net1d": "Net1DModel Net1DForECGClassification",
    },
    {
        "configuration_ecg_jepa": "ECGJEPAConfig",
        "modeling_ecg_jepa": "ECGJEPAModel ECGJEPAForECGClassification",
    },
    {
        "configuration_st_mem": "STMEMConfig",
        "modeling_st_mem": "STMEMModel STMEMForECGClassification",
    },
    {
        "configuration_hubert_ecg": "HubertECGConfig",
        "modeling_hubert_ecg": "HubertECGModel HubertECGForECGClassification",
    },
    {
        "configuration_ecg_wav2vec": "ECGWav2VecConfig",
        "modeling_ecg_wav2vec": "ECGWav2VecModel ECGWav2VecForECGClassification",
    },
    {
        "configuration_d_beta": "DBetaConfig",
        "modeling_d_beta": "DBetaModel DBetaForZeroShot",
    },
    {
        "configuration_melp": "MELPConfig",
        "modeling_melp": "MELPModel MELPForZeroShot",
    },
)


class Purpose(StrEnum):
    """What a class is for, and the Auto class that serves it. For two purposes, it is the closest that exists."""

    ENCODING = "AutoModel"
    PRETRAINING = "AutoModelForPreTraining"
    CLASSIFICATION = "AutoModelForAudioClassification"
    ZERO_SHOT = "AutoModelForZeroShotImageClassification"


# Registration


def _classes(prefix: str) -> Iterator[Any]:
    """The public classes of all files whose names start with the prefix."""
    for family in FAMILIES:
        for module, names in family.items():
            if module.startswith(prefix):
                yield from (getattr(import_module(f"cgdmer.models.{module}"), name) for name in names.split())


def _register_configurations() -> None:
    from transformers import AutoConfig

    for config in _classes("configuration_"):
        AutoConfig.register(config.model_type, config)


def _register_models() -> None:
    import transformers

    for model in (*_classes("modeling_"), *_classes("pretraining_")):
        for auto_class, served in model.auto_classes.items():
            if served.split(".")[1] == model.__name__:
                getattr(transformers, auto_class).register(model.config_class, model)
    # A classifier of a model with texts is one on its ECG encoder, by default the first that it can have. `register`
    # would refuse the other configuration.
    classifiers = getattr(transformers, Purpose.CLASSIFICATION)._model_mapping
    for config in _classes("configuration_"):
        if ecg_configs := getattr(config, "ecg_configs", {}):
            classifiers.register(config, classifiers[next(iter(ecg_configs.values()))])


def _register_feature_extractor() -> None:
    from transformers import AutoFeatureExtractor

    from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor

    for config in _classes("configuration_"):
        AutoFeatureExtractor.register(config, ECGFeatureExtractor)


def _register_processor() -> None:
    from transformers import AutoProcessor

    from cgdmer.models.processing_ecg import ECGProcessor

    for config in _classes("configuration_"):
        if "text_config" in config.sub_configs:
            AutoProcessor.register(config, ECGProcessor)


def _register_pipelines() -> None:
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    from cgdmer.models.hub_folder import PIPELINES

    for task, entry in PIPELINES.items():
        module, class_name = entry["impl"].split(".")
        # A fine-tuned model's answers depend on its labels, so there is no default.
        has_default = task != "ecg-classification"
        PIPELINE_REGISTRY.register_pipeline(
            task,
            pipeline_class=getattr(import_module(f"cgdmer.models.{module}"), class_name),
            pt_model=getattr(transformers, entry["pt"][0]),
            default={"model": (str(SHIPPED_MODEL), "main")} if has_default else None,
            type=entry["type"],
        )


# Each is due once that module of transformers has been imported, not before: much of it may never be needed.
_REGISTRATIONS = {
    "transformers.models.auto.configuration_auto": _register_configurations,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.feature_extraction_auto": _register_feature_extractor,
    "transformers.models.auto.processing_auto": _register_processor,
    "transformers.pipelines": _register_pipelines,
}
# Needed by files of models/, and imports the Auto classes itself.
_LAYERS = "transformers.modeling_layers"
_due: list[str] = []


def register_with_transformers() -> None:
    """Make transformers' Auto classes and pipelines serve the families as soon as they have been imported."""
    ours = (f"cgdmer.models.{path.stem}" for path in (Path(__file__).parent / "models").glob("[a-z]*.py"))
    for name in (*_REGISTRATIONS, _LAYERS, *ours):
        wrapt.register_post_import_hook(_on_import, name)


def _on_import(module: ModuleType) -> None:
    """Do what is due; while a file of models/ or what it needs is being imported, wait until that is done."""
    if module.__name__ in _REGISTRATIONS:
        _due.append(module.__name__)
    needed = [one for name, one in sys.modules.items() if name.startswith("cgdmer.models.") or name == _LAYERS]
    if not any(one is not module and getattr(one.__spec__, "_initializing", False) for one in needed):
        while _due:
            _REGISTRATIONS[_due.pop(0)]()


# Finding


def ecg_config_of(config: "PreTrainedConfig") -> "PreTrainedConfig":
    """The ECG branch of a configuration: a part of it, or the configuration itself."""
    return getattr(config, "ecg_config", config)


def config_of(model: str | os.PathLike[str]) -> "PreTrainedConfig":
    """The configuration of a model.

    Args:
        model: its folder or Hub id, or the name of the model that comes with the package.

    Raises:
        ModelFolderError: it is missing from the folder, damaged, or not of a family of this package.
    """
    from transformers import AutoConfig

    from cgdmer.models.modeling_base import ECGPreTrainedModel

    model = model_source(model)
    if os.path.isdir(model):
        check_model_files(model)
    with _refusing(model, _NO_FAMILY):  # a type that transformers does not know, code of its own, a list
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    if not issubclass(_class_for(config, Purpose.ENCODING), ECGPreTrainedModel):
        raise ModelFolderError(f"{model}, of type {config.model_type!r}, {_NO_FAMILY}")
    return config


_NO_FAMILY = (
    "is no model of this package. Name a folder or Hub id written by cgdmer.pretrain, `cgdmer finetune`, or "
    "save_pretrained."
)


@contextmanager
def _refusing(model: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Turns the many errors that a model's files can cause in transformers into one that names the folder."""
    try:
        yield
    except CGDMERError:
        raise
    except Exception as error:  # the tokenizers library raises the bare type
        if isinstance(error, OSError) and not (os.path.isdir(model) or os.path.isabs(model)):
            raise  # no network, or no such repository: transformers explains it well
        raise ModelFolderError(f"{model} {problem} ({type(error).__name__}: {error})") from error


def _class_for(config: "PreTrainedConfig", purpose: Purpose) -> type:
    import transformers

    found = getattr(transformers, purpose)._model_mapping.get(type(config), None)
    return found if isinstance(found, type) else object


def class_for(config: "PreTrainedConfig", purpose: Purpose) -> "type[ECGPreTrainedModel]":
    """A family's class for a purpose.

    Raises:
        ModelFolderError: there is none.
    """
    from cgdmer.models.modeling_base import ECGPreTrainedModel

    found = _class_for(config, purpose)
    if not issubclass(found, ECGPreTrainedModel):
        raise ModelFolderError(f"a model of type {config.model_type!r} has no class for this purpose.")
    return found


def load_model(model: str | os.PathLike[str]) -> "ECGPreTrainedModel":
    """The model in a folder or on the Hub, with everything for embeddings: both towers if there are two.

    Raises:
        ModelFolderError: it is not of a family of this package, or damaged.
    """
    return class_for(config_of(model), Purpose.ENCODING).from_pretrained(model_source(model), trust_remote_code=False)


def load_text_model(model: str | os.PathLike[str]) -> "ECGTextModel":
    """Like `load_model`, for a model that compares ECGs with texts.

    Raises:
        ModelFolderError: also if the model takes no texts.
    """
    from cgdmer.models.modeling_ecg_text import ECGTextModel

    found = class_for(config_of(model), Purpose.ENCODING)
    if not issubclass(found, ECGTextModel):
        raise ModelFolderError(
            f"{model} has no text tower (it is a {found.__name__}), so it takes no texts. Name a model with one; "
            "`cgdmer score` and `cgdmer classify` serve a fine-tuned classifier."
        )
    return found.from_pretrained(model_source(model), trust_remote_code=False)


def load_classifier(model: str | os.PathLike[str]) -> "ECGPreTrainedModel | None":
    """The encoder of a folder or Hub id with its classifier; None if the folder holds no trained one.

    Raises:
        ModelFolderError: it is not of a family of this package, or damaged.
    """
    from cgdmer.models.modeling_base import ECGPreTrainedModel
    from cgdmer.models.modeling_ecg_text import ECGTextModel

    config = config_of(model)
    found = _class_for(config, Purpose.CLASSIFICATION)
    if issubclass(class_for(config, Purpose.ENCODING), ECGTextModel) or not issubclass(found, ECGPreTrainedModel):
        return None
    if config.architectures and found.__name__ not in config.architectures:  # an encoder's folder
        return None
    loaded = found.from_pretrained(model_source(model), trust_remote_code=False)
    return None if loaded.is_untrained_in_part else loaded


def load_scoring_pipeline(model: str | os.PathLike[str] | None = None, device: str | None = None) -> "ECGPipeline":
    """The pipeline that scores labels with a model; load it once for many recordings.

    This is the one place that decides what a model's folder can score: `zero-shot-ecg-classification` for a model that
    takes texts, `ecg-classification` for one with a classifier.

    Args:
        model: its folder or Hub id; None: the one that comes with the package.
        device: None: a GPU if there is one.

    Raises:
        ModelFolderError: it is not of a family of this package, has neither a text tower nor a trained classifier, or
            is damaged.
        ConfigurationError: there is no such device.
    """
    from transformers import pipeline

    from cgdmer.models.devices import usable_device
    from cgdmer.models.modeling_ecg_text import ECGTextModel

    name = model_source(model or SHIPPED_MODEL)
    options: dict[str, Any] = {"device": usable_device(device)}
    config = config_of(name)
    if issubclass(encoding := class_for(config, Purpose.ENCODING), ECGTextModel):
        loaded = class_for(config, Purpose.ZERO_SHOT).from_pretrained(name, trust_remote_code=False)
        options |= {"model": loaded, "processor": load_processor(name, loaded)}
        return pipeline("zero-shot-ecg-classification", trust_remote_code=False, **options)
    classifier = load_classifier(name)
    if classifier is None:
        raise ModelFolderError(
            f"{name} is a {encoding.__name__}, which takes no texts, without a trained classifier, so it cannot score "
            f"labels. Name a model with a text tower, or train a classifier: cgdmer finetune {name} --dataset DATASET "
            "--output_dir FOLDER."
        )
    options |= {"model": classifier, "feature_extractor": load_feature_extractor(name)}
    return pipeline("ecg-classification", trust_remote_code=False, **options)


def load_processor(name: str | os.PathLike[str], model: "ECGPreTrainedModel") -> "ECGProcessor | ECGFeatureExtractor":
    """What prepares a model's input: a processor if it takes texts, otherwise a feature extractor.

    Args:
        name: the model's folder or Hub id.
        model: the model loaded from there.

    Raises:
        ModelFolderError: it is missing from the folder, or damaged.
    """
    if not model.takes_texts:
        return load_feature_extractor(name)
    from transformers import AutoProcessor

    from cgdmer.models.processing_ecg import ECGProcessor

    return _loaded(AutoProcessor, name, ECGProcessor)


def load_feature_extractor(name: str | os.PathLike[str]) -> "ECGFeatureExtractor":
    """The feature extractor in a model's folder or on the Hub. Raises as `load_processor` does."""
    from transformers import AutoFeatureExtractor

    from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor

    return _loaded(AutoFeatureExtractor, name, ECGFeatureExtractor)


def load_tokenizer(name: str | os.PathLike[str]) -> Any:
    """The tokenizer in a model's folder or on the Hub.

    Raises:
        ModelFolderError: it is missing from the folder, damaged, or has code of its own.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    return _loaded(AutoTokenizer, name, PreTrainedTokenizerBase)


def _loaded(auto_class: Any, model: str | os.PathLike[str], expected: type) -> Any:
    name = model_source(model)
    if os.path.isdir(name):
        check_model_files(name)
    kind = "tokenizer" if expected.__name__.startswith("PreTrained") else expected.__name__
    with _refusing(name, f"holds no {kind} that can be read. Fetch or save the model again."):
        found = auto_class.from_pretrained(name, trust_remote_code=False)
    if not isinstance(found, expected):
        raise ModelFolderError(
            f"{name} holds a {type(found).__name__} instead of a {kind}. Fetch or save the model again."
        )
    return found


def extractor_of(processor: Any) -> "ECGFeatureExtractor":
    """The feature extractor of a processor, or the feature extractor itself."""
    return getattr(processor, "feature_extractor", processor)
