# SPDX-License-Identifier: Apache-2.0
"""What a user's table of recordings says, whatever its columns are called: one row per recording.

A cell that cannot be understood is never dropped in silence. If the recording cannot be used without it (a label that
is neither 0 nor 1, a split that does not exist), the row has a `fault`; an age or a sex is left empty and counted.
"""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from cgdmer.corpora.corpus import split_of_key
from cgdmer.corpora.label_cells import check_label_cells, labels_of_cell
from cgdmer.data.storage import SPLITS, split_of_fold_number
from cgdmer.models.errors import CorpusError, shown

_STANDARD = {
    "file_column": ("record", "file"),
    "patient_column": ("patient_id",),
    "text_column": ("text",),
    "label_columns": ("labels",),
    "split_column": ("split", "fold"),
    "source_column": ("source",),
    "age_column": ("age",),
    "sex_column": ("sex",),
}
_BLANK = {"", "nan", "nat", "na", "n/a", "null", "none", "<na>"}
_FLAGS = {
    **dict.fromkeys(("0", "0.0", "0,0", "false", "no", "nein"), False),
    **dict.fromkeys(("1", "1.0", "1,0", "true", "yes", "ja", "x"), True),
}
_SPLITS = {
    **{name: name for name in SPLITS},
    **{"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"},
}
_SEXES = {
    **dict.fromkeys(("f", "female", "w", "woman", "weiblich", "frau"), "female"),
    **dict.fromkeys(("m", "male", "man", "männlich", "maennlich", "mann"), "male"),
}
_OLDEST = 150
_AGE_ABOVE_89 = 90.0  # as PTB-XL's: "90 or more"
_AGE = re.compile(r"(\d{1,3}(?:[.,]\d{1,9})?)\s*(?:y|yrs?|years?|j|jahre)?\.?")
_OLDER = re.compile(r">\s*(\d{1,3})|(?:≥|>=)\s*(\d{1,3})|(\d{1,3})\s*\+")
_DICOM_AGE = re.compile(r"(\d{3})([DWM])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0}


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table by what they hold; None: the one with the standard name, in any case, if there is one.

    Attributes:
        file_column: the recording: its path in the folder, or its file's name, with or without suffix. Standard names:
            record, file.
        patient_column: the same for all recordings of a person. Standard name: patient_id.
        text_column: the report. Standard name: text.
        label_columns: columns of 0 and 1, each for the label that is its name; or columns with names of labels.
            Standard name: labels.
        label_separator: what separates names of labels in a cell (see `cgdmer.corpora.label_cells`).
        split_column: train, validation, or test. Standard names: split, or fold (1 to 10: 9 is validation, 10 test).
        source_column: where a recording comes from, such as the hospital or the device. Standard name: source.
        age_column: years. Standard name: age.
        sex_column: female or male, or F, W, and M. Standard name: sex.
    """

    file_column: str | None = None
    patient_column: str | None = None
    text_column: str | None = None
    label_columns: Sequence[str] | None = None
    label_separator: str | None = None
    split_column: str | None = None
    source_column: str | None = None
    age_column: str | None = None
    sex_column: str | None = None

    @classmethod
    def options(cls) -> list[str]:
        return [one.name for one in fields(cls)]

    def found(self, columns: Sequence[str], where: str) -> "TableColumns":
        """The columns as the table spells them, those with standard names included.

        Raises:
            CorpusError: there is no such column, or there are several, or two of the standard names mean the same.
        """
        chosen: dict[str, Any] = {"label_separator": self.label_separator}
        for option, standard in _STANDARD.items():
            given = getattr(self, option)
            if given is None:
                known = [column for column in columns if _key(column) in standard]
                if len(known) > 1:
                    raise CorpusError(
                        f"{where} has the columns {' and '.join(map(repr, known))}, which mean the same. Name the one "
                        f"to use with {_flag(option)}."
                    )
                chosen[option] = (known or None) if option == "label_columns" else next(iter(known), None)
            elif option == "label_columns":
                names = [given] if isinstance(given, str) else list(given)
                chosen[option] = [_column(name, columns, where, option) for name in names]
            else:
                chosen[option] = _column(given, columns, where, option)
        return TableColumns(**chosen)

    def used(self) -> list[str]:
        """The names of all columns that are read."""
        single = (getattr(self, option) for option in _STANDARD if option != "label_columns")
        return [column for column in (*single, *(self.label_columns or ())) if column is not None]


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes:
        number: from 1, without the header and blank rows.
        file: the cell that names the recording.
        said: what the row says about the recording, by the names in `ECGRecord`; and `split`, "" if there is none.
        fault: why its recording cannot be used; None if it can.
    """

    number: int
    file: str
    said: dict[str, Any]
    fault: str | None = None


@dataclass
class TableRows:
    """All rows of a table, and sentences on what was made of them."""

    rows: list[TableRow]
    notes: list[str] = field(default_factory=list)


def read_rows(table: Iterable[Mapping[str, str]], columns: TableColumns, where: str) -> TableRows:
    """Read the rows of a table.

    Args:
        table: cells by column.
        columns: as `TableColumns.found` returned them.
        where: the table, for messages.

    Raises:
        CorpusError: a column mixes 0 and 1 with other values, or holds names that look like several labels.
    """
    cells = [{column: _cell(row[column]) for column in columns.used()} for row in table]
    labels, notes = _labels(cells, columns, where)
    unknown: dict[str, Counter[str]] = {}
    rows = []
    for number, (row, of_row) in enumerate(zip(cells, labels, strict=True), 1):
        file = row[columns.file_column] if columns.file_column else ""
        split, fold, fault = _split_of(row, columns)
        said = {
            "patient_id": _optional(row, columns.patient_column, number=True),
            "text": _optional(row, columns.text_column),
            "labels": of_row,
            "split": split,
            "fold": fold,
            "source": _optional(row, columns.source_column, number=True),
            "age": _understood(row, columns.age_column, age_of_cell, unknown),
            "sex": _understood(row, columns.sex_column, lambda cell: _SEXES.get(cell.casefold()), unknown),
        }
        rows.append(TableRow(number, file, said, fault))
    return TableRows(rows, [*notes, *_notes_on_cells(unknown), *_notes_on_spellings(rows)])


def with_splits(rows: Sequence[TableRow], keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """The split of each row, as stated or by its patient, and sentences on what that means.

    Args:
        keys: one per row, by which a recording without a patient is split.
    """
    patients = [row.said["patient_id"] for row in rows]
    stated = [row.said["split"] for row in rows]
    splits = [
        split or split_of_key(patient or key) for split, patient, key in zip(stated, patients, keys, strict=True)
    ]
    one_by_one = [not (split or patient) for split, patient in zip(stated, patients, strict=True)].count(True)
    notes = []
    if not any(patients):
        notes.append(
            "The patients are not known (--patient_column names their column): "
            + ("recordings were split one by one, so " if one_by_one else "")
            + "a patient may be in training and in test."
        )
    elif one_by_one:
        notes.append(
            f"Recordings without a patient: {one_by_one}. They were split one by one, so a patient may be in training "
            "and in test."
        )
    splits_of: dict[str, set[str]] = {}
    for row, patient, split in zip(rows, patients, splits, strict=True):
        if patient is not None and row.fault is None:
            splits_of.setdefault(patient, set()).add(split)
    if shared := [patient for patient, found in splits_of.items() if len(found) > 1]:
        notes.append(
            f"Patients in several splits, as the table says: {len(shared)}. `finetune` and `evaluate` refuse that."
        )
    return splits, notes


def age_of_cell(cell: str) -> float | None:
    """Years; None if the cell is not understood. "> 89" and "90+" become 90.0, meaning 90 or more."""
    if found := _OLDER.fullmatch(cell):
        above, *from_on = found.groups()
        years = float(above) + 1 if above else float(next(text for text in from_on if text))
        return years if years <= _OLDEST else None
    if found := _DICOM_AGE.fullmatch(cell):
        return int(found[1]) / _PER_YEAR[found[2]]
    found = _AGE.fullmatch(cell.casefold())
    years = float(found[1].replace(",", ".")) if found else -1.0
    return years if 0 <= years <= _OLDEST else None


def _flag(option: str) -> str:
    return f"--{option}"


def _key(column: str) -> str:
    return unicodedata.normalize("NFC", column).strip().casefold()


def _column(name: str, columns: Sequence[str], where: str, option: str) -> str:
    """The column of this name, in any case unless that is ambiguous."""
    if name in columns:
        return name
    found = [column for column in columns if _key(column) == _key(name)]
    if len(found) == 1:
        return found[0]
    near = difflib.get_close_matches(name, columns, n=1)
    raise CorpusError(
        f"{where} has {'no' if not found else 'more than one'} column {name!r} ({_flag(option)})"
        f"{f'; did you mean {near[0]!r}?' if near else '.'} Its columns: {', '.join(map(repr, columns))}."
    )


def _cell(text: str) -> str:
    text = unicodedata.normalize("NFC", text).strip()
    return "" if text.casefold() in _BLANK else text


def _optional(row: Mapping[str, str], column: str | None, *, number: bool = False) -> str | None:
    """A cell, or None. With `number`, one that pandas wrote as a number with a decimal (17.0) is that number."""
    text = row[column] if column else ""
    return (re.sub(r"(?<=\d)\.0$", "", text) if number and re.fullmatch(r"\d+\.0", text) else text) or None


def _understood(row: Mapping[str, str], column: str | None, meaning: Any, unknown: dict[str, Counter[str]]) -> Any:
    """The meaning of a cell; one without a meaning is counted."""
    text = row[column] if column else ""
    if not text:
        return None
    found = meaning(text)
    if found is None:
        unknown.setdefault(str(column), Counter())[text] += 1
    return found


def _split_of(row: Mapping[str, str], columns: TableColumns) -> tuple[str, int | None, str | None]:
    """The split ("" without a column), the fold, and what is wrong."""
    column = columns.split_column
    if column is None:
        return "", None, None
    text = row[column]
    if re.fullmatch(r"([1-9]|10)(\.0)?", text):
        fold = int(float(text))
        return split_of_fold_number(fold), fold, None
    if split := _SPLITS.get(text.casefold()):
        return split, None, None
    found = f"holds {shown(text)}" if text else "is blank"
    return "", None, f"column {column} {found}; {', '.join(SPLITS)}, or a fold from 1 to 10 is expected."


def _labels(
    cells: Sequence[Mapping[str, str]], columns: TableColumns, where: str
) -> tuple[list[tuple[str, ...]], list[str]]:
    """The labels of each row, and sentences on blank cells and rows."""
    held: list[list[str]] = [[] for _ in cells]
    notes = []
    for column in columns.label_columns or ():
        values = [row[column] for row in cells]
        if columns.label_separator is None and _is_flags(values, column, where):
            flags = [_FLAGS.get(value.casefold()) for value in values]
            if False in flags and (blank := flags.count(None)):
                notes.append(f"Column {column}: blank cells, which count as 0: {blank}.")
            found: list[tuple[str, ...]] = [(column,) if flag else () for flag in flags]
        else:
            check_label_cells(values, columns.label_separator, where=f"{where}, column {column}")
            found = [labels_of_cell(value, columns.label_separator) for value in values]
        for own, labels in zip(held, found, strict=True):
            own += labels
    blank_rows = sum(not any(row[column] for column in columns.label_columns or ()) for row in cells)
    if columns.label_columns and blank_rows:
        notes.append(
            f"Rows without a label: {blank_rows} of {len(cells)}. `finetune` and `evaluate` count them as negative "
            "for every label: leave out rows that nobody has labeled."
        )
    return [tuple(dict.fromkeys(own)) for own in held], notes


def _is_flags(values: Sequence[str], column: str, where: str) -> bool:
    """Whether a column holds 0 and 1."""
    filled = [(number, value) for number, value in enumerate(values, 1) if value]
    others = [(number, value) for number, value in filled if value.casefold() not in _FLAGS]
    if not others:
        return bool(filled)
    if {value.casefold() for _, value in filled}.isdisjoint(_FLAGS.keys() - {"x"}):  # x may be a name among others
        return False
    number, value = others[0]
    raise CorpusError(
        f"{where}, column {column}: row {number} holds {shown(value)}, others 0 and 1 or yes and no. Write 0 or 1, "
        "and leave out rows that nobody has labeled; or, if these are names of labels, state what separates them with "
        "--label_separator."
    )


def _notes_on_cells(unknown: Mapping[str, Counter[str]]) -> list[str]:
    return [
        f"Column {column}: cells that are not understood and left empty: {counts.total()} "
        f"({', '.join(shown(text) for text, _ in counts.most_common(3))}{', ...' if len(counts) > 3 else ''})."
        for column, counts in unknown.items()
    ]


def _notes_on_spellings(rows: Sequence[TableRow]) -> list[str]:
    known: dict[str, set[str]] = {}
    for row in rows:
        for label in row.said["labels"]:
            known.setdefault(label.casefold(), set()).add(label)
    return [
        f"{' and '.join(map(repr, sorted(spellings)))} are different labels. Are they meant to be?"
        for spellings in known.values()
        if len(spellings) > 1
    ]
