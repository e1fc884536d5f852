# SPDX-License-Identifier: Apache-2.0
"""Embeddings are computed once and kept on disk, under a key made from everything they depend on.

For records, that is the encoder's weights, the feature extractor's settings, the samples of the records in order, any
change made to the records, and the version of this package. Tokens are a file of their own. For texts, it is the text
tower's weights, the tokens of the texts in order, and the version. File names and model names play no part.
"""

import hashlib
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cgdmer.about import __version__
from cgdmer.data.storage import DatasetRecords
from cgdmer.families import ecg_config_of
from cgdmer.files.reading import check_size
from cgdmer.files.writing import replacing
from cgdmer.inference.embeddings import Further, RecordFeatures, embed_records, embed_texts
from cgdmer.inference.token_files import read_tokens
from cgdmer.models.errors import CorpusError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.leads import STANDARD_LEADS
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.modeling_ecg_text import ECGTextModel
from cgdmer.models.processing_ecg import ECGProcessor

_METHOD = "mean over windows, weighted by what is new in each"  # part of the key: change it with the computation

_LARGEST_HEADER = 10_000  # bytes of a file besides the arrays


class Expected(NamedTuple):
    """An array that a file of the cache holds."""

    shape: tuple[int, ...]
    dtype: np.dtype = np.dtype(np.float32)


class EmbeddingCache:
    """A model's features, read from disk if they are there.

    Args:
        folder: made when needed; files in it may be deleted at any time. None: nothing is kept.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self.folder = None if folder is None else Path(folder)
        self._weights: dict[tuple[int, str], tuple[torch.nn.Module, bytes]] = {}  # by the id of the model

    def features(
        self,
        model: ECGPreTrainedModel,
        feature_extractor: ECGFeatureExtractor,
        part: DatasetRecords,
        description: str,
        change_name: str = "",
        further: Collection[Further] = (),
    ) -> RecordFeatures:
        """What `embed_records` returns for the records of a part; NaN for those that cannot be used.

        Args:
            change_name: what `part.change` does to the records; "" if it is None.
            further: what else to compute.
        """
        embed = partial(embed_records, model, feature_extractor, part, description=description, unusable="nan")
        if self.folder is None:
            return embed(further=further)
        width, leads = model.base_model.config.hidden_size, len(STANDARD_LEADS)
        expected = {"pooled": Expected((len(part), width))}
        if model.takes_texts:
            expected["embeds"] = Expected((len(part), model.config.projection_size))
        expected["refused_leads"] = Expected((len(part), leads), np.dtype(bool))
        if "per_lead" in further:
            expected["per_lead"] = Expected((len(part), leads, width))
        key = "-".join([self._key_of_records(model, feature_extractor, part, change_name), *sorted(further)])
        path = self.folder / f"{key}.tokens"

        def compute() -> dict[str, np.ndarray]:
            if "tokens" not in further:
                found = embed(further=further)
            else:
                with self._usable_folder():
                    path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    found = embed(further=further, tokens_at=temporary)
            return {name: array for name, array in vars(found).items() if isinstance(array, np.ndarray)}

        with self._usable_folder():
            if "tokens" in further and read_tokens(path, len(part), width) is None:
                (self.folder / f"{key}.safetensors").unlink(missing_ok=True)  # both come from one pass
        kept: dict[str, Any] = self._kept(key, compute, expected)
        if "tokens" in further:
            kept["tokens"] = read_tokens(path, len(part), width)
        return RecordFeatures(**kept)

    def texts(self, model: ECGTextModel, processor: ECGProcessor, texts: Sequence[str]) -> np.ndarray:
        """What `embed_texts` returns."""
        if self.folder is None:
            return embed_texts(model, processor, texts)
        return self._kept(
            self._key_of_texts(model, processor, texts),
            lambda: {"embeds": embed_texts(model, processor, texts)},
            {"embeds": Expected((len(texts), model.config.projection_size))},
        )["embeds"]

    def _kept(
        self,
        key: str,
        compute: Callable[[], dict[str, np.ndarray]],
        expected: Mapping[str, Expected],
    ) -> dict[str, np.ndarray]:
        """The arrays on disk under a key; if there are none, they are computed and written.

        Args:
            expected: the arrays, by their names. A file that holds anything else is damaged: as good as absent.

        Raises:
            CorpusError: the folder cannot be read or written.
        """
        assert self.folder is not None
        path = self.folder / f"{key}.safetensors"
        with self._usable_folder():
            found = _read(path, expected)
        if found is not None:
            return found
        arrays = compute()
        with self._usable_folder():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with replacing(path) as temporary:
                save_file(arrays, temporary)
        return arrays

    @contextmanager
    def _usable_folder(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise CorpusError(
                f"embeddings cannot be kept in {self.folder}: {error}. Name another folder (cache_dir), or free space."
            ) from error

    def _key_of_records(self, model, feature_extractor, part, change_name) -> str:
        key = hashlib.blake2b(self._weights_of(model, "ecg"), digest_size=16)
        for text in (__version__, _METHOD, feature_extractor.to_json_string(), change_name):
            key.update(text.encode() + b"\0")
        # The fingerprint covers the samples; the other columns say what they mean.
        for row in part.rows.select_columns(["fingerprint", "gain", "baseline", "sampling_rate", "lead_names"]):
            key.update(repr(sorted(row.items())).encode())
        return key.hexdigest()

    def _key_of_texts(self, model, processor, texts) -> str:
        key = hashlib.blake2b(self._weights_of(model, "text"), digest_size=16)
        key.update(__version__.encode() + b"\0")
        for token_ids in processor(text=list(texts), padding=False)["input_ids"]:
            key.update(repr(token_ids).encode())
        return key.hexdigest()

    def _weights_of(self, model: ECGPreTrainedModel, tower: str) -> bytes:
        """A digest of the tower "ecg" or "text": its configuration, its weights, and those of its head, if any."""
        if (id(model), tower) not in self._weights:
            config = ecg_config_of(model.config) if tower == "ecg" else model.config.text_config
            digest = hashlib.blake2b(repr(config.to_json_string()).encode())
            if tower == "text":
                digest.update(model.config.text_pooling.encode())
            digest.update(weights_digest(model.base_model if tower == "ecg" else model.text_model))
            if model.takes_texts:
                digest.update(weights_digest(model.head_of(tower)))
            self._weights[id(model), tower] = (model, digest.digest())
        return self._weights[id(model), tower][1]


def _read(path: Path, expected: Mapping[str, Expected]) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is absent, or holds others than those expected."""
    size = sum(math.prod(array.shape) * array.dtype.itemsize for array in expected.values())
    try:
        check_size(path, size + _LARGEST_HEADER)
        arrays = load_file(path)
    except FileNotFoundError:
        return None
    except (SafetensorError, ValueError, KeyError, TypeError):  # truncated, too large, of an unknown type, not ours
        return None
    found = {name: Expected(array.shape, array.dtype) for name, array in arrays.items()}
    return arrays if found == expected else None


def weights_digest(module: torch.nn.Module) -> bytes:
    """A digest of the names and values of a module's weights, in single precision."""
    digest = hashlib.blake2b()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.digest()
