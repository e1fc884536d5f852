# SPDX-License-Identifier: Apache-2.0
"""Prepared datasets: rows turn back into the same records, and folders are complete or absent."""

import csv
import json
from dataclasses import fields, replace

import datasets
import numpy as np
import pyarrow as pa
import pytest

from cgdmer.data import writing
from cgdmer.data.storage import FEATURES, SkippedRecord, load_dataset_folder, record_to_row, row_to_record
from cgdmer.data.writing import write_dataset
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CorpusError, ECGInputError


def make_record(number: int = 0, num_leads: int = 3, num_samples: int = 40) -> ECGRecord:
    """A record that comes from integers, with one missing sample."""
    rng = np.random.default_rng(number)
    gain = tuple(rng.choice([200.0, 1000.0, 4.88, 123.456], num_leads).tolist())
    baseline = tuple(rng.integers(-2000, 2000, num_leads).tolist())
    counts = rng.integers(-32767, 32768, (num_leads, num_samples))
    signal = ((counts - np.array(baseline)[:, None]) / np.array(gain)[:, None]).astype(np.float32)
    signal[1, number % num_samples] = np.nan
    return ECGRecord(
        signal=signal,
        sampling_rate=257.5,
        lead_names=("I", "II", "V1")[:num_leads],
        record_id=f"r{number}",
        patient_id=f"p{number // 2}",
        text="sinusrhythmus, unbest\u00e4tigter bericht" if number % 2 else None,
        statements=("Sinus rhythm.", "Non-specific ST changes."),
        labels=("SR", "NST_"),
        fold=number % 10 + 1,
        age=61.5,
        sex="female",
        gain=gain,
        baseline=baseline,
    )


def assert_same(first: ECGRecord, second: ECGRecord) -> None:
    for field in fields(ECGRecord):
        if field.name != "signal":
            assert getattr(first, field.name) == getattr(second, field.name), field.name
    assert first.signal.dtype == second.signal.dtype == np.float32
    np.testing.assert_array_equal(first.signal, second.signal)


def write(records, output_dir, **options):
    return write_dataset(records, output_dir, splits=lambda record: "train", description="made up", **options)


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("number", range(20))
def test_row_is_an_exact_inverse(number):
    record = make_record(number)
    assert_same(row_to_record(record_to_row(record)), record)


def test_unknown_fields_stay_unknown():
    record = replace(
        make_record(), patient_id=None, text=None, fold=None, age=None, sex=None, labels=(), statements=()
    )
    row = record_to_row(record)
    assert set(row) == set(FEATURES)
    assert_same(row_to_record(row), record)


def test_signal_bytes_are_little_endian_lead_by_lead():
    signal = np.array([[0.001, 0.002], [0.258, np.nan]], dtype=np.float32)
    record = ECGRecord(signal, 500.0, ("I", "II"), gain=(1000.0, 1000.0), baseline=(0, 0))
    assert record_to_row(record)["signal"] == bytes([1, 0, 2, 0, 2, 1, 0, 0x80])


def test_signal_without_gain_is_not_quantized_silently():
    record = replace(make_record(), gain=None, baseline=None)
    with pytest.raises(ECGInputError, match=r"r0.*gain is not known.*wider than 16 bits"):
        record_to_row(record)
    small = replace(record, signal=np.clip(record.signal, -5, 5), gain=(1000.0,) * 3)
    back = row_to_record(record_to_row(small)).signal
    np.testing.assert_allclose(back, small.signal, atol=0.0005 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signal": np.zeros(10, np.float32)}, "shape"),
        ({"lead_names": ("I",)}, "lead_names"),
        ({"gain": (1.0,)}, "gain"),
        ({"gain": (0.0, 1.0, 1.0)}, "gain"),
        ({"gain": (float("nan"), 1.0, 1.0)}, "gain"),
        ({"baseline": (1, 2)}, "baseline"),
        ({"statements": ("Sinus rhythm.",)}, "1 statements beside 2 labels"),
        ({"gain": (1e6,) * 3}, "16 bits"),
        ({"signal": np.full((3, 4), np.inf, np.float32)}, "16 bits"),
        # -32768 means "missing", so a sample with that value must not become NaN
        ({"signal": np.full((3, 4), -32768, np.float32), "gain": (1.0,) * 3, "baseline": (0,) * 3}, "16 bits"),
    ],
)
def test_records_that_cannot_be_stored(changes, words):
    with pytest.raises(ECGInputError, match=words) as error:
        record_to_row(replace(make_record(), **changes))
    assert "r0" in str(error.value)


@pytest.mark.parametrize("column", ["statements", "labels"])
def test_statements_or_labels_may_stand_alone(column):
    record = replace(make_record(), **{column: ()})
    assert_same(row_to_record(record_to_row(record)), record)


def test_damaged_rows():
    row = record_to_row(make_record())
    with pytest.raises(CorpusError, match=r"r0.*239 bytes"):
        row_to_record(row | {"signal": row["signal"][:-1]})
    with pytest.raises(CorpusError, match="gain"):
        row_to_record({name: value for name, value in row.items() if name != "gain"})


def test_written_dataset_loads_back(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_ROWS_PER_BATCH", 4)
    monkeypatch.setattr(writing, "_BYTES_PER_SHARD", 3000)  # several files per split
    records = [make_record(number) for number in range(40)]
    names = {8: "validation", 9: "test"}
    counts = write_dataset(
        iter(records),
        tmp_path / "out",
        splits=lambda record: names.get(record.fold - 1, "train"),
        description="A random corpus.",
        total=40,
    )
    assert counts == {"written": 40, "skipped": 0, "train": 32, "validation": 4, "test": 4}
    assert len(list((tmp_path / "out" / "train").glob("*.arrow"))) > 2
    loaded = load_dataset_folder(tmp_path / "out")
    assert list(loaded) == ["train", "validation", "test"]
    assert loaded["train"].features == FEATURES
    assert loaded["train"].info.description == "A random corpus."
    assert str(loaded["train"].split) == "train"
    expected = [record for record in records if record.fold <= 8]
    assert loaded["train"].num_rows == 32
    for row, record in zip(loaded["train"], expected, strict=True):
        assert_same(row_to_record(row), record)
    assert loaded["train"]._fingerprint != loaded["test"]._fingerprint  # or the caches of map would be mixed up
    assert not leftovers(tmp_path)
    # It is a plain datasets folder: the library's functions work on it, and its own saved datasets load.
    datasets.load_from_disk(str(tmp_path / "out"))
    loaded.filter(lambda row: row["fold"] == 1).save_to_disk(str(tmp_path / "filtered"))
    assert load_dataset_folder(tmp_path / "filtered")["train"].num_rows == 4


def test_empty_splits_have_their_columns(tmp_path):
    write([make_record()], tmp_path / "out")
    loaded = load_dataset_folder(tmp_path / "out")
    assert loaded["test"].num_rows == 0 and loaded["test"].features == FEATURES


def test_skipped_records_are_counted_and_listed(tmp_path):
    unfit = replace(make_record(1), gain=None)
    counts = write(
        [make_record(0), SkippedRecord("r7", "its file is absent, says\nthe corpus"), unfit], tmp_path / "o"
    )
    assert (counts["written"], counts["skipped"]) == (1, 2)
    with open(tmp_path / "o" / "skipped.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["record", "kind", "reason"]
    assert rows[1] == ["r7", "unreadable", "its file is absent, says\nthe corpus"]
    assert rows[2][0] == "r1" and "gain" in rows[2][2]
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert summary["written"] == 1 and summary["skipped"] == 2 and summary["splits"]["train"] == 1


def test_patients_in_several_splits_are_counted(tmp_path):
    records = [make_record(number) for number in range(6)]  # three patients with two records each
    split_of = dict(zip((f"r{n}" for n in range(6)), ("train", "test", "train", "train", "test", "test"), strict=True))
    write_dataset(records, tmp_path / "out", splits=lambda record: split_of[record.record_id], description="")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["patients"] == 3 and summary["patients_in_several_splits"] == 1


def test_nothing_written_is_an_error_with_the_first_reason(tmp_path):
    with pytest.raises(CorpusError, match=r"no record.*moved away"):
        write([SkippedRecord("a", "moved away"), SkippedRecord("b", "other")], tmp_path / "out")
    with pytest.raises(CorpusError, match="no record"):
        write([], tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_interrupted_run_leaves_nothing(tmp_path, error):
    def records():
        for number in range(250):
            yield make_record(number)
        assert leftovers(tmp_path), "the dataset should be in a temporary folder by now"
        raise error

    with pytest.raises(CorpusError if error is OSError else error):
        write(records(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_interrupted_overwrite_leaves_the_old_dataset(tmp_path):
    write([make_record(5)], tmp_path / "out")

    def records():
        yield make_record(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(records(), tmp_path / "out", overwrite=True)
    assert load_dataset_folder(tmp_path / "out")["train"]["record_id"][:] == ["r5"]
    assert not leftovers(tmp_path)


def test_failing_rename_leaves_the_old_dataset(tmp_path, monkeypatch):
    write([make_record(5)], tmp_path / "out")
    rename = writing.Path.rename

    def failing(path, target):
        if path.suffix == ".part":
            raise OSError("disk gone")
        return rename(path, target)

    monkeypatch.setattr(writing.Path, "rename", failing)
    with pytest.raises(CorpusError, match="disk gone"):
        write([make_record(1)], tmp_path / "out", overwrite=True)
    assert load_dataset_folder(tmp_path / "out")["train"]["record_id"][:] == ["r5"]


def test_existing_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    write([make_record(0)], tmp_path / "empty")
    with pytest.raises(CorpusError, match="not empty"):
        write([make_record(1)], tmp_path / "empty")
    write([make_record(1)], tmp_path / "empty", overwrite=True)
    assert load_dataset_folder(tmp_path / "empty")["train"]["record_id"][:] == ["r1"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(CorpusError, match="something other"):
        write([make_record(1)], tmp_path / "letters", overwrite=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"
    with pytest.raises(CorpusError, match="is a file"):
        write([make_record(1)], tmp_path / "letters" / "dear.txt", overwrite=True)


def test_folder_that_fills_up_during_the_run_is_not_lost(tmp_path):
    def records():
        yield make_record(1)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "dear.txt").write_text("keep me")

    with pytest.raises(CorpusError, match="not empty"):
        write(records(), tmp_path / "out")
    assert (tmp_path / "out" / "dear.txt").read_text() == "keep me"
    assert not leftovers(tmp_path)


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"r0.*'holdout'"):
        write_dataset([make_record()], tmp_path / "out", splits=lambda record: "holdout", description="")


def test_memory_is_bounded(tmp_path):
    """Rows are written in batches, so Arrow holds only a few of them."""
    record = make_record(num_samples=20_000)
    peak = 0

    def records():
        nonlocal peak
        for number in range(1000):
            peak = max(peak, pa.total_allocated_bytes())
            yield replace(record, record_id=str(number))

    before = pa.total_allocated_bytes()
    write(records(), tmp_path / "out")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.arrow")) > 100e6
    assert peak - before < 30e6


def test_folders_that_are_not_a_dataset(tmp_path):
    with pytest.raises(CorpusError, match=r"absent.*is not a folder"):
        load_dataset_folder(tmp_path / "absent")
    with pytest.raises(CorpusError, match="holds no prepared dataset"):
        load_dataset_folder(tmp_path)
    foreign = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"signal": [b"12"], "label": [1]})})
    foreign.save_to_disk(str(tmp_path / "foreign"))
    with pytest.raises(CorpusError, match=r"foreign.*train lacks record_id"):
        load_dataset_folder(tmp_path / "foreign")


def test_a_dataset_of_an_earlier_version_has_no_sources(tmp_path):
    write([replace(make_record(), source="Cart 2")], tmp_path / "new")
    new = datasets.DatasetDict({"train": load_dataset_folder(tmp_path / "new")["train"]})
    assert row_to_record(new["train"][0]).source == "Cart 2"
    new.remove_columns("source").save_to_disk(str(tmp_path / "old"))
    assert row_to_record(load_dataset_folder(tmp_path / "old")["train"][0]).source is None


def test_column_that_is_missing_or_of_another_type(tmp_path):
    write([make_record()], tmp_path / "out")
    # Only the split with rows, because the library cannot read back an empty one that it saved.
    loaded = datasets.DatasetDict({"train": load_dataset_folder(tmp_path / "out")["train"]})
    loaded.remove_columns("gain").save_to_disk(str(tmp_path / "lacking"))
    with pytest.raises(CorpusError, match="lacks gain"):
        load_dataset_folder(tmp_path / "lacking")
    loaded.cast_column("fold", datasets.Value("string")).save_to_disk(str(tmp_path / "cast"))
    with pytest.raises(CorpusError, match="fold as"):
        load_dataset_folder(tmp_path / "cast")


@pytest.mark.parametrize("damage", ["arrow", "info", "state", "dict"])
def test_damaged_folder(tmp_path, damage):
    write([make_record(number) for number in range(50)], tmp_path / "out")
    train = tmp_path / "out" / "train"
    path = {
        "arrow": train / "data-00000.arrow",
        "info": train / "dataset_info.json",
        "state": train / "state.json",
        "dict": tmp_path / "out" / "dataset_dict.json",
    }[damage]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorpusError, match=rf"{path.name} cannot be read: .* Prepare the dataset again"):
        load_dataset_folder(tmp_path / "out")


def test_real_records_survive_the_round_trip(real_data, tmp_path):
    from cgdmer.models.reading_wfdb import read_wfdb

    paths = sorted((real_data / "code15-sample").glob("9*.hea")) + sorted(
        (real_data / "cpsc2018-sample").glob("*.hea")
    )
    records = [read_wfdb(path) for path in paths if path.stem != "9190_low_sample_rate"]
    write(records, tmp_path / "out")
    for row, record in zip(load_dataset_folder(tmp_path / "out")["train"], records, strict=True):
        assert_same(row_to_record(row), record)
