# SPDX-License-Identifier: Apache-2.0
"""What all configurations check and leave out."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .errors import CGDMERError, ConfigurationError, shown
from .foreign_keys import refuse_unknown_options

# Far above those of any public model of ECGs or reports. Each layer takes time to build, and each label.
MOST_LAYERS, MOST_LABELS, WIDEST, LARGEST = 512, 10_000, 2**16, 2**24
_BOUNDS = (
    (re.compile("label"), MOST_LABELS),
    (re.compile("layer|block|stage|depth|expert"), MOST_LAYERS),
    (re.compile("theta"), 2**40),
    (re.compile("^(?!vocab).*(_size|_dim|channels|heads)$|^(dim|d_model|n_embd)$"), WIDEST),
)


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


def checked(cls: Any) -> Any:
    """`strict` of huggingface_hub, whose errors, and those of transformers, become our own.

    The values may come from a file, so they are bounded before a model is built from them.
    """
    cls = strict(cls)
    construct, from_dict = cls.__init__, cls.from_dict.__func__

    @wraps(construct)
    def __init__(self, **kwargs):
        with _as_configuration_error(cls):
            refuse_large_values(kwargs)
            construct(self, **kwargs)

    @wraps(from_dict)
    def checked_from_dict(owner, config_dict, **kwargs):
        with _as_configuration_error(cls):
            refuse_code_from_the_hub(config_dict)
            return from_dict(owner, config_dict, **kwargs)

    cls.__init__, cls.from_dict = __init__, classmethod(checked_from_dict)
    return cls


@contextmanager
def _as_configuration_error(cls: Any) -> Iterator[None]:
    try:
        yield
    except CGDMERError:
        raise
    except Exception as error:  # of transformers, for which a configuration is trusted
        message = " ".join(str(error)[:500].split())
        raise ConfigurationError(f"{cls.__name__}: {message} ({type(error).__name__})") from error


def refuse_large_values(values: Any, name: str = "") -> None:
    """Bounds for the numbers in a configuration, nested to any depth, by what their names say about them."""
    if isinstance(values, (dict, list, tuple)):
        if len(values) > MOST_LABELS:
            raise ConfigurationError(f"{name or 'the configuration'} has {len(values)} entries; {MOST_LABELS} may be.")
        for key, value in values.items() if isinstance(values, dict) else ((name, value) for value in values):
            refuse_large_values(value, str(key))
    elif isinstance(values, float) and not math.isfinite(values):
        raise ConfigurationError(f"{name[:100]} is {values}; expected a finite number.")
    elif isinstance(values, int):
        most = next((most for pattern, most in _BOUNDS if pattern.search(name)), LARGEST)
        if not -LARGEST <= values <= most:
            raise ConfigurationError(f"{name[:100]} is {shown(values)}; expected at most {most}.")


def refuse_code_from_the_hub(values: Any, name: str = "") -> None:
    """transformers would fetch and run an implementation of attention with a name such as org/kernel."""
    if isinstance(values, (dict, list)):
        for key, value in values.items() if isinstance(values, dict) else ((name, value) for value in values):
            inherited = name if name.endswith("_implementation") else key
            refuse_code_from_the_hub(value, str(inherited))
    elif isinstance(values, str) and "_implementation" in name and "/" in values:
        raise ConfigurationError(
            f"the configuration names code on the Hub for {name} ({shown(values)}), which is never run. Remove it, or "
            "pass attn_implementation yourself."
        )


def refuse_unknown_activation(config: PreTrainedConfig, name: str) -> None:
    from transformers.activations import ACT2FN

    if getattr(config, name) not in ACT2FN:
        raise ConfigurationError(f"{name} is {shown(getattr(config, name))}; expected one such as 'gelu' or 'relu'.")


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
