# SPDX-License-Identifier: Apache-2.0
"""Tables and lists that are too large are refused before they are read. (For recordings, see test_reading_wfdb.)"""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from cgdmer.corpora.register import get_corpus
from cgdmer.evaluation.comparison import compare
from cgdmer.files.reading import failing_as, read_json_object
from cgdmer.files.tables import read_list, read_table, table_columns
from cgdmer.models.errors import CorpusError
from cgdmer.models.reading_aecg import _DIGITS


def refused(what, path: Path, *words: str) -> None:
    """There is a CorpusError that names the file and has all the words, and little memory was used."""
    tracemalloc.start()
    with pytest.raises(CorpusError) as refusal:
        what(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    for word in (path.name, *words):
        assert word in str(refusal.value)


def all_rows(path: Path) -> list[dict[str, str]]:
    return list(read_table(path, ("a",), "Fetch it again."))


def json_object(path: Path) -> dict:
    with failing_as(CorpusError, path, "Prepare again."):
        return read_json_object(path)


def write(folder: Path, content: str, size: int | None = None) -> Path:
    """Write a file; `size` extends it with a hole on the disk."""
    path = folder / "table.csv"
    path.write_text(content, encoding="utf-8")
    if size is not None:
        os.truncate(path, size)
    return path


@pytest.mark.parametrize("read", [all_rows, lambda path: table_columns(path, "")])
def test_tables_that_are_too_large(tmp_path, read):
    refused(read, write(tmp_path, "a,b\n1,2\n", size=2**33), f"larger than {2**30:,} bytes")
    refused(read, write(tmp_path, ",".join(f"c{column}" for column in range(10_000))), "10000 fields")
    refused(read, write(tmp_path, "a" + ",b" * 10**6), "1048576 characters")
    refused(read, write(tmp_path, "", size=2**29), "1048576 characters")


def test_rows_that_are_too_long(tmp_path):
    """A row of many lines is one row, even if each line is within bounds."""
    field = '"' + "x\n" * 60_000 + '",'
    refused(all_rows, write(tmp_path, "a,b\n" + field * 20 + "\n"), "1048576 characters")
    refused(all_rows, write(tmp_path, 'a,b\n1,"' + "x" * 200_000 + '"\n'), "field")
    allowed = write(tmp_path, "a,b\n" + f'1,"{"x" * 100_000}"\n' * 20)
    assert len(all_rows(allowed)) == 20


def test_the_table_of_ptb_xl_has_a_lower_bound(tmp_path):
    path = tmp_path / "ptbxl_database.csv"
    path.write_text("ecg_id\n")
    os.truncate(path, 2**28)
    refused(
        lambda _: get_corpus("ptb-xl").rows(tmp_path, {"sampling_rate": 100}), path, f"larger than {2**27:,} bytes"
    )


def test_lists_and_json_that_are_too_large(tmp_path):
    path = write(tmp_path, "name\n", size=2**34)
    refused(read_list, path, f"larger than {2**28:,} bytes")
    refused(json_object, path, f"larger than {2**24:,} bytes", "Prepare again.")
    for content in ("[" * 10**5, "[]", "{", "\0"):
        refused(json_object, write(tmp_path, content), "cannot be read", "Prepare again.")


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "table.csv")
    refused(all_rows, tmp_path / "table.csv", "not a regular file")
    refused(read_list, tmp_path / "table.csv", "not a regular file")


def test_scores_that_decompress_to_gigabytes(tmp_path):
    """Equal values take almost no space in a Parquet file: 3 * 10**8 of them are 1.2 MB."""
    (tmp_path / "results.json").write_text("{}")
    block = pa.table({name: np.zeros(10**6) for name in "ab"})
    with pyarrow.parquet.ParquetWriter(tmp_path / "scores.parquet", block.schema) as writer:
        for _ in range(150):
            writer.write_table(block)
    assert (tmp_path / "scores.parquet").stat().st_size < 2 * 10**6
    refused(lambda folder: compare(folder, folder), tmp_path, "scores.parquet", "2147483648 bytes")


@pytest.mark.parametrize("last", ["1", "x"])
def test_eight_million_numbers_of_an_aecg_are_checked_in_little_memory(last):
    text = "1 " * (2**23 - 1) + last
    tracemalloc.start()
    assert bool(_DIGITS.fullmatch(text)) == (last == "1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        *(("1", True), ("+1 -22\t3\r\n4", True), ("1234567890 1234567890", True), ("1  2", True)),
        *(("", False), ("12345678901", False), ("1 12345678901 1", False), ("1-2", False), ("+ 1", False)),
        *(("--1", False), ("1 ", False), ("1,2", False), ("1.5 2", False), ("1 2 x 3", False), ("1 +", False)),
    ],
)
def test_digits(text, is_right):
    assert bool(_DIGITS.fullmatch(text)) == is_right
