# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of the records and patients that a model was trained on, stored with its weights.

A record's fingerprint is a hash of its stored samples, so it is the same under any name and in any corpus. A patient's
is a hash of the corpus and the patient's id, because another record of a training patient is not a fair test either.
Neither reveals the samples or the id, though anyone with a list of ids can check which of them are included.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import datasets
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from transformers.utils import cached_file

from cgdmer.files.hashing import number_of, short_hash
from cgdmer.models.errors import ModelFolderError

FILE_NAME = "training_records.safetensors"


class Overlap(TypedDict):
    """The number of records that were trained on, and of records whose patients were."""

    records: int
    patients: int


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of a model's training data.

    Attributes:
        records, patients: sorted int64, without repeats.
        corpora: the sorted names of the corpora that the records come from.
    """

    records: np.ndarray
    patients: np.ndarray
    corpora: tuple[str, ...] = ()

    @classmethod
    def of(cls, split: datasets.Dataset) -> "Fingerprints":
        """The fingerprints of a prepared split."""
        records, patients = fingerprints_of_rows(split)
        corpus = corpus_of(split)
        return cls(np.unique(records), np.unique(patients[patients != 0]), (corpus,) if corpus else ())

    @classmethod
    def of_model(cls, model: str) -> "Fingerprints | None":
        """The fingerprints stored with a model, given by its folder or Hub id; None if there are none.

        Raises:
            ModelFolderError: the file is damaged.
        """
        path = cached_file(
            model,
            FILE_NAME,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return None if path is None else cls.load(path)

    def __or__(self, other: "Fingerprints") -> "Fingerprints":
        return Fingerprints(
            np.union1d(self.records, other.records),
            np.union1d(self.patients, other.patients),
            tuple(sorted({*self.corpora, *other.corpora})),
        )

    def overlap(self, split: datasets.Dataset) -> Overlap:
        """How many rows of a split are in the training data."""
        records, patients = fingerprints_of_rows(split)
        return {
            "records": int(np.isin(records, self.records).sum()),
            "patients": int(np.isin(patients, self.patients).sum()),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fingerprints to a model's folder."""
        arrays = {"records": self.records, "patients": self.patients}
        save_file(arrays, Path(folder) / FILE_NAME, metadata={"corpora": json.dumps(self.corpora)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Fingerprints":
        """Read the file that `save` wrote.

        Raises:
            ModelFolderError: it is damaged or not such a file.
        """
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("records", "patients")}
                corpora = json.loads(file.metadata()["corpora"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(
                f"{path} cannot be read as fingerprints of training records ({error}). Fetch the model again."
            ) from error
        if any(array.dtype != np.int64 for array in arrays.values()):
            raise ModelFolderError(f"{path} does not hold fingerprints of training records. Fetch the model again.")
        return cls(arrays["records"], arrays["patients"], tuple(corpora))


def corpus_of(split: datasets.Dataset) -> str:
    """The name of the corpus that a prepared split comes from; "" if it has none."""
    return split.info.dataset_name or ""


def fingerprints_of_rows(split: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) int64 each: the fingerprint of each row's record, and of its patient (0 if the patient is unknown)."""
    corpus = corpus_of(split)
    patients = [0 if patient is None else number_of(f"{corpus}/{patient}".encode()) for patient in split["patient_id"]]
    return np.array(split["fingerprint"], dtype=np.int64), np.array(patients, dtype=np.int64)


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
