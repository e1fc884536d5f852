# SPDX-License-Identifier: Apache-2.0
"""Which records and patients a model was trained on, as numbers that travel with its weights.

A record's number comes from its stored samples alone, so it is found again under any name, in any corpus. A patient's
comes from corpus and patient id, because another record of a training patient is no fair test either. Neither gives
the samples or the id back, though whoever holds a list of ids can look for them.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cgdmer.models.errors import ModelFolderError

FILE_NAME = "training_records.safetensors"


@dataclass(frozen=True)
class Fingerprints:
    """Sorted distinct int64 numbers of records and of patients."""

    records: np.ndarray
    patients: np.ndarray

    @classmethod
    def of(cls, split: datasets.Dataset, corpus: str) -> "Fingerprints":
        """Of all rows of a prepared split.

        Args:
            split: rows as `cgdmer.data.storage` writes them.
            corpus: the corpus's name; patient ids mean something within it alone.
        """
        records, patients = fingerprints_of_rows(split, corpus)
        return cls(np.unique(records), np.unique(patients[patients != 0]))

    def __or__(self, other: "Fingerprints") -> "Fingerprints":
        return Fingerprints(np.union1d(self.records, other.records), np.union1d(self.patients, other.patients))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write them beside a model's weights."""
        save_file({"records": self.records, "patients": self.patients}, Path(folder) / FILE_NAME)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Fingerprints":
        """Read the file that `save` wrote.

        Raises:
            ModelFolderError: it is damaged or something else.
        """
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelFolderError(f"{path} cannot be read ({error}). Fetch the model again.") from error
        if set(arrays) != {"records", "patients"} or any(one.dtype != np.int64 for one in arrays.values()):
            raise ModelFolderError(f"{path} holds no fingerprints of training records. Fetch the model again.")
        return cls(arrays["records"], arrays["patients"])


def fingerprints_of_rows(split: datasets.Dataset, corpus: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) int64 each: a number for every row's record, and for its patient (0 where the patient is not known)."""
    columns = split.select_columns(["signal", "num_leads", "patient_id"])
    records, patients = np.zeros(len(split), np.int64), np.zeros(len(split), np.int64)
    for index, row in enumerate(columns):
        records[index] = record_fingerprint(row)
        if row["patient_id"] is not None:
            patients[index] = _number(f"{corpus}/{row['patient_id']}".encode())
    return records, patients


def record_fingerprint(row: Mapping[str, Any]) -> int:
    """A number for a stored row's samples, the same whatever the record is called."""
    return _number(row["num_leads"].to_bytes(4, "little") + row["signal"])


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True) or 1


__all__ = ["FILE_NAME", "Fingerprints", "fingerprints_of_rows", "record_fingerprint"]
