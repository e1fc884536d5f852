# SPDX-License-Identifier: Apache-2.0
"""Any folder of recordings, in every format that the package reads, with a CSV table that describes them.

Each row names a recording: by its path in the folder, or by its file's name if no other file has it, with or without
suffix. `cgdmer.corpora.table_rows` says which columns there may be. Rows without a recording and files without a row
are left out and listed with the others that cannot be used. The options `sampling_rate`, `unit`, and `lead_names`
state what CSV and NPY files do not, for all of them alike. Names such as `ECG=II` are for the channels of every file.

Without a column of splits: 70 % train, 10 % validation, and 20 % test, by a hash of the patient, or of the recording
if its patient is unknown.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cgdmer.corpora.corpus import Corpus, CorpusRow, Note, Source, described_by, stored_gains
from cgdmer.corpora.table_rows import TableColumns, TableRow, read_rows, with_splits
from cgdmer.data.storage import SkippedRecord
from cgdmer.files.tables import read_table, table_columns
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError, shown
from cgdmer.models.reading_array_file import ARRAY_SUFFIXES, is_array_file, read_array_file
from cgdmer.models.reading_record import CLINIC_SUFFIXES, read_record

_DELIMITERS = ",;\t"
_LARGEST_TABLE = 2**28  # bytes, all held in memory; 800,000 rows with reports take half of it
_HINT = 'Save the table as CSV in UTF-8 (Excel: "CSV UTF-8"), with the names of its columns in the first line.'
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # Excel's .xlsx and .xls
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{1,5}$")
_PREPARED = {"dataset_dict.json", "job.json"}  # a folder with one of them was written by `prepare`
_ARRAY_OPTIONS = ("sampling_rate", "unit", "lead_names")


@dataclass(frozen=True)
class _Recordings:
    """The recordings of a folder, and how a table may name them.

    Attributes:
        paths: relative to the folder, without suffix for WFDB records; these are also the ids.
        by_name: in the order in which names are looked up: relative paths with suffix, without, names with suffix,
            without; each from a name to the positions in `paths`, with the name as the folder spells it.
        by_number: from a number to the positions of the files whose name is that number, with leading zeros.
    """

    paths: list[str]
    by_name: tuple[dict[str, list[tuple[int, str]]], ...]
    by_number: dict[int, list[int]]


def folder_rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow | SkippedRecord | Note]]:
    """The entries in the order of the table, then the files without a row (see `Corpus.rows`).

    Raises:
        CorpusError: the table cannot be read, or none of its rows names a recording of the folder; or `sampling_rate`,
            `unit`, or `lead_names` is given for a folder without CSV and NPY files.
    """
    if options["table"] is None:
        raise CorpusError(
            "a folder needs a table of its recordings: name a CSV file with --table. Only its column with the "
            "recordings' files is required (record or file, or what --file_column names)."
        )
    table = Path(options["table"])
    if not raw_dir.is_dir():
        raise CorpusError(f"{raw_dir} is not a folder. Name the one that holds the recordings.")
    _refuse_workbook(table)
    names = table_columns(table, _HINT, _DELIMITERS)
    columns = TableColumns(**{name: options[name] for name in TableColumns.options()}).found(names, str(table))
    if columns.file_column is None:
        raise CorpusError(
            f"{table} lacks a column record or file. Name the one that holds the recordings' files with "
            f"--file_column. Its columns: {', '.join(map(repr, names))}."
        )
    found = _recordings(raw_dir, table)
    _check_array_options(raw_dir, found, options)
    table_rows = read_table(table, columns.used(), _HINT, largest=_LARGEST_TABLE, delimiters=_DELIMITERS)
    read = read_rows(table_rows, columns, str(table))
    entries = _joined(raw_dir, table, found, read.rows, columns)
    notes = [*read.notes]
    if unused := [name for name in names if name and name not in columns.used()]:
        notes.append(f"Columns of {table.name} that are not used: {', '.join(unused)}.")
    number = sum(not isinstance(entry, Note) for entry in entries)
    return number, iter([*entries, *map(Note, notes)])


def read_file(
    raw_dir: Path, row: CorpusRow, options: Mapping[str, Any], unknown_codes: Counter[str]
) -> ECGRecord | SkippedRecord:
    """Read a row's recording and add what the row says about it (see `Corpus.read`)."""
    path = raw_dir / row.path
    try:
        if path.is_file() and is_array_file(path):
            stated = {name: options[name] for name in _ARRAY_OPTIONS}
            record = read_array_file(path, leads=options["leads"], **stated)
        else:
            renamed = options["lead_names"] if _names_channels(options["lead_names"]) else None
            record = read_record(path, options["leads"], lead_names=renamed)
    except CGDMERError as error:
        absent = isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError))
        return SkippedRecord(row.record_id, str(error), "absent" if absent else "unreadable")
    if record.gain is None:
        gains = stored_gains(record.signal)
        record = replace(record, gain=gains, baseline=(0,) * len(gains))
    return described_by(row, record)


def _refuse_workbook(table: Path) -> None:
    try:
        with open(table, "rb") as file:
            start = file.read(4)
    except OSError:
        return  # the reader of tables says what is wrong
    if start in _WORKBOOKS:
        raise CorpusError(
            f'{table} is an Excel workbook. Save its sheet as "CSV UTF-8" and name that file; or, in Python, read it '
            "with pandas.read_excel and call cgdmer.dataset_from_records."
        )


def _names_channels(lead_names: Any) -> bool:
    """Whether names of leads say which channel they are for, in any format: `ECG=II` or {"ECG": "II"}."""
    return isinstance(lead_names, Mapping) or (bool(lead_names) and all("=" in name for name in lead_names))


def _check_array_options(raw_dir: Path, found: _Recordings, options: Mapping[str, Any]) -> None:
    given = [name for name in _ARRAY_OPTIONS if options[name] is not None]
    if _names_channels(options["lead_names"]):
        given.remove("lead_names")
    files = (raw_dir / path for path in found.paths)
    if given and not any(path.is_file() and is_array_file(path) for path in files):
        raise CorpusError(
            f"{given[0]} is for CSV and NPY files, and the folder holds none: other formats state their own, which is "
            "kept. Leave it out."
        )


# ---- what the folder holds


def _recordings(raw_dir: Path, table: Path) -> _Recordings:
    """All files of a folder and its subfolders that may be recordings: all but the signal files of WFDB headers, the
    table, hidden files, and prepared datasets. Which of them are recordings, their content decides."""
    spelled: list[tuple[str, str]] = []  # (id, path of the file)
    signal_files: list[tuple[str, str]] = []
    for folder, subfolders, names in os.walk(raw_dir, onerror=_refuse):
        if _PREPARED.intersection(names):
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        names += [name for name in subfolders if os.path.islink(os.path.join(folder, name))]  # not followed
        headers = {name.removesuffix(".hea") for name in names if name.endswith(".hea") and name != ".hea"}
        for name in sorted(names):
            path = Path(folder, name)
            stem, suffix = os.path.splitext(name)
            if name.startswith(".") or _is_same(path, table):
                continue
            relative = path.relative_to(raw_dir).as_posix()
            if stem in headers and suffix.lower() not in (".hea", *CLINIC_SUFFIXES, *ARRAY_SUFFIXES):
                signal_files.append((relative.removesuffix(suffix), relative))
            else:
                spelled.append((relative.removesuffix(".hea"), relative))
    if not spelled:
        raise CorpusError(f"{raw_dir} holds no files. Name the folder that holds the recordings.")
    by_name: tuple[dict[str, list[tuple[int, str]]], ...] = ({}, {}, {}, {})
    by_number: dict[int, list[int]] = {}
    for position, (_, whole) in enumerate(spelled):
        bare = whole[: -len(found[0])] if (found := _SUFFIX.search(whole.lower())) else whole
        names = [whole, bare, PurePosixPath(whole).name, PurePosixPath(bare).name]
        for names_of, name in zip(by_name, names, strict=True):
            names_of.setdefault(_key(name), []).append((position, _composed(name)))
        if re.fullmatch("[0-9]{1,15}", names[-1]):
            by_number.setdefault(int(names[-1]), []).append(position)
    position_of = {record_id: position for position, (record_id, _) in enumerate(spelled)}
    for record_id, file in signal_files:  # a table may name them instead of the header
        for names_of, name in ((by_name[0], file), (by_name[2], PurePosixPath(file).name)):
            names_of.setdefault(_key(name), []).append((position_of[record_id], _composed(name)))
    return _Recordings([record_id for record_id, _ in spelled], by_name, by_number)


def _refuse(error: OSError) -> None:
    raise CorpusError(f"{error.filename} cannot be listed: {error.strerror}. Give permission, or move it.") from error


def _is_same(path: Path, table: Path) -> bool:
    return path.name == table.name and table.exists() and path.samefile(table)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _key(name: str) -> str:
    return _composed(name).casefold()


# ---- which recording a row names


def _joined(
    raw_dir: Path, table: Path, found: _Recordings, rows: Sequence[TableRow], columns: TableColumns
) -> list[CorpusRow | SkippedRecord | Note]:
    """An entry for each row, one for each file without a row, and notes."""
    places, faults, renumbered = _places(raw_dir, found, rows)
    if not any(place is not None for place in places):
        named = next((row.file for row in rows if row.file), "")
        raise CorpusError(
            f"{table}: none of its {len(rows)} rows names one of the {len(found.paths)} files in {raw_dir}. Column "
            f"{columns.file_column} holds, for example, {shown(named)}, and a file is {shown(found.paths[0])}. Name "
            "another column with --file_column, or another folder."
        )
    keys = [row.file if place is None else found.paths[place] for row, place in zip(rows, places, strict=True)]
    of_place: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        if place is not None:
            of_place.setdefault(place, []).append(number)
    used = [group[0] for group in of_place.values()]
    splits, notes = with_splits([rows[number] for number in used], [keys[number] for number in used])
    split_of = dict(zip(used, splits, strict=True))
    entries: list[CorpusRow | SkippedRecord | Note] = []
    for number, (row, place, fault) in enumerate(zip(rows, places, faults, strict=True)):
        if place is None:
            entries.append(
                SkippedRecord(row.file or f"row {row.number}", f"{table}, row {row.number}: {fault}", "no file")
            )
            continue
        entries.append(_entry(table, found.paths[place], rows, of_place[place], number, split_of))
    for place, path in enumerate(found.paths):
        if place not in of_place:
            entries.append(SkippedRecord(path, f"{raw_dir / path}: no row of {table} names this file.", "no row"))
    if renumbered:
        notes.append(
            f"Files that are named without leading zeros: {renumbered}. Each was found, because only one file has "
            "that number."
        )
    return [*entries, *map(Note, notes)]


def _entry(
    table: Path, path: str, rows: Sequence[TableRow], group: Sequence[int], number: int, split_of: Mapping[int, str]
) -> CorpusRow | SkippedRecord:
    """The entry of a row. Its recording is used if all rows that name it say the same."""
    row, first = rows[number], rows[group[0]]
    where = f"{table}, row {row.number}"
    if any(rows[other].said != first.said for other in group):
        numbers = ", ".join(str(rows[other].number) for other in group[:5])
        reason = f"{where}: rows {numbers} name the file {path} and differ. Write one row, with all of its labels."
        return SkippedRecord(path, reason, "contradictory")
    if number != group[0]:
        return SkippedRecord(path, f"{where}: it is the same as row {first.number}, which is used.", "repeated")
    if row.fault is not None:
        return SkippedRecord(path, f"{where}: {row.fault}", "unusable row")
    return CorpusRow(record_id=path, path=path, **{**row.said, "split": split_of[number]})


def _places(raw_dir: Path, found: _Recordings, rows: Sequence[TableRow]) -> tuple[list[int | None], list[str], int]:
    """The position of each row's recording, or None and the reason; and how many were found by their number alone."""
    places: list[int | None] = []
    faults, renumbered = [], 0
    for row in rows:
        place, fault = _place(raw_dir, found, row.file)
        if place is None and (number := re.fullmatch(r"(\d{1,15})(?:\.0)?", row.file)):
            alone = found.by_number.get(int(number[1]), [])
            if len(alone) == 1:
                (place,) = alone
                renumbered += 1
        places.append(place)
        faults.append(fault)
    return places, faults, renumbered


def _place(raw_dir: Path, found: _Recordings, file: str) -> tuple[int | None, str]:
    """The position of the recording that a cell names; or None, and why."""
    if not file:
        return None, "it names no file."
    for name in _relative_names(raw_dir, file):
        for names_of in found.by_name:
            matches = names_of.get(_key(name), [])
            exact = [match for match in matches if match[1] == _composed(name)]
            matches = exact or matches
            if len(matches) == 1:
                return matches[0][0], ""
            if matches:
                named = " and ".join(shown(found.paths[place]) for place, _ in matches[:2])
                return None, f"{shown(file)} may be {named}. Write the path in the folder, with its suffix."
    return None, f"there is no file {shown(file)} in {raw_dir}."


def _relative_names(raw_dir: Path, file: str) -> Iterator[str]:
    """A path as a table writes it, as paths that may be in the folder: itself and, if it is absolute or begins with
    the folder, its parts further down."""
    parts = [part for part in file.replace("\\", "/").split("/") if part not in ("", ".")]
    yield "/".join(parts)
    if file.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", file):
        yield from ("/".join(parts[start:]) for start in range(1, len(parts)))
    else:
        for head in (raw_dir.parts, raw_dir.resolve().parts[-1:]):
            if head and tuple(parts[: len(head)]) == tuple(head):
                yield "/".join(parts[len(head) :])


FOLDER = Corpus(
    source=Source(
        name="folder",
        title="A folder of recordings",
        version="",
        url="",
        license="not stated",
        citation="",
    ),
    splits="As the table says, else 70 % train, 10 % validation, 20 % test, by a hash of the patient's or record's "
    "id.",
    rows=folder_rows,
    read=read_file,
    options=dict.fromkeys(("table", *(one.name for one in fields(TableColumns)), "leads", *_ARRAY_OPTIONS)),
    resamples=False,
)
