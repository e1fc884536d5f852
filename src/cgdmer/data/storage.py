# SPDX-License-Identifier: Apache-2.0
"""Prepared records on disk: a plain Hugging Face `datasets` folder with the splits train, validation and test.

A row holds the signal as little-endian int16 bytes, leads after each other, beside everything that turns them back
into millivolts. A binary column because it is read several times faster than any column of numbers, int16 because
that is what recorders write: with a lead's gain and baseline the integers come back exactly.
"""

import csv
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError, CorpusError, ECGInputError
from cgdmer.models.reading_wfdb import counts_to_millivolts

SPLITS = ("train", "validation", "test")

FEATURES = datasets.Features(
    {
        "record_id": datasets.Value("string"),
        "patient_id": datasets.Value("string"),
        "signal": datasets.Value("binary"),  # "<i2", (num_leads, num_samples) in C order
        "num_leads": datasets.Value("int32"),
        "num_samples": datasets.Value("int32"),
        "sampling_rate": datasets.Value("float64"),
        "lead_names": datasets.List(datasets.Value("string")),
        "gain": datasets.List(datasets.Value("float64")),
        "baseline": datasets.List(datasets.Value("int32")),
        "text": datasets.Value("string"),
        "statements": datasets.List(datasets.Value("string")),
        "labels": datasets.List(datasets.Value("string")),
        "fold": datasets.Value("int32"),
        "age": datasets.Value("float64"),
        "sex": datasets.Value("string"),
    }
)

MISSING_SAMPLE = -32768  # stands for NaN in the stored signal

_ROWS_A_BATCH = 100
_BYTES_A_SHARD = 2**29


@dataclass(frozen=True)
class SkippedRecord:
    """A record that a corpus lists and that could not be used, and why."""

    record_id: str
    reason: str


def record_to_row(record: ECGRecord) -> dict[str, Any]:
    """A record as a row of `FEATURES`.

    Its `gain` (and `baseline`, zeros if None) say how millivolts become integers. A record that was read from
    integers has them; for another signal the caller states a gain, and its values are rounded to 1/gain mV.

    Raises:
        ECGInputError: the record has no gain; shapes, names and gains, or labels and statements, disagree; a sample is
            infinite, or is outside 16 bits at this gain.
    """
    who = f"record {record.record_id!r}"
    if record.signal.ndim != 2:
        raise ECGInputError(f"{who}: signal has shape {record.signal.shape}; it must be (leads, time).")
    num_leads, num_samples = record.signal.shape
    if record.gain is None:
        raise ECGInputError(
            f"{who}: gain is not known, so its samples are no 16-bit integers (formats wider than 16 bits have more "
            "values than int16 can hold). Set the record's gain, in units per mV, to have it rounded: 1000 keeps 1 uV."
        )
    baseline = record.baseline if record.baseline is not None else (0,) * num_leads
    for field, values in (("lead_names", record.lead_names), ("gain", record.gain), ("baseline", baseline)):
        if len(values) != num_leads:
            raise ECGInputError(f"{who}: {field} has {len(values)} entries for a signal of {num_leads} leads.")
    if record.labels and record.statements and len(record.labels) != len(record.statements):
        raise ECGInputError(
            f"{who}: {len(record.statements)} statements beside {len(record.labels)} labels. Give one statement for "
            "each label, in their order, or only one of the two."
        )
    if not all(np.isfinite(gain) and gain != 0 for gain in record.gain):
        raise ECGInputError(f"{who}: gain {record.gain} must be finite and not zero.")
    counts = np.empty((num_leads, num_samples), dtype="<i2")
    for row, samples in enumerate(record.signal.astype(np.float64)):
        missing = np.isnan(samples)
        exact = np.where(missing, 0.0, np.rint(samples * record.gain[row] + baseline[row]))
        if np.abs(exact).max(initial=0.0) > -MISSING_SAMPLE - 1:
            raise ECGInputError(
                f"{who}: lead {record.lead_names[row]} does not fit into 16 bits at {record.gain[row]:g} units per "
                "mV. Formats wider than 16 bits are not stored as they are: set a lower gain, or leave the record out."
            )
        counts[row] = np.where(missing, MISSING_SAMPLE, exact)
    return {
        "record_id": record.record_id,
        "patient_id": record.patient_id,
        "signal": counts.tobytes(),
        "num_leads": num_leads,
        "num_samples": num_samples,
        "sampling_rate": float(record.sampling_rate),
        "lead_names": list(record.lead_names),
        "gain": [float(gain) for gain in record.gain],
        "baseline": [int(value) for value in baseline],
        "text": record.text,
        "statements": list(record.statements),
        "labels": list(record.labels),
        "fold": None if record.fold is None else int(record.fold),
        "age": None if record.age is None else float(record.age),
        "sex": record.sex,
    }


def row_to_record(row: dict[str, Any]) -> ECGRecord:
    """The record that `record_to_row` made a row of: signal in float32 mV, (leads, time), NaN where missing.

    Raises:
        CorpusError: the row lacks a column, or its signal has not the size that the row states.
    """
    missing = [column for column in FEATURES if column not in row]
    if missing:
        raise CorpusError(f"the row lacks {', '.join(missing)}. Prepare the dataset anew with this version.")
    num_leads, num_samples = row["num_leads"], row["num_samples"]
    if len(row["signal"]) != 2 * num_leads * num_samples:
        raise CorpusError(
            f"record {row['record_id']!r}: its signal holds {len(row['signal'])} bytes, not the {num_leads} leads of "
            f"{num_samples} samples that it states. Prepare the dataset anew."
        )
    counts = np.frombuffer(row["signal"], dtype="<i2").reshape(num_leads, num_samples)
    return ECGRecord(
        signal=counts_to_millivolts(counts, row["gain"], row["baseline"], [MISSING_SAMPLE] * num_leads),
        sampling_rate=row["sampling_rate"],
        lead_names=tuple(row["lead_names"]),
        record_id=row["record_id"],
        patient_id=row["patient_id"],
        text=row["text"],
        statements=tuple(row["statements"]),
        labels=tuple(row["labels"]),
        fold=row["fold"],
        age=row["age"],
        sex=row["sex"],
        gain=tuple(row["gain"]),
        baseline=tuple(row["baseline"]),
    )


def write_dataset(
    records: Iterable[ECGRecord | SkippedRecord],
    output_dir: str | os.PathLike[str],
    *,
    splits: Callable[[ECGRecord], str],
    description: str,
    total: int | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write records to a dataset folder, one after the other, with a progress bar, in bounded memory.

    Besides the three splits the folder holds `skipped.csv` (record, reason) and `summary.json` (counts). It is built
    under a temporary name beside `output_dir` and renamed when complete: a run that fails or is stopped with Ctrl-C
    leaves nothing behind.

    Args:
        records: what to write. A `SkippedRecord` is counted and listed, as is a record that cannot be stored.
        output_dir: absent or empty, unless `overwrite`.
        splits: gives a record's split: "train", "validation" or "test".
        description: a sentence on the corpus, kept in each split's info and in the summary.
        total: how many records will come, for the progress bar.
        overwrite: replace `output_dir` if it holds a dataset (never a folder with anything else).

    Returns:
        `written`, `skipped`, and the number of records in each split under its name.

    Raises:
        CorpusError: `output_dir` cannot be written, or no record could be.
    """
    target = Path(output_dir).resolve()
    _check_target(target, overwrite)  # before hours of work; once more when the folder is put in place
    skipped: list[SkippedRecord] = []
    split_of_patient: dict[str, str] = {}
    patients_in_several_splits: set[str] = set()

    with _folder_put_in_place(target, overwrite) as folder, ExitStack() as open_files:
        writers = {name: open_files.enter_context(_SplitWriter(folder / name, name, description)) for name in SPLITS}
        for record in tqdm(records, total=total, desc=f"writing {target.name}", unit=" records"):
            if isinstance(record, SkippedRecord):
                skipped.append(record)
                continue
            split = splits(record)
            if split not in writers:
                raise CorpusError(
                    f"record {record.record_id!r} was assigned to the split {split!r}; there are {', '.join(SPLITS)}."
                )
            try:
                row = record_to_row(record)
            except CGDMERError as error:
                skipped.append(SkippedRecord(record.record_id, str(error)))
                continue
            writers[split].write(row)
            if record.patient_id is not None and split_of_patient.setdefault(record.patient_id, split) != split:
                patients_in_several_splits.add(record.patient_id)
        counts = {name: writer.num_rows for name, writer in writers.items()}
        written = sum(counts.values())
        if not written:
            first = f" The first of {len(skipped)} reasons: {skipped[0].reason}" if skipped else ""
            raise CorpusError(f"no record could be written to {target}.{first}")
        open_files.close()
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}), encoding="utf-8")
        with open(folder / "skipped.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("record", "reason"))
            table.writerows((record.record_id, record.reason) for record in skipped)
        summary = {
            "description": description,
            "written": written,
            "skipped": len(skipped),
            "splits": counts,
            "patients": len(split_of_patient),
            "patients_in_several_splits": len(patients_in_several_splits),
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return {"written": written, "skipped": len(skipped), **counts}


def split_of_fold(record: ECGRecord) -> str:
    """The split of a record that carries one of ten folds: 1 to 8 train, 9 validation, 10 test (as PTB-XL's authors
    recommend).

    Raises:
        CorpusError: the record has no such fold.
    """
    if record.fold is None or not 1 <= record.fold <= 10:
        raise CorpusError(f"record {record.record_id!r}: its fold is {record.fold}; expected 1 to 10.")
    return {9: "validation", 10: "test"}.get(record.fold, "train")


def load_dataset_folder(path: str | os.PathLike[str]) -> datasets.DatasetDict:
    """Load what `write_dataset` wrote, memory-mapped.

    Raises:
        CorpusError: the folder is absent, is no dataset of this package, is damaged, or lacks a column.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder. Write one with: cgdmer prepare")
    if not (folder / "dataset_dict.json").is_file():
        raise CorpusError(f"{folder} holds no prepared dataset (no dataset_dict.json). Write one with: cgdmer prepare")
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # damage to any of its files surfaces as whatever the reading library raises
        raise CorpusError(f"{folder}: the dataset is damaged ({error}). Prepare it anew.") from error
    for split, dataset in loaded.items():
        missing = [column for column in FEATURES if column not in dataset.column_names]
        if missing:
            raise CorpusError(
                f"{folder}: the split {split} lacks {', '.join(missing)}, so it was not written by this version of "
                "the package. Prepare it anew."
            )
        wrong = [column for column in FEATURES if dataset.features[column] != FEATURES[column]]
        if wrong:
            raise CorpusError(
                f"{folder}: the split {split} holds {wrong[0]} as {dataset.features[wrong[0]]}, not as "
                f"{FEATURES[wrong[0]]}. Prepare it anew."
            )
    return loaded


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise CorpusError(f"{target} is a file. Name a folder for the dataset.")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise CorpusError(f"{target} is not empty. Name another folder, remove this one, or ask to overwrite it.")
    if not (target / "dataset_dict.json").is_file():
        raise CorpusError(f"{target} holds something other than a prepared dataset and is not overwritten. Remove it.")


@contextmanager
def _folder_put_in_place(target: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well, else vanishes."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    replaced = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _check_target(target, overwrite)
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


class _SplitWriter:
    """Streams rows into the Arrow files of one split, in the layout that `datasets.load_from_disk` reads.

    `Dataset.save_to_disk` would need all rows in an Arrow file first, and so twice the disk space and time.
    """

    def __init__(self, folder: Path, split: str, description: str) -> None:
        self.folder, self.split, self.description = folder, split, description
        self.num_rows = 0
        self._shards: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._stream: pa.RecordBatchStreamWriter | None = None
        self._file: pa.OSFile | None = None

    def __enter__(self) -> "_SplitWriter":
        self.folder.mkdir()
        return self

    def write(self, row: dict[str, Any]) -> None:
        self.num_rows += 1
        self._rows.append(row)
        if len(self._rows) >= _ROWS_A_BATCH:
            self._flush()

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None and (self._rows or not self._shards):  # a split without rows still needs its columns
            self._flush()
        self._close_shard()
        if error_type is None:
            self._write_description()

    def _flush(self) -> None:
        if self._stream is None or self._file is None:
            self._shards.append(f"data-{len(self._shards):05d}.arrow")
            self._file = pa.OSFile(str(self.folder / self._shards[-1]), "wb")
            self._stream = pa.ipc.new_stream(self._file, FEATURES.arrow_schema)
        self._stream.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=FEATURES.arrow_schema))
        self._rows = []
        if self._file.tell() >= _BYTES_A_SHARD:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._stream is not None and self._file is not None:
            self._stream.close()
            self._file.close()
        self._stream = self._file = None

    def _write_description(self) -> None:
        datasets.DatasetInfo(description=self.description, features=FEATURES).write_to_directory(str(self.folder))
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in self._shards],
            "_fingerprint": uuid.uuid4().hex[:16],  # tells this split apart in the caches of datasets' map and filter
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self.split,
        }
        (self.folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")


__all__ = [
    "FEATURES",
    "MISSING_SAMPLE",
    "SPLITS",
    "SkippedRecord",
    "load_dataset_folder",
    "record_to_row",
    "row_to_record",
    "split_of_fold",
    "write_dataset",
]
