# SPDX-License-Identifier: Apache-2.0
"""What all configurations check and leave out."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from transformers import PreTrainedConfig

from .errors import ConfigurationError
from .foreign_keys import refuse_unknown_options


def refuse_unknown_keys(config: PreTrainedConfig, kwargs: dict[str, Any]) -> None:
    """transformers silently keeps any unknown key, so a misspelled option would have no effect."""
    stated = kwargs.get("model_type", config.model_type)
    if stated != config.model_type:
        raise ConfigurationError(
            f"the configuration is of a model of type {stated!r}, which {type(config).__name__} "
            f"({config.model_type!r}) does not describe. Load it with AutoModel, or name the folder that you mean."
        )
    given = [key for key in kwargs if key != "model_type"]
    refuse_unknown_options(type(config), given, [field.name for field in fields(config)])


def _refuse_unless(config: PreTrainedConfig, names: tuple[str, ...], holds: Callable, expected: str) -> None:
    for name in names:
        if not holds(getattr(config, name)):
            raise ConfigurationError(f"{name} is {getattr(config, name)!r}; expected {expected}.")


def refuse_below_one(config: PreTrainedConfig, *names: str) -> None:
    _refuse_unless(config, names, lambda value: value >= 1, "at least 1")


def refuse_unless_positive(config: PreTrainedConfig, *names: str) -> None:
    _refuse_unless(config, names, lambda value: 0 < value < math.inf, "a positive number")


def refuse_unless_weight(config: PreTrainedConfig, *names: str) -> None:
    """Loss weights are 0 or more, and never NaN."""
    expected = "0, which switches that loss off, or a positive number"
    _refuse_unless(config, names, lambda value: 0 <= value < math.inf, expected)


def refuse_unless_fraction(config: PreTrainedConfig, *names: str) -> None:
    """A share that is masked or dropped is never the whole."""
    _refuse_unless(config, names, lambda value: 0 <= value < 1, "at least 0 and less than 1")


def refuse_other_than(config: PreTrainedConfig, name: str, *choices: str) -> None:
    _refuse_unless(config, (name,), lambda value: value in choices, f"one of {', '.join(choices)}")


def refuse_unless_multiple(config: PreTrainedConfig, name: str, of: str | int) -> None:
    """`of` is a number, or the name of another field."""
    if getattr(config, name) % (getattr(config, of) if isinstance(of, str) else of):
        raise ConfigurationError(f"{name} ({getattr(config, name)}) must be a multiple of {of}.")


def refuse_to_restore_nothing(config: PreTrainedConfig, encoder: Any) -> None:
    """If no patches are hidden, the loss over hidden patches is 0, its best value."""
    if config.ecg_reconstruction_loss_weight > 0 and not encoder.hides_patches:
        raise ConfigurationError(
            f"mask_strategy {encoder.mask_strategy!r} with mask_ratio {encoder.mask_ratio} hides none of the "
            f"{encoder.num_patches} patches per lead: there is nothing to reconstruct. Raise mask_ratio, or set "
            "ecg_reconstruction_loss_weight to 0."
        )


def drop_registered_pipelines(kwargs: dict[str, Any]) -> None:
    """Drop `custom_pipelines` if this package has already registered the tasks.

    With that entry in config.json, `transformers.pipeline` demands `trust_remote_code=True` even though it would run
    the installed class. A machine without the package keeps the entry and needs it.
    """
    if kwargs.get("custom_pipelines"):
        from transformers.pipelines import PIPELINE_REGISTRY

        if all(task in PIPELINE_REGISTRY.supported_tasks for task in kwargs["custom_pipelines"]):
            del kwargs["custom_pipelines"]
