# SPDX-License-Identifier: Apache-2.0
"""Embeddings computed once: kept on disk under a name made of everything that they depend on.

That is the encoder's weights, the feature extractor's settings, the samples of the records in their order, what was
done to the records before, and the version of this package. Names of files or models play no part.
"""

import hashlib
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cgdmer.evaluation.embeddings import RecordFeatures, embed_records
from cgdmer.evaluation.splits import LabelledRows
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_cgdmer import CGDMERModel


class EmbeddingCache:
    """Features of records by a model, from disk where they are known.

    Args:
        folder: made when needed; files in it may be deleted at any time. None keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self.folder = None if folder is None else Path(folder)
        self._weights: dict[int, tuple[torch.nn.Module, bytes]] = {}  # of the models seen, by identity

    def features(
        self,
        model: CGDMERModel,
        feature_extractor: ECGFeatureExtractor,
        part: LabelledRows,
        description: str,
        change_name: str = "",
    ) -> RecordFeatures:
        """What `embed_records` gives for the records of a part.

        Args:
            change_name: says what `part.change` does to the records; "" where it is None.
        """
        if self.folder is None:
            return self._compute(model, feature_extractor, part, description)
        path = self.folder / f"{self._key(model, feature_extractor, part, change_name)}.safetensors"
        try:
            arrays = load_file(path)
            return RecordFeatures(arrays["pooled"], arrays["embeds"])
        except FileNotFoundError:
            pass
        except (SafetensorError, KeyError):  # cut off or foreign: as good as absent
            path.unlink()
        features = self._compute(model, feature_extractor, part, description)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
        assert features.embeds is not None  # a CGDMERModel has a text tower
        save_file({"pooled": features.pooled, "embeds": features.embeds}, temporary)
        temporary.rename(path)
        return features

    def _compute(self, model, feature_extractor, part, description) -> RecordFeatures:
        return embed_records(model, feature_extractor, part.records(), total=len(part), description=description)

    def _key(self, model, feature_extractor, part, change_name) -> str:
        from cgdmer import __version__

        key = hashlib.blake2b(self._weights_of(model), digest_size=16)
        for text in (__version__, feature_extractor.to_json_string(), change_name):
            key.update(text.encode() + b"\0")
        # The samples stand for themselves; gains, rates and names say what they mean.
        for row in part.rows.select_columns(["fingerprint", "gain", "baseline", "sampling_rate", "lead_names"]):
            key.update(repr(sorted(row.items())).encode())
        return key.hexdigest()

    def _weights_of(self, model: CGDMERModel) -> bytes:
        if id(model) not in self._weights:
            digest = hashlib.blake2b(repr(model.config.ecg_config.to_json_string()).encode())
            for module in (model.ecg_model, model.ecg_shared_head):
                for name, tensor in sorted(module.state_dict().items()):
                    digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
            self._weights[id(model)] = (model, digest.digest())
        return self._weights[id(model)][1]


__all__ = ["EmbeddingCache"]
