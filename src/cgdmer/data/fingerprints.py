# SPDX-License-Identifier: Apache-2.0
"""What a model was trained on, so that nobody tests it on the same records or patients.

Two files are written beside the weights:

- `training_records.safetensors` is published with them. It holds hashes of the stored samples, the same under any name
  and in any corpus. Whoever has a recording can check whether the model was trained on it; nobody can go from a hash
  to a recording or to a person. It says nothing about patients: their numbers are so few that any public hash of them
  can be reversed by trying all.
- `training_patients.private.safetensors` stays with whoever trained. It holds hashes of the patients' ids, because
  another record of a training patient is not a fair test either, and the random key of these hashes. Without the key
  they say nothing; with it, ids can be tried. `cgdmer push` never sends it. Anyone else cannot check patients, and
  results then say that they were not checked.
"""

import json
import os
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import datasets
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cgdmer.files.hashing import keyed_number_of, number_of, short_hash
from cgdmer.files.reading import check_size, parse_json
from cgdmer.files.writing import replacing
from cgdmer.models.errors import ModelFolderError
from cgdmer.models.optional_files import optional_file

FILE_NAME = "training_records.safetensors"
PATIENTS_FILE = "training_patients.private.safetensors"
_KEY_BYTES = 32
_LARGEST = 2**30  # bytes; eight a record, so more than a hundred million records


class Overlap(TypedDict):
    """The number of records that were trained on, and of records whose patients were; None: patients not checked."""

    records: int
    patients: int | None


@dataclass(frozen=True)
class TrainingPatients:
    """The patients of a model's training data, as hashes that say nothing without the key.

    Attributes:
        hashes: sorted int64, without repeats.
        key: of the hashes; random, and kept by a run that continues another.
        partial: the sorted names of corpora of which other, unknown patients were trained on too.
    """

    hashes: np.ndarray
    key: bytes
    partial: tuple[str, ...] = ()

    @classmethod
    def of(cls, split: datasets.Dataset, earlier: "Fingerprints | None" = None) -> "TrainingPatients":
        """The patients of a prepared split, with those that the weights were trained on before."""
        before = None if earlier is None else earlier.patients
        key = secrets.token_bytes(_KEY_BYTES) if before is None else before.key
        found = _hashes_of_rows(split, key)
        partial = set() if earlier is None else {*(earlier.corpora if before is None else before.partial)}
        if (found == 0).any():
            partial.add(corpus_of(split))
        hashes = np.unique(found[found != 0])
        return cls(hashes if before is None else np.union1d(hashes, before.hashes), key, tuple(sorted(partial)))

    def count(self, split: datasets.Dataset) -> int | None:
        """How many rows of a split are of these patients; None if that cannot be said."""
        found = _hashes_of_rows(split, self.key)
        count = int(np.isin(found, self.hashes).sum())
        known = corpus_of(split) not in self.partial and bool((found != 0).all())
        return count if count or known else None

    def among(self, words: Iterable[str], corpus: str) -> list[str]:
        """Those of some words that are ids of these patients in a corpus."""
        words = sorted(words)
        hashes = np.array([_hash(corpus, word, self.key) for word in words], dtype=np.int64)
        return [words[row] for row in np.flatnonzero(np.isin(hashes, self.hashes))]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write them to the folder of a run, readable by its owner only."""
        metadata = {"key": self.key.hex(), "partial": json.dumps(self.partial)}
        with replacing(Path(folder) / PATIENTS_FILE) as temporary:
            temporary.touch(0o600)
            temporary.write_bytes(save({"patients": self.hashes}, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TrainingPatients":
        """Read the file that `save` wrote.

        Raises:
            ModelFolderError: it is damaged or not such a file.
        """
        hint = "Delete it: then patients count as not checked."
        hashes, metadata, _ = _read(path, "patients", hint)
        try:
            key, partial = bytes.fromhex(metadata["key"]), _names_in(metadata["partial"])
            if len(key) != _KEY_BYTES:
                raise ValueError(f"its key has {len(key)} bytes instead of {_KEY_BYTES}")
        except (KeyError, ValueError) as error:
            raise _damaged(path, error, hint) from error
        return cls(hashes, key, partial)


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of a model's training data.

    Attributes:
        records: sorted int64, without repeats.
        corpora: the sorted names of the corpora that the records come from.
        patients: only known to whoever trained the model.
        unlisted: the sorted names of those corpora of which other, unknown records were trained on too.
    """

    records: np.ndarray
    corpora: tuple[str, ...] = ()
    patients: TrainingPatients | None = None
    unlisted: tuple[str, ...] = ()

    @classmethod
    def of(cls, split: datasets.Dataset, earlier: "Fingerprints | None" = None) -> "Fingerprints":
        """The fingerprints of a prepared split.

        Args:
            earlier: of the model that training started from; they are included.
        """
        records, corpora = np.unique(_record_fingerprints(split)), {corpus_of(split)} - {""}
        unlisted: tuple[str, ...] = ()
        if earlier is not None:
            records, corpora = np.union1d(records, earlier.records), corpora | {*earlier.corpora}
            unlisted = earlier.unlisted
        return cls(records, tuple(sorted(corpora)), TrainingPatients.of(split, earlier), unlisted)

    @classmethod
    def of_model(cls, model: str) -> "Fingerprints | None":
        """The fingerprints stored with a model, given by its folder or Hub id; None if there are none.

        Raises:
            ModelFolderError: a file is damaged.
        """
        path = optional_file(model, FILE_NAME)
        if path is None:
            return None
        found, patients = cls.load(path), Path(model) / PATIENTS_FILE
        if not (patients.is_file() and os.access(patients, os.R_OK)):  # it may be a colleague's
            return found
        return replace(found, patients=TrainingPatients.load(patients))

    def overlap(self, split: datasets.Dataset) -> Overlap | None:
        """How many rows of a split are in the training data; None if it is not known which of their corpus are."""
        if corpus_of(split) in self.unlisted:
            return None
        return {
            "records": int(np.isin(_record_fingerprints(split), self.records).sum()),
            "patients": None if self.patients is None else self.patients.count(split),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fingerprints to a model's folder: the records for everyone, the patients for its owner."""
        if self.patients is not None:
            self.patients.save(folder)
        with replacing(Path(folder) / FILE_NAME) as temporary:
            names = {"corpora": json.dumps(self.corpora)}
            if self.unlisted:
                names["unlisted"] = json.dumps(self.unlisted)
            temporary.write_bytes(save({"records": self.records}, names))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Fingerprints":
        """Read the records that `save` wrote. Patients in a file of an earlier version are ignored, with a warning.

        Raises:
            ModelFolderError: it is damaged or not such a file.
        """
        hint = "Fetch the model again."
        records, metadata, others = _read(path, "records", hint)
        try:
            corpora, unlisted = _names_in(metadata["corpora"]), _names_in(metadata.get("unlisted", "[]"))
        except (KeyError, ValueError) as error:
            raise _damaged(path, error, hint) from error
        if "patients" in others:
            warnings.warn(f"{path} {EARLIER_KIND} They are not used: patients count as not checked.", stacklevel=2)
        return cls(records, corpora, unlisted=unlisted)


EARLIER_KIND = (
    "was written by an earlier version of cgdmer and holds hashes of patients, from which anyone can recover their "
    "numbers within a second."
)


def holds_patients(path: str | os.PathLike[str]) -> bool:
    """Whether a file of training records is of the earlier kind, from which patient numbers can be recovered.

    Raises:
        ModelFolderError: it is damaged or not such a file.
    """
    return "patients" in _read(path, "records", "Fetch the model again.")[2]


def _read(path: str | os.PathLike[str], name: str, hint: str) -> tuple[np.ndarray, dict[str, str], set[str]]:
    """One array of a file of hashes, the file's metadata, and the names of its other arrays."""
    try:
        check_size(path, _LARGEST)
        with safe_open(path, "numpy") as file:
            names = set(file.keys())
            if name not in names:
                raise ValueError(f"it has no {name}")
            found = file.get_slice(name)
            if found.get_dtype() != "I64" or len(found.get_shape()) != 1:
                raise ValueError(f"its {name} are not numbers in a row")
            return file.get_tensor(name), file.metadata() or {}, names - {name}
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(path, error, hint) from error


def _damaged(path: str | os.PathLike[str], error: Exception, hint: str) -> ModelFolderError:
    return ModelFolderError(f"{path} cannot be read as fingerprints of training records ({error}). {hint}")


def _names_in(text: str) -> tuple[str, ...]:
    """The names in a JSON list. Raises a ValueError if it is none."""
    names = parse_json(text.encode())
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{text[:80]!r} is not a list of names")
    return tuple(names)


def corpus_of(split: datasets.Dataset) -> str:
    """The name of the corpus that a prepared split comes from; "" if it has none."""
    return split.info.dataset_name or ""


def _record_fingerprints(split: datasets.Dataset) -> np.ndarray:
    """(rows,) int64"""
    return np.array(split["fingerprint"], dtype=np.int64)


def _hashes_of_rows(split: datasets.Dataset, key: bytes) -> np.ndarray:
    """(rows,) int64: the hash of each row's patient; 0 if the patient is unknown."""
    corpus = corpus_of(split)
    patients = [_hash(corpus, patient, key) if patient else 0 for patient in split["patient_id"]]
    return np.array(patients, dtype=np.int64)


def _hash(corpus: str, patient: str, key: bytes) -> int:
    return keyed_number_of(f"{corpus}/{patient}".encode(errors="surrogatepass"), key)


def fingerprint_of_split(split: datasets.Dataset) -> dict[str, int | str]:
    """The number of rows, and a hash of their records in order. A split that is prepared twice has the same one."""
    records = split.select_columns(["fingerprint"]).with_format("numpy")[:]["fingerprint"]
    return {
        "rows": len(split),
        "records": short_hash(np.asarray(records).astype("<i8").tobytes()).hex(),
    }


def record_fingerprint(counts: np.ndarray) -> int:
    """A hash of a record's stored samples, the same under any name and on every machine.

    Args:
        counts: (leads, time) integers that fit in int16.
    """
    return number_of(len(counts).to_bytes(4, "little") + counts.astype("<i2").tobytes())
