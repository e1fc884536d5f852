# SPDX-License-Identifier: Apache-2.0
"""PTB-XL: 21,799 twelve-lead records of 10 s with reports and SCP codes (https://physionet.org/content/ptb-xl/).

A folder as downloaded from PhysioNet: `ptbxl_database.csv`, `scp_statements.csv`, `records100/`, `records500/`. The
corpus has each record at 100 and 500 Hz; the option `sampling_rate` chooses between them.

For each row of the table:

- text: the report as written (mostly German and English, by a machine or a cardiologist); None if blank.
- labels: all SCP codes listed, in the given order. Their likelihoods are ignored, as is usual for this corpus: for all
  codes of form and rhythm they are 0, which means "not stated".
- statements: one English sentence per code, from `scp_statements.csv`.
- fold: `strat_fold`. Folds keep a patient's records together: 1 to 8 train, 9 validation, 10 test.
- age: years. For privacy, the corpus gives 300 for everyone above 89; such a record gets 90.0, meaning "90 or more".
- sex: 0 is male and 1 is female, as the corpus documents.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cgdmer.corpora.corpus import Corpus, CorpusRow, Download, Source, read_row
from cgdmer.data.storage import SkippedRecord, split_of_fold_number
from cgdmer.files.tables import number_field, read_table, table_columns
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError

_TABLE, _STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
_FILE_NAME_COLUMN = {100: "filename_lr", 500: "filename_hr"}
_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "report", "scp_codes", "strat_fold")
_AGE_ABOVE_89 = 300.0
_SEXES = {"0": "male", "1": "female", "": None}
_LARGEST_TABLE = 2**27  # bytes, because all rows are held in memory; the corpus's table has about 7 million
_LONGEST_SCP_CODES = 10_000  # characters; the corpus's longest field has fewer than 200

# Descriptions worded as notes to the reader of the table, and what they say as findings.
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


def statement_sentence(description: str) -> str:
    """A description of `scp_statements.csv` as an English sentence ("ischemic in lateral leads" -> "Ischemic ST-T
    changes in lateral leads.")."""
    words = " ".join(description.split())
    words = _REWORDED.get(words, words)
    words = re.sub(r"^ischemic in (.*) leads$", r"ischemic ST-T changes in \1 leads", words)
    words = words.replace("overload/enlargement", "overload or enlargement")
    return f"{words[0].upper()}{words[1:].rstrip('.')}."


def ptbxl_rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow]]:
    """The rows of `ptbxl_database.csv` in its order, after both tables were checked completely (see `Corpus.rows`).

    Raises:
        CorpusError: the folder is not PTB-XL, or a table is missing, unreadable, lacks a column, or has a value that
            makes no sense. The message names the file, column, and row.
    """
    rate = options["sampling_rate"]
    if rate not in _FILE_NAME_COLUMN:
        raise CorpusError(f"PTB-XL comes at 100 and 500 Hz, not at {rate}. Choose one of the two.")
    file_name_column = _FILE_NAME_COLUMN[rate]
    hint = (
        f"Fetch the file again. A PTB-XL folder holds {_TABLE}, {_STATEMENTS}, records100, and records500: if none of "
        f"them is there, {raw_dir} is not a PTB-XL folder."
    )
    path = raw_dir / _TABLE
    table = read_table(path, (*_COLUMNS, file_name_column), hint, filled=("ecg_id",), largest=_LARGEST_TABLE)
    code_column = table_columns(raw_dir / _STATEMENTS, hint)[0]  # it has no name in the corpus
    statements = {
        fields[code_column]: statement_sentence(fields["description"])
        for fields in read_table(raw_dir / _STATEMENTS, (code_column, "description"), hint, largest=_LARGEST_TABLE)
        if fields[code_column] and fields["description"]
    }
    rows: dict[str, CorpusRow] = {}
    for fields in table:
        ecg_id = fields["ecg_id"]
        where = f"{path}, ecg_id {ecg_id!r}"
        if ecg_id in rows:
            raise CorpusError(f"{path}: column ecg_id holds {ecg_id!r} more than once. Fetch the file again.")
        sex = fields["sex"].removesuffix(".0")
        if sex not in _SEXES:
            raise CorpusError(f"{where}: column sex holds {fields['sex']!r}; 0 (male) or 1 (female) is expected.")
        age = number_field(fields, "age", where, 0, _AGE_ABOVE_89) if fields["age"] else None
        fold = int(number_field(fields, "strat_fold", where, 1, 10, whole=True))
        codes = _parse_scp_codes(where, fields["scp_codes"], statements)
        rows[ecg_id] = CorpusRow(
            record_id=ecg_id,
            path=fields[file_name_column],
            split=split_of_fold_number(fold),
            patient_id=fields["patient_id"].removesuffix(".0") or None,
            text=fields["report"] or None,
            statements=tuple(statements[code] for code in codes),
            labels=codes,
            fold=fold,
            age=90.0 if age == _AGE_ABOVE_89 else age,
            sex=_SEXES[sex],
        )
    return len(rows), iter(rows.values())


def read_ptbxl_row(
    raw_dir: Path, row: CorpusRow, options: Mapping[str, Any], unknown_codes: Counter[str]
) -> ECGRecord | SkippedRecord:
    """A row's record; it is skipped if its rate is not the one in `options` (see `Corpus.read`)."""
    column = _FILE_NAME_COLUMN[options["sampling_rate"]]
    record = read_row(raw_dir, row, options, unknown_codes, named_in=f"{_TABLE}, column {column}")
    if isinstance(record, ECGRecord) and record.sampling_rate != options["sampling_rate"]:
        return SkippedRecord(
            row.record_id,
            f"{raw_dir / row.path}: sampled at {record.sampling_rate:g} Hz, not at {options['sampling_rate']} Hz.",
        )
    return record


def _parse_scp_codes(where: str, field: str, statements: Mapping[str, str]) -> tuple[str, ...]:
    """The codes in a field such as "{'NORM': 100.0, 'SR': 0.0}", in order."""
    try:
        if len(field) > _LONGEST_SCP_CODES:
            raise ValueError(f"it has {len(field)} characters")
        codes = ast.literal_eval(field)  # parses literals only and executes nothing
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


PTBXL = Corpus(
    source=Source(
        name="ptb-xl",
        title="PTB-XL, a large publicly available electrocardiography dataset",
        version="1.0.3",
        url="https://physionet.org/content/ptb-xl/1.0.3/",
        license="CC BY 4.0",
        citation="Wagner P, Strodthoff N, Bousseljot RD, Kreiseler D, Lunze FI, Samek W, Schaeffter T. PTB-XL, a "
        "large publicly available electrocardiography dataset. Scientific Data 7, 154 (2020). "
        "https://doi.org/10.1038/s41597-020-0495-6",
    ),
    splits="Folds 1-8 train, 9 validation, 10 test.",
    rows=ptbxl_rows,
    read=read_ptbxl_row,
    options={"sampling_rate": 100},
    download=Download("ptb-xl/1.0.3", tables=(_TABLE, _STATEMENTS)),
)
