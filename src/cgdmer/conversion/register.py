# SPDX-License-Identifier: Apache-2.0
"""All kinds of released models that can be converted. A new one is a file beside, and its name here."""

import difflib
from importlib import import_module

from cgdmer.conversion.kind import Kind
from cgdmer.models.errors import ConfigurationError, shown

# The files that define KINDS, and the names in them.
_MODULES = {
    "merl": "merl-resnet18 merl-resnet18-encoder merl-vit-tiny merl-vit-tiny-encoder",
    "d_beta": "d-beta d-beta-encoder",
    "ecg_wav2vec": "ecg-fm ecg-fm-finetuned",
    "melp": "melp melp-with-text",
    "net1d": "ecgfounder-12lead ecgfounder-1lead clef-small clef-medium clef-large",
    "ecg_jepa": "ecg-jepa",
    "st_mem": "st-mem st-mem-full",
    "hubert_ecg": "hubert-ecg-small hubert-ecg-base hubert-ecg-large",
}


def kinds() -> list[str]:
    return [name for names in _MODULES.values() for name in names.split()]


def kind_named(name: str) -> Kind:
    """
    Raises:
        ConfigurationError: there is none of this name.
    """
    for module, names in _MODULES.items():
        if name in names.split():
            found: Kind = import_module(f"cgdmer.conversion.{module}").KINDS[name]
            return found
    near = difflib.get_close_matches(name, kinds(), n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigurationError(f"there is no kind of model {shown(name)}.{meant} Kinds: {', '.join(kinds())}.")
