# SPDX-License-Identifier: Apache-2.0
"""What a pretraining run starts from: the model with its text tower, and the processor."""

import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer

from cgdmer.models.configuration_cgdmer import CGDMERConfig
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.models.pretraining_cgdmer import CGDMERForPreTraining
from cgdmer.models.processing_ecg import ECGProcessor
from cgdmer.models.safe_weights import safetensors_only
from cgdmer.presets import preset_folder

logger = logging.getLogger(__name__)


def model_and_processor(options: Namespace) -> tuple[CGDMERForPreTraining, ECGProcessor]:
    """The model to train, and the processor that is saved beside it.

    Settles how many text layers are frozen: `options.freeze_text_layers` is a number afterwards.
    """
    if options.model_name_or_path:
        model = CGDMERForPreTraining.from_pretrained(options.model_name_or_path)
        processor = _processor(options.model_name_or_path, options.text_model_name_or_path, model.config)
    else:
        folder = preset_folder(options.config_name)
        config = CGDMERConfig.from_pretrained(folder)
        if options.text_model_name_or_path:
            config.text_config = AutoConfig.from_pretrained(options.text_model_name_or_path)
        processor = _processor(folder, options.text_model_name_or_path, config)
        config.mask_token_id = _mask_token_id(processor.tokenizer)
        model = CGDMERForPreTraining(config)
        if options.text_model_name_or_path:
            load_text_tower(model, options.text_model_name_or_path)
    for name in ("sampling_rate", "num_samples", "patch_length"):
        extracted, expected = getattr(processor.feature_extractor, name), getattr(model.config.ecg_config, name)
        if extracted != expected:
            raise ConfigurationError(
                f"{name} is {extracted} in the feature extractor and {expected} in the model's configuration. "
                "Change one of the two files of the preset."
            )
    vocabulary = model.config.text_config.vocab_size
    if len(processor.tokenizer) > vocabulary:
        raise ConfigurationError(
            f"the tokenizer has {len(processor.tokenizer)} tokens but the text tower knows {vocabulary}: they do not "
            "belong together. Pass the folder or Hub id that holds both as --text_model_name_or_path."
        )
    if model.config.text_reconstruction_loss_weight > 0 and _mask_token_id(processor.tokenizer) != (
        model.config.mask_token_id
    ):
        raise ConfigurationError(
            f"the tokenizer's mask token is {processor.tokenizer.mask_token_id}, the model's configuration says "
            f"{model.config.mask_token_id}: they do not belong together. Use the tokenizer that the model came with."
        )
    if options.freeze_text_layers is None:
        half = model.config.text_config.num_hidden_layers // 2
        options.freeze_text_layers = half if options.text_model_name_or_path else 0
    freeze_text_layers(model, options.freeze_text_layers)
    return model, processor


def _processor(folder: str | Path, text_model: str | None, config: CGDMERConfig) -> ECGProcessor:
    feature_extractor = AutoFeatureExtractor.from_pretrained(folder)
    source = text_model or folder
    if not text_model and Path(folder).is_dir() and not (Path(folder) / "tokenizer.json").is_file():
        source = config.text_model_name or folder
    tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.model_max_length > config.text_config.max_position_embeddings:
        tokenizer.model_max_length = min(256, config.text_config.max_position_embeddings)
    return ECGProcessor(feature_extractor, tokenizer)


def _mask_token_id(tokenizer) -> int:
    if tokenizer.mask_token_id is None:
        raise ConfigurationError("the tokenizer has no mask token; masked report reconstruction needs one.")
    return tokenizer.mask_token_id


def load_text_tower(model: CGDMERForPreTraining, name_or_path: str) -> None:
    """Replace the weights of the text tower by pretrained ones.

    Raises:
        ModelFolderError: the weights are incomplete, or there are no safetensors.
    """
    options = {"config": AutoConfig.from_pretrained(name_or_path)}
    with safetensors_only(name_or_path, options):
        pretrained, info = AutoModel.from_pretrained(name_or_path, output_loading_info=True, **options)
    wanted = model.text_model.state_dict()
    missing = [key for key in info["missing_keys"] if key in wanted]
    if missing:
        raise ModelFolderError(
            f"{name_or_path} lacks {len(missing)} weights of the text tower (the first: {sorted(missing)[0]})."
        )
    model.text_model.load_state_dict({key: pretrained.state_dict()[key] for key in wanted})


@torch.no_grad()
def center_heads(model: CGDMERForPreTraining, batch: dict[str, torch.Tensor]) -> None:
    """Shift the shared heads so that the embeddings of a batch average to zero (ours).

    Untrained towers send all records in nearly one direction (mean cosine 0.97 between ECGs, 0.91 between texts),
    which a contrastive loss on unit vectors needs hundreds of steps to undo. Call it once, before training from
    random weights, with a few hundred training records.
    """
    was_training = model.training
    model.eval()
    ecg = model.ecg_model(batch["ecg_values"], batch.get("lead_mask"), batch.get("patch_mask"))
    text = model.encode_text(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
    for head, outputs in ((model.ecg_shared_head, ecg), (model.text_shared_head, text)):
        head.fc2.bias.sub_(head(outputs.pooler_output).mean(dim=0))
    model.train(was_training)


def freeze_text_layers(model: CGDMERForPreTraining, count: int) -> None:
    """Keep the word embeddings and the lowest `count` layers of the text tower as they are; 0 freezes nothing.

    Raises:
        ConfigurationError: the text tower has no such layers.
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


def compile_ecg_layers(model: CGDMERForPreTraining, backend: str | Callable = "inductor") -> None:
    """Compile the layers of the ECG encoder and decoder, in place: names of weights stay as they are.

    A layer is compiled once for each number of tokens and for training and validation; layers alike share the result.
    The text tower is left alone: the length of its batches changes with every step.
    """
    decoder = getattr(model, "ecg_decoder", None)
    for layer in (*model.ecg_model.layers, *(decoder.layers if decoder is not None else ())):
        layer.compile(dynamic=False, backend=backend)


__all__ = ["center_heads", "compile_ecg_layers", "freeze_text_layers", "load_text_tower", "model_and_processor"]
