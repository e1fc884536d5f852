# SPDX-License-Identifier: Apache-2.0
"""Copies the files of a model's folder that belong on the Hub, and checks the copy by loading it.

Only what a model needs is copied. Checkpoints, metrics, arguments with local paths, and the record of patients stay
behind.
"""

import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

import cgdmer
from cgdmer.data.fingerprints import EARLIER_KIND, holds_patients
from cgdmer.data.fingerprints import FILE_NAME as FINGERPRINTS
from cgdmer.files.model_files import check_model_files
from cgdmer.files.reading import read_json_object
from cgdmer.files.writing import write_json
from cgdmer.inference.familiarity import Familiarity
from cgdmer.inference.operating_points import OperatingPoints
from cgdmer.models.errors import CGDMERError, ModelFolderError
from cgdmer.models.hub_folder import HubFolderModel, copy_model_code
from cgdmer.training import run_summary

CONFIG, RUN_SUMMARY = "config.json", run_summary.FILE_NAME
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")
# What transformers.Trainer keeps beside a model to resume training. It stays behind, so its pickles do no harm.
_OF_TRAINER = re.compile(
    r"(checkpoint-\d+/.*|training_args\.bin|(optimizer|scheduler|scaler)\.pt|rng_state(_\d+)?\.pth)"
)
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}


def stage_model(folder: str | os.PathLike[str], target: Path) -> None:
    """Fill an empty folder with everything needed to load a model, with or without this package.

    Weights are copied byte for byte; the code is that of the installed package, as `save_pretrained` writes it.

    Args:
        folder: written by `cgdmer.pretrain`, `cgdmer finetune`, `transformers.Trainer` or `save_pretrained`.
        target: an empty folder.

    Raises:
        ModelFolderError: the folder holds pickles, or does not load because something is missing or damaged.
    """
    source = Path(folder)
    if not (source / CONFIG).is_file():
        raise ModelFolderError(
            f"{source} has no {CONFIG}, so it is not the folder of a model. Name one that pretraining, `cgdmer "
            "finetune` or save_pretrained wrote, not a checkpoint."
        )
    _refuse_pickles(source)
    check_model_files(source)
    try:
        _refuse_two_extractors(source)
        config = read_json_object(source / CONFIG)
        model_class = _class_of(source, config)
        for path in source.iterdir():
            if _WEIGHTS.fullmatch(path.name):
                shutil.copyfile(path, target / path.name)
        entries = model_class.hub_entries()
        write_json(target / CONFIG, config | entries)
        takes_texts = "text" in model_class.input_modalities
        processor_class = cgdmer.ECGProcessor if takes_texts else cgdmer.ECGFeatureExtractor
        processor_class.from_pretrained(source, trust_remote_code=False).save_pretrained(target)
        for path in (target / CONFIG, *target.glob("*_config.json")):
            write_json(path, _without_names_of_origin(read_json_object(path)))
        copy_model_code(target, entries)
        if (source / FINGERPRINTS).is_file():
            _refuse_patients(source / FINGERPRINTS)
            shutil.copyfile(source / FINGERPRINTS, target / FINGERPRINTS)
        if (points := OperatingPoints.of_model(source)) is not None:
            points.save(target)
        if (found := Familiarity.of_model(source)) is not None:
            found.save(target)
        if (source / RUN_SUMMARY).is_file():
            write_json(target / RUN_SUMMARY, run_summary.read(source / RUN_SUMMARY))
        _check_weights(model_class.from_pretrained(target, trust_remote_code=False), source)
    except CGDMERError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise ModelFolderError(
            f"{source} does not load as a model with its processor ({error}). Save both again with save_pretrained, "
            "and check with AutoModel.from_pretrained."
        ) from error


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if _OF_TRAINER.fullmatch(path.relative_to(folder).as_posix()):
            continue
        if path.is_file() and (path.suffix in _PICKLE_SUFFIXES or _is_pickle(path)):
            raise ModelFolderError(
                f"{path.relative_to(folder)} in {folder} is a pickle, or may hold one, which runs code when it is "
                "loaded. Save weights as safetensors (save_pretrained does) and remove it."
            )


def _refuse_patients(path: Path) -> None:
    if holds_patients(path):
        raise ModelFolderError(
            f'{path} {EARLIER_KIND} Write it again without them, and push then: python -c "from '
            f"cgdmer.data.fingerprints import Fingerprints; Fingerprints.load({str(path)!r}).save("
            f'{str(path.parent)!r})". A repository that already has the file keeps it in its history: see the guide '
            "on publishing."
        )


def _refuse_two_extractors(folder: Path) -> None:
    """Refuse a leftover processor of an earlier model: transformers reads it instead of the extractor's own file."""
    names = ("processor_config.json", "preprocessor_config.json")
    if not all((folder / name).is_file() for name in names):
        return
    processor, extractor = (read_json_object(folder / name) for name in names)
    other = processor["feature_extractor"]
    differing = [key for key in extractor if key in other and other[key] != extractor[key]]
    if differing:
        raise ModelFolderError(
            f"{' and '.join(names)} in {folder} differ ({', '.join(differing)}): one of them is left from an earlier "
            "model. Remove it."
        )


def _is_pickle(path: Path) -> bool:
    """Judged by content. safetensors files start with a length, which may look like the start of a pickle."""
    if path.suffix == ".safetensors":
        return False
    with open(path, "rb") as file:
        head = file.read(2)
    if len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())


def _class_of(folder: Path, config: dict[str, Any]) -> type[HubFolderModel]:
    names = config.get("architectures") or ["nothing"]
    found = getattr(cgdmer, names[0], None)
    if not (isinstance(found, type) and issubclass(found, HubFolderModel)):
        raise ModelFolderError(
            f"{folder / CONFIG} names the architecture {names[0]!r}, which is not a model of this package. Push it "
            "with its own library."
        )
    return found


def _without_names_of_origin(value: Any) -> Any:
    """Without the entries where transformers records where something was loaded from, which may be a local path."""
    if isinstance(value, dict):
        return {
            key: _without_names_of_origin(one)
            for key, one in value.items()
            if key not in ("_name_or_path", "name_or_path")
        }
    return [_without_names_of_origin(one) for one in value] if isinstance(value, list) else value


def _check_weights(model: torch.nn.Module, source: Path) -> None:
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ModelFolderError(f"the weight {name} in {source} holds values that are not finite. Train it again.")
