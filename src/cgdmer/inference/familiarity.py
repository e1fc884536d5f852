# SPDX-License-Identifier: Apache-2.0
"""How far a recording is from those that a model was trained on.

A model returns scores for anything, noise and inverted leads included. `familiarity.safetensors`, in the model's
folder, holds some typical features of training recordings, and how far other recordings of the same source are from
the nearest of these. A recording that is farther than nearly all of them is unlike what the model knows. (That is a
conformal p-value, with the distance to the nearest center of k-means as the score. The choice is ours.)

No single recording is in the file: each center is the mean of ten or more.

Shapes: R recordings, E width of a feature, K centers, H recordings that were held out.
"""

import hashlib
import json
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import datasets
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.cluster import KMeans

from cgdmer.data.storage import DatasetRecords
from cgdmer.files.reading import check_size
from cgdmer.files.writing import replacing
from cgdmer.inference.embeddings import embed_records
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.modeling_base import ECGPreTrainedModel
from cgdmer.models.optional_files import optional_file

FILE_NAME = "familiarity.safetensors"
UNFAMILIAR = 0.02  # below this, an answer says that the recording is unlike those of training
FEWEST_HELD_OUT = 100  # recordings; with fewer, no familiarity is below `UNFAMILIAR`
_CENTERS = 64
_PER_CENTER = 10  # recordings, at least
_MOST_TRAINING, _MOST_HELD_OUT = 4096, 1024
_HELD_OUT_PATIENTS = 8  # one in so many, where the training split has to give them
_LARGEST = 2**28  # bytes of the file; that of the tiny preset has 50,000
_EXPECTED = "Expected what training writes. Delete the file: answers then do not say how familiar a recording is."


@dataclass(frozen=True)
class Familiarity:
    """What a model's training recordings look like to it.

    Attributes:
        mean, deviation: (E,) of their features, each of unit length.
        centers: (K, E) typical ones, in deviations from the mean.
        held_out: (H,) sorted distances of other recordings to the nearest center.
    """

    mean: np.ndarray
    deviation: np.ndarray
    centers: np.ndarray
    held_out: np.ndarray

    @classmethod
    def fit(cls, training_RE: np.ndarray, held_out_RE: np.ndarray, seed: int = 0) -> "Familiarity | None":
        """From features of training recordings and of others; None if there are too few of either."""
        if len(training_RE) < 2 * _PER_CENTER or len(held_out_RE) < FEWEST_HELD_OUT:
            return None
        training_RE = _unit(training_RE)
        mean_E, deviation_E = training_RE.mean(axis=0), training_RE.std(axis=0)
        deviation_E = np.where(deviation_E > 0, deviation_E, 1.0)
        standard_RE = (training_RE - mean_E) / deviation_E
        count = max(1, min(_CENTERS, len(training_RE) // (2 * _PER_CENTER)))
        found = KMeans(count, n_init=1, random_state=seed).fit(standard_RE)
        centers_KE = found.cluster_centers_[np.bincount(found.labels_, minlength=count) >= _PER_CENTER]
        if not len(centers_KE):
            return None
        arrays = {"mean": mean_E, "deviation": deviation_E, "centers": centers_KE, "held_out": np.zeros(0)}
        nobody = cls(**{name: array.astype(np.float32) for name, array in arrays.items()})
        return replace(nobody, held_out=np.sort(nobody.distances(held_out_RE)).astype(np.float32))

    def distances(self, features_RE: np.ndarray) -> np.ndarray:
        """(R,) to the nearest center."""
        standard_RE = (_unit(np.asarray(features_RE, dtype=np.float64)) - self.mean) / self.deviation
        squares_RK = ((standard_RE[:, None] - self.centers[None]) ** 2).sum(axis=2)
        return np.sqrt(squares_RK.min(axis=1))

    def __call__(self, features_RE: np.ndarray) -> np.ndarray:
        """(R,) the share of held-out recordings, with this one among them, that are at least as far away.

        About 0.5 for a typical recording. Of recordings like those of training, one in fifty is below 0.02.
        """
        nearer_R = np.searchsorted(self.held_out, self.distances(features_RE).astype(np.float32), side="left")
        return (len(self.held_out) - nearer_R + 1) / (len(self.held_out) + 1)

    def digest(self) -> str:
        """Hexadecimal, of everything that it says."""
        return hashlib.sha256(b"".join(array.tobytes() for array in vars(self).values())).hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into a model's folder."""
        with replacing(Path(folder) / FILE_NAME) as temporary:
            temporary.write_bytes(save({name: np.ascontiguousarray(array) for name, array in vars(self).items()}))

    @classmethod
    def of_model(cls, model: str | os.PathLike[str], width: int | None = None) -> "Familiarity | None":
        """That in a model's folder or on the Hub; None if there is none.

        Args:
            width: of the features that the model compares; None: it is not checked.

        Raises:
            ModelFolderError: the file is damaged, or of features of another width.
        """
        path = optional_file(model, FILE_NAME)
        if path is None:
            return None
        try:
            check_size(path, _LARGEST)
            with safe_open(path, "numpy") as file:
                names = [field.name for field in fields(cls)]
                if sorted(file.keys()) != sorted(names):
                    raise ValueError(f"it has {', '.join(file.keys())}")
                found = cls(**{name: file.get_tensor(name) for name in names})
            shapes = (found.mean.shape, found.deviation.shape, found.centers.shape[1:])
            if shapes != ((width or len(found.mean),),) * 3 or found.held_out.ndim != 1 or not len(found.centers):
                raise ValueError(f"its arrays are of the sizes {json.dumps(shapes)}, and not of {width}")
            if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in vars(found).values()):
                raise ValueError("a number is missing")
            if (found.deviation <= 0).any() or (np.diff(found.held_out) < 0).any():
                raise ValueError("a number is out of its range")
        except (OSError, SafetensorError, TypeError, ValueError, IndexError) as error:
            raise ModelFolderError(f"{path} is damaged: {error}. {_EXPECTED}") from error
        return found


def _unit(features_RE: np.ndarray) -> np.ndarray:
    """Of unit length. The mean over the windows of a long recording is shorter than the features of one window."""
    lengths_R1 = np.linalg.norm(features_RE, axis=1, keepdims=True)
    unit_RE: np.ndarray = features_RE / np.maximum(lengths_R1, np.finfo(np.float32).tiny)
    return unit_RE


def in_words(familiarity: float | None, limit: float | None = None) -> list[str]:
    """A sentence if a recording is unlike those of training, by `UNFAMILIAR` or a higher limit; else nothing."""
    if familiarity is None or familiarity >= max(UNFAMILIAR, limit or 0):
        return []
    return [
        f"Unlike the recordings that the model was trained on: of others like those, {familiarity:.1%} are as far "
        "from them."
    ]


def after_training(
    model: ECGPreTrainedModel,
    feature_extractor: ECGFeatureExtractor,
    training: datasets.Dataset,
    held_out: datasets.Dataset | None = None,
) -> Familiarity | None:
    """That of a model which was trained on a prepared split; None if there are too few recordings.

    Args:
        training: at most 4,096 of its rows are drawn. One that is repeated is drawn more often, and counts once.
        held_out: recordings of the same source that the model was not trained on, at most 1,024 of which are read;
            None: those of every eighth patient of `training`. The model was trained on these, so others may seem less
            familiar than they are.
    """
    random = np.random.default_rng(0)
    numbers = np.arange(len(training))
    if held_out is None or len(held_out) < FEWEST_HELD_OUT:
        rows = training.select_columns(["patient_id", "record_id"])
        patients = np.array([str(row["patient_id"] or row["record_id"]) for row in rows])
        chosen = np.unique(patients)
        chosen = random.permutation(chosen)[: len(chosen) // _HELD_OUT_PATIENTS]
        apart = np.isin(patients, chosen)
        held_out, numbers = training.select(numbers[apart]), numbers[~apart]
    parts = []
    for split, which, most in (
        (training, numbers, _MOST_TRAINING),
        (held_out, np.arange(len(held_out)), _MOST_HELD_OUT),
    ):
        drawn = np.sort(random.permutation(which)[:most])
        _, first = np.unique(split.select(drawn)["fingerprint"], return_index=True)  # a record may be repeated
        parts.append(DatasetRecords(split.select(drawn[np.sort(first)])))
    if len(parts[0]) < 2 * _PER_CENTER or len(parts[1]) < FEWEST_HELD_OUT:
        return None
    features = []
    for records in parts:
        found = embed_records(model, feature_extractor, records, description="familiarity", unusable="nan")
        of_records = found.pooled if found.embeds is None else found.embeds
        features.append(of_records[found.usable])
    return Familiarity.fit(*features)
