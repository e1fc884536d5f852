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
from cgdmer.models.channels import LeadNames
from cgdmer.models.ecg_record import ECGRecord, keep_leads
from cgdmer.models.errors import CorpusError, RecordFileError
from cgdmer.models.leads import standard_lead_names
from cgdmer.models.reading_array_file import ARRAY_SUFFIXES
from cgdmer.models.reading_record import CLINIC_SUFFIXES, is_clinic_file, read_record
from cgdmer.models.wfdb_header import open_record_file

_NAMED_FILES = 5  # of each kind, in a message
_MOST_HEADER_BYTES = 2**16


@dataclass(frozen=True)
class FolderRecords:
    """The recordings of a folder, each read on access.

    Attributes:
        record_ids: paths relative to `folder`, without suffix for WFDB records; these become the ids.
        leads, lead_names: see `open_source`.
    """

    folder: Path
    record_ids: list[str] = field(repr=False)
    leads: Sequence[str] | None = None
    lead_names: LeadNames | None = None

    def __len__(self) -> int:
        return len(self.record_ids)

    def __getitem__(self, number: int) -> ECGRecord:
        record_id = self.record_ids[number]
        record = read_record(self.folder / record_id, self.leads, lead_names=self.lead_names)
        return replace(record, record_id=record_id)


@dataclass(frozen=True)
class RecordingSource:
    """Recordings and their ids, in the same order.

    Attributes:
        digest: hexadecimal; it changes with the list of records, with the leads, and with a dataset's samples.
        not_read: the other files of a folder by their kind (".csv", "no suffix"), as paths relative to the folder.
    """

    records: Records
    record_ids: list[str] = field(repr=False)
    digest: str
    not_read: dict[str, list[str]] = field(default_factory=dict, repr=False)


def open_source(
    path: str | os.PathLike[str],
    splits: Sequence[str] | None = None,
    leads: Sequence[str] | None = None,
    lead_names: LeadNames | None = None,
) -> RecordingSource:
    """The recordings of a folder.

    Args:
        path: a dataset that `cgdmer prepare` wrote; or any folder that holds, itself or in subfolders, WFDB records,
            files in .dcm, .edf, or .xml, or files of any name with the content of DICOM, EDF, aECG, or MUSE.
        splits: of a dataset, one after the other; None: all.
        leads: which of the twelve leads to use; None: all channels, which must be leads.
        lead_names: which leads the channels of each file are, see `read_record`; for a folder.

    Raises:
        CorpusError: the folder does not exist, cannot be listed, holds no records, or lacks a split; a subfolder is a
            symbolic link; or `lead_names` is given for a dataset.
        ECGInputError: one of `leads` is none of the twelve, or is given twice.
    """
    folder = Path(path)
    leads = None if leads is None else standard_lead_names(leads)
    if (folder / "dataset_dict.json").is_file():
        if lead_names is not None:
            raise CorpusError(f"{folder} is a prepared dataset, whose leads have names. Leave lead_names out.")
        rows = dataset_rows(load_dataset_folder(folder), splits, folder)
        known = list(rows.select_columns(["record_id", "fingerprint"]))
        return RecordingSource(
            DatasetRecords(rows, change=None if leads is None else partial(keep_leads, leads=leads)),
            [row["record_id"] for row in known],
            _digest([f"{row['record_id']}\0{row['fingerprint']}" for row in known], leads),
        )
    if splits is not None:
        raise CorpusError(f"{folder} is no prepared dataset, so it has no split {splits[0]!r}. Leave splits out.")
    record_ids, not_read = _recordings(folder)
    known = record_ids if lead_names is None else [*record_ids, f"\0lead_names\0{lead_names}"]
    records = FolderRecords(folder, record_ids, leads, lead_names)
    return RecordingSource(records, record_ids, _digest(known, leads), not_read)


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


def _recordings(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """What a folder and its subfolders hold, as sorted relative paths.

    Returns:
        The recordings, headers without suffix; and all other files by kind, but for the signal files of WFDB records.
    """
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} is not a folder. Name one with recordings, or a dataset that `cgdmer prepare` wrote."
        )
    found: list[Path] = []
    not_read: dict[str, list[str]] = {}
    for path, subfolders, names in os.walk(folder, onerror=_refuse):
        for name in subfolders:
            if os.path.islink(os.path.join(path, name)):  # it may lead in a circle, or anywhere
                raise CorpusError(
                    f"{os.path.join(path, name)} is a symbolic link to a folder, and links are not followed. Remove "
                    "the link, and work on its target separately."
                )
        headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea") and name != ".hea"}
        found += [Path(path, header) for header in headers]
        others = [name for name in names if not name.endswith(".hea") or name == ".hea"]
        # Signals and annotations of a WFDB record; the same recording in another format is one of its own.
        others = [
            name
            for name in others
            if name.rpartition(".")[0] not in headers or name.lower().endswith((*CLINIC_SUFFIXES, *ARRAY_SUFFIXES))
        ]
        if headers and others:
            signal_files = {name for header in headers for name in _signal_files(Path(path, f"{header}.hea"))}
            others = [name for name in others if name not in signal_files]
        for name in others:
            if name.lower().endswith(CLINIC_SUFFIXES) or _is_recording(Path(path, name)):
                found.append(Path(path, name))
            else:
                kind = Path(name).suffix.lower() or "no suffix"
                not_read.setdefault(kind, []).append(Path(path, name).relative_to(folder).as_posix())
    if not found:
        there = f" Its files: {files_in_words(not_read)}." if not_read else ""
        raise CorpusError(
            f"{folder} holds no recordings (.hea, {', '.join(CLINIC_SUFFIXES)}, or other files with their content), "
            f"nor do its subfolders.{there}"
        )
    not_read = {kind: sorted(not_read[kind]) for kind in sorted(not_read)}
    return sorted(path.relative_to(folder).as_posix() for path in found), not_read


def files_in_words(files: dict[str, list[str]]) -> str:
    """Files by kind, counted, with a few of their names: "2 in .csv (a.csv, b.csv), 1 with no suffix (README)"."""
    parts = []
    for kind, names in files.items():
        named = ", ".join(names[:_NAMED_FILES]) + (", ..." if len(names) > _NAMED_FILES else "")
        named = named.encode("utf-8", "backslashreplace").decode()  # names need not be UTF-8
        parts.append(f"{len(names)} {'with' if kind == 'no suffix' else 'in'} {kind} ({named})")
    return ", ".join(parts)


def _signal_files(header: Path) -> set[str]:
    """The first words of a header's lines, among which are the names of its signal files."""
    try:
        with open_record_file(header, header.parent) as (file, _):
            lines = file.read(_MOST_HEADER_BYTES).decode("latin-1").splitlines()
    except RecordFileError:  # its row will say so
        return set()
    return {line.split()[0] for line in lines if line.strip()}


def _is_recording(path: Path) -> bool:
    try:
        return is_clinic_file(path)
    except RecordFileError:  # a pipe, a link, or unreadable: named among the files that were not read
        return False


def _refuse(error: OSError) -> None:
    raise CorpusError(f"{error.filename} cannot be listed: {error.strerror}. Give permission, or move it.") from error


def _digest(lines: list[str], leads: Sequence[str] | None) -> str:
    digest = hashlib.sha256()
    for line in lines if leads is None else [*lines, "\0".join(["leads", *leads])]:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
