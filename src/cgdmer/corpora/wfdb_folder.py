# SPDX-License-Identifier: Apache-2.0
"""Any folder of WFDB records with a CSV table of what is known about them (the option `table`).

Columns of the table, in any order; all but the first may be left out, and fields may be blank:

- record: the record's path in the folder, without suffix. It is also the record's id.
- patient_id: keeps a patient's records in one split.
- text: the report.
- labels: names separated by ";".
- split (train, validation or test) or fold (1 to 10: 1 to 8 train, 9 validation, 10 test), not both. Without them 70 %
  train, 10 % validation and 20 % test, by a hash of patient_id, or of record where that is blank.
- age: years, 0 to 150.
- sex: male or female.

Another column is refused: were a misspelt one ignored, its contents would be missing in silence.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cgdmer.corpora.corpus import Corpus, CorpusRow, Source, read_row, split_of_key
from cgdmer.data.storage import SPLITS, SkippedRecord, split_of_fold_number
from cgdmer.files.tables import read_table, table_columns
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError

_COLUMNS = ("record", "patient_id", "text", "labels", "split", "fold", "age", "sex")
_OLDEST = 150
_HINT = f"The table has a column record and, of your choice, {', '.join(_COLUMNS[1:])}. Correct it."


def folder_rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow]]:
    """The rows of the table in its order, after all of it was checked (see `Corpus.rows`)."""
    if options["table"] is None:
        raise CorpusError(f"wfdb-folder needs a table of the records. {_HINT.removesuffix(' Correct it.')}")
    path = Path(options["table"])
    if not raw_dir.is_dir():
        raise CorpusError(f"{raw_dir} is not a folder. Name the one that holds the records.")
    _check_columns(path)
    total = sum(1 for _ in _rows(path))
    return total, _rows(path)


def _rows(path: Path) -> Iterator[CorpusRow]:
    for number, fields in enumerate(read_table(path, ("record",), _HINT, optional=_COLUMNS), 1):
        record, patient_id = fields["record"], fields.get("patient_id") or None
        if not record:
            raise CorpusError(f"{path}: column record is blank in row {number}. {_HINT}")
        where = f"{path}, record {record!r}"
        fold = _number(where, fields, "fold", 1, 10)
        if fold is not None and not fold.is_integer():
            raise CorpusError(f"{where}: column fold holds {fields['fold']!r}; a whole number is expected.")
        split = fields.get("split") or (
            split_of_fold_number(int(fold)) if fold else split_of_key(patient_id or record)
        )
        if split not in SPLITS:
            raise CorpusError(f"{where}: column split holds {split!r}; {', '.join(SPLITS)} are expected.")
        sex = fields.get("sex", "").lower() or None
        if sex not in ("male", "female", None):
            raise CorpusError(f"{where}: column sex holds {fields['sex']!r}; male or female is expected.")
        labels = (label.strip() for label in fields.get("labels", "").split(";"))
        yield CorpusRow(
            record_id=record,
            path=record,
            split=split,
            patient_id=patient_id,
            text=fields.get("text") or None,
            labels=tuple(dict.fromkeys(label for label in labels if label)),
            fold=None if fold is None else int(fold),
            age=_number(where, fields, "age", 0, _OLDEST),
            sex=sex,
        )


def _check_columns(path: Path) -> None:
    columns = table_columns(path, _HINT)
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown:
        raise CorpusError(
            f"{path} has the column(s) {', '.join(map(repr, unknown))}, which mean nothing here. {_HINT}"
        )
    if "split" in columns and "fold" in columns:
        raise CorpusError(f"{path} has both split and fold. Keep the one that divides the records.")


def _number(where: str, fields: Mapping[str, str], column: str, lowest: float, highest: float) -> float | None:
    text = fields.get(column, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not lowest <= number <= highest:
        raise CorpusError(f"{where}: column {column} holds {text!r}; {lowest:g} to {highest:g} is expected.")
    return number


def read_folder_row(
    raw_dir: Path, row: CorpusRow, options: Mapping[str, Any], unknown_codes: Counter[str]
) -> ECGRecord | SkippedRecord:
    """A row's record (see `Corpus.read`)."""
    return read_row(raw_dir, row, f"{options['table']}, column record")


WFDB_FOLDER = Corpus(
    source=Source(
        name="wfdb-folder",
        title="A folder of WFDB records",
        version="",
        url="",
        licence="not stated",
        citation="",
    ),
    splits="As the table says, else 70 % train, 10 % validation, 20 % test, by a hash of the patient's or record's "
    "id.",
    rows=folder_rows,
    read=read_folder_row,
    options={"sampling_rate": None, "table": None},
)
