# SPDX-License-Identifier: Apache-2.0
"""Folders of WFDB records whose headers carry age, sex and diagnoses as SNOMED CT codes (`#Dx: 426783006,59118001`).

So come the corpora of the PhysioNet/CinC challenges. What becomes of a header:

- labels: the codes, as strings, each once, in the header's order.
- statements: one English sentence for each, from `snomed_findings.csv` beside this module: the codes of the 2021
  challenge's tables and of the table `ConditionNames_SNOMED-CT.csv` of Chapman-Shaoxing-Ningbo (whose acronyms it
  lists too: they are not the challenge's, "AF" being atrial flutter there). A code that the file does not know has no
  sentence, so it is left out of both and counted in the summary, under `unknown_codes`.
- age: years; None where it is not a number from 0 to 120 ("NaN", "Unknown", -1).
- sex: None where it is neither male nor female.
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
    """The English sentence of each SNOMED CT code that is known."""
    table = files("cgdmer.corpora").joinpath("snomed_findings.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines())
    return {row["code"]: f"{row['name'][0].upper()}{row['name'][1:]}." for row in rows}


def rows_of_folder(
    record_name: str, example: str
) -> Callable[[Path, Mapping[str, Any]], tuple[int, Iterator[CorpusRow | SkippedRecord]]]:
    """The `rows` of a corpus that is a tree of records: every header or signal file under the folder, and every name
    in a `RECORDS` file, in the order of folders and names.

    Args:
        record_name: a regular expression that the names of the corpus's records match; others are skipped.
        example: such a name, for messages.
    """

    def rows(raw_dir: Path, options: Mapping[str, Any]) -> tuple[int, Iterator[CorpusRow | SkippedRecord]]:
        if not raw_dir.is_dir():
            raise CorpusError(f"{raw_dir} is not a folder. Name the one that holds the corpus as it was fetched.")
        paths = _record_paths(raw_dir)
        if not any(re.fullmatch(record_name, _name(path)) for path in paths):
            raise CorpusError(
                f"{raw_dir}: neither it nor a folder in it holds a record of this corpus, such as {example}.hea. "
                "Name the folder that holds the corpus as it was fetched."
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
    """A row's record with what its header's comments say (see `Corpus.read`)."""
    record = read_row(raw_dir, row)
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
    """Every record under the folder, relative to it, without suffix, sorted."""
    found: set[str] = set()
    for folder, subfolders, file_names in os.walk(raw_dir):
        subfolders.sort()
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
    """The header's `#Key: value` lines, keys in lower case; of a key that is repeated the first line."""
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
