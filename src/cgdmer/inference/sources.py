# SPDX-License-Identifier: Apache-2.0
"""Sources of many recordings: a folder of files, or a dataset that `cgdmer prepare` wrote."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import datasets

from cgdmer.data.storage import DatasetRecords, load_dataset_folder
from cgdmer.inference.embeddings import Records
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import CorpusError
from cgdmer.models.leads import standard_lead_names
from cgdmer.models.reading_record import CLINIC_SUFFIXES, read_record


@dataclass(frozen=True)
class FolderRecords:
    """The recordings of a folder, each read on access.

    Attributes:
        record_ids: paths relative to `folder`, without suffix for WFDB records; these become the ids.
        leads: see `open_source`.
    """

    folder: Path
    record_ids: list[str] = field(repr=False)
    leads: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.record_ids)

    def __getitem__(self, number: int) -> ECGRecord:
        record_id = self.record_ids[number]
        return replace(read_record(self.folder / record_id, self.leads), record_id=record_id)


@dataclass(frozen=True)
class RecordingSource:
    """Recordings and their ids, in the same order.

    Attributes:
        digest: hexadecimal; it changes with the list of records, with the leads, and with a dataset's samples.
    """

    records: Records
    record_ids: list[str] = field(repr=False)
    digest: str


def open_source(
    path: str | os.PathLike[str], splits: Sequence[str] | None = None, leads: Sequence[str] | None = None
) -> RecordingSource:
    """The recordings of a folder.

    Args:
        path: a dataset that `cgdmer prepare` wrote; or any folder that holds, itself or in subfolders, WFDB records or
            DICOM, EDF and XML files (.dcm, .edf, .xml).
        splits: of a dataset, one after the other; None: all.
        leads: which of the twelve leads to use; None: all channels, which must be leads.

    Raises:
        CorpusError: the folder does not exist, cannot be listed, holds no records, or lacks a split; or a subfolder is
            a symbolic link.
        ECGInputError: one of `leads` is none of the twelve, or is given twice.
    """
    folder = Path(path)
    leads = None if leads is None else standard_lead_names(leads)
    if (folder / "dataset_dict.json").is_file():
        rows = dataset_rows(load_dataset_folder(folder), splits, folder)
        known = list(rows.select_columns(["record_id", "fingerprint"]))
        return RecordingSource(
            DatasetRecords(rows, change=None if leads is None else partial(keep_leads, leads=leads)),
            [row["record_id"] for row in known],
            _digest([f"{row['record_id']}\0{row['fingerprint']}" for row in known], leads),
        )
    if splits is not None:
        raise CorpusError(f"{folder} is no prepared dataset, so it has no split {splits[0]!r}. Leave splits out.")
    record_ids = _recordings(folder)
    return RecordingSource(FolderRecords(folder, record_ids, leads), record_ids, _digest(record_ids, leads))


def dataset_rows(
    dataset: datasets.DatasetDict, splits: Sequence[str] | None, where: str | os.PathLike[str]
) -> datasets.Dataset:
    """The rows of some splits, one after the other, or of all of them.

    Args:
        where: the dataset's name in messages.

    Raises:
        CorpusError: there is no such split, or there are no rows.
    """
    for split in splits or ():
        if split not in dataset:
            raise CorpusError(f"{where} has no split {split!r}. It has {', '.join(dataset)}.")
    rows = datasets.concatenate_datasets([dataset[split] for split in splits or dataset])
    if not len(rows):
        raise CorpusError(f"{where} holds no records{' in ' + ', '.join(splits) if splits else ''}.")
    return rows


def _recordings(folder: Path) -> list[str]:
    """The paths of all recordings in a folder and its subfolders, headers without suffix, sorted."""
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} is not a folder. Name one with recordings, or a dataset that `cgdmer prepare` wrote."
        )
    found = []
    for path, subfolders, names in os.walk(folder, onerror=_refuse):
        for name in subfolders:
            if os.path.islink(os.path.join(path, name)):  # it may lead in a circle, or anywhere
                raise CorpusError(
                    f"{os.path.join(path, name)} is a symbolic link to a folder, and links are not followed. Remove "
                    "the link, and work on its target separately."
                )
        found += [Path(path, name.removesuffix(".hea")) for name in names if name.endswith(".hea") and name != ".hea"]
        found += [Path(path, name) for name in names if name.lower().endswith(CLINIC_SUFFIXES)]
    if not found:
        raise CorpusError(f"{folder} holds no recordings (.hea, {', '.join(CLINIC_SUFFIXES)}), nor do its subfolders.")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _refuse(error: OSError) -> None:
    raise CorpusError(f"{error.filename} cannot be listed: {error.strerror}. Give permission, or move it.") from error


def _digest(lines: list[str], leads: Sequence[str] | None) -> str:
    digest = hashlib.sha256()
    for line in lines if leads is None else [*lines, "\0".join(["leads", *leads])]:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
