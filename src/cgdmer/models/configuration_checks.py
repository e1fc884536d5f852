# SPDX-License-Identifier: Apache-2.0
"""What all configurations check and leave out."""

import difflib
import math
from typing import Any

from transformers import PreTrainedConfig

from .errors import ConfigurationError

# What transformers itself hands to a configuration beside the declared fields.
_KEYS_OF_TRANSFORMERS = {
    "_commit_hash",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "tie_word_embeddings",
    "torch_dtype",
}


def refuse_unknown_keys(config: PreTrainedConfig, kwargs: dict[str, Any]) -> None:
    """transformers keeps any unknown key silently, so that a misspelt option would have no effect at all."""
    stated = kwargs.get("model_type", config.model_type)
    if stated != config.model_type:
        raise ConfigurationError(
            f"the configuration is of a model of type {stated!r}, which {type(config).__name__} "
            f"({config.model_type!r}) does not describe. Load it with AutoModel, or name the folder that you mean."
        )
    for key in kwargs:
        if key in _KEYS_OF_TRANSFORMERS or key.startswith("_") or hasattr(type(config), key):
            continue
        close = difflib.get_close_matches(key, list(type(config).__dataclass_fields__), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"{type(config).__name__} has no option {key!r}.{hint}")


def refuse_below_one(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigurationError(f"{name} is {getattr(config, name)}; expected at least 1.")


def refuse_weights(config: PreTrainedConfig, *names: str) -> None:
    """Weights of losses are 0 or more; NaN is neither."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ConfigurationError(
                f"{name} is {getattr(config, name)}; expected 0, which switches that loss off, or a positive number."
            )


def refuse_unless_positive(config: PreTrainedConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigurationError(f"{name} is {getattr(config, name)}; expected a positive number.")


def refuse_to_restore_nothing(config: PreTrainedConfig, encoder: Any) -> None:
    """A loss over hidden patches is 0, its best value, where none are hidden."""
    if config.ecg_reconstruction_loss_weight > 0 and not encoder.hides_patches:
        raise ConfigurationError(
            f"mask_strategy {encoder.mask_strategy!r} with mask_ratio {encoder.mask_ratio} hides none of "
            f"{encoder.num_patches} patches a lead, so that there is nothing to reconstruct. Raise mask_ratio, or set "
            "ecg_reconstruction_loss_weight to 0."
        )


def drop_registered_pipelines(kwargs: dict[str, Any]) -> None:
    """Forget `custom_pipelines` where this package has registered the tasks already.

    With that entry in config.json `transformers.pipeline` demands `trust_remote_code=True` even though it would run
    the installed class. A machine without the package keeps the entry, and needs it.
    """
    if kwargs.get("custom_pipelines"):
        from transformers.pipelines import PIPELINE_REGISTRY

        if all(task in PIPELINE_REGISTRY.supported_tasks for task in kwargs["custom_pipelines"]):
            del kwargs["custom_pipelines"]
