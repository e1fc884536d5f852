# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import datasets
import numpy as np
import pytest

from cgdmer.data.fingerprints import FILE_NAME, Fingerprints, fingerprints_of_rows, record_fingerprint
from cgdmer.data.simulation import simulate_cohort
from cgdmer.data.storage import FEATURES, record_to_row
from cgdmer.models.errors import ModelFolderError


@pytest.fixture(scope="module")
def records():
    return list(simulate_cohort(12, seed=5, sampling_rate=100))


def as_split(records) -> datasets.Dataset:
    return datasets.Dataset.from_list([record_to_row(record) for record in records], features=FEATURES)


def test_a_record_keeps_its_number_under_another_name_and_in_another_corpus(records):
    renamed = [replace(record, record_id=f"x{index}", patient_id=None) for index, record in enumerate(records)]
    first, patients = fingerprints_of_rows(as_split(records), "one")
    second, unknown = fingerprints_of_rows(as_split(renamed), "two")
    np.testing.assert_array_equal(first, second)
    assert len(set(first)) == len(records)
    assert not unknown.any() and patients.all()


def test_one_sample_or_one_patient_makes_a_difference(records):
    signal = records[0].signal.copy()
    signal[3, 500] += 0.001
    changed = replace(records[0], signal=signal)
    assert record_fingerprint(record_to_row(changed)) != record_fingerprint(record_to_row(records[0]))
    _, patients = fingerprints_of_rows(as_split(records), "one")
    _, elsewhere = fingerprints_of_rows(as_split(records), "two")
    assert not np.isin(patients, elsewhere).any()
    assert len(set(patients)) == len({record.patient_id for record in records}) < len(records)


def test_numbers_do_not_depend_on_the_machine(records):
    row = {"num_leads": 2, "signal": bytes(range(8))}
    assert record_fingerprint(row) == -2313956319199501909


def test_saved_and_united(records, tmp_path):
    split = as_split(records)
    half = len(records) // 2
    parts = [Fingerprints.of(split.select(rows), "c") for rows in (range(half), range(half, len(records)))]
    whole = Fingerprints.of(split, "c")
    both = parts[0] | parts[1]
    both.save(tmp_path)
    loaded = Fingerprints.load(tmp_path / FILE_NAME)
    for one in (both, loaded):
        np.testing.assert_array_equal(one.records, whole.records)
        np.testing.assert_array_equal(one.patients, whole.patients)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not it")
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Fingerprints.load(tmp_path / FILE_NAME)
    with pytest.raises(ModelFolderError, match="absent"):
        Fingerprints.load(tmp_path / "absent")
