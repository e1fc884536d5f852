# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import datasets
import numpy as np
import pytest

from cgdmer.data.fingerprints import FILE_NAME, Fingerprints, fingerprints_of_rows, record_fingerprint
from cgdmer.data.storage import FEATURES, record_to_row
from cgdmer.models.errors import ModelFolderError
from cgdmer.simulation.cohort import simulate_cohort


@pytest.fixture(scope="module")
def records():
    return list(simulate_cohort(12, seed=5, sampling_rate=100))


def as_split(records, corpus: str = "one") -> datasets.Dataset:
    split = datasets.Dataset.from_list([record_to_row(record) for record in records], features=FEATURES)
    split.info.dataset_name = corpus
    return split


def test_a_record_keeps_its_fingerprint_under_another_name_and_in_another_corpus(records):
    renamed = [replace(record, record_id=f"x{index}", patient_id=None) for index, record in enumerate(records)]
    first, patients = fingerprints_of_rows(as_split(records))
    second, unknown = fingerprints_of_rows(as_split(renamed, "two"))
    np.testing.assert_array_equal(first, second)
    assert len(set(first)) == len(records)
    assert not unknown.any() and patients.all()


def test_one_sample_or_one_patient_makes_a_difference(records):
    signal = records[0].signal.copy()
    signal[3, 500] += 0.001
    changed = replace(records[0], signal=signal)
    assert record_to_row(changed)["fingerprint"] != record_to_row(records[0])["fingerprint"]
    _, patients = fingerprints_of_rows(as_split(records))
    _, elsewhere = fingerprints_of_rows(as_split(records, "two"))
    assert not np.isin(patients, elsewhere).any()
    assert len(set(patients)) == len({record.patient_id for record in records}) < len(records)


def test_fingerprints_do_not_depend_on_the_machine(records):
    counts = np.frombuffer(bytes(range(8)), dtype="<i2").reshape(2, 2)
    assert record_fingerprint(counts) == record_fingerprint(counts.astype(">i2")) == -2313956319199501909


def test_saved_and_united(records, tmp_path):
    split = as_split(records)
    half = len(records) // 2
    parts = [Fingerprints.of(split.select(rows)) for rows in (range(half), range(half, len(records)))]
    whole = Fingerprints.of(split)
    both = parts[0] | parts[1]
    both.save(tmp_path)
    loaded = Fingerprints.load(tmp_path / FILE_NAME)
    for one in (both, loaded):
        np.testing.assert_array_equal(one.records, whole.records)
        np.testing.assert_array_equal(one.patients, whole.patients)
        assert one.corpora == whole.corpora == ("one",)
    assert Fingerprints.of_model(str(tmp_path)) is not None


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


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not it")
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Fingerprints.load(tmp_path / FILE_NAME)
    with pytest.raises(ModelFolderError, match="absent"):
        Fingerprints.load(tmp_path / "absent")
