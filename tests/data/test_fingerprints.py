# SPDX-License-Identifier: Apache-2.0
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cgdmer.data.fingerprints import FILE_NAME, PATIENTS_FILE, Fingerprints, TrainingPatients, record_fingerprint
from cgdmer.data.storage import FEATURES, record_to_row
from cgdmer.files.hashing import number_of
from cgdmer.models.errors import ModelFolderError
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="module")
def records():
    return list(simulate_cohort(12, seed=5, sampling_rate=100))


def as_split(records, corpus: str = "one") -> datasets.Dataset:
    split = datasets.Dataset.from_list([record_to_row(record) for record in records], features=FEATURES)
    split.info.dataset_name = corpus
    return split


def numbered(records) -> list:
    """With patients as corpora name them: small integers."""
    return [replace(record, patient_id=str(15700 + index // 2)) for index, record in enumerate(records)]


def test_a_record_keeps_its_fingerprint_under_another_name_and_in_another_corpus(records):
    renamed = [replace(record, record_id=f"x{index}", patient_id=None) for index, record in enumerate(records)]
    first, second = as_split(records), as_split(renamed, "two")
    np.testing.assert_array_equal(first["fingerprint"], second["fingerprint"])
    assert len(set(first["fingerprint"])) == len(records)
    assert Fingerprints.of(first).overlap(second)["records"] == len(records)


def test_one_sample_makes_a_difference(records):
    signal = records[0].signal.copy()
    signal[3, 500] += 0.001
    changed = replace(records[0], signal=signal)
    assert record_to_row(changed)["fingerprint"] != record_to_row(records[0])["fingerprint"]


def test_fingerprints_do_not_depend_on_the_machine(records):
    counts = np.frombuffer(bytes(range(8)), dtype="<i2").reshape(2, 2)
    assert record_fingerprint(counts) == record_fingerprint(counts.astype(">i2")) == -2313956319199501909


def test_saved_and_continued(records, tmp_path):
    split, half = as_split(records), len(records) // 2
    first = Fingerprints.of(split.select(range(half)))
    both = Fingerprints.of(split.select(range(half, len(records))), first)
    both.save(tmp_path)
    loaded, whole = Fingerprints.of_model(str(tmp_path)), Fingerprints.of(split)
    for one in (both, loaded):
        np.testing.assert_array_equal(one.records, whole.records)
        assert one.corpora == whole.corpora == ("one",)
        assert one.overlap(split) == {"records": len(records), "patients": len(records)}
    assert loaded.patients.key == first.patients.key != whole.patients.key
    assert len(loaded.patients.hashes) == len({record.patient_id for record in records})


def test_a_model_without_the_file_has_none(tmp_path):
    assert Fingerprints.of_model(str(tmp_path)) is None


def test_overlap_counts_records_and_patients_that_were_trained_on(records):
    by_patient: dict[str, list] = {}
    for record in records:
        by_patient.setdefault(record.patient_id, []).append(record)
    several = next(some for some in by_patient.values() if len(some) > 1)
    trained_on = Fingerprints.of(as_split(several[:1]))
    assert trained_on.overlap(as_split(records)) == {"records": 1, "patients": len(several)}
    assert trained_on.overlap(as_split(records, "two")) == {"records": 1, "patients": 0}


# What is known about patients


def test_patients_are_checked_only_where_all_are_known(records, tmp_path, monkeypatch):
    split, fewer = as_split(records), as_split(records[:4])
    nameless = as_split([replace(record, patient_id=None) for record in records])
    trained_on = Fingerprints.of(fewer)
    assert trained_on.overlap(nameless) == {"records": 4, "patients": None}
    others = [record for record in records if record.patient_id not in {one.patient_id for one in records[:4]}]
    assert trained_on.overlap(as_split(others)) == {"records": 0, "patients": 0}
    # One test record without a patient: what was found counts, but nothing found is not "none".
    mixed = [replace(records[0], patient_id=None)]
    assert trained_on.overlap(as_split([*records[:4], *mixed]))["patients"] == 4
    assert trained_on.overlap(as_split([*others, *mixed]))["patients"] is None
    # Some training records without a patient: the same.
    partly = Fingerprints.of(as_split([*records[:4], *mixed]))
    assert partly.overlap(as_split(others))["patients"] is None and partly.overlap(fewer)["patients"] == 4
    # Published: only the records are known, also to a run that continues it; of another corpus, all are known.
    trained_on.save(tmp_path)
    (tmp_path / PATIENTS_FILE).unlink()
    published = Fingerprints.of_model(str(tmp_path))
    assert published.patients is None and published.overlap(split) == {"records": 4, "patients": None}
    continued = Fingerprints.of(as_split(records[4:8], "two"), published)
    assert continued.overlap(as_split(others))["patients"] is None
    assert continued.overlap(as_split(records[4:8], "two")) == {"records": 4, "patients": 4}
    continued.save(tmp_path)
    assert Fingerprints.of_model(str(tmp_path)).patients.partial == ("one",)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a colleague's folder
    assert Fingerprints.of_model(str(tmp_path)).overlap(split)["patients"] is None


# Nobody else can find them


def guesses(corpora=("one", "")) -> set[int]:
    """The hashes that anyone can compute for every small integer."""
    numbers = [f"{number:0{width}}" for width in (0, 5) for number in range(15000, 16500)]
    return {number_of(text.encode()) for one in numbers for text in (one, *(f"{corpus}/{one}" for corpus in corpora))}


def test_no_patient_number_can_be_found_by_trying_all(records, tmp_path):
    split = as_split(numbered(records))
    trained_on = Fingerprints.of(split)
    trained_on.save(tmp_path)
    tried = guesses()
    for path in tmp_path.iterdir():
        for numbers in load_file(path).values():
            assert not tried & set(numbers.tolist()), path.name
    assert set(load_file(tmp_path / FILE_NAME)) == {"records"}
    # Not even by who has the patients' file of another run: the key is another.
    again = Fingerprints.of(split)
    assert not set(again.patients.hashes.tolist()) & set(trained_on.patients.hashes.tolist())
    assert stat.S_IMODE((tmp_path / PATIENTS_FILE).stat().st_mode) == 0o600


def test_the_attack_works_on_files_of_the_earlier_kind(records, tmp_path):
    """Otherwise the test above would show nothing."""
    path = earlier_kind(numbered(records), tmp_path)
    assert guesses() >= set(load_file(path)["patients"].tolist())


def test_the_shipped_weights_say_nothing_about_patients(real_data):
    published = set(load_file(SHIPPED_MODEL / FILE_NAME)["records"].tolist())
    table = (real_data / "ptb-xl-subset" / "ptbxl_database.csv").read_text().splitlines()
    numbers = {line.split(",")[1].removesuffix(".0") for line in table[1:]}
    written = [*numbers, *(f"{number}.0" for number in numbers)]
    tried = {number_of(text.encode()) for one in written for text in (one, f"ptb-xl/{one}")}
    assert len(numbers) > 1000 and not tried & published
    assert [path.name for path in SHIPPED_MODEL.glob("training_*")] == [FILE_NAME]


# Other files


def earlier_kind(records, folder: Path) -> Path:
    """The file as it was written until patients were kept apart."""
    hashes = {number_of(f"one/{record.patient_id}".encode()) for record in records}
    arrays = {"records": Fingerprints.of(as_split(records)).records, "patients": np.array(sorted(hashes))}
    save_file(arrays, folder / FILE_NAME, {"corpora": json.dumps(["one"])})
    return folder / FILE_NAME


def test_a_file_of_the_earlier_kind_says_what_it_is(records, tmp_path):
    path = earlier_kind(records, tmp_path)
    with pytest.warns(UserWarning, match=r"earlier version .* patients count as not checked"):
        trained_on = Fingerprints.of_model(str(tmp_path))
    assert trained_on.overlap(as_split(records)) == {"records": len(records), "patients": None}
    trained_on.save(tmp_path)
    assert set(load_file(path)) == {"records"}
    np.testing.assert_array_equal(Fingerprints.of_model(str(tmp_path)).records, trained_on.records)


def test_a_damaged_file_is_named(records, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not it")
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Fingerprints.load(tmp_path / FILE_NAME)
    with pytest.raises(ModelFolderError, match="absent"):
        Fingerprints.load(tmp_path / "absent")
    Fingerprints.of(as_split(records)).save(tmp_path)
    (tmp_path / PATIENTS_FILE).write_bytes(b"not it")
    with pytest.raises(ModelFolderError, match="not checked"):
        Fingerprints.of_model(str(tmp_path))


RIGHT = {"records": np.arange(5)}


@pytest.mark.parametrize(
    ("arrays", "metadata"),
    [
        (RIGHT, {"corpora": "5"}),
        (RIGHT, {"corpora": '"one"'}),
        (RIGHT, {"corpora": '["one", 2]'}),
        (RIGHT, {"corpora": "[" * 100_000}),
        (RIGHT, {"corpora": "{"}),
        (RIGHT, {}),
        (RIGHT, None),
        ({"records": np.arange(5.0)}, {"corpora": "[]"}),
        ({"records": np.arange(6).reshape(2, 3)}, {"corpora": "[]"}),
        ({"recordings": np.arange(5)}, {"corpora": "[]"}),
        ({}, {"corpora": "[]"}),
    ],
)
def test_what_is_no_record_of_training_is_refused(tmp_path, arrays, metadata):
    save_file(arrays, tmp_path / FILE_NAME, metadata)
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Fingerprints.load(tmp_path / FILE_NAME)


@pytest.mark.parametrize("key", ["", "00", "zz" * 32, "00" * 31, "00" * 65])
def test_a_key_of_another_kind_is_refused(tmp_path, key):
    save_file({"patients": np.arange(5)}, tmp_path / PATIENTS_FILE, {"key": key, "partial": "[]"})
    with pytest.raises(ModelFolderError, match="Delete it"):
        TrainingPatients.load(tmp_path / PATIENTS_FILE)
