# SPDX-License-Identifier: Apache-2.0
"""Writes a prepared dataset: a plain Hugging Face `datasets` folder with the splits train, validation, and test.

`datasets.Dataset.save_to_disk` needs all rows in an Arrow file first, which takes twice the disk space and time. Here
rows go straight to Arrow files, and the library's own small files are added at the end.
"""

import csv
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from tqdm.auto import tqdm

from cgdmer.data.storage import FEATURES, SPLITS, SkippedRecord, record_to_row
from cgdmer.data.tally import Tally, summarize
from cgdmer.files.reading import read_json_object
from cgdmer.files.writing import replacing, write_json
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError

_ROWS_PER_BATCH = 100
_BYTES_PER_SHARD = 2**29


@contextmanager
def open_shard(path: Path) -> Iterator["ShardWriter"]:
    """An Arrow file to write. It gets its name if the block succeeds and is deleted otherwise."""
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        shard = ShardWriter(file)
        yield shard
        shard.finish()


class ShardWriter:
    """Streams rows into one Arrow file in bounded memory.

    Attributes:
        num_bytes: size so far, without the rows of the current batch.
    """

    def __init__(self, file: pa.NativeFile) -> None:
        self.num_bytes = 0
        self._file = file
        self._stream = pa.ipc.new_stream(file, FEATURES.arrow_schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Add a row as in `FEATURES`. Raises OSError if the disk is full."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        self._stream.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=FEATURES.arrow_schema))
        self._rows = []
        self.num_bytes = self._file.tell()

    def finish(self) -> None:
        """Write the last batch and close the file. Raises OSError if the disk is full."""
        if self._rows or not self.num_bytes:  # a file without rows still needs its columns
            self._flush()
        self._stream.close()
        self.num_bytes = self._file.tell()


def write_dataset(
    records: Iterable[ECGRecord | SkippedRecord],
    output_dir: str | os.PathLike[str],
    *,
    splits: Callable[[ECGRecord], str],
    description: str,
    total: int | None = None,
    overwrite: bool = False,
    notes: Sequence[str] = (),
) -> dict[str, int]:
    """Write records to a dataset folder one by one, with a progress bar, in bounded memory.

    For records made by a program. For a corpus on disk, use `cgdmer.corpora.preparing.prepare_corpus`, which has
    several processes and can be resumed. Besides the three splits, the folder has `skipped.csv` (record, kind, reason)
    and `summary.json` (see `summarize`). It is written under a temporary name beside `output_dir` and renamed when
    complete, so a run that fails or is stopped with Ctrl-C leaves nothing behind.

    Args:
        records: a `SkippedRecord`, or a record that cannot be stored, is counted and listed.
        output_dir: must not exist or be empty, unless `overwrite`.
        splits: returns a record's split: "train", "validation", or "test".
        description: a sentence about the corpus, stored in each split's info and in the summary.
        total: the number of records, for the progress bar.
        overwrite: replace `output_dir` if it holds a dataset (but never a folder with anything else).
        notes: what else there is to know about the records, for the summary.

    Returns:
        `written`, `skipped`, and the number of records in each split under its name.

    Raises:
        CorpusError: `output_dir` cannot be written, no record could be stored, or there is no such split.
    """
    target = Path(output_dir).resolve()
    check_target(target, overwrite)  # before hours of work, and again when the folder is put in place
    skipped: list[SkippedRecord] = []
    tallies = {split: Tally() for split in SPLITS}

    with _folder_put_in_place(target, overwrite) as folder:
        with ExitStack() as open_files:
            writers = {split: open_files.enter_context(_SplitWriter(folder / split)) for split in SPLITS}
            for record in tqdm(records, total=total, desc=f"writing {target.name}", unit=" records"):
                if isinstance(record, SkippedRecord):
                    skipped.append(record)
                    continue
                split = splits(record)
                if split not in writers:
                    raise CorpusError(
                        f"record {record.record_id!r} was assigned to the split {split!r}; use one of "
                        f"{', '.join(SPLITS)}."
                    )
                try:
                    writers[split].write(record_to_row(record))
                    tallies[split].add(record)
                except CGDMERError as error:
                    skipped.append(SkippedRecord(record.record_id, str(error)))
        num_shards = {split: writer.num_shards for split, writer in writers.items()}
        return complete_folder(folder, target, num_shards, tallies, skipped, description, notes=notes)


def complete_folder(
    folder: Path,
    target: Path,
    num_shards: Mapping[str, int],
    tallies: Mapping[str, Tally],
    skipped: Sequence[SkippedRecord],
    description: str,
    source: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, int]:
    """Turn a folder of Arrow files, in one subfolder per split, into a `datasets` folder.

    Args:
        target: the folder's final name, for messages.
        num_shards: the number of Arrow files per split. They are named by `shard_name`, from 0.
        tallies: what was counted while each split was written.
        skipped: the records that are not in the dataset.
        description: see `write_dataset`.
        source: the corpus's `cgdmer.corpora.corpus.Source` as a dict, stored in each split's info and in the summary.
        notes: what else there is to know about the records, for the summary.

    Returns:
        As in `write_dataset`.

    Raises:
        CorpusError: there are no rows at all.
        OSError: the disk is full.
    """
    counts = {split: tallies[split].num_records for split in SPLITS}
    written = sum(counts.values())
    if not written:
        first = f" The first of {len(skipped)} reasons: {skipped[0].reason}" if skipped else ""
        raise CorpusError(f"no record could be written to {target}.{first}")
    source = source or {}
    _write_library_files(folder, num_shards, description, source)
    with open(folder / "skipped.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("record", "kind", "reason"))
        table.writerows((record.record_id, record.kind, record.reason) for record in skipped)
    summary = {
        "description": description,
        "source": dict(source),
        "written": written,
        "skipped": len(skipped),
        "skipped_by_kind": dict(sorted(Counter(record.kind for record in skipped).items())),
        "notes": list(notes),
        "splits": counts,
        **summarize(tallies),
    }
    write_json(folder / "summary.json", summary)
    return {"written": written, "skipped": len(skipped), **counts}


def _write_library_files(
    folder: Path, num_shards: Mapping[str, int], description: str, source: Mapping[str, str]
) -> None:
    """Write what `datasets` needs beside the Arrow files."""
    info = datasets.DatasetInfo(
        description=description,
        citation=source.get("citation", ""),
        homepage=source.get("url", ""),
        license=source.get("license", ""),
        dataset_name=source.get("name"),
        features=FEATURES,
    )
    for split in SPLITS:
        info.write_to_directory(str(folder / split))
        state: dict[str, Any] = {
            "_data_files": [{"filename": shard_name(number)} for number in range(num_shards[split])],
            "_fingerprint": uuid.uuid4().hex[:16],  # identifies this split in the caches of datasets' map and filter
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        write_json(folder / split / "state.json", state)
    write_json(folder / "dataset_dict.json", {"splits": list(SPLITS)})


def check_target(target: Path, overwrite: bool = False) -> None:
    """Raise a CorpusError if a dataset cannot be put at `target`."""
    if not target.exists():
        return
    if not target.is_dir():
        raise CorpusError(f"{target} is a file. Name a folder for the dataset.")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise CorpusError(
            f"{target} is not empty{_what_it_holds(target)}. Name another folder, or remove this one (in Python: "
            "overwrite=True)."
        )
    if not (target / "dataset_dict.json").is_file():
        raise CorpusError(f"{target} holds something other than a prepared dataset and is not overwritten. Remove it.")


def _what_it_holds(target: Path) -> str:
    try:
        description = read_json_object(target / "summary.json")["description"]
    except (OSError, ValueError, KeyError):
        return ""
    return f" (it holds: {description})"


@contextmanager
def _folder_put_in_place(target: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `target`. It is renamed to `target` if the block succeeds and deleted otherwise."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    replaced = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check_target(target, overwrite)
        if target.exists():
            target.rename(replaced)
        temporary.rename(target)
    except OSError as error:
        raise CorpusError(f"{target} could not be written: {error}") from error
    finally:  # also after Ctrl-C
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


class _SplitWriter(ExitStack):
    """Writes the rows of one split to Arrow files of limited size. Closes the current file when it is exited."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.num_shards = 0
        self._folder = folder
        folder.mkdir()
        self._open_shard()

    def _open_shard(self) -> None:
        self.close()  # completes the previous one
        self._shard = self.enter_context(open_shard(self._folder / shard_name(self.num_shards)))
        self.num_shards += 1

    def write(self, row: dict[str, Any]) -> None:
        if self._shard.num_bytes >= _BYTES_PER_SHARD:
            self._open_shard()
        self._shard.write(row)


def shard_name(number: int) -> str:
    """The name of a split's Arrow file."""
    return f"data-{number:05d}.arrow"
