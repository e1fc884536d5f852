# SPDX-License-Identifier: Apache-2.0
"""What a converter is: how the tensors of one released layout become a model of this package, and what is known of it.

A converter is a function that takes every tensor of a file by its name, exactly once, so that nothing is lost by
mistake and nothing is made up.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from cgdmer.models.errors import ModelFolderError, shown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from cgdmer.models.modeling_base import ECGPreTrainedModel

# The order of leads in the files of MIMIC-IV-ECG, in which some models were trained.
MIMIC_LEADS = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
_NAMES_SHOWN = 3


class ReleasedTensors:
    """The tensors of a released file by their names there; each is taken once.

    Raises:
        ModelFolderError: (all methods) a tensor is missing, or has another shape than the layout says.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], where: str):
        self._rest, self.where = dict(tensors), where

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def names(self, prefix: str = "") -> list[str]:
        """Those that were not taken, in their order in the file."""
        return [name for name in self._rest if name.startswith(prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._of(name).shape)

    def dimension(self, name: str, axis: int) -> int:
        """A size from which the configuration follows."""
        shape = self.shape(name)
        if axis >= len(shape):
            raise ModelFolderError(f"{self.where}: {name} has shape {shape}; expected more dimensions.")
        return shape[axis]

    def take(self, name: str) -> torch.Tensor:
        found = self._of(name)
        del self._rest[name]
        return found

    def take_all(self, prefix: str, renamed: Mapping[str, str] | None = None) -> dict[str, torch.Tensor]:
        """The tensors whose names start with a prefix, without it.

        Args:
            renamed: regular expressions for whole names without the prefix, and what they become, as in `re.sub`; the
                first that matches holds. None, or no match: the name stays as it is.
        """
        found = {}
        for name in self.names(prefix):
            changed = name.removeprefix(prefix)
            for pattern, new in (renamed or {}).items():
                if re.fullmatch(pattern, changed):
                    changed = re.sub(pattern, new, changed)
                    break
            if changed in found:
                raise ModelFolderError(f"{self.where}: two tensors become {changed}; {name} is one of them.")
            found[changed] = self.take(name)
        return found

    def drop(self, *patterns: str) -> None:
        """Take tensors that no output depends on; a regular expression for whole names may match none."""
        for name in self.names():
            if any(re.fullmatch(pattern, name) for pattern in patterns):
                del self._rest[name]

    def refuse_rest(self) -> None:
        if self._rest:
            raise ModelFolderError(
                f"{self.where} has {len(self._rest)} tensors that this kind of model does not have: "
                f"{_listed(self._rest)}. Is it a checkpoint of another kind?"
            )

    def _of(self, name: str) -> torch.Tensor:
        if name not in self._rest:
            raise ModelFolderError(
                f"{self.where} has no tensor {name}, which this kind of model needs. Is it a checkpoint of another "
                f"kind, or already converted? It has {_listed(self._rest)}."
            )
        return self._rest[name]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(shown(name) for name in names[:_NAMES_SHOWN]) + more


@dataclass(frozen=True)
class Source:
    """Where a model comes from, for its card.

    Args:
        name: of the model.
        paper: title and arXiv number.
        where: the published file and its place.
        license: of the weights, as an identifier of the Hub: "mit", "cc-by-nc-4.0", "other", "unknown".
        license_note: what the license of code and weights is, and what is unknown.
        corpora: what it was pretrained on, in words.
        seen: which of this package's corpora are among these, by their names in `cgdmer.corpora`.
        notes: what else a user must know, a sentence each.
    """

    name: str
    paper: str
    where: str
    license: str
    license_note: str
    corpora: str
    seen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# The model's class, its configuration (which follows from the tensors' shapes), and all weights by the model's names.
Converted = tuple["type[ECGPreTrainedModel]", "PreTrainedConfig", dict[str, torch.Tensor]]
Convert = Callable[[ReleasedTensors], Converted]


@dataclass(frozen=True)
class Kind:
    """One released layout.

    Args:
        source: for the card.
        convert: takes or drops all tensors of a file.
        hub_file: the name of the file in a repository of the Hub, if it is published there.
        containers: keys of the file's outer dictionary under which the tensors may be; the first that is there counts.
            If none is, the file is the tensors.
        feature_extractor: options of `ECGFeatureExtractor` besides rate, window, and patch length, which are the
            configuration's.
        for_finetuning: what of these is otherwise in the authors' finetuning; None: nothing.
        tokenizer: Hub id of the tokenizer, for a model that takes texts.
    """

    source: Source
    convert: Convert
    hub_file: str | None = None
    containers: tuple[str, ...] = ()
    feature_extractor: Mapping[str, Any] = field(default_factory=dict)
    for_finetuning: Mapping[str, Any] | None = None
    tokenizer: str | None = None
