# SPDX-License-Identifier: Apache-2.0
"""Any folder of WFDB records, with a CSV table that describes them (the option `table`).

The table may have these columns, in any order. Only the first is required, and fields may be blank:

- record: the record's path in the folder, without suffix. It is also the record's id.
- patient_id: keeps a patient's records in one split.
- text: the report.
- labels: names separated by ";", or by what the option `label_separator` states. A name that looks like several
  ("AFIB,LVH") is refused unless the separator is stated.
- split (train, validation, or test) or fold (1 to 10: 1 to 8 train, 9 validation, 10 test), not both. Without them,
  70 % train, 10 % validation, and 20 % test, by a hash of patient_id, or of record if patient_id is blank.
- age: years, 0 to 150.
- sex: male or female.

Any other column is an error: if a misspelled one were ignored, its contents would be missing without notice.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cgdmer.corpora.corpus import Corpus, CorpusRow, Source, read_row, split_of_key
from cgdmer.corpora.label_cells import check_label_cells, labels_of_cell
from cgdmer.data.storage import SPLITS, split_of_fold_number
from cgdmer.files.tables import number_field, read_table, table_columns
from cgdmer.models.errors import CorpusError

_COLUMNS = ("record", "patient_id", "text", "labels", "split", "fold", "age", "sex")
_OLDEST = 150
_HINT = f"The table needs the column record and may have {', '.join(_COLUMNS[1:])}. Correct it."


def folder_rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow]]:
    """The rows of the table in its order, after it was checked completely (see `Corpus.rows`)."""
    if options["table"] is None:
        raise CorpusError(f"wfdb-folder needs a table of the records. {_HINT.removesuffix(' Correct it.')}")
    path = Path(options["table"])
    if not raw_dir.is_dir():
        raise CorpusError(f"{raw_dir} is not a folder. Name the one that holds the records.")
    columns, separator = _checked_columns(path), options["label_separator"]
    if "labels" in columns:
        cells = (fields["labels"] for fields in read_table(path, ("labels",), _HINT))
        check_label_cells(cells, separator, where=f"{path}, column labels")
    return sum(1 for _ in _rows(path, separator)), _rows(path, separator)


def _rows(path: Path, separator: str | None) -> Iterator[CorpusRow]:
    for fields in read_table(path, ("record",), _HINT, optional=_COLUMNS, filled=("record",)):
        record, patient_id = fields["record"], fields.get("patient_id") or None
        where = f"{path}, record {record!r}"
        fold = int(number_field(fields, "fold", where, 1, 10, whole=True)) if fields.get("fold") else None
        split = fields.get("split") or (split_of_fold_number(fold) if fold else split_of_key(patient_id or record))
        if split not in SPLITS:
            raise CorpusError(f"{where}: column split holds {split!r}; one of {', '.join(SPLITS)} is expected.")
        sex = fields.get("sex", "").lower() or None
        if sex not in ("male", "female", None):
            raise CorpusError(f"{where}: column sex holds {fields['sex']!r}; male or female is expected.")
        yield CorpusRow(
            record_id=record,
            path=record,
            split=split,
            patient_id=patient_id,
            text=fields.get("text") or None,
            labels=labels_of_cell(fields.get("labels", ""), separator),
            fold=fold,
            age=number_field(fields, "age", where, 0, _OLDEST) if fields.get("age") else None,
            sex=sex,
        )


def _checked_columns(path: Path) -> list[str]:
    columns = table_columns(path, _HINT)
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown:
        raise CorpusError(
            f"{path} has the column(s) {', '.join(map(repr, unknown))}, which have no meaning here. {_HINT}"
        )
    if "split" in columns and "fold" in columns:
        raise CorpusError(f"{path} has both split and fold. Keep one of the two.")
    return columns


WFDB_FOLDER = Corpus(
    source=Source(
        name="wfdb-folder",
        title="A folder of WFDB records",
        version="",
        url="",
        license="not stated",
        citation="",
    ),
    splits="As the table says, else 70 % train, 10 % validation, 20 % test, by a hash of the patient's or record's "
    "id.",
    rows=folder_rows,
    read=partial(read_row, named_in="the table's column record"),
    options={"sampling_rate": None, "table": None, "label_separator": None},
)
