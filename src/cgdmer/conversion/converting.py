# SPDX-License-Identifier: Apache-2.0
"""From a released checkpoint to a model folder: weights, configuration, feature extractor, and a card."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from cgdmer.conversion.cards import card_text
from cgdmer.conversion.kind import Kind, ReleasedTensors
from cgdmer.conversion.register import kind_named
from cgdmer.conversion.released_files import read_tensors
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.families import ecg_config_of, load_tokenizer
from cgdmer.files.writing import TEMPORARY_SUFFIX, write_text
from cgdmer.models.errors import ConfigurationError, ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.processing_ecg import ECGProcessor

_ROWS_ARE_A_MULTIPLE_OF = 128  # of T5's table of words, whose last rows are no word's
_HUB_ID = r"[\w-][\w.-]*/[\w-][\w.-]*"
_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_LONGEST_TEXT = 256  # tokens, at which all released models with texts cut


def convert(
    kind_name: str,
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    for_finetuning: bool = False,
) -> ECGPreTrainedModel:
    """Write a model folder from a released checkpoint, and return the model.

    Args:
        kind_name: one of `register.kinds()`.
        file: the checkpoint as it was published; or the Hub id of the repository in which it is, if it is published
            there (it is downloaded into the Hub's cache).
        output_dir: a new folder.
        tokenizer: a folder or Hub id, for a model that takes texts; None: that of the kind, from the Hub.
        for_finetuning: preprocess as the authors do when they finetune, if that differs.

    Raises:
        ConfigurationError: there is no such kind, or it takes no tokenizer, or another one, or its authors
            preprocess alike for finetuning.
        ModelFolderError: the file is not a checkpoint of this kind, or damaged; or the folder exists.
    """
    kind, output = kind_named(kind_name), Path(output_dir)
    if tokenizer is not None and kind.tokenizer is None:
        raise ConfigurationError(f"{kind_name} takes no texts, so it needs no tokenizer.")
    if for_finetuning and kind.for_finetuning is None:
        raise ConfigurationError(f"{kind_name} has only one preprocessing, also for finetuning. Omit for_finetuning.")
    if output.exists():
        raise ModelFolderError(f"{output} exists already. Name a new folder.")
    model = converted(kind, _local(kind_name, kind, file))
    extractor = feature_extractor(kind, model.config, for_finetuning)
    processor: ECGFeatureExtractor | ECGProcessor = extractor
    if kind.tokenizer is not None:
        processor = ECGProcessor(extractor, _tokenizer(tokenizer or kind.tokenizer, model))
    partial = output.with_name(f".{output.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        if kind.source.seen:
            seen = tuple(sorted(kind.source.seen))
            Fingerprints(np.array([], dtype=np.int64), seen, unlisted=seen).save(partial)
        write_text(partial / "README.md", card_text(kind_name, kind))
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return model


def _local(kind_name: str, kind: Kind, file: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path of a file; a Hub id is one that is no path here, and does not end like a file."""
    name = os.fspath(file)
    if os.path.exists(name) or not re.fullmatch(_HUB_ID, name) or Path(name).suffix in _CHECKPOINT_SUFFIXES:
        return file
    if kind.hub_file is None:
        raise ModelFolderError(f"{name} is no file here, and {kind_name} is not published on the Hub.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return hf_hub_download(name, kind.hub_file)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        first = str(error).strip().split("\n")[0]
        raise ModelFolderError(
            f"{name} is no file here, and {kind.hub_file} of a repository of that name cannot be fetched from the Hub "
            f"({type(error).__name__}: {first}). Name a file that you have downloaded, or a Hub id."
        ) from error


def feature_extractor(kind: Kind, config: PreTrainedConfig, for_finetuning: bool = False) -> ECGFeatureExtractor:
    """The authors' preprocessing, for a model of this configuration."""
    ecg: Any = ecg_config_of(config)
    options = {**kind.feature_extractor, **((for_finetuning and kind.for_finetuning) or {})}
    return ECGFeatureExtractor(ecg.sampling_rate, ecg.num_samples, ecg.patch_length, **options)


def _tokenizer(name: str | os.PathLike[str], model: ECGPreTrainedModel) -> PreTrainedTokenizerBase:
    found = load_tokenizer(name)
    rows = model.get_input_embeddings().weight.shape[0]
    if not 0 <= rows - len(found) < _ROWS_ARE_A_MULTIPLE_OF:
        raise ConfigurationError(f"the tokenizer {name} has {len(found)} tokens; the model was trained with {rows}.")
    found.model_max_length = min(found.model_max_length, _LONGEST_TEXT)
    return found


def converted(kind: Kind, file: str | os.PathLike[str]) -> ECGPreTrainedModel:
    """The model of a released checkpoint, in single precision and evaluation mode.

    Raises:
        ModelFolderError: the file is not a checkpoint of this kind, or damaged.
    """
    tensors = ReleasedTensors(read_tensors(file, kind.containers), str(Path(file)))
    model_class, config, weights = kind.convert(tensors)
    tensors.refuse_rest()
    with torch.device("meta"):  # compared before memory is allocated: few numbers could ask for a large model
        own = model_class(config).state_dict()
    for name, value in own.items():
        if name not in weights and not name.endswith("num_batches_tracked"):
            raise ModelFolderError(f"{file} has no weights for {name}. Is it a checkpoint of another kind?")
        if name in weights and weights[name].shape != value.shape:
            raise ModelFolderError(
                f"{file}: what becomes {name} has shape {tuple(weights[name].shape)}; expected {tuple(value.shape)}."
            )
    if unknown := sorted(weights.keys() - own.keys()):
        raise ModelFolderError(f"{file}: {unknown[0]} has no place in a {model_class.__name__}.")
    if strange := [name for name, value in weights.items() if value.is_floating_point() and not _finite(value)]:
        raise ModelFolderError(f"{file}: the weights {strange[0]} are not all finite. The file is damaged.")
    model = model_class(config)
    floats = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    model.load_state_dict({**model.state_dict(), **floats})
    return model.eval()


def _finite(value: torch.Tensor) -> bool:
    return bool(torch.isfinite(value).all())
