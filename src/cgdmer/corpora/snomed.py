# SPDX-License-Identifier: Apache-2.0
"""Folders of WFDB records with age, sex, and SNOMED CT codes in the headers (`#Dx: 426783006,59118001`).

The corpora of the PhysioNet/CinC challenges have this form. From each header:

- labels: the codes as strings, in the header's order, without repeats.
- statements: one English sentence per code, from `snomed_findings.csv` beside this module. The file has the codes in
  the tables of the 2021 challenge and in Chapman-Shaoxing-Ningbo's `ConditionNames_SNOMED-CT.csv`. It lists the
  latter's acronyms separately, because they differ: there "AF" is atrial flutter. A code that is not in the file has
  no sentence, so it is left out of both and counted in the summary, under `unknown_codes`.
- age: years; None unless it is a number from 0 to 120 (not "NaN", "Unknown", or -1).
- sex: None unless male or female.
- text: None. These corpora have no reports.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from cgdmer.corpora.corpus import CorpusRow, read_row, split_of_key
from cgdmer.data.storage import SkippedRecord
from cgdmer.files.tables import read_list
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError
from cgdmer.models.reading_wfdb import read_wfdb_header

_OLDEST = 120
_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}
_SUFFIXES = (".hea", ".mat", ".dat")


@cache
def snomed_statements() -> dict[str, str]:
    """An English sentence for each known SNOMED CT code."""
    table = files("cgdmer.corpora").joinpath("snomed_findings.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines())
    return {row["code"]: f"{row['name'][0].upper()}{row['name'][1:]}." for row in rows}


def rows_of_folder(
    record_name: str, example: str
) -> Callable[[Path, Mapping[str, Any]], tuple[int, Iterator[CorpusRow | SkippedRecord]]]:
    """The `rows` of a corpus that is a tree of records: every header or signal file in the folder, and every name in
    a `RECORDS` file, sorted by path.

    Args:
        record_name: a regular expression for the names of the corpus's records; others are skipped.
        example: such a name, for messages.
    """

    def rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow | SkippedRecord]]:
        if not raw_dir.is_dir():
            raise CorpusError(f"{raw_dir} is not a folder. Name the one that holds the corpus as downloaded.")
        paths = _record_paths(raw_dir)
        if not any(re.fullmatch(record_name, _name(path)) for path in paths):
            raise CorpusError(
                f"{raw_dir}: neither it nor a folder in it holds a record of this corpus, such as {example}.hea. "
                "Name the folder that holds the corpus as downloaded."
            )

        def entries() -> Iterator[CorpusRow | SkippedRecord]:
            for path in paths:
                name = _name(path)
                if re.fullmatch(record_name, name):
                    yield CorpusRow(record_id=name, path=path, split=split_of_key(name))
                else:
                    reason = f"{path}: records of this corpus are named like {example}."
                    yield SkippedRecord(name, reason, "of another corpus")

        return len(paths), entries()

    return rows


def read_snomed_row(
    raw_dir: Path, row: CorpusRow, options: Mapping[str, Any], unknown_codes: Counter[str]
) -> ECGRecord | SkippedRecord:
    """A row's record, with what the comments in its header say (see `Corpus.read`)."""
    record = read_row(raw_dir, row, options, unknown_codes)
    if isinstance(record, SkippedRecord):
        return record
    comments = _comments(raw_dir / row.path)
    statements = snomed_statements()
    codes = dict.fromkeys(code for code in re.split(r"[,\s]+", comments.get("dx", "")) if code)
    unknown_codes.update(code for code in codes if code not in statements)
    labels = tuple(code for code in codes if code in statements)
    return replace(
        record,
        labels=labels,
        statements=tuple(statements[code] for code in labels),
        age=_age(comments.get("age", "")),
        sex=_SEXES.get(comments.get("sex", "").lower()),
    )


def _record_paths(raw_dir: Path) -> list[str]:
    """All records in the folder and its subfolders: sorted paths relative to it, without suffix."""
    found: set[str] = set()
    for folder, _, file_names in os.walk(raw_dir):
        here = Path(folder).relative_to(raw_dir)
        stems = {name[:-4] for name in file_names if name.endswith(_SUFFIXES)}
        if "RECORDS" in file_names:
            listed = read_list(Path(folder) / "RECORDS")
            stems.update(name for name in listed if not name.endswith("/") and not (Path(folder) / name).is_dir())
        found.update((here / stem).as_posix() for stem in stems)
    return sorted(found)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _comments(path: Path) -> dict[str, str]:
    """The header's `#Key: value` lines, keys in lower case. The first line wins if a key is repeated."""
    comments: dict[str, str] = {}
    for comment in read_wfdb_header(path).comments:
        key, _, value = comment.partition(":")
        comments.setdefault(key.strip().lower(), value.strip())
    return comments


def _age(field: str) -> float | None:
    try:
        age = float(field)
    except ValueError:
        return None
    return age if 0 <= age <= _OLDEST else None
