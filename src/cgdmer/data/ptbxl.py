# SPDX-License-Identifier: Apache-2.0
"""PTB-XL: 21,799 twelve-lead records of 10 s with reports and SCP codes (https://physionet.org/content/ptb-xl/).

A folder as it comes from PhysioNet: `ptbxl_database.csv`, `scp_statements.csv`, `records100/`, `records500/`.

What becomes of a row:

- text: the report as written (mostly German and English, machine-made or a cardiologist's); None if blank.
- labels: every SCP code that is listed, in the order given. The likelihood beside it is ignored, as is usual for this
  corpus: it is 0 for all codes of form and rhythm, where it means "not stated".
- statements: one English sentence for each code, from `scp_statements.csv`.
- fold: `strat_fold`. Folds keep a patient's records together: 1 to 8 train, 9 validation, 10 test.
- age: years. The corpus gives 300 for everyone above 89 (privacy); such a record gets 90.0, which means "90 or more".
- sex: 0 is male and 1 is female, as the corpus documents.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from cgdmer.data.storage import SkippedRecord, split_of_fold, write_dataset
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError
from cgdmer.models.reading_wfdb import read_wfdb

_TABLE, _STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
_FILE_NAME_COLUMN = {100: "filename_lr", 500: "filename_hr"}
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "report", "scp_codes", "strat_fold")
_AGE_ABOVE_89 = 300.0
_SEXES = {"0": "male", "1": "female", "": None}
_LONGEST_SCP_CODES = 10_000  # characters; the corpus's longest field has fewer than 200

# Descriptions that are notes to a reader of the table rather than a finding in words.
_REWORDED = {
    "non-specific ischemic": "non-specific ischemic ST-T changes",
    "electrolytic disturbance or drug (former EDIS)": "ST-T changes due to electrolyte disturbance or drug",
    "non-specific intraventricular conduction disturbance (block)": "non-specific intraventricular conduction block",
    "voltage criteria (QRS) for left ventricular hypertrophy": "QRS voltage criteria for left ventricular hypertrophy",
    "bigeminal pattern (unknown origin, SV or Ventricular)": "bigeminal pattern of unknown origin",
    "trigeminal pattern (unknown origin, SV or Ventricular)": "trigeminal pattern of unknown origin",
    "Wolf-Parkinson-White syndrome": "Wolff-Parkinson-White syndrome",
    "normal functioning artificial pacemaker": "normally functioning artificial pacemaker",
    "premature complex(es)": "premature complexes",
    "digitalis-effect": "digitalis effect",
    "long QT-interval": "long QT interval",
}


@dataclass(frozen=True)
class _Row:
    """One row of `ptbxl_database.csv`, its fields converted."""

    ecg_id: str
    patient_id: str | None
    age: float | None
    sex: str | None
    report: str | None
    scp_codes: tuple[str, ...]
    fold: int
    file_name: str


def ptbxl_records(raw_dir: str | os.PathLike[str], *, sampling_rate: int = 100) -> Iterator[ECGRecord | SkippedRecord]:
    """The records of PTB-XL in the order of its table; both tables are read and checked before the first comes.

    Args:
        raw_dir: the folder as it comes from PhysioNet.
        sampling_rate: 100 or 500 (Hz), the two versions in which the corpus holds each record.

    Returns:
        An iterator over all rows. A row whose files are absent, damaged or at another rate comes as a
        `SkippedRecord` with the reason.

    Raises:
        CorpusError: the folder is not PTB-XL, or a table is absent, unreadable or lacks a column; the message names
            file, column and row.
    """
    rows, statements = _read_tables(raw_dir, sampling_rate)
    return (_read_record(Path(raw_dir), row, statements, sampling_rate) for row in rows)


def prepare_ptbxl(
    raw_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    sampling_rate: int = 100,
    overwrite: bool = False,
) -> dict[str, int]:
    """Turn PTB-XL into a dataset folder, carrying on past records that cannot be read.

    Args:
        raw_dir: the folder as it comes from PhysioNet.
        output_dir: see `write_dataset`, which also writes `skipped.csv` and `summary.json` there.
        sampling_rate: 100 or 500 (Hz).
        overwrite: replace a dataset that is already in `output_dir`.

    Returns:
        `written`, `skipped`, and the number of records in each split.

    Raises:
        CorpusError: as `ptbxl_records` and `write_dataset`.
    """
    rows, statements = _read_tables(raw_dir, sampling_rate)
    return write_dataset(
        (_read_record(Path(raw_dir), row, statements, sampling_rate) for row in rows),
        output_dir,
        splits=split_of_fold,
        description=f"PTB-XL at {sampling_rate} Hz, folds 1-8 train, 9 validation, 10 test. Licence: CC BY 4.0.",
        total=len(rows),
        overwrite=overwrite,
    )


def statement_sentence(description: str) -> str:
    """A description of `scp_statements.csv` as an English sentence ("ischemic in lateral leads" -> "Ischemic ST-T
    changes in lateral leads.")."""
    words = " ".join(description.split())
    words = _REWORDED.get(words, words)
    words = re.sub(r"^ischemic in (.*) leads$", r"ischemic ST-T changes in \1 leads", words)
    words = words.replace("overload/enlargement", "overload or enlargement")
    return f"{words[0].upper()}{words[1:].rstrip('.')}."


def _read_record(
    raw_dir: Path, row: _Row, statements: Mapping[str, str], sampling_rate: int
) -> ECGRecord | SkippedRecord:
    try:
        name = PurePosixPath(row.file_name)
        if not row.file_name or name.is_absolute() or ".." in name.parts or "\\" in row.file_name:
            raise CorpusError(
                f"{_TABLE}: column {_FILE_NAME_COLUMN[sampling_rate]} holds {row.file_name!r}, which is no file "
                "inside the corpus."
            )
        record = read_wfdb(raw_dir / name)
        if record.sampling_rate != sampling_rate:
            raise CorpusError(f"{raw_dir / name}: sampled at {record.sampling_rate:g} Hz, not at {sampling_rate} Hz.")
    except CGDMERError as error:
        return SkippedRecord(row.ecg_id, str(error))
    return replace(
        record,
        record_id=row.ecg_id,
        patient_id=row.patient_id,
        text=row.report,
        statements=tuple(statements[code] for code in row.scp_codes),
        labels=row.scp_codes,
        fold=row.fold,
        age=row.age,
        sex=row.sex,
    )


def _read_tables(raw_dir: str | os.PathLike[str], sampling_rate: int) -> tuple[list[_Row], dict[str, str]]:
    """All rows of the database, and the sentence of each SCP code."""
    if sampling_rate not in _FILE_NAME_COLUMN:
        raise CorpusError(f"PTB-XL comes at 100 and 500 Hz, not at {sampling_rate}. Choose one of the two.")
    folder = Path(raw_dir)
    file_name_column = _FILE_NAME_COLUMN[sampling_rate]
    table = _read_csv(folder / _TABLE, (*_COLUMNS, file_name_column))
    descriptions = _read_csv(folder / _STATEMENTS, ("description",))
    code_column = descriptions.columns[0]  # it has no name in the corpus
    statements = {
        code: statement_sentence(description)
        for code, description in zip(descriptions[code_column], descriptions["description"], strict=True)
        if code and description.strip()
    }
    path = folder / _TABLE
    rows: list[_Row] = []
    for fields in table.to_dict("records"):
        fields = {str(column): str(value).strip() for column, value in fields.items()}
        where = f"{path}, ecg_id {fields['ecg_id']!r}"
        if not fields["ecg_id"]:
            raise CorpusError(f"{path}: column ecg_id is blank in row {len(rows) + 1}. Fetch the file again.")
        sex = fields["sex"].removesuffix(".0")
        if sex not in _SEXES:
            raise CorpusError(f"{where}: column sex holds {fields['sex']!r}; 0 (male) or 1 (female) is expected.")
        age = _number(where, "age", fields["age"]) if fields["age"] else None
        fold = _number(where, "strat_fold", fields["strat_fold"])
        if fold not in range(1, 11):
            raise CorpusError(f"{where}: column strat_fold holds {fields['strat_fold']!r}; 1 to 10 is expected.")
        rows.append(
            _Row(
                ecg_id=fields["ecg_id"],
                patient_id=fields["patient_id"].removesuffix(".0") or None,
                age=90.0 if age == _AGE_ABOVE_89 else age,
                sex=_SEXES[sex],
                report=fields["report"] or None,
                scp_codes=_parse_scp_codes(where, fields["scp_codes"], statements),
                fold=int(fold),
                file_name=fields[file_name_column],
            )
        )
    repeated = table["ecg_id"][table["ecg_id"].duplicated()]
    if len(repeated):
        raise CorpusError(f"{path}: column ecg_id holds {repeated.iloc[0]!r} more than once. Fetch the file again.")
    return rows, statements


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table with all fields as text, blank where empty."""
    if not path.is_file():
        raise CorpusError(
            f"{path} does not exist, so {path.parent} is not a PTB-XL folder. Name the one that holds {_TABLE}, "
            f"{_STATEMENTS}, records100 and records500."
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text: {error}. Fetch the file again.") from error
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise CorpusError(f"{path} cannot be read as a CSV table: {error}. Fetch the file again.") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise CorpusError(f"{path} lacks the column(s) {', '.join(missing)}. Fetch the file again.")
    if table.empty:
        raise CorpusError(f"{path} holds no rows. Fetch the file again.")
    # A row with too few fields leaves the last ones as NaN even so.
    return table.fillna("")


def _number(where: str, column: str, field: str) -> float:
    try:
        number = float(field)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1000:
        raise CorpusError(
            f"{where}: column {column} holds {field!r}, which is no plausible number. Fetch the file again."
        )
    return number


def _parse_scp_codes(where: str, field: str, statements: Mapping[str, str]) -> tuple[str, ...]:
    """The codes of a field such as "{'NORM': 100.0, 'SR': 0.0}", in order."""
    try:
        if len(field) > _LONGEST_SCP_CODES:
            raise ValueError(f"it has {len(field)} characters")
        codes = ast.literal_eval(field)  # literals only: nothing in the field is executed
        if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
            raise ValueError("not a dictionary of codes")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise CorpusError(
            f"{where}: column scp_codes holds {field[:80]!r}, which cannot be understood ({error}). "
            "\"{'NORM': 100.0}\" is expected. Fetch the file again."
        ) from error
    for code in codes:
        if code not in statements:
            raise CorpusError(f"{where}: column scp_codes has {code!r}, which {_STATEMENTS} does not describe.")
    return tuple(codes)


__all__ = [
    "prepare_ptbxl",
    "ptbxl_records",
    "statement_sentence",
]
