# SPDX-License-Identifier: Apache-2.0
"""MIMIC-IV-ECG: 800,035 twelve-lead records of 10 s at 500 Hz from 161,352 patients, with machine reports.

A folder as downloaded from PhysioNet: `record_list.csv`, `machine_measurements.csv`, `files/`. The two tables are
joined on `study_id`, in any row order. For each record:

- record_id, patient_id: `study_id`, `subject_id`.
- text: `report_0` to `report_17`, cleaned as in MERL: join those that are not null with ". ", replace "EKG" by "ECG",
  strip spaces, "*", "=", and "-" from the ends, convert to lower case, replace newlines and tabs by spaces, and add a
  final ".". (Spaces left at the ends after that are stripped too.)
- statements: the same sentences one by one, with cleaned ends, in their original case, without repeats. They are the
  machine's fixed phrases and have no codes, so labels are empty.
- A record is skipped, and listed in `skipped.csv`, if its report has fewer than `min_words` words (4; counted before
  the final ".") or is missing, or if its study has two different reports.
- Leads are named as in the headers, in MIMIC's order: aVF before aVL.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cgdmer.corpora.corpus import Corpus, CorpusRow, Download, Source, read_row, split_of_key
from cgdmer.data.storage import SkippedRecord
from cgdmer.files.tables import read_table
from cgdmer.models.errors import CorpusError

_RECORDS, _REPORTS = "record_list.csv", "machine_measurements.csv"
_REPORT_COLUMNS = tuple(f"report_{number}" for number in range(18))
_NULLS = {"", "nan", "NaN", "NA", "N/A", "NULL", "null", "None"}


def clean_report(lines: tuple[str, ...]) -> str:
    """A machine report as one text, by the rules above."""
    return f"{_words(lines)}."


def _words(lines: tuple[str, ...]) -> str:
    text = _trimmed(". ".join(lines)).lower()
    return re.sub(r"[\n\r\t]", " ", text).strip()


def _trimmed(text: str) -> str:
    text = text.replace("EKG", "ECG").replace("ekg", "ecg")
    return text.strip(" *").strip("=-")


def report_statements(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A machine report as sentences, without repeats and without lines that hold only marks."""
    sentences = (" ".join(_trimmed(line).split()).rstrip(".") for line in lines)
    return tuple(dict.fromkeys(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence))


@lru_cache(maxsize=2**14)  # a few thousand reports make up most of the corpus
def _cleaned(lines: tuple[str, ...]) -> tuple[int, str | None, tuple[str, ...]]:
    """(number of words, text, statements)"""
    return len(_words(lines).split()), clean_report(lines) if lines else None, report_statements(lines)


def mimic_rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow | SkippedRecord]]:
    """The rows of `record_list.csv` in its order (see `Corpus.rows`)."""
    min_words = options["min_words"]
    if min_words < 0:
        raise CorpusError(f"min_words is {min_words}; it must be 0 or more.")
    hint = (
        f"Fetch the file again. A MIMIC-IV-ECG folder holds {_RECORDS}, {_REPORTS}, and files: if none of them is "
        f"there, {raw_dir} is not a MIMIC-IV-ECG folder."
    )
    columns = ("subject_id", "study_id", "path")
    read_records = partial(read_table, raw_dir / _RECORDS, columns, hint, filled=columns)
    total = sum(1 for _ in read_records())  # checks the whole table before hours of work
    reports = _read_reports(raw_dir / _REPORTS, hint)

    def entries() -> Iterator[CorpusRow | SkippedRecord]:
        # One string for all: a million copies would fill the memory.
        too_short = f"its report has fewer than {min_words} words."
        for fields in read_records():
            study_id, patient_id = fields["study_id"], fields["subject_id"]
            lines = reports.get(study_id, ())
            if lines is None:
                yield SkippedRecord(study_id, f"{_REPORTS} has two different reports of this study.", "two reports")
            elif not lines and min_words:
                yield SkippedRecord(study_id, f"{_REPORTS} has no report of this study.", "no report")
            else:
                num_words, text, statements = _cleaned(lines)
                if num_words < min_words:
                    yield SkippedRecord(study_id, too_short, "short report")
                    continue
                yield CorpusRow(
                    record_id=study_id,
                    path=fields["path"],
                    split=split_of_key(patient_id, train=98, validation=2),
                    patient_id=patient_id,
                    text=text,
                    statements=statements,
                )

    return total, entries()


def _read_reports(path: Path, hint: str) -> dict[str, tuple[str, ...] | None]:
    """The lines of each study's report that are not null; None for a study with two different reports.

    This is all that is kept in memory of the corpus's tables. There are few distinct phrases and few combinations of
    them, so each is stored once.
    """
    phrases: dict[str, str] = {}
    combinations: dict[tuple[str, ...], tuple[str, ...]] = {}
    reports: dict[str, tuple[str, ...] | None] = {}
    for fields in read_table(path, ("study_id", *_REPORT_COLUMNS), hint):
        texts = (fields[column] for column in _REPORT_COLUMNS)
        lines = tuple(phrases.setdefault(text, text) for text in texts if text not in _NULLS)
        lines = combinations.setdefault(lines, lines)
        if reports.setdefault(fields["study_id"], lines) != lines:
            reports[fields["study_id"]] = None
    return reports


MIMIC_IV_ECG = Corpus(
    source=Source(
        name="mimic-iv-ecg",
        title="MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset",
        version="1.0",
        url="https://physionet.org/content/mimic-iv-ecg/1.0/",
        license="ODbL 1.0 (Open Data Commons Open Database License)",
        citation="Gow B, Pollard T, Nathanson LA, Johnson A, Moody B, Fernandes C, Greenbaum N, Waks JW, Eslami P, "
        "Carbonati T, Chaudhari A, Herbst E, Moukheiber D, Berkowitz S, Mark R, Horng S. MIMIC-IV-ECG: Diagnostic "
        "Electrocardiogram Matched Subset (version 1.0). PhysioNet (2023). https://doi.org/10.13026/4nqg-sb35",
    ),
    splits="98 % train, 2 % validation, no test, by a hash of the patient's number.",
    rows=mimic_rows,
    read=partial(read_row, named_in=f"{_RECORDS}, column path"),
    options={"sampling_rate": None, "min_words": 4},
    download=Download("mimic-iv-ecg/1.0", tables=(_RECORDS, _REPORTS)),
)
