# SPDX-License-Identifier: Apache-2.0
"""What a pretraining run starts from: the model with its text tower, and the processor."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from accelerate.utils.environment import parse_flag_from_env
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from cgdmer.families import (
    Purpose,
    class_for,
    config_of,
    ecg_config_of,
    extractor_of,
    load_feature_extractor,
    load_tokenizer,
)
from cgdmer.files.model_files import check_model_files
from cgdmer.models.configuration_ecg_text import ECGTextConfig
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.models.safe_weights import safetensors_only
from cgdmer.options import default_of
from cgdmer.presets import preset_folder
from cgdmer.training.arguments import PretrainingArguments
from cgdmer.training.objectives import objective_class
from cgdmer.training.objectives.base import Objective

_TEXT_OPTIONS = ("wordings", "texts_per_record", "text_model", "freeze_text_layers")


def refuse_mixed_precision_without_gpu() -> None:
    """Call it before Accelerate is set up.

    Otherwise a file of `examples/accelerate` that is meant for GPUs would train on the CPU without a word.

    Raises:
        ConfigurationError: Accelerate's configuration asks for 16 bits, and there is no GPU to compute in them.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision == "no" or parse_flag_from_env("ACCELERATE_USE_CPU") or torch.accelerator.is_available():
        return
    reason = "torch finds no GPU" if torch.version.cuda else "this build of torch is for CPUs only"
    raise ConfigurationError(
        f"Accelerate's configuration asks for mixed_precision {precision}, which is for GPUs, but {reason}. On a "
        "machine with a GPU, install a build of torch for it. To train on the CPU, leave out --config_file or pass "
        "--mixed_precision no to accelerate launch."
    )


def installed_trackers(names: list[str] | None) -> list[str]:
    """The trackers to log to.

    Raises:
        ConfigurationError: one of them is unknown to Accelerate, or not installed.
    """
    installed = [tracker.value for tracker in get_available_trackers()]
    if names is None:
        return ["tensorboard"] if "tensorboard" in installed else []
    if names == ["none"]:
        return []
    if names == ["all"]:
        return installed
    known = sorted(kind.value for kind in LoggerType if kind != LoggerType.ALL)
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"--report_to names {name!r}; expected some of {', '.join(known)}, or 'all' or 'none' alone."
            )
        if name not in installed:
            raise ConfigurationError(
                f"--report_to names {name!r}, which is not installed. Install it, or choose an installed one "
                f"({', '.join(installed) or 'there is none'}), or 'none'."
            )
    return names


def model_and_processor(
    options: PretrainingArguments,
) -> tuple[Any, ECGProcessor | ECGFeatureExtractor]:
    """The model to train and its processor; for a model of signals alone, a feature extractor.

    With `--objective`, the model is an `Objective` around the one to save.

    Fills in options that were left open: the number of frozen text layers and, for signals alone, `text_source=None`.
    """
    folder = options.model or preset_folder(options.config_name or "")
    config = config_of(folder)
    objective = objective_class(options.objective) if options.objective else None
    if objective is None:
        model_class = class_for(config, Purpose.PRETRAINING)
    else:
        config = _config_for(objective, config, folder)
        model_class = class_for(config, Purpose.ENCODING)
    processor: ECGProcessor | ECGFeatureExtractor
    if "text" in model_class.input_modalities:
        model, processor = _with_text_tower(options, folder, config, model_class)
    else:
        for name in _TEXT_OPTIONS:
            if getattr(options, name) not in (default_of(PretrainingArguments, name), 0):
                raise ConfigurationError(f"the model is trained on signals alone: leave out --{name}.")
        options.text_source, options.freeze_text_layers = None, 0
        processor = load_feature_extractor(folder)
        model = model_class.from_pretrained(folder, trust_remote_code=False) if options.model else model_class(config)
    extractor, ecg_config = extractor_of(processor), ecg_config_of(model.config)
    for name in ("sampling_rate", "num_samples", "patch_length"):
        extracted, expected = getattr(extractor, name), getattr(ecg_config, name)
        if extracted != expected:
            raise ConfigurationError(
                f"{name} is {extracted} in the feature extractor and {expected} in the model's configuration. "
                "Change one of the two files of the preset."
            )
    return (model if objective is None else objective(model)), processor


def _config_for(objective: type[Objective], config: PreTrainedConfig, folder: str | Path) -> PreTrainedConfig:
    """The part of a configuration that a method trains: an ECG encoder or, if it takes texts, both towers."""
    if not objective.takes_texts:
        return ecg_config_of(config)
    if not isinstance(config, ECGTextConfig):
        raise ConfigurationError(f"{folder} has no text tower, which {objective.__name__} needs. Name one that has.")
    return config


def _with_text_tower(
    options: PretrainingArguments, folder: str | Path, config: ECGTextConfig, model_class: type[ECGPreTrainedModel]
) -> tuple[ECGPreTrainedModel, ECGProcessor]:
    text_model = options.text_model
    if options.model:
        model = model_class.from_pretrained(folder, trust_remote_code=False)
        processor = _processor(folder, text_model, model.config)
    else:
        if text_model:
            config.text_config = _text_config(text_model)
        processor = _processor(folder, text_model, config)
        config.take_from_tokenizer(processor.tokenizer)
        model = model_class(config)
        if text_model:
            load_text_tower(model, text_model)
    model.config.check_tokenizer(processor.tokenizer)
    if options.freeze_text_layers is None:
        options.freeze_text_layers = model.config.text_config.num_hidden_layers // 2 if text_model else 0
    freeze_text_layers(model, options.freeze_text_layers)
    return model, processor


def _processor(folder: str | Path, text_model: str | None, config: ECGTextConfig) -> ECGProcessor:
    feature_extractor = load_feature_extractor(folder)
    source = text_model or folder
    if not text_model and Path(folder).is_dir() and not (Path(folder) / "tokenizer.json").is_file():
        source = config.text_model_name or folder
    tokenizer = load_tokenizer(source)
    if tokenizer.model_max_length > config.text_config.max_position_embeddings:
        tokenizer.model_max_length = min(256, config.text_config.max_position_embeddings)
    return ECGProcessor(feature_extractor, tokenizer)


def _text_config(text_model: str) -> PreTrainedConfig:
    if Path(text_model).is_dir():
        check_model_files(text_model)
    try:
        return AutoConfig.from_pretrained(text_model, trust_remote_code=False)
    except ValueError as error:
        raise ModelFolderError(
            f"{text_model} is no text encoder that transformers knows without code from its folder, which is never "
            f"run. Choose one that it knows. ({error})"
        ) from error


def load_text_tower(model: ECGPreTrainedModel, text_model: str) -> None:
    """Replace the weights of the text tower with pretrained ones.

    Raises:
        ModelFolderError: the weights are incomplete, or there are no safetensors.
    """
    options = {"config": _text_config(text_model)}
    with safetensors_only(text_model, options):
        pretrained, info = AutoModel.from_pretrained(
            text_model, output_loading_info=True, trust_remote_code=False, **options
        )
    wanted = model.text_model.state_dict()
    missing = [key for key in info["missing_keys"] if key in wanted]
    if missing:
        raise ModelFolderError(
            f"{text_model} lacks {len(missing)} weights of the text tower (the first: {sorted(missing)[0]}). "
            "Choose a model of the same architecture with all weights."
        )
    model.text_model.load_state_dict({key: pretrained.state_dict()[key] for key in wanted})


def freeze_text_layers(model: ECGPreTrainedModel, count: int) -> None:
    """Freeze the embeddings and the lowest `count` layers of the text tower; 0 freezes nothing.

    Raises:
        ConfigurationError: the text tower has fewer layers.
    """
    if count == 0:
        return
    stacks = [module for module in model.text_model.modules() if isinstance(module, nn.ModuleList)]
    layers = max(stacks, key=len, default=nn.ModuleList())
    if count > len(layers):
        raise ConfigurationError(f"--freeze_text_layers is {count}, but the text tower has {len(layers)} layers.")
    embeddings = getattr(model.text_model, "embeddings", model.text_model.get_input_embeddings())
    for module in (embeddings, *layers[:count]):
        module.requires_grad_(False)


def checkpoint_activations(model: ECGPreTrainedModel) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    # transformers 5.17 has only the old name, which later versions deprecate.
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()


def compile_ecg_layers(model: ECGPreTrainedModel, backend: str | Callable = "inductor") -> None:
    """Compile the layers of the ECG encoder and decoder in place, which keeps the names of the weights.

    Layers of the same kind share one compilation for each number of tokens, and for training and validation. The text
    tower is left out, because the length of its batches changes with every step.
    """
    decoder = getattr(model, "ecg_decoder", None)
    for layer in (*model.ecg_model.layers, *(decoder.layers if decoder is not None else ())):
        layer.compile(dynamic=False, backend=backend)
