# SPDX-License-Identifier: Apache-2.0
"""Which records and patients a model was trained on, as numbers that travel with its weights.

A record's number comes from its stored samples alone, so it is found again under any name, in any corpus. A patient's
comes from corpus and patient id, because another record of a training patient is no fair test either. Neither gives
the samples or the id back, though whoever holds a list of ids can look for them.
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
    """How many records were trained on, and how many are of patients who were."""

    records: int
    patients: int


@dataclass(frozen=True)
class Fingerprints:
    """Of training records.

    Attributes:
        records, patients: sorted distinct int64.
        corpora: the names of the corpora that they come from, sorted.
    """

    records: np.ndarray
    patients: np.ndarray
    corpora: tuple[str, ...] = ()

    @classmethod
    def of(cls, split: datasets.Dataset) -> "Fingerprints":
        """Of all rows of a split as `cgdmer.data.storage` writes them."""
        records, patients = fingerprints_of_rows(split)
        corpus = corpus_of(split)
        return cls(np.unique(records), np.unique(patients[patients != 0]), (corpus,) if corpus else ())

    @classmethod
    def of_model(cls, model: str) -> "Fingerprints | None":
        """Of what a model was trained on, by its folder or Hub id; None if it does not say.

        Raises:
            ModelFolderError: what it says is damaged.
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
        """Of the rows of a split."""
        records, patients = fingerprints_of_rows(split)
        return {
            "records": int(np.isin(records, self.records).sum()),
            "patients": int(np.isin(patients, self.patients).sum()),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write them beside a model's weights."""
        arrays = {"records": self.records, "patients": self.patients}
        save_file(arrays, Path(folder) / FILE_NAME, metadata={"corpora": json.dumps(self.corpora)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Fingerprints":
        """Read the file that `save` wrote.

        Raises:
            ModelFolderError: it is damaged or something else.
        """
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("records", "patients")}
                corpora = json.loads(file.metadata()["corpora"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(
                f"{path} cannot be read as fingerprints of training records ({error}). Fetch the model again."
            ) from error
        if any(one.dtype != np.int64 for one in arrays.values()):
            raise ModelFolderError(f"{path} holds no fingerprints of training records. Fetch the model again.")
        return cls(arrays["records"], arrays["patients"], tuple(corpora))


def corpus_of(split: datasets.Dataset) -> str:
    """The name of the corpus that a prepared split comes from; "" where it has none."""
    return split.info.dataset_name or ""


def fingerprints_of_rows(split: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) int64 each: a number for every row's record, and for its patient (0 where the patient is not known)."""
    corpus = corpus_of(split)
    patients = [0 if patient is None else number_of(f"{corpus}/{patient}".encode()) for patient in split["patient_id"]]
    return np.array(split["fingerprint"], dtype=np.int64), np.array(patients, dtype=np.int64)


def fingerprint_of_split(split: datasets.Dataset) -> dict[str, int | str]:
    """The number of rows, and a hash of their records in their order: the same split prepared twice has the same."""
    records = split.select_columns(["fingerprint"]).with_format("numpy")[:]["fingerprint"]
    return {
        "rows": len(split),
        "records": short_hash(np.asarray(records).astype("<i8").tobytes()).hex(),
    }


def record_fingerprint(counts: np.ndarray) -> int:
    """A number for a record's stored samples, the same whatever the record is called and on every machine.

    Args:
        counts: (leads, time) little-endian int16.
    """
    return number_of(len(counts).to_bytes(4, "little") + counts.astype("<i2").tobytes())
